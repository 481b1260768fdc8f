"""A connection of the reflex process to one of its workers, on the event loop.

Frames that must arrive are kept until the worker answers them and are sent again when it has
been restarted: the worker makes repetition harmless.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from cronos.errors import UnreachableError
from cronos.link.frames import FrameSplitter, frame
from cronos.types import Datum, Unknown, decode, encode

_RETRY_S: Final = 0.005


class Channel(asyncio.Protocol):
    """One connection, made anew whenever it breaks, until `close`.

    Args:
        path: the worker's Unix socket.
        received: called with each datum that arrives.
        connected: called after each (re)connection, to send again what is unanswered.
    """

    def __init__(
        self, path: Path, received: Callable[[Datum | Unknown], None], connected: Callable[[], None]
    ) -> None:
        self._path = path
        self._received = received
        self._connected = connected
        self._transport: asyncio.Transport | None = None
        self._splitter = FrameSplitter()
        self._lost = asyncio.Event()
        self._closing = False

    @property
    def up(self) -> bool:
        """Say whether the worker is connected now."""
        return self._transport is not None

    async def run(self) -> None:
        """Connect, and connect again, until `close`."""
        loop = asyncio.get_running_loop()
        while not self._closing:
            self._lost.clear()
            try:
                await loop.create_unix_connection(lambda: self, str(self._path))
            except OSError:
                await asyncio.sleep(_RETRY_S)
                continue
            await self._lost.wait()

    def send(self, datum: Datum) -> bool:
        """Send a datum; False where nobody is connected, who will be given it again later."""
        if self._transport is None:
            return False
        self._transport.write(frame(encode(datum)))
        return True

    def close(self) -> None:
        """End, and stay ended."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
        self._lost.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak frames."""
        # asyncio promises a stream transport here; uvloop's does not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._splitter = FrameSplitter()
        self._connected()

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete; a peer that does not speak frames is cut off."""
        try:
            for one in self._splitter.feed(data):
                self._received(decode(one))
        except (UnreachableError, ValueError):
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note it; `run` connects again."""
        self._transport = None
        self._lost.set()
