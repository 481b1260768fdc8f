"""A stream of any length as sealed chunks, in the memory of three of them.

Every chunk is a record of one epoch, full but for the last. What a record is bound to says which
header it stands under and whether it is the last chunk, so that a stream which was cut, even
between two chunks, lengthened, reordered or spliced does not open. What leaves `open_chunks` has
been authenticated byte for byte, but only its return says that it was the whole.

Source: Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance" (CRYPTO 2015): the STREAM construction.
"""

import enum
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import msgspec

from cronos.crypto.records import RECORD_OVERHEAD, RecordReader, RecordWriter
from cronos.crypto.refusal import refused

Octets: TypeAlias = bytes | bytearray | memoryview
_SEQ: Final = slice(6, 14)


class Kind(enum.IntEnum):
    """What a record is; the last byte of its context."""

    MORE = 0  # a full chunk that another one follows
    LAST = 1
    SIGNATURE = 2  # over all before it; follows the last chunk


class Reads(Protocol):
    """What bytes come from: a raw file, a pipe."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the front of `buffer`; 0 is the end."""
        ...


class Writes(Protocol):
    """Where bytes go: a raw file, a pipe."""

    def write(self, data: Octets, /) -> int | None:
        """Take some of `data` and say how much."""
        ...


class Binding(msgspec.Struct, frozen=True):
    """What all chunks of one stream have in common.

    Attributes:
        header: a digest of all that stands before the first chunk.
        size: plain bytes of a full chunk.
        observe: told of every sealed chunk, in order (a running hash), or None.
        progress: told how many plain bytes are done.
    """

    header: bytes
    size: int
    observe: Callable[[memoryview], None] | None
    progress: Callable[[int], None]

    def context(self, kind: Kind) -> bytes:
        """Give what a record of `kind` is bound to."""
        return self.header + bytes((kind,))


def seal_chunks(source: Reads, sink: Writes, writer: RecordWriter, binding: Binding) -> int:
    """Seal all that `source` holds and give its length.

    There are two buffers, for only whether another byte follows tells that a full chunk is not
    the last one.
    """
    here, ahead = memoryview(bytearray(binding.size)), memoryview(bytearray(binding.size))
    sealed = memoryview(bytearray(binding.size + RECORD_OVERHEAD))
    more, last = binding.context(Kind.MORE), binding.context(Kind.LAST)
    held, total = fill(source, here), 0
    while True:
        following = fill(source, ahead) if held == binding.size else 0
        length = writer.seal_into(here[:held], more if following else last, sealed)
        if binding.observe is not None:
            binding.observe(sealed[:length])
        write_all(sink, sealed[:length])
        total += held
        binding.progress(total)
        if not following:
            return total
        here, ahead, held = ahead, here, following


class Opened(msgspec.Struct, frozen=True):
    """What a stream turned out to be; `trailer` is what stood behind its last chunk."""

    length: int
    chunks: int
    trailer: bytes


def open_chunks(
    source: Reads, sink: Writes, reader: RecordReader, binding: Binding, trailer_bytes: int = 0
) -> Opened:
    """Open all chunks of `source` into `sink`, each as soon as it is authentic.

    Raises:
        DeniedError: the stream is not whole, or not as it was sealed; what was written before
            must not be used.
    """
    room = binding.size + RECORD_OVERHEAD
    # One byte more than a chunk and the trailer: while it is there, this chunk is not the last.
    keep = trailer_bytes + 1
    buffer = memoryview(bytearray(room + keep))
    chunks = _Chunks(reader, sink, binding)
    held = fill(source, buffer)
    while held == len(buffer):
        chunks.take(buffer[:room], Kind.MORE)
        buffer[:keep] = buffer[room:]
        held = keep + fill(source, buffer[keep:])
    end = held - trailer_bytes
    # An empty last chunk stands in an empty stream alone: each stream has one form.
    if end < RECORD_OVERHEAD + (chunks.count > 0):
        raise refused()
    chunks.take(buffer[:end], Kind.LAST)
    return Opened(chunks.length, chunks.count, bytes(buffer[end:held]))


class _Chunks:
    """Opens chunks in order into one buffer."""

    def __init__(self, reader: RecordReader, sink: Writes, binding: Binding) -> None:
        self._reader = reader
        self._sink = sink
        self._binding = binding
        self._plain = memoryview(bytearray(binding.size))
        self._context = {kind: binding.context(kind) for kind in Kind}
        self.length = 0
        self.count = 0

    def take(self, sealed: memoryview, kind: Kind) -> None:
        if int.from_bytes(sealed[_SEQ], "big") != self.count:
            raise refused()
        length = self._reader.open_into(sealed, self._context[kind], self._plain)
        if self._binding.observe is not None:
            self._binding.observe(sealed)
        write_all(self._sink, self._plain[:length])
        self.count += 1
        self.length += length
        self._binding.progress(self.length)


def fill(source: Reads, buffer: memoryview) -> int:
    """Fill `buffer` as far as `source` goes; a pipe gives little at a time."""
    held = 0
    while held < len(buffer):
        got = source.readinto(buffer[held:])
        if got is None:
            # A pipe that does not wait has nothing yet; taken for the end it would cut the stream.
            raise BlockingIOError("the source does not wait for its bytes")
        if got == 0:
            break
        held += got
    return held


def write_all(sink: Writes, data: Octets) -> None:
    """Write all of `data`; a raw file may take less at a time."""
    left = memoryview(data)
    while left:
        taken = sink.write(left)
        if taken is None:
            raise BlockingIOError("the sink does not wait for room")
        left = left[taken:]
