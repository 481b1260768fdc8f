"""All families of detectors by name, in the order in which their word counts."""

from collections.abc import Callable, Sequence
from typing import Final

from cronos.discover.detectors import checksums, counters, lengths
from cronos.discover.detectors.table import Found, Table
from cronos.discover.messages import Message
from cronos.discover.model import Claim

FAMILIES: Final[dict[str, Callable[[Table], list[Found]]]] = {
    "checksums": checksums.find,
    "lengths": lengths.find,
    "counters": counters.find,
}


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find everything that can be verified of these messages; the surer families come first.

    Claims may overlap: one place may be a length and, as it happens, part of a larger number. The
    term ``choice`` > 0 marks other widths of the claim of choice 0 before it.
    """
    table = Table(messages)
    return [found.claim() for family in FAMILIES.values() for found in family(table)]
