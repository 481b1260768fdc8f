"""What a discovery is carried out by; imported late, so that nobody waits for what is not used."""

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Final

from cronos.discover import ir
from cronos.discover.child import serve
from cronos.discover.claimed import claimed
from cronos.discover.learned import Validation, Verdict
from cronos.discover.matching import Matcher
from cronos.discover.messages import Message
from cronos.discover.model import Discovery, Limits
from cronos.discover.phases import Known, Parts, Progress
from cronos.errors import InputError
from cronos.ports import Clock

_EXPORTS: Final = {
    "parser.py": "cronos.discover.export_python",
    "protocol.ksy": "cronos.discover.export_ksy",
    "protocol.lua": "cronos.discover.export_lua",
    "protocol_scapy.py": "cronos.discover.export_scapy",
}


def serve_child(clock: Clock) -> None:
    """Be the process of one discovery."""
    serve(clock, parts_of)


def parts_of(profiles: Mapping[str, bytes]) -> Parts:
    """Give the parts, with the profiles that are tried first."""
    matcher = Matcher(profiles)

    def classify(messages: Sequence[Message]) -> Known:
        found = matcher.match(messages)
        if found is None:
            return _readable(messages)
        why = f"The profile {found.name} takes {found.share:.0%} of a sample."
        return Known(Verdict.KNOWN, why, found.name, profiles[found.name])

    return Parts(classify, first, discover, infer, export, verify)


def _readable(messages: Sequence[Message]) -> Known:
    """Say whether anything can be learnt of what no profile takes."""
    from cronos.discover.classify import sealed  # noqa: PLC0415 - numpy

    found = sealed(messages)
    if found.sealed:
        return Known(Verdict.ENCRYPTED, found.why)
    return Known(Verdict.UNKNOWN)


def first(messages: Sequence[Message]) -> Discovery:
    """Give what detectors vouch for."""
    from cronos.discover.vouched import all_claims  # noqa: PLC0415 - numpy

    return claimed(messages, all_claims(messages))


def discover(
    messages: Sequence[Message], limits: Limits, clock: Clock, progress: Progress
) -> Discovery:
    """Give message types, boundaries and meaning."""
    from cronos.discover import engine  # noqa: PLC0415 - numpy

    return engine.discover(messages, limits, clock, progress)


def export(encoded: bytes) -> dict[str, bytes]:
    """Write the parser down in other languages."""
    grammar = ir.decode(encoded)
    files: dict[str, bytes] = {}
    for name, module in _EXPORTS.items():
        render = importlib.import_module(module).render
        with contextlib.suppress(InputError):  # not every language can say every grammar
            files[name] = str(render(grammar)).encode()
    return files


def infer(found: Discovery) -> bytes:
    """Give the grammar of two thirds of the messages, its fields named by rules."""
    from cronos.discover import grammar, names, verify  # noqa: PLC0415 - numpy

    learnt_from, _ = verify.split(len(found.messages))
    inferred = grammar.infer(grammar.samples_of(found, learnt_from))
    messages = [found.messages[number] for number in learnt_from]
    return ir.encode(names.applied(inferred, names.propose(inferred, messages)))


def verify(encoded: bytes, found: Discovery) -> Validation:
    """Prove a grammar on the third that it was not learnt from."""
    from cronos.discover import grammar  # noqa: PLC0415 - numpy
    from cronos.discover import verify as proof  # noqa: PLC0415

    learnt_from, held = proof.split(len(found.messages))
    samples = grammar.samples_of(found, held)
    done = proof.verify(ir.decode(encoded), samples, len(learnt_from))
    return Validation(
        done.held_back,
        round(done.parsed, 6),
        round(done.rebuilt, 6),
        round(done.noise_refused, 6),
        done.reasons,
    )
