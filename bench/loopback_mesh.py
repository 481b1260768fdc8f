"""A double of the mesh: bare TCP on loopback, no TLS, no credits, one connection for each pair.

What it keeps of the port: frames in order, `linked` when a connection stands or breaks, dialling
again until it is forgotten. It is here so that deliveries can be measured and killed without the
cost, or the faults, of a real transport.
"""

import asyncio
import contextlib

from cronos.errors import UnreachableError
from cronos.types import Lane

_LANES = list(Lane)
_MAX_QUEUED = 64 << 20


class LoopbackMesh:
    """One node; `port` is known once it has started."""

    def __init__(self, me, tasks, port=0):
        self.me = me
        self.port = port
        self._tasks = tasks
        self._writers = {}
        self._addresses = {}
        self._server = None
        self._stopped = False

    async def start(self, receive, linked):
        """Listen, and dial whom it shall be linked to."""
        self._receive, self._linked = receive, linked
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        for peer in self._addresses:
            self._tasks.spawn(self._dial(peer), f"dial {peer}")

    def connect(self, peer, address):
        """Keep a connection to a peer."""
        self._addresses[peer] = address
        if self._server is not None:
            self._tasks.spawn(self._dial(peer), f"dial {peer}")

    def forget(self, peer):
        """Drop it."""
        self._addresses.pop(peer, None)
        writer = self._writers.pop(peer, None)
        if writer is not None:
            writer.close()

    def peers(self):
        """Give who is connected now."""
        return tuple(sorted(self._writers))

    async def send(self, peer, lane, data):
        """Write one frame."""
        writer = self._writers.get(peer)
        if writer is None or writer.transport.get_write_buffer_size() > _MAX_QUEUED:
            raise UnreachableError("testing.no_peer", f"{peer} is not linked.", "Wait.")
        writer.write(len(data).to_bytes(4, "big") + bytes([_LANES.index(lane)]) + data)
        if lane in (Lane.RECORDS, Lane.BULK):
            with contextlib.suppress(OSError):
                await writer.drain()

    async def stop(self):
        """Hang up."""
        self._stopped = True
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers.values()):
            writer.close()

    async def _dial(self, peer):
        while peer in self._addresses and not self._stopped:
            host, port = self._addresses[peer].rsplit(":", 1)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(len(self.me).to_bytes(1, "big") + self.me.encode())
                await self._carry(peer, reader, writer)
            await asyncio.sleep(0.05)

    async def _accepted(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            length = (await reader.readexactly(1))[0]
            peer = (await reader.readexactly(length)).decode()
            await self._carry(peer, reader, writer)

    async def _carry(self, peer, reader, writer):
        before = self._writers.get(peer)
        if before is not None:
            before.close()
            self._linked(peer, False)
        self._writers[peer] = writer
        self._linked(peer, True)
        try:
            while True:
                head = await reader.readexactly(5)
                data = await reader.readexactly(int.from_bytes(head[:4], "big"))
                await self._receive(peer, _LANES[head[4]], data)
        finally:
            writer.close()
            if self._writers.get(peer) is writer:
                del self._writers[peer]
                self._linked(peer, False)
