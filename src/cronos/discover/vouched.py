"""Turn the claims of verified detectors into evidence about single bytes."""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover.detectors import registry
from cronos.discover.evidence import Array, Corpus
from cronos.discover.messages import Message
from cronos.discover.model import Claim

FAMILIES: Final = (
    *("length", "checksum", "counter", "id", "tlv", "lv", "text", "timestamp", "address"),
    *("count", "float32", "float64", "bcd", "padding", "sealed"),
)
LEAST: Final = 12
"""Messages of a type that is asked about apart."""
MOST_TYPES: Final = 24
"""Types that are, the largest first."""
TYPE_ALARM: Final = 1e-3
"""A tenth of what a detector may say of all messages: types were found, not given."""


def all_claims(messages: Sequence[Message]) -> list[Claim]:
    """Ask every detector; of the messages that were asked about last nothing is asked anew."""
    return list(_claims(tuple(messages)))


@functools.lru_cache(maxsize=1)
def _claims(messages: tuple[Message, ...]) -> tuple[Claim, ...]:
    return tuple(registry.claims(messages))


def claims_of_types(
    messages: Sequence[Message],
    types: Sequence[int],
    known: Sequence[Claim],
    late: Callable[[], bool],
) -> Iterator[Claim]:
    """Ask about the messages of each type apart what is not `known` of all; as claims over all.

    What fits a type by itself is found so: a count, or a length of what only this type carries.
    The bound on false alarms pays for every type that is asked about; none is once it is `late`.
    """
    asked = _asked(types)
    taken = _Taken()
    for number in chosen(known):
        taken.add(known[number])
    for rows in asked:
        if late():
            return
        for claim in registry.claims([messages[row] for row in rows], registry.TYPED):
            spans: list[tuple[int, int] | None] = [None] * len(messages)
            for row, span in zip(rows, claim.spans, strict=True):
                spans[row] = span
            found = msgspec.structs.replace(
                claim,
                spans=tuple(spans),
                support=claim.support * len(rows) / len(messages),
                alarm=claim.alarm * len(asked),
            )
            if found.alarm <= TYPE_ALARM and not taken.clashes(found):
                yield found


def _asked(types: Sequence[int]) -> list[list[int]]:
    """Give the messages of each type that has enough of them; none where all are of one."""
    rows = collections.defaultdict[int, list[int]](list)
    for row, kind in enumerate(types):
        rows[kind].append(row)
    if len(rows) < 2:
        return []
    enough = [some for some in rows.values() if len(some) >= LEAST]
    return sorted(enough, key=len, reverse=True)[:MOST_TYPES]


class _Taken:
    """Which bytes of which message claims have spoken of."""

    def __init__(self) -> None:
        self._spans: dict[int, list[tuple[int, int]]] = {}

    def add(self, claim: Claim) -> None:
        """Take the bytes of this claim."""
        for i, span in enumerate(claim.spans):
            if span is not None:
                self._spans.setdefault(i, []).append((span[0], span[0] + span[1]))

    def clashes(self, claim: Claim) -> bool:
        """Say whether some of its bytes are taken."""
        return any(
            begin < span[0] + span[1] and span[0] < end
            for i, span in enumerate(claim.spans)
            if span is not None
            for begin, end in self._spans.get(i, ())
        )


def chosen(claims: Sequence[Claim]) -> list[int]:
    """Give the indices of claims that stand beside one another; of two that overlap the earlier."""
    kept: list[int] = []
    taken = _Taken()
    for number, claim in enumerate(claims):
        if not taken.clashes(claim):
            kept.append(number)
            taken.add(claim)
    return kept


def marks(corpus: Corpus, claims: Sequence[Claim]) -> dict[str, Array]:
    """Give for each family a mark for each byte: 1 a field begins, 2 within, 3 right after.

    Claims that were not chosen mark with 4 their begin and with 5 their inside.
    """
    out = {name: np.zeros(len(corpus.data), dtype=np.int64) for name in FAMILIES}
    first = set(chosen(claims))
    order = [n for n in range(len(claims)) if n not in first] + sorted(first, reverse=True)
    for number in order:
        claim = claims[number]
        mark = out.get(claim.kind.split(".")[0])
        if mark is None:
            continue
        begins, ends = _places(corpus, claim)
        best = number in first
        inside = ends - begins
        for k in range(1, int(inside.max(initial=0))):
            mark[begins[inside > k] + k] = 2 if best else 5
        mark[begins] = 1 if best else 4
        if best:
            after = ends[(ends < len(mark))]
            after = after[corpus.offset[after] > 0]
            mark[after] = np.where((mark[after] == 0) | (mark[after] > 3), 3, mark[after])
    return out


def _places(corpus: Corpus, claim: Claim) -> tuple[Array, Array]:
    """Give the flat begins and ends of a claim's spans that lie within their messages."""
    pairs = [
        (corpus.starts[i] + span[0], corpus.starts[i] + span[0] + span[1])
        for i, span in enumerate(claim.spans)
        if span is not None and span[1] > 0 and span[0] + span[1] <= corpus.sizes[i]
    ]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def claimed_order(claims: Sequence[Claim]) -> int:
    """Give 1 where the claims speak for big endian, -1 for little, 0 where they say nothing."""
    votes = 0
    for number in chosen(claims):
        endian = claims[number].terms.get("endian")
        votes += 1 if endian == "be" else -1 if endian == "le" else 0
    return (votes > 0) - (votes < 0)
