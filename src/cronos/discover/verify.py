"""Proves a grammar on messages it was not learnt from: takes and rebuilds them, refuses noise.

Every third message is held back, so that rare types fall on both sides and time does not divide.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover import ir
from cronos.discover.builder import build
from cronos.discover.division import Sample
from cronos.discover.grammar import NOISE, infer, noise, samples_of
from cronos.discover.interpreter import Interpreter, Parsed, Refused
from cronos.discover.model import Discovery
from cronos.errors import InputError

THIRD: Final = 3
_SEED: Final = 7
_REASONS: Final = 5


class Verdict(msgspec.Struct, frozen=True):
    """How a grammar did on held-back messages; shares are in [0, 1]."""

    learnt_from: int
    held_back: int
    parsed: float
    """Share that some type takes; checksums that do not hold count as taken, and are listed."""
    rebuilt: float
    """Share given back byte by byte, lengths and checksums worked out anew."""
    checksums: float
    """Share of the parsed ones whose checksums all hold."""
    recall: float
    """Share of the discovery's boundaries that the parse gives too."""
    precision: float
    """Share of the parse's boundaries that the discovery has."""
    noise_refused: float
    """Share of random messages, as long as the held-back ones, that are refused."""
    mutants_refused: float
    """Share of held-back messages with an eighth of their bytes replaced that are refused."""
    reasons: tuple[str, ...] = ()
    """Why messages were refused, the most frequent first."""

    @property
    def passed(self) -> bool:
        """Say whether the grammar may be used: it takes, gives back and refuses enough."""
        return self.parsed >= 0.99 and self.rebuilt >= 0.99 and self.noise_refused >= 0.99


def split(count: int) -> tuple[list[int], list[int]]:
    """Give the numbers of the messages to learn from, and those held back; few are all both."""
    if count < THIRD:
        return list(range(count)), list(range(count))
    held = range(THIRD - 1, count, THIRD)
    return [index for index in range(count) if index % THIRD != THIRD - 1], list(held)


def learn(discovery: Discovery, name: str = "learnt") -> tuple[ir.Grammar, Verdict]:
    """Infer a grammar from two thirds of the messages and prove it on the last third.

    Raises:
        InputError: there is no message with a byte in it.
    """
    train, held = split(len(discovery.messages))
    samples, rest = samples_of(discovery, train), samples_of(discovery, held)
    grammar = infer(samples, name)
    return grammar, verify(grammar, rest or samples, len(samples))


def verify(grammar: ir.Grammar, held: Sequence[Sample], learnt_from: int = 0) -> Verdict:
    """Measure a grammar on messages; deterministic."""
    run = Interpreter(grammar)
    parsed = rebuilt = sound = hits = mine = theirs = 0
    reasons: Counter[str] = Counter()
    for one in held:
        result = run.parse(one.data, one.direction, checksums=False)
        if isinstance(result, Refused):
            reasons[result.reason] += 1
            continue
        parsed += 1
        rebuilt += _rebuilds(grammar, result, one.data)
        sound += not result.bad_checksums
        cuts = {field.offset for field in result.fields if field.offset}
        wanted = {offset for offset, _, _ in one.fields if offset}
        hits, mine, theirs = hits + len(cuts & wanted), mine + len(cuts), theirs + len(wanted)
    lengths = [len(one.data) for one in held]
    return Verdict(
        learnt_from=learnt_from,
        held_back=len(held),
        parsed=parsed / len(held),
        rebuilt=rebuilt / len(held),
        checksums=sound / max(1, parsed),
        recall=hits / theirs if theirs else 1.0,
        precision=hits / mine if mine else 1.0,
        noise_refused=_refused(run, noise(lengths)),
        mutants_refused=_refused(run, mutants([one.data for one in held])),
        reasons=tuple([reason for reason, _ in reasons.most_common(_REASONS)]),
    )


def _rebuilds(grammar: ir.Grammar, parsed: Parsed, data: bytes) -> bool:
    """Say whether the builder gives the message back; wrong checksums cannot come back right."""
    if parsed.bad_checksums:
        return b"".join([data[f.offset : f.offset + f.length] for f in parsed.fields]) == data
    try:
        return build(grammar, parsed) == data
    except InputError:
        return False


def _refused(run: Interpreter, messages: Sequence[bytes]) -> float:
    """Give the share that is refused, whichever direction; checksums count."""
    return sum([isinstance(run.parse(one), Refused) for one in messages]) / max(1, len(messages))


def mutants(messages: Sequence[bytes], count: int = NOISE) -> list[bytes]:
    """Give messages with an eighth of their bytes, at least one, replaced by random ones."""
    rng = np.random.default_rng(_SEED)
    out: list[bytes] = []
    for index in range(min(count, len(messages))):
        data = bytearray(messages[index])
        for place in rng.integers(0, len(data), math.ceil(len(data) / 8)):
            data[int(place)] = (data[int(place)] + int(rng.integers(1, 256))) % 256
        out.append(bytes(data))
    return out
