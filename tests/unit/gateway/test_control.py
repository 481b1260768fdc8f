import asyncio

import pytest
from tests.unit.gateway.echo_site import ATTACKER, Site

from cronos.link.frames import frame
from cronos.testing.clock import VirtualClock
from cronos.types import Hello, Operation, Order, Resume, encode


@pytest.mark.parametrize(
    "raw", [b"\xff" * 64, frame(b""), frame(b"\x01\x05Order\xff"), frame(encode(Resume({})))]
)
def test_whoever_speaks_no_orders_is_cut_off_and_harms_nobody(tmp_path, raw):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await site.order(Operation.APPLY, raw=raw)
            assert (await site.order(Operation.APPLY, ATTACKER))[0].ok

    asyncio.run(story())


def test_a_greeting_before_the_order_is_welcome(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            order = encode(Order(1, Operation.APPLY, ()))
            raw = frame(encode(Hello("enforcer", 1))) + frame(order)
            assert await site.order(Operation.APPLY, raw=raw) == ()

    asyncio.run(story())


def test_connections_for_orders_are_bounded(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock(), max_control_connections=1) as site:
            _, first = await asyncio.open_unix_connection(str(tmp_path / "control"))
            await asyncio.sleep(0)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await site.order(Operation.APPLY)
            first.close()

    asyncio.run(story())


def test_the_sockets_are_for_their_owner_alone(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()):
            modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("feed", "control")]
            assert modes == [0o600, 0o600]

    asyncio.run(story())
