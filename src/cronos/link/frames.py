"""Frames over Unix sockets: u32 big-endian length, then canonical bytes, at most 1 MiB.

The blocking `FrameSocket` serves worker processes; `FrameSplitter` cuts frames out of whatever
an event loop reads. A length above the limit ends the connection before anything is buffered.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import Final

from cronos.errors import DeniedError, InputError, UnreachableError
from cronos.types import MAX_FRAME_BYTES

_HEADER: Final = struct.Struct(">I")
_READ_BYTES: Final = 1 << 18
# Who does not read for this long is as good as gone: a peer must not be able to stop a server.
_SEND_S: Final = 30.0
_MAX_PATH_BYTES: Final = 107  # sun_path, less its terminating zero


def frame(data: bytes) -> bytes:
    """Put the length before `data`.

    Raises:
        InputError: `data` is longer than 1 MiB.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise InputError(
            "link.frame_too_long",
            f"A message of {len(data)} bytes is longer than a frame's {MAX_FRAME_BYTES}.",
            "Send it in smaller batches.",
        )
    return _HEADER.pack(len(data)) + data


class FrameSplitter:
    """Cuts complete frames out of a stream of bytes; holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and give the frames that are complete now.

        Raises:
            UnreachableError: a length above 1 MiB: the peer does not speak frames.
        """
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            (length,) = _HEADER.unpack_from(buffer, at)
            if length > MAX_FRAME_BYTES:
                raise UnreachableError(
                    "link.not_frames",
                    f"The peer announced a frame of {length} bytes.",
                    "It is not a Cronos process of this version; check what uses the socket.",
                )
            end = at + _HEADER.size + length
            if len(buffer) < end:
                break
            frames.append(bytes(memoryview(buffer)[at + _HEADER.size : end]))
            at = end
        del buffer[:at]
        return frames


class FrameSocket:
    """A blocking connection that carries frames; the `Transport` between processes."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._splitter = FrameSplitter()
        self._frames: list[bytes] = []

    def fileno(self) -> int:
        """Give the descriptor, so that a selector can wait for several connections."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send one frame; see `Transport.send`."""
        try:
            self._socket.settimeout(_SEND_S)
            self._socket.sendall(frame(data))
        except OSError as error:
            raise _gone(error) from error

    def receive(self, timeout_s: float | None) -> bytes | None:
        """Give the next frame; see `Transport.receive`."""
        while not self._frames:
            try:
                self._socket.settimeout(timeout_s)
                data = self._socket.recv(_READ_BYTES)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                raise _gone(error) from error
            if not data:
                raise _gone(ConnectionResetError("closed by the other side"))
            self._frames = self._splitter.feed(data)
        return self._frames.pop(0)

    def peer_pid(self) -> int:
        """Give the process number of the other side when it connected or began to listen."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("3i", credentials)[0])

    def pending(self) -> bool:
        """Say whether a frame is there already, so that no selector would report it."""
        return bool(self._frames)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def listen(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may use; a stale one is replaced.

    Raises:
        InputError: the path is too long or its folder cannot be written.
    """
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise InputError(
            "link.path_too_long",
            f"{path} is too long for a Unix socket ({_MAX_PATH_BYTES} bytes).",
            "Choose a shorter folder with --state.",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        # The mode is set by the mask: between bind and chmod anyone could connect.
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(mask)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise InputError(
            "link.cannot_listen",
            f"Cannot listen on {path}: {error.strerror}.",
            "Choose a writable folder with --state.",
        ) from error
    return listener


def connect(path: Path) -> FrameSocket:
    """Connect to a listening process.

    Raises:
        UnreachableError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(os.fspath(path))
    except OSError as error:
        connection.close()
        raise UnreachableError(
            "link.unreachable",
            f"Nothing answers on {path}: {error.strerror}.",
            "Start it with `cronos up`, or give the --state folder it uses.",
        ) from error
    return FrameSocket(connection)


def require_same_user(connected: socket.socket) -> None:
    """Refuse a peer that runs as another user (root excepted).

    Raises:
        DeniedError: the peer's user is neither ours nor root.
    """
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (os.geteuid(), 0):
        raise DeniedError(
            "link.other_user",
            f"A process of user {uid} tried to connect.",
            "Run both processes as the same user.",
        )


def _gone(error: OSError) -> UnreachableError:
    return UnreachableError(
        "link.closed",
        f"The other process is gone: {error.strerror or error}.",
        "It restarts by itself where it is supervised; see its last log line.",
    )
