"""What the tap writes to its feed and the sensor reads from it: three messages in frames.

A reader gets a `TapHello`, then every `TapFrame` it has not acknowledged, oldest first; it
answers with cumulative `TapAck`s. Frame numbers begin at 1 in each session, which is one run of
the tap: a gap in them says that frames were dropped because nobody read in time.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cronos.errors import InputError

# Data is cut into pieces of this size, so that the messages in one frame can be numbered.
MAX_PIECE_BYTES: Final = 1 << 16

Number = Annotated[int, Meta(ge=0, le=1 << 48)]
Nanoseconds = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Address = Annotated[str, Meta(min_length=2, max_length=64)]
Kind: TypeAlias = Literal["open", "data", "close", "cut", "refused"]
Direction: TypeAlias = Literal["request", "response"]


class TapHello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Names the session: `session` never repeats, `listen` and `upstream` are ``ip:port``."""

    session: Annotated[str, Meta(max_length=128)]
    listen: Annotated[str, Meta(max_length=128)]
    upstream: Annotated[str, Meta(max_length=300)]


class TapFrame(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """One thing that happened to one connection.

    `boot_ns` and `wall_ns` are when the tap had it. `direction` is ``request`` for what the
    client sent. `data` holds the bytes forwarded, or, for ``close``, ``cut`` and ``refused``, the
    reason as text; those three also carry the totals of the connection.
    """

    seq: Number
    boot_ns: Nanoseconds
    wall_ns: Nanoseconds
    kind: Kind
    connection: Number
    client: Address
    client_port: Port
    server: Address
    server_port: Port
    direction: Direction = "request"
    data: Annotated[bytes, Meta(max_length=MAX_PIECE_BYTES)] = b""
    bytes_out: Nanoseconds = 0
    bytes_in: Nanoseconds = 0


class TapAck(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The reader needs no frame up to `seq` again."""

    seq: Number


_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_FEED: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(TapHello | TapFrame)
_ACKS: Final = msgspec.msgpack.Decoder(TapAck)


def pack(message: TapHello | TapFrame | TapAck) -> bytes:
    """Give the body of a link frame for `message`."""
    return _ENCODER.encode(message)


def unpack(body: bytes) -> TapHello | TapFrame:
    """Read what the tap wrote.

    Raises:
        InputError: `body` is no message of the feed.
    """
    try:
        message: TapHello | TapFrame = _FEED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _foreign(error) from error
    return message


def unpack_ack(body: bytes) -> TapAck:
    """Read what the reader wrote.

    Raises:
        InputError: `body` is no acknowledgement.
    """
    try:
        return _ACKS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _foreign(error) from error


def _foreign(error: Exception) -> InputError:
    return InputError(
        "link.not_tap_feed",
        f"A message on the tap's feed cannot be read: {error}.",
        "Run the tap and its reader from the same version of Cronos.",
    )
