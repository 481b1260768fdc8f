"""Dialling one peer: until it answers, again when its stream has ended, anew before it is too old.

After each failure the pause doubles, up to half a second, so that a partition that heals is soon
forgotten. From the eighth in a row on the circuit breaker is open: the pause grows to five
seconds, and what could wait for credits is refused to its sender at once.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import Final

from cronos.errors import CronosError, DeniedError, InputError
from cronos.link.upkeep import Report
from cronos.mesh.streams_link import Link
from cronos.ports import Clock

_FIRST_S: Final = 0.05
_MOST_S: Final = 0.5
_OPEN_S: Final = 5.0
OPENS_AT: Final = 8
_IDLE_S: Final = 1.0
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", re.ASCII)


class Dialler:
    """Keeps a link to one peer.

    Args:
        link: the peer's.
        address: where it listens.
        dial: makes one stream and attaches it; returns once that is done.
        clock: the time.
        report: told when the peer refuses us, and when the breaker opens.
    """

    def __init__(
        self,
        link: Link,
        address: tuple[str, int],
        dial: Callable[[Link, tuple[str, int]], Awaitable[None]],
        clock: Clock,
        report: Report,
    ) -> None:
        self.link = link
        self.address = address
        self.failures = 0
        self.trouble = ""
        self.wanted = True
        self._dial = dial
        self._clock = clock
        self._report = report

    @property
    def open(self) -> bool:
        """Whether the circuit breaker is open."""
        return self.failures >= OPENS_AT

    def move(self, address: tuple[str, int]) -> None:
        """Dial another address from now on; at once, if no stream stands."""
        if address != self.address:
            self.address = address
            self.failures = 0
            self.link.refusing = False
            self.link.changed.set()

    def end(self) -> None:
        """Dial no more."""
        self.wanted = False
        self.link.changed.set()

    async def run(self) -> None:
        """Dial for as long as the peer is wanted."""
        while self.wanted:
            self.link.changed.clear()
            if self._due():
                await self._try()
            else:
                self.failures = 0
                await self._pause(_IDLE_S)

    def _due(self) -> bool:
        active = self.link.active
        if active is None:
            return True
        ours = active.terms.dialler != self.link.peer
        return ours and self._clock.now().boot_ns >= active.terms.renew_ns

    async def _try(self) -> None:
        try:
            await self._dial(self.link, self.address)
        except CronosError as error:
            self._failed(error)
            if self.wanted and not self.link.up:
                await self._pause(self._pause_s())
            elif self.wanted:
                await self._pause(_IDLE_S)
        else:
            self.failures, self.trouble = 0, ""

    def _failed(self, error: CronosError) -> None:
        self.failures += 1
        told = self.trouble == error.sentence
        self.trouble = error.sentence
        if isinstance(error, DeniedError) and not told:
            self._report("warning", error.code, peer=self.link.peer, detail=error.sentence)
        if self.failures == OPENS_AT and not self.link.up:
            self.link.refusing = True
            self._report("warning", "mesh.peer_away", peer=self.link.peer, detail=error.sentence)

    def _pause_s(self) -> float:
        most = _OPEN_S if self.failures >= 2 * OPENS_AT else _MOST_S
        pause = min(_FIRST_S * 2.0 ** min(self.failures - 1, 16), most)
        # Not all peers of a node that is back should call at the same moment.
        drawn = hashlib.sha256(f"{self.link.peer} {self.failures}".encode()).digest()[0]
        return pause * (0.5 + drawn / 255)

    async def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.link.changed.wait(), pause_s)


def parse_address(address: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        InputError: it is none, or something that gRPC would take for another scheme.
    """
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    known = _HOST.fullmatch(host) is not None or (host == f"[{bare}]" and _is_ipv6(bare))
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if known and 1 <= number <= 65535:
        return bare, number
    raise InputError(
        "mesh.bad_address",
        f"{address[:80]!r} is no address of a peer.",
        "Give HOST:PORT, such as 192.0.2.10:7443 or [2001:db8::1]:7443.",
    )


def target_of(host: str, port: int) -> str:
    """Give the address as gRPC wants it, with its scheme, so that nothing else is tried."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return f"dns:///{host}:{port}"
    return f"ipv4:{host}:{port}" if version == 4 else f"ipv6:[{host}]:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        return "%" not in str(ipaddress.IPv6Address(text))
    except ValueError:
        return False
