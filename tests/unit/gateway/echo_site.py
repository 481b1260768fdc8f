"""An echo server behind a real tap, on one event loop, for stories about connections."""

import asyncio
import contextlib

from cronos.gateway.tap import Tap, TapConfig
from cronos.link.frames import FrameSplitter, frame
from cronos.link.tapfeed import TapHello, unpack
from cronos.testing.tasks import InlineTasks
from cronos.types import Action, Entity, EntityKind, Order, Verb, action_id, decode, encode

ATTACKER = "127.0.0.66"


async def _echo(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


class Site:
    """`async with Site(folder, clock)`: the tap, and what callers do to it."""

    def __init__(self, folder, clock, answer=_echo, **config):
        self.clock, self.tasks, self._answer = clock, InlineTasks(), answer
        self._paths = {"feed": str(folder / "feed"), "control": str(folder / "control")}
        self._config = config

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        config = TapConfig("127.0.0.1", port, **self._paths, **self._config)
        self.tap = Tap(config, clock=self.clock, tasks=self.tasks)
        await self.tap.start()
        return self

    async def __aexit__(self, *exc):
        await self.tap.stop()
        self._server.close()
        await self._server.wait_closed()
        await self.tasks.cancel()
        await asyncio.sleep(0)
        assert self.tasks.errors == []

    async def call(self, source="127.0.0.2"):
        return await asyncio.open_connection("127.0.0.1", self.tap.port, local_addr=(source, 0))

    async def answers(self, source="127.0.0.2"):
        """Say whether a caller from `source` gets its echo."""
        reader, writer = await self.call(source)
        try:
            writer.write(b"?")
            return await asyncio.wait_for(reader.read(1), 10) == b"?"
        except OSError:
            return False
        finally:
            writer.close()

    async def order(self, operation, *targets, lease_ns=10**9, raw=b""):
        reader, writer = await asyncio.open_unix_connection(self._paths["control"])
        actions = tuple(deny(target, lease_ns) for target in targets)
        writer.write(raw or frame(encode(Order(1, operation, actions))))
        try:
            length = int.from_bytes(await reader.readexactly(4), "big")
            return decode(await reader.readexactly(length)).outcomes
        finally:
            writer.close()

    async def feed(self, until):
        """Read the feed until a frame of kind `until` has come."""
        reader, writer = await asyncio.open_unix_connection(self._paths["feed"])
        splitter, told = FrameSplitter(), []
        while not any(m.kind == until for m in told):
            data = await asyncio.wait_for(reader.read(1 << 16), 10)
            told += [m for m in map(unpack, splitter.feed(data)) if not isinstance(m, TapHello)]
        writer.close()
        return told


def deny(target, lease_ns=10**9):
    if isinstance(target, str):
        target = Entity(EntityKind.ADDRESS, target)
    return Action(action_id("tap", "deny", target), "tap", Verb.DENY, target, "n-1-i1", lease_ns)
