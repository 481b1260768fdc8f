"""One UDP socket: bytes to an address and from one, at most 1,200 of them, never waiting.

What the kernel has no room for is lost, like what the network loses. Nothing is resolved while
sending: an address is numbers, or was looked up before.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

from cronos.errors import InputError, UnreachableError

MAX_DATAGRAM_BYTES: Final = 1200
_BUFFER_BYTES: Final = 4 << 20
_AT_ONCE: Final = 64
Address: TypeAlias = tuple[str, int]
Receive: TypeAlias = Callable[[bytes, Address], None]


class UdpSocket:
    """A bound UDP socket on the running event loop.

    Args:
        host: the address to listen on.
        port: 0 for any that is free.

    Attributes:
        lost: how many datagrams the kernel had no room for, or nobody listened to.
    """

    def __init__(self, host: str, port: int) -> None:
        self._bind = (host, port)
        self._socket: socket.socket | None = None
        self._receive: Receive = _ignore
        self.lost = 0

    async def start(self, receive: Receive) -> None:
        """Begin to receive.

        Raises:
            UnreachableError: the address is taken or none of this machine.
        """
        self._receive = receive
        family = socket.AF_INET6 if ":" in self._bind[0] else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            made.bind(self._bind)
        except OSError as error:
            made.close()
            raise UnreachableError(
                "mesh.cannot_listen",
                f"Cannot listen on UDP {self._bind[0]} port {self._bind[1]}: {error.strerror}.",
                "Choose another address under [mesh], or stop what listens there.",
            ) from error
        self._socket = made
        asyncio.get_running_loop().add_reader(made, self._readable)

    @property
    def address(self) -> Address:
        """Say where it listens.

        Raises:
            UnreachableError: it has not started.
        """
        if self._socket is None:
            raise _closed()
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def send(self, address: Address, data: bytes) -> None:
        """Send one datagram.

        Raises:
            InputError: it is longer than 1,200 bytes.
        """
        if len(data) > MAX_DATAGRAM_BYTES:
            raise InputError(
                "mesh.long_datagram",
                f"A datagram of {len(data)} bytes may be cut up on its way.",
                f"Send at most {MAX_DATAGRAM_BYTES} bytes, or by stream.",
            )
        if self._socket is None:
            return
        try:
            self._socket.sendto(data, address)
        except OSError:
            # No room, no route, or word that nobody listens there: lost, as on the network.
            self.lost += 1

    def _readable(self) -> None:
        """Take what is there, but not for longer than others may wait."""
        for _ in range(_AT_ONCE):
            if self._socket is None:
                return
            try:
                data, address = self._socket.recvfrom(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:
                self.lost += 1
                return
            if len(data) <= MAX_DATAGRAM_BYTES:
                self._receive(data, (str(address[0]), int(address[1])))

    def stop(self) -> None:
        """Close it; more than once is harmless."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None


async def resolved(address: str) -> Address | None:
    """Give the numbers of ``host:port``; None where it is none, or the name is not known."""
    found = split(address)
    if found is None:
        return None
    host, port = found
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    return (str(answers[0][4][0]), port) if answers else None


def split(address: str) -> Address | None:
    """Give host and port of ``host:port`` or ``[v6]:port``; None where it is neither."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    plain = host.isascii() and host.isprintable() and 0 < len(host) <= 253 and " " not in host
    if not colon or not plain or not port.isascii() or not port.isdigit() or len(port) > 5:
        return None
    return (host, int(port)) if 0 < int(port) < 1 << 16 else None


def _ignore(data: bytes, address: Address) -> None:
    del data, address


def _closed() -> UnreachableError:
    return UnreachableError(
        "mesh.not_listening", "The UDP socket has not started.", "Start it first."
    )
