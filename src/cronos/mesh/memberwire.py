"""What two nodes' memberships say to each other over a stream, on the lanes `keys` and `members`.

A frame is ``version u8 | msgpack array with its tag``. On `keys`: a `Card`, then an `Offer` of a
key to seal to, answered by an `Agreed`, and that by `Confirmed`. On `members`: `Notes` (what is
known of the members, or a ping that found no other way), and cards: `Have` says which, `Want` asks,
`Card` gives.

Rule: whatever arrives was written by another node, which may have been taken over. Every count and
length has a bound here, so that nothing larger is ever built; fields are only appended.
"""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from cronos.errors import InputError
from cronos.types import MAX_FRAME_BYTES, Ack, Ping

VERSION: Final = 1
MAX_CARD_BYTES: Final = 64 << 10
MAX_HAVE: Final = 512
MAX_WANT: Final = 16

_Name = Annotated[str, Meta(min_length=1, max_length=63)]
_Digest = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Time = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Card(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A signed claim of roles, as `cards` packs it."""

    data: Annotated[bytes, Meta(max_length=MAX_CARD_BYTES)]


class Holding(msgspec.Struct, frozen=True, array_like=True):
    """Whose card one has, and of which epoch."""

    instance: _Name
    epoch: _Time


class Load(msgspec.Struct, frozen=True, array_like=True):
    """How busy the sender is, in its own words.

    Attributes:
        queued: messages that wait at it for peers.
        kept_mib: what it keeps of peers' ledgers.
        health: how late it runs and how little it hears, from 0, well, to 8 (`membership`).
    """

    queued: Annotated[int, Meta(ge=0, le=1 << 40)] = 0
    kept_mib: Annotated[int, Meta(ge=0, le=1 << 40)] = 0
    health: Annotated[int, Meta(ge=0, le=8)] = 0


class Have(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """Cards that the sender has, and how busy it is; older nodes read the cards alone."""

    cards: Annotated[tuple[Holding, ...], Meta(max_length=MAX_HAVE)]
    load: Load | None = None


class Want(msgspec.Struct, frozen=True, array_like=True, tag="w"):
    """Members whose cards the sender asks for."""

    instances: Annotated[tuple[_Name, ...], Meta(max_length=MAX_WANT)]


class Notes(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """A ping or its answer, by stream; number 0 asks for none and may tell of many members."""

    message: Ping | Ack


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """A fresh public key for this peer to seal to, signed by the node that made it."""

    public: Annotated[bytes, Meta(min_length=1665, max_length=1665)]
    issued_ns: _Time
    signature: Annotated[bytes, Meta(min_length=4627, max_length=4627)]


class Agreed(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """The packet of an epoch for the records that the sender will seal (`crypto.epoch`)."""

    packet: Annotated[bytes, Meta(max_length=16 << 10)]


class Confirmed(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """The sender of this opens what is sealed under the epoch of this short id."""

    short_id: Annotated[bytes, Meta(min_length=4, max_length=4)]


Message: TypeAlias = Card | Have | Want | Notes | Offer | Agreed | Confirmed

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Message)
_HEAD: Final = bytes((VERSION,))


def pack(message: Message) -> bytes:
    """Give the frame of a message."""
    return _HEAD + _ENCODER.encode(message)


def unpack(data: bytes) -> Message:
    """Read a frame.

    Raises:
        InputError: it is none, of another version, or beyond a bound.
    """
    if not 1 < len(data) <= MAX_FRAME_BYTES or data[0] != VERSION:
        raise _strange("its version is not known")
    try:
        message: Message = _DECODER.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise _strange(str(error)[:100]) from None
    return message


def _strange(reason: str) -> InputError:
    return InputError(
        "mesh.bad_frame",
        f"A peer sent what is no message of this version: {reason}.",
        "Run versions of Cronos on both nodes that are at most one apart.",
    )
