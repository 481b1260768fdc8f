"""Keeps places at the port for those who come next: connections without a stream are few, or end.

gRPC bears so many connections and then takes no more, whoever holds them: a stranger who connects
and says nothing has a place for five seconds, a member without a stream one for thirty. It cannot
be told to prefer anybody. But its sockets are this process's own: here they are looked at, and
where too many carry no stream those that have stood longest are shut down, which ends them for
gRPC as if the other had gone. An honest handshake takes some 20 ms; whoever stands has not made it.

Rule 1: a connection that carries a stream of a verified node is never touched. Rule 2: one address
has a quarter of the places for connections without a stream; all of them together three quarters.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from cronos.ports import Clock

Place: TypeAlias = tuple[str, int]

_OWN: Final = Path("/proc/self/fd")
_INTERNET: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_EVERY_S: Final = 1.0
# A look takes some 20 us for each socket; in a flood there are five in a second.
_PAUSE_S: Final = 0.2
_EAGER: Final = 32


class Door:
    """Looks after the connections of one listening port.

    Args:
        most: connections that may stand.
        clock: the time.
        ended: told the address of each connection that was shut down.

    Attributes:
        begun: connections that were taken, as far as was told.
    """

    def __init__(self, most: int, clock: Clock, ended: Callable[[str], None]) -> None:
        self.begun = 0
        self._most = most
        self._clock = clock
        self._ended = ended
        self._looked = 0
        self._standing: dict[Place, int] = {}
        self._carrying: set[Place] = set()
        self._shut: set[Place] = set()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = True

    def knock(self) -> None:
        """Note that a connection was taken; from any thread."""
        self.begun += 1
        if self.begun - self._looked >= _EAGER and not self._wake.is_set():
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def enter(self, place: Place) -> None:
        """Leave a connection alone from now on: it carries a stream."""
        self._carrying.add(place)

    def leave(self, place: Place) -> None:
        """Take note that a connection's stream has ended."""
        self._carrying.discard(place)

    async def keep(self, port: int) -> None:
        """Look after `port` until `close`."""
        while self._open:
            if self._standing or self.begun != self._looked:
                self._looked = self.begun
                for host in await asyncio.to_thread(self.look, port):
                    self._ended(host)
                await asyncio.sleep(_PAUSE_S)
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._wake.wait()

    def close(self) -> None:
        """End `keep`."""
        self._open = False
        self._wake.set()

    def look(self, port: int) -> list[str]:
        """Look at all connections of `port` once, and end those that are too many; blocks.

        Gives the addresses of those.
        """
        now_ns = self._clock.now().boot_ns
        found = connections(port)
        self._shut &= found.keys()
        others = self._carrying | self._shut
        self._standing = {
            place: self._standing.get(place, now_ns) for place in found if place not in others
        }
        ended: list[str] = []
        for place in surplus(self._standing, self._most):
            if place not in self._carrying and shut(found[place], port, place):
                del self._standing[place]
                self._shut.add(place)
                ended.append(place[0])
        return ended


def surplus(since: Mapping[Place, int], most: int) -> list[Place]:
    """Say which of the connections without a stream have to go, those first that stood longest.

    Args:
        since: when each was seen first.
        most: places in all.
    """
    oldest = sorted(since, key=lambda place: since[place])
    over: list[Place] = []
    of: dict[str, int] = {}
    for host, _ in oldest:
        of[host] = of.get(host, 0) + 1
    for place in oldest:
        if of[place[0]] > max(1, most // 4):
            of[place[0]] -= 1
            over.append(place)
    gone = set(over)
    left = [place for place in oldest if place not in gone]
    return over + left[: max(0, len(left) - most * 3 // 4)]


def connections(port: int) -> dict[Place, int]:
    """Give this process's connections at a local port: who is at the other end, and descriptors.

    Empty where the system does not show them.
    """
    found: dict[Place, int] = {}
    with suppress(OSError):
        for entry in list(_OWN.iterdir()):
            descriptor = int(entry.name)
            place = _other_end(entry, descriptor, port)
            if place is not None:
                found[place] = descriptor
    return found


def shut(descriptor: int, port: int, place: Place) -> bool:
    """Shut a connection down, if the descriptor is still its."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
        if _end_of(one, port) == place:
            one.shutdown(socket.SHUT_RDWR)
            return True
    return False


def _other_end(entry: Path, descriptor: int, port: int) -> Place | None:
    with suppress(OSError):
        # The number may be another's by now: what is looked at is a duplicate, which is only ours.
        if entry.readlink().name.startswith("socket:"):
            with socket.socket(fileno=os.dup(descriptor)) as one:
                return _end_of(one, port)
    return None


def _end_of(one: socket.socket, port: int) -> Place | None:
    if one.family not in _INTERNET or one.type != socket.SOCK_STREAM:
        return None
    if one.getsockname()[1] != port:
        return None
    host, other = one.getpeername()[:2]
    return str(host).removeprefix("::ffff:").partition("%")[0], int(other)
