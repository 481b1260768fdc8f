"""What one discovery amounts to, phase by phase: what it says while it runs, and its result."""

import enum
from typing import Final

import msgspec

from cronos.discover.model import Discovery

_ENOUGH: Final = 0.99
_DIRECTIONS: Final = frozenset({"", "c2s", "s2c"})


class Phase(enum.StrEnum):
    """The phases in their order; each one needs what those before it found."""

    STATISTICS = "statistics"
    CLASSIFICATION = "classification"
    TYPES = "message types"
    BOUNDARIES = "boundaries and meaning"
    GRAMMAR = "grammar"
    PARSER = "parser"
    VALIDATION = "validation"


class Verdict(enum.StrEnum):
    """What the messages are taken for, before anything is learnt of them."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    ENCRYPTED = "encrypted or compressed"
    EMPTY = "empty"


class Summary(msgspec.Struct, frozen=True):
    """Counts and sizes of a service's messages."""

    messages: int
    bytes: int
    flows: int
    distinct: int
    shortest: int
    median: int
    longest: int
    entropy_bits: float
    """Shannon entropy of all bytes, 0 to 8."""
    printable: float
    """Share of bytes that are text."""
    sent: dict[str, int]
    """Messages by direction."""
    seconds: float
    """From the first message to the last."""


class Validation(msgspec.Struct, frozen=True):
    """How the parser did with messages that the grammar was not learnt from, and with noise."""

    held_back: int
    parsed: float
    """Share of them that parse."""
    exact: float
    """Share that are the same bytes when put together again."""
    noise_refused: float
    """Share of random messages that are refused."""
    reasons: tuple[str, ...] = ()
    """Why held-back messages were refused, the most frequent first."""

    @property
    def passed(self) -> bool:
        """Whether the parser may be used: it takes, gives back and refuses 99 in 100."""
        return min(self.parsed, self.exact, self.noise_refused) >= _ENOUGH


class Learned(msgspec.Struct, frozen=True):
    """The result of a discovery, or the best so far where it was stopped."""

    service: str
    verdict: Verdict
    summary: Summary
    why: str = ""
    profile: str = ""
    """The known profile that the messages fit."""
    sample: tuple[int, ...] = ()
    """Which messages of the service were learnt from, in the order of `discovery.messages`."""
    discovery: Discovery | None = None
    grammar: bytes = b""
    """See `cronos.discover.ir.encode`."""
    files: dict[str, bytes] = {}
    """The parser in other languages, by file name; who writes files writes them anew."""
    validation: Validation | None = None
    seconds: dict[str, float] = {}
    """What each phase took."""
    remarks: tuple[str, ...] = ()
    stopped: str = ""
    """Why it was stopped before its end; empty where it was not."""


def sound(learned: Learned) -> bool:
    """Say whether a result fits together; what another process says need not.

    Its tuples run along its messages, and fields lie within them.
    """
    found = learned.discovery
    if found is None:
        return not learned.sample
    count = len(found.messages)
    if any(len(one) != count for one in (found.types, found.fields, learned.sample)):
        return False
    return all(
        message.direction in _DIRECTIONS
        and all(
            field.offset >= 0 and 0 < field.length <= len(message.payload) - field.offset
            for field in fields
        )
        for message, fields in zip(found.messages, found.fields, strict=True)
    )


class Told(msgspec.Struct, frozen=True):
    """How far a discovery is: its phase, the share of it in [0, 1], and what it found."""

    phase: Phase
    share: float = 0.0
    found: str = ""
