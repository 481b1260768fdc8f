"""The enforcer's tap executor against the real forwarding tap: a client is cut and comes back."""

import asyncio
import contextlib
import socket
import threading

import pytest
from tests.unit.respond.stage import BootClock, apply, deny, undo

from cronos.gateway.tap import Tap, TapConfig
from cronos.respond import tap as executor_side
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.tasks import InlineTasks
from cronos.types import EntityKind


class Site:
    """An echoing server with the tap before it, both on loopback."""

    def __init__(self, folder):
        self.control = folder / "control"
        self.loop = asyncio.new_event_loop()
        self.tasks = InlineTasks()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self._call(self._start(folder))

    def close(self):
        self._call(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def client(self, address):
        connection = socket.create_connection(("127.0.0.1", self.tap.port), 5, (address, 0))
        connection.settimeout(5)
        return connection

    def talks(self, connection):
        with contextlib.suppress(OSError):
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
        return False

    def lets_in(self, address):
        """Say whether a new connection is served; a reset may come while it is still made."""
        try:
            with self.client(address) as connection:
                return self.talks(connection)
        except ConnectionResetError:
            return False

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _start(self, folder):
        self.server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        config = TapConfig("127.0.0.1", port, str(folder / "feed"), str(self.control))
        self.tap = Tap(config, clock=BootClock(), tasks=self.tasks)
        await self.tap.start()

    async def _stop(self):
        await self.tap.stop()
        await self.tasks.cancel()
        self.server.close()
        await self.server.wait_closed()

    async def _echo(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def executor(site):
    config = executor_side.TapConfig(str(site.control), timeout_ms=5000)
    executor = executor_side.TapExecutor(config)
    yield executor
    executor.close()


def test_an_address_is_cut_refused_and_passes_again_after_its_release(site, executor, tmp_path):
    book = LeaseBook(tmp_path / "state")
    enforcer = Enforcer(EnforcerConfig(), {"tap": executor}, book, BootClock())
    with site.client("127.0.0.66") as bad, site.client("127.0.0.2") as good:
        assert site.talks(bad)
        assert site.talks(good)
        block = deny("127.0.0.66", point="tap")
        (done,) = enforcer.handle(apply(block)).outcomes
        assert done.verified
        assert not site.talks(bad)
        assert not site.lets_in("127.0.0.66")
        assert site.talks(good)
        (released,) = enforcer.handle(undo(block)).outcomes
        assert released.verified
        assert site.lets_in("127.0.0.66")
    book.close()


class TestConformance(ReversibleExecutorConformance):
    @pytest.fixture(autouse=True)
    def _sites(self, tmp_path):
        self.folder, self.open = tmp_path, []
        yield
        for executor, site in self.open:
            executor.close()
            site.close()

    def make(self):
        folder = self.folder / str(len(self.open))
        folder.mkdir()
        site = Site(folder)
        config = executor_side.TapConfig(str(site.control), timeout_ms=5000)
        executor = executor_side.TapExecutor(config)
        self.open.append((executor, site))
        return executor

    def actions(self):
        flow = deny("tcp/192.0.2.7:1>198.51.100.2:502", point="tap", kind=EntityKind.FLOW)
        return [deny("192.0.2.8", point="tap"), deny("192.0.2.9", point="tap"), flow]
