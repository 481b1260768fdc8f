"""What passes on a stream between two nodes: one MessagePack array in each gRPC message.

The dialler says `Hello`, the other answers `Welcome`, then both send `Batch`, and `Beat` where the
agreed version has it. The agreed version is the lower of the two; one that is more than one step
behind is refused. Fields are only appended: a decoder leaves out what it does not know.

* Version 1: hello, welcome and batches.
* Version 2: beats, which measure the round trip and find a peer that stands still.
"""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from cronos.errors import DeniedError
from cronos.types import MAX_FRAME_BYTES, Lane

VERSION: Final = 2
OLDEST: Final = 1
METHOD: Final = "/cronos.Mesh/Link"
LANES: Final = tuple(Lane)
URGENT: Final = 3
"""So many lanes at the head of `LANES` go before anything else, and beside it at the receiver."""
MOST_MESSAGES: Final = 4096
MOST_STREAM_BYTES: Final = 2 * MAX_FRAME_BYTES + (1 << 16)
"""The longest gRPC message: a batch that was one byte short, and then took the longest message."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 62))]
Session: TypeAlias = Annotated[str, Meta(min_length=1, max_length=160)]
Position: TypeAlias = tuple[Annotated[str, Meta(max_length=160)], Count]
Limits: TypeAlias = tuple[Count, Count, Count, Count, Count]
Messages: TypeAlias = Annotated[
    list[Annotated[bytes, Meta(max_length=MAX_FRAME_BYTES)]], Meta(max_length=MOST_MESSAGES)
]
Run: TypeAlias = tuple[Annotated[int, Meta(ge=0, le=len(LANES) - 1)], Messages]
Der: TypeAlias = Annotated[bytes, Meta(max_length=16_384)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The dialler's first word.

    Attributes:
        version: the highest that it speaks.
        instance: who it is; the certificate must say the same.
        session: names this life of the process.
        oldest: the number of the first batch that it may send.
        known: the other's session as it knows it, and the last batch that came of it.
        limits: how many bytes the other may send, lane by lane.
        nonce: drawn for this stream.
    """

    version: Annotated[int, Meta(ge=1, le=1000)]
    instance: Annotated[str, Meta(min_length=1, max_length=63)]
    session: Session
    oldest: Count
    known: Position
    limits: Limits
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer, with the same fields and the chain of who gives it; it comes in a `Proof`."""

    version: Annotated[int, Meta(ge=1, le=1000)]
    instance: Annotated[str, Meta(min_length=1, max_length=63)]
    session: Session
    oldest: Count
    known: Position
    limits: Limits
    chain: Annotated[tuple[Der, ...], Meta(min_length=2, max_length=2)]


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Messages, and the sender's word on what it has received.

    Attributes:
        number: counted from 1 in each session; 0 for a word without messages.
        received: the last batch that has come from the other.
        limits: how many bytes the other may send in all, lane by lane.
        runs: messages by lane, the most urgent lane first.
    """

    number: Count
    received: Count
    limits: Limits
    runs: Annotated[list[Run], Meta(max_length=len(LANES))]


class Beat(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """A question (`answer` false) or the answer that gives its number back."""

    at_ns: Count
    answer: bool


class Proof(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A `Welcome` as its sender encoded it, signed with the key of its certificate.

    gRPC checks a server's name and chain, but tells a client nothing of them. So the signature is
    over the hello, these bytes and the dialler's certificate: see `crypto.pki.presence`.
    """

    welcome: Annotated[bytes, Meta(max_length=1 << 16)]
    signature: Annotated[bytes, Meta(max_length=256)]


Word: TypeAlias = Hello | Welcome | Batch | Beat | Proof
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[Word]] = msgspec.msgpack.Decoder(Word)
encode = _ENCODER.encode


def decode(data: bytes) -> Word:
    """Read one word of a peer.

    Raises:
        DeniedError: it is none.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise broken("sent bytes that are no word of the mesh") from None


def agreed(own: int, other: int) -> int:
    """Give the version that two nodes use.

    Raises:
        DeniedError: the other is too old.
    """
    version = min(own, other)
    if version < max(OLDEST, own - 1):
        raise DeniedError(
            "mesh.old_version",
            f"A peer speaks version {other} of the mesh, this node {own} and the one before.",
            "Upgrade it one version at a time, the oldest node first.",
        )
    return version


def broken(what: str) -> DeniedError:
    """Give the error of a peer that does not keep to the rules."""
    return DeniedError(
        "mesh.broken_stream",
        f"A peer {what}; its stream was ended.",
        "If its certificate is good, look at what runs there: it is no node of this version.",
    )
