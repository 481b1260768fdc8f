"""What is written of a discovery: the profile, the document, the page, and the parser's exports."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from cronos.discover import ir
from cronos.discover.document import document
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.learned import Learned
from cronos.discover.messages import Message, Service
from cronos.discover.names import propose
from cronos.discover.order import order_of
from cronos.discover.page import page
from cronos.discover.parts import export
from cronos.discover.pictures import pictures
from cronos.discover.profile import FILE_NAME, Profile, named, to_bytes

_EVIDENCE_SAMPLE: Final = 100


class Report(NamedTuple):
    """What one service amounts to: its profile where a grammar was found, and all files."""

    profile: Profile | None
    files: dict[str, bytes]


def report(service: Service, learned: Learned, name: str, learned_ns: int) -> Report:
    """Write everything about one service.

    Args:
        service: what it was learnt from.
        learned: the result, or the best so far.
        name: of the protocol.
        learned_ns: wall time, to be written down.
    """
    messages = learned.discovery.messages if learned.discovery else service.messages
    grammar = ir.decode(learned.grammar) if learned.grammar else None
    proposals = propose(grammar, messages) if grammar else ()
    order = order_of(Interpreter(grammar), messages) if grammar else None
    views = pictures(learned)
    files = {
        "protocol.md": document(name, service, learned, views, proposals, order).encode(),
        "protocol.html": page(name, service, learned, views, proposals).encode(),
        # Written here and not by the process that read a stranger's bytes: people run these.
        **(export(learned.grammar) if learned.files else {}),
    }
    profile = profile_of(service, learned, name, learned_ns)
    if profile is not None:
        files[FILE_NAME] = to_bytes(profile)
    return Report(profile, files)


def profile_of(service: Service, learned: Learned, name: str, learned_ns: int) -> Profile | None:
    """Give the profile of what was learnt; None where no grammar was."""
    if not learned.grammar or learned.discovery is None:
        return None
    proof = learned.validation
    grammar = ir.decode(learned.grammar)
    return Profile(
        named(name),
        grammar,
        (service.name,),
        learned_ns=learned_ns,
        messages=len(learned.discovery.messages),
        reparsed=round(proof.parsed, 6) if proof else 0.0,
        remarks=(learned.stopped,) if learned.stopped else (),
        bits_per_byte=round(_evidence(grammar, learned.discovery.messages), 4),
    )


def _evidence(grammar: ir.Grammar, messages: Sequence[Message]) -> float:
    """Give the bits per byte by which a profile's own messages are more likely than random ones."""
    interpreter = Interpreter(grammar)
    step = max(1, len(messages) // _EVIDENCE_SAMPLE)
    bits, size = 0.0, 0
    for message in messages[::step]:
        parsed = interpreter.parse(message.payload, message.direction, checksums=False)
        if isinstance(parsed, Parsed):
            bits += parsed.bits
            size += len(message.payload)
    return bits / max(1, size)
