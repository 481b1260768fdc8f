import asyncio

import pytest
from tests.unit.gateway.echo_site import ATTACKER, Site

from cronos.errors import InputError
from cronos.gateway.tap import Tap, TapConfig
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.base import eventually
from cronos.testing.conformance.service import ServiceConformance
from cronos.testing.tasks import InlineTasks

SECOND = 10**9


class TestService(ServiceConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    async def make(self):
        return tap(self.folder)


def tap(folder, **more):
    more = {"upstream_host": "127.0.0.1", "upstream_port": 9, **more}
    config = TapConfig(feed=str(folder / "f"), control=str(folder / "c"), **more)
    return Tap(config, clock=VirtualClock(), tasks=InlineTasks())


def test_a_client_is_told_at_once_when_the_server_does_not_answer(tmp_path):
    async def closed_port():
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return port

    async def story():
        made = tap(tmp_path, upstream_port=await closed_port())
        await made.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 10)
        writer.close()
        await made.stop()

    asyncio.run(story())


def test_one_client_cannot_use_up_what_the_operators_need(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock(), max_connections_per_client=2) as site:
            held = [await site.call(ATTACKER) for _ in range(2)]
            assert not await site.answers(ATTACKER)
            assert await site.answers()
            for _, writer in held:
                writer.close()

    asyncio.run(story())


def test_idle_connections_end(tmp_path):
    async def story():
        clock = VirtualClock()
        async with Site(tmp_path, clock, idle_s=60) as site:
            reader, writer = await site.call()
            writer.write(b"?")
            await reader.read(1)
            clock.advance(61 * SECOND)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), 10)
            await eventually(lambda: not site.tap._relays, "The tap forgets it.")
            assert (await site.feed("close"))[-1].data == b"idle"
            writer.close()

    asyncio.run(story())


def test_a_feed_that_nobody_reads_never_stalls_the_plant_and_says_so(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock(), ring_bytes=1000) as site:
            for _ in range(30):
                assert await site.answers()
            assert "unexamined" in await site.tap.health()
            told = await site.feed("close")
            assert told[0].seq > 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"upstream_host": "plc..local"}, "does not resolve"),
        ({"listen_host": "192.0.2.1"}, "cannot listen"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, more, why):
    async def story():
        with pytest.raises(InputError, match=why):
            await tap(tmp_path, **more).start()

    asyncio.run(story())
