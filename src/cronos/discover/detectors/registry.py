"""All families of detectors by name, in the order in which their word counts."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from cronos.discover.detectors import (
    addresses,
    checksums,
    counters,
    counts,
    fillers,
    lengths,
    moments,
    records,
    texts,
    values,
)  # fmt: skip
from cronos.discover.detectors.table import Found, Table, overlap
from cronos.discover.messages import Message
from cronos.discover.model import Claim

FAMILIES: Final[dict[str, Callable[[Table], list[Found]]]] = {
    "checksums": checksums.find,
    "lengths": lengths.find,
    "records": records.find,
    "moments": moments.find,
    "addresses": addresses.find,
    "counts": counts.find,
    "counters": counters.find,
    "values": values.find,
    "texts": texts.find,
    "fillers": fillers.find,
}
YIELDING: Final = frozenset({"counts", "counters", "values", "texts", "fillers"})
"""Families that say nothing of bytes which a surer one explains."""
SURE: Final = frozenset({"checksums", "lengths", "moments", "addresses"})
ONCE: Final = {"checksums": "checksum."}
"""Families that take long and say of a part what they say of all; how their kinds begin."""
TYPED: Final = frozenset({"lengths", "counts"})
"""Families that are asked about each type apart; chosen on held-out families."""


def claims(messages: Sequence[Message], families: Collection[str] = FAMILIES) -> list[Claim]:
    """Find everything that can be verified of these messages; the surer families come first.

    Claims may overlap still: the value of a record may hold a time. The term ``choice`` > 0 marks
    another width of a claim of ``choice`` 0.
    """
    table = Table(messages)
    sure: list[Found] = []
    out: list[Found] = []
    for name, family in FAMILIES.items():
        if name not in families:
            continue
        found = family(table)
        if name in YIELDING:
            found = [each for each in found if not any(overlap(each, other) for other in sure)]
        elif name in SURE:
            sure += [each for each in found if each.terms.get("choice", 0) == 0]
        out += found
    return [each.claim() for each in out]


def claims_of_part(
    messages: Sequence[Message], part: slice, known: Sequence[Claim], typed: Sequence[Claim] = ()
) -> list[Claim]:
    """Find what can be verified of some of the messages.

    Args:
        messages: all of them.
        part: those that are asked about.
        known: what is known of all of them, as `claims` found.
        typed: what is known of the messages of single types; it counts least.
    """
    told = [claim for claim in known if claim.kind.startswith(tuple(ONCE.values()))]
    anew = claims(messages[part], FAMILIES.keys() - ONCE.keys())
    return [*_cut(told, part), *anew, *_cut(typed, part)]


def _cut(known: Sequence[Claim], part: slice) -> list[Claim]:
    """Give what is claimed of some of the messages."""
    return [
        msgspec.structs.replace(claim, spans=claim.spans[part])
        for claim in known
        if any(claim.spans[part])
    ]
