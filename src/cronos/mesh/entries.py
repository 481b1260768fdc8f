"""What the journal of a node's deliveries holds, and how long a message counts.

An entry is one of: the stream `Began`; a message was `Posted`; a peer `Told` how far it is; one was
`Took` from a peer; a peer's stream `Stood` there; an id was `Seen`; a peer is `Forgotten`.

Only durations cross hosts. Within a boot they are counted by boot time, whatever is done to the
wall clock; across a boot by wall time, and then never longer than the whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from cronos.types import Now

MAX_TTL_NS: Final = 86_400_000_000_000
_CHUNK_BYTES: Final = 256 << 10


class Until(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A moment, on both clocks."""

    boot_id: str
    boot_ns: int
    wall_ns: int

    def left_ns(self, now: Now, boot_id: str) -> int:
        """Give how long it is until then; 0 when it is past."""
        left = self.boot_ns - now.boot_ns if boot_id == self.boot_id else self.wall_ns - now.wall_ns
        return min(max(left, 0), MAX_TTL_NS)


def until(now: Now, boot_id: str, left_ns: int) -> Until:
    """Give the moment in `left_ns`, a day at most."""
    left = min(max(left_ns, 0), MAX_TTL_NS)
    return Until(boot_id, now.boot_ns + left, now.wall_ns + left)


class Began(msgspec.Struct, frozen=True, array_like=True, tag="b", gc=False):
    """A process took the outbox up; its positions are `floor` and above."""

    stream: int
    floor: int


class Posted(msgspec.Struct, frozen=True, array_like=True, tag="p", gc=False):
    """A message of this node, to one peer or, where `to` is empty, to all."""

    position: int
    incarnation: int
    to: str
    of: int
    ends: Until
    data: bytes
    replaces: str = ""  # an earlier one of the same name is superseded

    @property
    def size(self) -> int:
        """How much memory it is counted as."""
        return len(self.data) + 200


class Told(msgspec.Struct, frozen=True, array_like=True, tag="t", gc=False):
    """A peer said how far it holds our stream."""

    peer: str
    held: int
    signed: int


class Took(msgspec.Struct, frozen=True, array_like=True, tag="i", gc=False):
    """A message of a peer; `ident` is what makes two of them the same, "" for none.

    Written again as `lapsed` when its signature has not come in time.
    """

    peer: str
    stream: int
    position: int
    incarnation: int
    of: int
    ends: Until
    data: bytes
    ident: str = ""
    lapsed: bool = False

    @property
    def size(self) -> int:
        """How much memory it is counted as."""
        return len(self.data) + 200


class Stood(msgspec.Struct, frozen=True, array_like=True, tag="s", gc=False):
    """How far a peer's stream is held here, and how far it is signed."""

    peer: str
    stream: int
    held: int
    signed: int


class Seen(msgspec.Struct, frozen=True, array_like=True, tag="d", gc=False):
    """An id that was heard and whose message is past, but whose repetition may yet come."""

    peer: str
    ident: str
    ends: Until


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag="f", gc=False):
    """A peer has left for good."""

    peer: str


Entry: TypeAlias = Began | Posted | Told | Took | Stood | Seen | Forgotten

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Entry])


def pack(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Give entries as payloads of bounded size."""
    chunk: list[bytes] = []
    size = 0
    for entry in entries:
        data = _ENCODER.encode(entry)
        if chunk and (size + len(data) > _CHUNK_BYTES or len(chunk) >= 0xFFFF):
            yield _joined(chunk)
            chunk, size = [], 0
        chunk.append(data)
        size += len(data)
    if chunk:
        yield _joined(chunk)


def unpack(payload: bytes) -> Sequence[Entry]:
    """Read a payload.

    Raises:
        ValueError: it is none.
    """
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _joined(chunk: list[bytes]) -> bytes:
    """Join encoded entries to a msgpack array of them (array 16)."""
    return b"\xdc" + len(chunk).to_bytes(2, "big") + b"".join(chunk)
