"""What is written of a discovery: the profile, the document, the page, and the parser's exports."""

from typing import NamedTuple

from cronos.discover import ir
from cronos.discover.document import document
from cronos.discover.learned import Learned
from cronos.discover.messages import Service
from cronos.discover.names import propose
from cronos.discover.page import page
from cronos.discover.pictures import pictures
from cronos.discover.profile import FILE_NAME, Profile, named, to_bytes


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
    proposals = propose(ir.decode(learned.grammar), messages) if learned.grammar else ()
    views = pictures(learned)
    files = {
        "protocol.md": document(name, service, learned, views, proposals).encode(),
        "protocol.html": page(name, service, learned, views, proposals).encode(),
        **learned.files,
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
    return Profile(
        named(name),
        ir.decode(learned.grammar),
        (service.name,),
        learned_ns=learned_ns,
        messages=len(learned.discovery.messages),
        reparsed=round(proof.parsed, 6) if proof else 0.0,
        remarks=(learned.stopped,) if learned.stopped else (),
    )
