"""What two nodes' deliveries say to each other inside a frame of the mesh.

A frame is ``version u8 | msgpack array with its tag``. Bulletins and receipts travel in `Parcels`,
numbered by their sender; `Acked` answers for all up to a number, `Signatures` follow behind.
The rest copies sealed records: `Offer`, `Standing`, `Rows`, `Piece`, and `Give` to have them back.

Rule: whatever arrives was written by another node, which may have been taken over. Every count and
length has a bound here, so that nothing larger is ever built; fields are only appended.
"""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from cronos.errors import InputError
from cronos.types import MAX_FRAME_BYTES, Bulletin

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 16 << 10
MAX_ID: Final = 200
MAX_ITEMS: Final = 1_024
MAX_LEAVES: Final = 1_024
MAX_ROWS: Final = 4_096
MAX_PIECE_BYTES: Final = 512 << 10
MAX_FILE_BYTES: Final = 64 << 20

Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Kid = Annotated[bytes, Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Body = Annotated[bytes, Meta(max_length=MAX_MESSAGE_BYTES)]
Text = Annotated[str, Meta(max_length=200)]


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message in its sender's numbering.

    Attributes:
        position: rises within a stream; numbers may be left out.
        incarnation: of the sender when it was posted.
        remaining_ms: how long it still counts.
        data: a bulletin's or a receipt's canonical bytes.
        of: of a receipt, the incarnation of the node whose bulletins it answers for.
    """

    position: Count
    incarnation: Count
    remaining_ms: Count
    data: Body
    of: Count = 0


class Parcels(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """Messages in rising order; between `after` and the first there is nothing for this peer."""

    stream: Count
    after: Count
    items: Annotated[tuple[Item, ...], Meta(min_length=1, max_length=MAX_ITEMS)]


class Acked(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """What the sender of this holds of a stream, durably: all up to `held`, signed to `signed`."""

    stream: Count
    held: Count
    signed: Count


class Leaf(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a message stands in a signed batch, and the hashes beside its path."""

    position: Count
    index: Annotated[int, Meta(ge=0, lt=1 << 16)]
    path: Annotated[bytes, Meta(max_length=16 * 48)]


class Signatures(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """One signature over a batch, and what of the batch concerns this peer."""

    stream: Count
    kid: Kid
    size: Annotated[int, Meta(ge=1, le=1 << 16)]
    signature: Annotated[bytes, Meta(max_length=4_627)]
    leaves: Annotated[tuple[Leaf, ...], Meta(min_length=1, max_length=MAX_LEAVES)]


class SigningKey(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """The public key that signs from now on; believed where the certificate binds its hash."""

    public: Annotated[bytes, Meta(min_length=2_592, max_length=2_592)]


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """What a ledger says of itself before its first record."""

    version: Annotated[int, Meta(ge=0, le=255)]
    instance: Text
    former_size: Count
    former_head: Hash


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """The owner of a ledger asks a peer to keep a copy, or what it keeps.

    With `anew` what is kept does not belong to the ledger that is: it is put aside.
    """

    origin: Origin | None
    anew: bool = False


class Standing(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """What a peer keeps of the ledger of the one it answers, durably; `why` says why no more."""

    origin: Origin | None
    size: Count
    head: Hash
    why: Text = ""
    files: dict[Text, Hash] = {}


class Rows(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """Stored records from position `first` on, and the chain's hash behind the last."""

    first: Count
    stored: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=MAX_ROWS)]
    head: Hash


class Piece(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """A part of a file that opening the records needs; `digest` is the whole file's SHA-256."""

    name: Text
    digest: Hash
    total: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    offset: Count
    data: Annotated[bytes, Meta(max_length=MAX_PIECE_BYTES)]


class Give(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """The owner asks for its own back: rows from `first` on, or of the file `name` from there."""

    first: Count
    name: Text = ""


Message: TypeAlias = (
    Parcels | Acked | Signatures | SigningKey | Offer | Standing | Rows | Piece | Give
)

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
        raise _strange(f"its version is {data[0]}" if data[1:] else "it is empty")
    try:
        message: Message = _DECODER.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise _strange(str(error)[:100]) from None
    return message


def is_own(bulletin: Bulletin, peer: str) -> bool:
    """Say whether a bulletin speaks for `peer` alone, under ids that can be remembered.

    Ids of incidents begin with who opened them: another's must not be released, or written into.
    """
    ids = (bulletin.incident_id, bulletin.bulletin_id)
    return (
        bulletin.origin == peer == bulletin.incident_id.rsplit("-", 2)[0]
        and max(map(len, ids)) <= MAX_ID
    )


def _strange(reason: str) -> InputError:
    return InputError(
        "mesh.bad_frame",
        f"A peer sent what is no message of this version: {reason}.",
        "Run versions of Cronos on both nodes that are at most one apart.",
    )
