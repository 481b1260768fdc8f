"""What passes between a discovery's process and whoever started it: frames, joined to messages.

A message is ``[kind, size]`` in a frame of its own and then as many frames as `size` bytes need.
Source: `cronos.link.frames` has the frames.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from cronos.errors import UnreachableError
from cronos.link.frames import FrameSplitter, frame
from cronos.types import MAX_FRAME_BYTES

MAX_BYTES: Final = 2 << 30


class _Head(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    size: int


def frames(kind: str, data: bytes) -> Iterator[bytes]:
    """Yield the frames of one message, so that it need not be in memory once more."""
    yield frame(msgspec.msgpack.encode(_Head(kind, len(data))))
    view = memoryview(data)
    for at in range(0, len(data), MAX_FRAME_BYTES):
        yield frame(bytes(view[at : at + MAX_FRAME_BYTES]))


def packed(kind: str, data: bytes) -> bytes:
    """Give the frames of one message, joined."""
    return b"".join(frames(kind, data))


class Unpacker:
    """Joins frames to messages again; holds at most one unfinished message."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._head: _Head | None = None
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Take what was read; give (kind, data) of the messages that are whole now.

        Raises:
            UnreachableError: the other side does not speak this.
        """
        messages: list[tuple[str, bytes]] = []
        for one in self._splitter.feed(data):
            if self._head is None:
                self._begin(one)
            else:
                self._parts.append(one)
                self._held += len(one)
            if self._head is not None and self._held >= self._head.size:
                messages.append((self._head.kind, b"".join(self._parts)))
                self._head, self._parts, self._held = None, [], 0
        return messages

    def _begin(self, data: bytes) -> None:
        try:
            self._head = msgspec.msgpack.decode(data, type=_Head)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _strange() from error
        if not 0 <= self._head.size <= MAX_BYTES:
            raise _strange()


def _strange() -> UnreachableError:
    return UnreachableError(
        "discover.strange_child",
        "The process of a discovery said what nobody understands.",
        "This is a fault of ours; report it with the input.",
    )
