"""Byte sources: files, followed files and standard input.

Each gives the same bytes again when it is opened again; see `cronos.ports.Source`.
"""

import hashlib
import os
import select
import stat
import time
import zlib
from pathlib import Path
from typing import Annotated, ClassVar, Final, Protocol

from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import InputError
from cronos.ports import Sealer
from cronos.sense.spool import Spool
from cronos.types import Manifest, Provenance

_READ_BYTES: Final = 1 << 18
_GZIP: Final = b"\x1f\x8b"
_REFUSED: Final = {
    b"\x28\xb5\x2f\xfd": ("Zstandard", "zstd -d"),
    b"\xfd7zXZ\x00": ("xz", "xz -d"),
    b"BZh": ("bzip2", "bzip2 -d"),
    b"PK\x03\x04": ("ZIP", "unzip"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x"),
}
_NO_LINES: Final = (
    b"\x0a\x0d\x0d\x0a",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xa1\xb2",
    b"\xd4\xc3",
    b"\x4d\x3c",
)
_HEAD_BYTES: Final = 6
_NAMED_BY_BYTES: Final = 4096
_TINY_BYTES: Final = 64
_MAX_TINY_MEMBERS: Final = 1024  # in each MiB: each costs as much work as a large one


def expand(spec: str) -> list[Path]:
    """List the files that `spec` names: itself, or all below a folder, sorted by path.

    Links to folders are followed once; what is no regular file below a folder is left out.

    Raises:
        InputError: there is nothing of that name, or no file in it.
    """
    root = Path(spec)
    try:
        if not root.is_dir():
            root.stat()
            return [root]
        found = _below(root)
    except OSError as error:
        raise _unreadable(spec, error) from error
    if not found:
        raise InputError(
            "sense.empty_folder",
            f"There is no file in {spec}.",
            "Name a file, or a folder that holds some.",
        )
    return found


def _below(root: Path) -> list[Path]:
    found: list[Path] = []
    visited: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        at = Path(folder).stat()
        if (at.st_dev, at.st_ino) in visited:
            folders.clear()
            continue
        visited.add((at.st_dev, at.st_ino))
        folders.sort()
        found += [path for name in files if (path := Path(folder, name)).is_file()]
    return sorted(found)


class _Member(Protocol):
    """What zlib gives for one gzip member."""

    @property
    def eof(self) -> bool: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflater:
    """Undoes gzip where the bytes begin with it, member after member; else passes them on.

    `at` is the position in the compressed bytes, for the sentence of an error.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.gzip: bool | None = None  # not known yet
        self.at = 0
        self.pending = b""  # compressed, not inflated yet
        self._member: _Member | None = None
        self._given = 0  # bytes that this member gave
        self._tiny = 0
        self._tiny_since = 0

    def begin(self, head: bytes) -> None:
        """Decide by the first bytes.

        Raises:
            InputError: they are compressed in a way that is not read here.
        """
        for magic, (what, command) in _REFUSED.items():
            if head.startswith(magic):
                raise InputError(
                    "sense.compressed",
                    f"{self.name} is compressed with {what}, which is not read directly.",
                    f"Decompress it first, for instance with `{command}`.",
                )
        self.gzip = head.startswith(_GZIP)

    def give(self, data: bytes, size: int) -> bytes:
        """Inflate at most `size` bytes out of what is pending and `data`.

        Raises:
            InputError: the bytes are no gzip, or changed since they were.
        """
        data = self.pending + data
        try:
            while data:
                if self._member is None:
                    self._member = zlib.decompressobj(31)
                out = self._member.decompress(data, size)
                rest = self._member.unconsumed_tail
                self._given += len(out)
                if self._member.eof:
                    self._ended()
                    rest = self._member.unused_data.lstrip(b"\0")  # padding between members
                    self._member = None
                self.at += len(data) - len(rest)
                self.pending = data = rest
                if out:
                    return out
        except zlib.error as error:
            raise self._broken(f"is broken ({error})") from error
        return b""

    def _ended(self) -> None:
        """Refuse a file that is made of members with next to nothing in them."""
        if self.at - self._tiny_since > 1 << 20:
            self._tiny, self._tiny_since = 0, self.at
        self._tiny += self._given < _TINY_BYTES
        self._given = 0
        if self._tiny > _MAX_TINY_MEMBERS:
            raise self._broken(f"holds more than {_MAX_TINY_MEMBERS} almost empty members")

    def end(self, size: int) -> bytes:
        """Give what zlib still holds, then ``b""`` if the last member was whole.

        Raises:
            InputError: it was not.
        """
        if self._member is None:
            return b""
        out = self._member.decompress(b"", size)
        if not out:
            raise self._broken("ends within a gzip member")
        return out

    def _broken(self, what: str) -> InputError:
        return InputError(
            "sense.gzip",
            f"{self.name} {what} at byte {self.at}.",
            "What came before was read. Copy or compress the file again for the rest.",
        )


class FileConfig(Section, frozen=True):
    """Options of the `file` source; `path` is set by the command line."""

    path: str = ""
    # Lower it where the file came from a place that others can write.
    provenance: Provenance = Provenance.AUTHENTICATED


class FileSource:
    """A file that is complete, plain or gzip.

    Raises:
        InputError: it cannot be opened, or is compressed in another way.
    """

    config_type: ClassVar[type[Section]] = FileConfig
    manifest = Manifest("file", "A file, plain or gzip", ("again",))

    def __init__(self, config: FileConfig) -> None:
        self.name = config.path
        self.provenance = config.provenance
        self.first = 1
        self._descriptor = _open(Path(config.path))
        self._at = 0
        self._inflater = _Inflater(self.name)
        try:
            self._inflater.begin(os.pread(self._descriptor, _HEAD_BYTES, 0))
        except OSError as error:
            self.close()
            raise _unreadable(self.name, error) from error
        except InputError:
            self.close()
            raise

    def read(self, size: int) -> bytes | None:
        """Give the next bytes; see `Source.read`."""
        inflater = self._inflater
        if not inflater.gzip:
            return self._raw(size)
        while True:
            data = b"" if inflater.pending else self._raw(_READ_BYTES)
            if not data and not inflater.pending:
                return inflater.end(size)
            out = inflater.give(data, size)
            if out:
                return out

    def acknowledge(self, seq: int) -> None:
        """Do nothing: the file can be read again."""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _raw(self, size: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, self._at)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self._at += len(data)
        return data


class FollowConfig(Section, frozen=True):
    """Options of the `follow` source; `path` is set by the command line."""

    path: str = ""
    provenance: Provenance = Provenance.AUTHENTICATED
    # How long `read` waits for more before it says that there is nothing.
    linger_ms: Annotated[int, Meta(ge=1, le=1000)] = 5


class FollowedSource:
    """A file that grows, from its beginning, until it is rotated, truncated or removed.

    Then the source ends, and the caller opens the path again: the same file gives the same
    name, another file or another beginning gives another. `name` holds the inode and a hash of
    everything up to the end of the first line that is no comment (at most 4096 bytes), because a
    file truncated in place keeps its inode, a new one often gets that of a removed one, and both
    may have the same header. It is settled by the first `read` that gives bytes, and provisional
    before. Only a file with the same inode and the same first record, byte for byte, is taken
    for the old one: write times into a log.

    Raises:
        InputError: the path cannot be opened.
    """

    config_type: ClassVar[type[Section]] = FollowConfig
    manifest = Manifest("follow", "A file that grows, rotated or truncated", ("again", "live"))

    def __init__(self, config: FollowConfig) -> None:
        self.provenance = config.provenance
        self.first = 1
        self._path = Path(config.path)
        self._linger_s = config.linger_ms / 1000
        self._descriptor = _open(self._path)
        self._inode = os.fstat(self._descriptor).st_ino
        self._at = 0
        self.name = f"{config.path}@{self._inode}"
        self._named = False
        self._settle_name(ended=False)

    def read(self, size: int) -> bytes | None:
        """Give the next bytes; ``b""`` once the path names another file; see `Source.read`."""
        data = self._next(size)
        if data:
            return data
        # The path is looked at first: what was written before it moved is still read below.
        replaced = self._replaced()
        if replaced:
            return self._next(size, ended=True) or b""
        time.sleep(self._linger_s)
        return self._next(size) or None

    def acknowledge(self, seq: int) -> None:
        """Do nothing: the file can be read again."""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _next(self, size: int, *, ended: bool = False) -> bytes:
        try:
            if not self._named and not self._settle_name(ended=ended):
                return b""
            data = os.pread(self._descriptor, size, self._at)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self._at += len(data)
        return data

    def _settle_name(self, *, ended: bool) -> bool:
        head = os.pread(self._descriptor, _NAMED_BY_BYTES, 0)
        end = _first_record_end(head)
        if end or len(head) == _NAMED_BY_BYTES or (ended and head):
            digest = hashlib.sha256(head[: end or None]).hexdigest()[:16]
            self.name = f"{self._path}@{self._inode}-{digest}"
            self._named = True
        return self._named

    def _replaced(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return True
        return there.st_ino != self._inode or there.st_size < self._at


class StdinConfig(Section, frozen=True):
    """Options of the `stdin` source; `folder` is set by the node, fresh for every run."""

    folder: str = ""
    name: str = "stdin"
    provenance: Provenance = Provenance.AUTHENTICATED
    max_bytes: Positive = 256 << 20
    linger_ms: Annotated[int, Meta(ge=1, le=1000)] = 5
    descriptor: Annotated[int, Meta(ge=0)] = 0


class StdinSource:
    """Standard input, inherited: plain or gzip, spooled so that it can be read again.

    A redirected file is read in place. Of a pipe, lines that are acknowledged are freed; a
    binary stream has no lines, so all of it is kept and `max_bytes` is the most it may have.
    While the spool is full of unacknowledged lines nothing is read: the writer waits.

    Args:
        config: where the spool lies, and the bounds.
        sealer: hides what is spooled; see `cronos.sense.pipetail` for the moment before.

    Raises:
        InputError: the spool's folder cannot be used.
        UnreachableError: who holds the sealer's key does not answer.
    """

    config_type: ClassVar[type[Section]] = StdinConfig
    manifest = Manifest("stdin", "Standard input, plain or gzip", ("again", "live"))

    def __init__(self, config: StdinConfig, sealer: Sealer | None = None) -> None:
        self.name = config.name
        self.provenance = config.provenance
        self._config = config
        self._at = 0
        self._spool: Spool | None = None
        if not stat.S_ISREG(os.fstat(config.descriptor).st_mode):
            self._spool = Spool(Path(config.folder), config.max_bytes, sealer, keep_torn=True)
        self.first = self._spool.first_line if self._spool else 1
        self._inflater = _Inflater(self.name)
        self._lines = False
        self._head = b""
        self._ended = False

    def read(self, size: int) -> bytes | None:
        """Give the next bytes; see `Source.read`."""
        inflater = self._inflater
        if inflater.gzip is None and not self._begin():
            return None
        if inflater.gzip:
            data = b"" if inflater.pending else self._raw(_READ_BYTES)
            if data == b"" and not inflater.pending:
                return inflater.end(size)
            return inflater.give(data or b"", size) or None
        if self._head:
            taken, self._head = self._head[:size], self._head[size:]
            return taken
        return self._raw(size)

    def acknowledge(self, seq: int) -> None:
        """Free spooled lines up to `seq`, where lines are what is counted."""
        if self._spool and self._lines:
            self._spool.acknowledge(seq)

    def close(self) -> None:
        """Release the spool; standard input stays open for whoever comes after."""
        if self._spool:
            self._spool.close()

    def _begin(self) -> bool:
        """Gather the first bytes; say whether they tell what this is: gzip, binary or lines."""
        data = self._raw(_HEAD_BYTES - len(self._head))
        self._head += data or b""
        if data is None or (data and len(self._head) < _HEAD_BYTES):
            return False
        self._inflater.begin(self._head)
        if self._inflater.gzip:
            self._inflater.pending, self._head = self._head, b""
        # A document in brackets is numbered by its elements, UTF-16 not by its bytes: what is
        # acknowledged there says nothing about lines.
        binary = self._inflater.gzip or self._head.startswith(_NO_LINES) or b"\0" in self._head
        self._lines = not binary and not self._head.lstrip().startswith(b"[")
        return True

    def _raw(self, size: int) -> bytes | None:
        try:
            if self._spool is None:
                data = os.pread(self._config.descriptor, size, self._at)
                self._at += len(data)
                return data
            return self._spooled(self._spool, size)
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def _spooled(self, spool: Spool, size: int) -> bytes | None:
        data = spool.read(size)
        if data:
            return data
        if self._ended:
            return b""
        if not spool.room:
            self._wait_for_room(spool)
            return None
        ready, _, _ = select.select([self._config.descriptor], [], [], self._config.linger_ms / 1e3)
        if not ready:
            return None
        self._ended = not spool.take_from(self._config.descriptor, min(size, spool.room))
        return spool.read(size) or (b"" if self._ended else None)

    def _wait_for_room(self, spool: Spool) -> None:
        """Wait for an acknowledgement, unless none can free anything."""
        if not self._lines or spool.lines <= 1:
            raise InputError(
                "sense.spool_full",
                f"{self.name} has more than {self._config.max_bytes} bytes that must be kept.",
                "Save it to a file and give its path, or raise max_bytes of [plugin.stdin].",
            )
        time.sleep(self._config.linger_ms / 1000)


def _first_record_end(head: bytes) -> int:
    """Give where the first whole line ends that is no comment; 0 if there is none."""
    at = 0
    while head.startswith(b"#", at):
        at = head.find(b"\n", at) + 1
        if not at:
            return 0
    return head.find(b"\n", at) + 1


def _open(path: Path) -> int:
    try:
        # Without O_NONBLOCK a named pipe would hold us here until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(str(path), error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(
            "sense.not_a_file",
            f"{path} is no regular file.",
            "Give a file, or read a pipe through standard input with `-`.",
        )
    return descriptor


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(
        "sense.unreadable",
        f"{name} cannot be read: {error.strerror or error}.",
        "Check that it exists and that this user may read it.",
    )
