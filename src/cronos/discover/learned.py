"""What one discovery amounts to, phase by phase: what it says while it runs, and its result."""

import enum
from typing import Final

import msgspec

from cronos.discover.model import Discovery

_ENOUGH: Final = 0.99


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
    """The parser in other languages, by file name."""
    validation: Validation | None = None
    seconds: dict[str, float] = {}
    """What each phase took."""
    remarks: tuple[str, ...] = ()
    stopped: str = ""
    """Why it was stopped before its end; empty where it was not."""


class Told(msgspec.Struct, frozen=True):
    """How far a discovery is: its phase, the share of it in [0, 1], and what it found."""

    phase: Phase
    share: float = 0.0
    found: str = ""
