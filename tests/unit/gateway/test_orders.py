import asyncio

import pytest
from tests.unit.gateway.echo_site import ATTACKER, Site, deny

from cronos.testing.clock import VirtualClock
from cronos.types import Operation, flow_entity

SECOND = 10**9


def test_a_blocked_address_loses_its_connections_and_others_keep_theirs(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            attacker, knife = await site.call(ATTACKER)
            operator, pen = await site.call()
            knife.write(b"!")
            assert await attacker.read(1) == b"!"
            (outcome,) = await site.order(Operation.APPLY, ATTACKER)
            assert (outcome.ok, outcome.verified) == (True, True)
            assert {relay.ends.client for relay in site.tap._relays.values()} == {"127.0.0.2"}
            with pytest.raises(ConnectionResetError):
                await attacker.read(1)
            assert not await site.answers(ATTACKER)
            pen.write(b"?")
            assert await operator.read(1) == b"?"
            told = await site.feed("refused")
            assert [m.kind for m in told if m.client == ATTACKER][-2:] == ["cut", "refused"]
            pen.close()
            knife.close()

    asyncio.run(story())


def test_a_blocked_flow_is_cut_alone(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            reader, writer = await site.call(ATTACKER)
            writer.write(b"!")
            assert await reader.read(1) == b"!"
            port = writer.get_extra_info("sockname")[1]
            flow = flow_entity("tcp", ATTACKER, port, "127.0.0.1", site.tap.port)
            (outcome,) = await site.order(Operation.APPLY, flow)
            assert outcome.verified
            assert site.tap._relays == {}
            assert await site.answers(ATTACKER)
            writer.close()

    asyncio.run(story())


def test_the_lease_ends_by_itself_unless_it_is_renewed(tmp_path):
    async def story():
        clock = VirtualClock()
        async with Site(tmp_path, clock) as site:
            await site.order(Operation.APPLY, ATTACKER, lease_ns=SECOND)
            clock.advance(SECOND // 2)
            await site.order(Operation.RENEW, ATTACKER, lease_ns=SECOND)
            clock.advance(SECOND - 1)
            assert not await site.answers(ATTACKER)
            assert [o.action_id for o in await site.order(Operation.APPLY)] == [
                deny(ATTACKER).action_id
            ]
            clock.advance(1)
            assert await site.answers(ATTACKER)
            assert await site.order(Operation.APPLY) == ()
            (late,) = await site.order(Operation.RENEW, ATTACKER)
            assert not late.ok

    asyncio.run(story())


def test_a_thousand_blocks_come_and_go_in_one_order_each(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            targets = [f"10.0.{n >> 8}.{n & 255}" for n in range(1000)]
            assert all(o.verified for o in await site.order(Operation.APPLY, *targets))
            assert len(await site.order(Operation.APPLY)) == 1000
            assert all(o.ok for o in await site.order(Operation.UNDO, *targets))
            assert await site.order(Operation.APPLY) == ()

    asyncio.run(story())


def test_the_server_behind_the_tap_cannot_be_blocked(tmp_path):
    async def story():
        async with Site(tmp_path, VirtualClock()) as site:
            (outcome,) = await site.order(Operation.APPLY, "127.0.0.1")
            assert not outcome.ok
            assert outcome.detail == "127.0.0.1 is protected."

    asyncio.run(story())
