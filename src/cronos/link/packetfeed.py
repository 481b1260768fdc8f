"""Packets handed from a process that reads them to one that learns from them, bounded.

A datagram holds some packets, each with its time and link type. Nothing waits for whoever learns:
where the socket is full or nobody is there, packets are dropped and counted, and the stream that
they belonged to has a hole. Files may wait a little, since they can; what they may wait in all
is bounded too.

Datagram: for each packet ``time_ns u64 | link u32 | length u32 | bytes``, in network order.
"""

import contextlib
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cronos.errors import InputError
from cronos.link.capture import Packet

MAX_BYTES: Final = 1 << 16
_HEAD: Final = struct.Struct("!QII")
_BUFFER_BYTES: Final = 4 << 20
_WAIT_S: Final = 0.2


class PacketSender:
    """Sends packets to who listens at a path, and never waits longer than it may.

    Args:
        path: of the socket.
        patience_s: how long sending may wait altogether.
    """

    def __init__(self, path: Path, patience_s: float = 0.0) -> None:
        self.dropped = 0
        self._path = path
        self._left_s = patience_s
        self._socket: socket.socket | None = None

    def __call__(self, packets: Sequence[Packet], buffer: bytes) -> None:
        """Hand on packets that lie in `buffer`."""
        parts: list[bytes] = []
        size = many = 0
        for time_ns, link, start, end in packets:
            length = end - start
            if length + _HEAD.size > MAX_BYTES:
                self.dropped += 1
                continue
            if size + length + _HEAD.size > MAX_BYTES:
                self._send(b"".join(parts), many)
                parts, size, many = [], 0, 0
            parts += [_HEAD.pack(max(0, time_ns), link, length), buffer[start:end]]
            size, many = size + length + _HEAD.size, many + 1
        if parts:
            self._send(b"".join(parts), many)

    def _send(self, datagram: bytes, many: int) -> None:
        try:
            self._connected().send(datagram)
        except BlockingIOError:
            if not self._after_a_while(datagram):
                self.dropped += many
        except OSError:
            self.close()  # nobody listens: the next one tries anew
            self.dropped += many

    def _after_a_while(self, datagram: bytes) -> bool:
        if self._left_s <= 0.0 or self._socket is None:
            return False
        self._left_s -= _WAIT_S
        self._socket.settimeout(_WAIT_S)
        try:
            self._socket.send(datagram)
        except OSError:
            return False
        finally:
            self._socket.setblocking(False)
        return True

    def _connected(self) -> socket.socket:
        if self._socket is None:
            one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
                one.setblocking(False)
                one.connect(str(self._path))
            except OSError:
                one.close()
                raise
            self._socket = one
        return self._socket

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def bound(path: Path) -> socket.socket:
    """Listen for packets at a path, which only this user may send to."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        one.bind(str(path))
        path.chmod(0o600)
    except OSError:
        one.close()
        raise
    return one


def unpack(datagram: bytes) -> list[Packet]:
    """Give the packets of a datagram, by their places in it.

    Raises:
        InputError: it is none.
    """
    packets: list[Packet] = []
    at, end = 0, len(datagram)
    while at < end:
        if at + _HEAD.size > end:
            raise _broken(at)
        time_ns, link, length = _HEAD.unpack_from(datagram, at)
        at += _HEAD.size
        if at + length > end:
            raise _broken(at)
        packets.append((time_ns, link, at, at + length))
        at += length
    return packets


def _broken(at: int) -> InputError:
    return InputError(
        "link.packet_feed",
        f"What was handed on as packets breaks off at byte {at}.",
        "Only this node's own processes send here; see which one does.",
    )
