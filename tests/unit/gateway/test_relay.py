import asyncio

import pytest
from tests.unit.gateway.echo_site import Site

from cronos.testing.clock import VirtualClock


def test_half_close_passes_through_and_the_rest_of_the_answer_comes(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            reader, writer = await site.call()
            writer.write(b"x" * 3_000_000)
            writer.write_eof()
            assert len(await asyncio.wait_for(reader.read(), 20)) == 3_000_000
            writer.close()
            told = await site.feed("close")
        assert sum(len(m.data) for m in told if m.kind == "data") == 6_000_000
        assert (told[-1].bytes_out, told[-1].bytes_in) == (3_000_000, 3_000_000)

    asyncio.run(story())


def test_a_server_that_reads_nothing_slows_its_client_and_memory_stays_bounded(tmp_path):
    release = asyncio.Event()

    async def deaf(_reader, writer):
        await release.wait()
        writer.close()

    async def story():
        async with Site(tmp_path, VirtualClock(), deaf, buffer_bytes=1 << 16) as site:
            _, writer = await site.call()
            writer.transport.set_write_buffer_limits(high=0)
            writer.write(b"x" * (64 << 20))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.3)
            (relay,) = site.tap._relays.values()
            assert relay.server.transport.get_write_buffer_size() < 1 << 20
            release.set()
            writer.transport.abort()

    asyncio.run(story())


def test_a_reset_by_the_server_reaches_the_client(tmp_path):
    async def rude(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async def story():
        async with Site(tmp_path, VirtualClock(), rude) as site:
            assert not await site.answers()
            assert (await site.feed("close"))[-1].data != b""

    asyncio.run(story())


def test_what_a_client_says_before_the_server_stands_is_not_lost(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            calls = [site.answers() for _ in range(50)]
            assert all(await asyncio.gather(*calls))

    asyncio.run(story())
