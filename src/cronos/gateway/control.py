"""The tap's control socket: orders in, outcomes out, for processes of the same user.

An order with no actions asks what the tap holds. Whoever sends what is no order loses the
connection, and nothing else happens.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cronos.errors import CronosError, InputError
from cronos.link.frames import FrameSplitter, frame, require_same_user
from cronos.types import Hello, Order, Outcomes, decode, encode

_READ_BYTES: Final = 1 << 16


class Control:
    """Serves one connection after another and many at once, up to `max_connections`."""

    def __init__(
        self, answer: Callable[[Order], Awaitable[Outcomes]], max_connections: int
    ) -> None:
        self._answer = answer
        self._max_connections = max_connections
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the orders of one connection, one at a time, until it ends."""
        if len(self._writers) >= self._max_connections:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            require_same_user(writer.get_extra_info("socket"))
            await self._converse(reader, writer)
        except (CronosError, OSError):
            pass  # a caller that is gone, or speaks no orders, concerns only itself
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def close(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = FrameSplitter()
        while data := await reader.read(_READ_BYTES):
            for body in splitter.feed(data):
                order = _order(body)
                if order is not None:
                    writer.write(frame(encode(await self._answer(order))))
                    await writer.drain()


def _order(body: bytes) -> Order | None:
    """Read an order; None for a greeting.

    Raises:
        InputError: it is neither.
    """
    try:
        datum = decode(body)
    except ValueError as error:
        raise _no_order(str(error)) from error
    if isinstance(datum, Hello):
        return None
    if not isinstance(datum, Order):
        raise _no_order(f"a {type(datum).__name__} came instead")
    return datum


def _no_order(what: str) -> InputError:
    return InputError(
        "gateway.no_order",
        f"The tap's control socket takes orders: {what}.",
        "Only the enforcer's tap executor should use it.",
    )
