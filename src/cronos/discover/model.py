"""What discovery finds out about messages: fields, their meaning, and what vouches for them."""

import enum

import msgspec

from cronos.discover.messages import Message


class Sem(enum.StrEnum):
    """What a field means; `VALUE` and `BYTES` say that nothing more is known."""

    LENGTH = "length"
    CHECKSUM = "checksum"
    TIMESTAMP = "timestamp"
    COUNT = "count"
    ID_SEQ = "id_seq"
    ENUM_FLAGS = "enum_flags"
    ADDRESS = "address"
    TEXT = "text"
    FLOAT = "float"
    VALUE = "value"
    BYTES = "bytes"


class Claim(msgspec.Struct, frozen=True):
    """What a verified detector says of a set of messages."""

    kind: str
    """``length.rest``, ``checksum.crc16-dnp``, ``counter``, ``tlv``, ..."""
    sem: Sem
    spans: tuple[tuple[int, int] | None, ...]
    """For each message of the set its (offset, length), None where the claim does not hold."""
    support: float
    """Share of the messages in which it holds."""
    alarm: float
    """Bound on the probability of this by chance, Bonferroni over all that was tried."""
    terms: dict[str, str | int] = {}
    """Endian, width, mask, constant, target: what a grammar needs to reproduce it."""


class Field(msgspec.Struct, frozen=True):
    """One field of one message; `offset` and `length` in bytes."""

    offset: int
    length: int
    sem: Sem
    confidence: float
    """In [0, 1], calibrated: how often such a field proves right."""
    claim: int = -1
    """Index into `Discovery.claims`; -1 where no detector vouches for it."""


class Discovery(msgspec.Struct, frozen=True):
    """Everything found out about a set of messages; the tuples run along `messages`."""

    messages: tuple[Message, ...]
    types: tuple[int, ...]
    fields: tuple[tuple[Field, ...], ...]
    claims: tuple[Claim, ...]
    remarks: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """How far one discovery may go; at a limit it gives the best result so far.

    Attributes:
        labeller: a file of a sequence network that sets the fields in place of the shipped scorers.
    """

    max_seconds: float = 30.0
    max_memory_mb: int = 1024
    max_messages: int = 1000
    labeller: str = ""
