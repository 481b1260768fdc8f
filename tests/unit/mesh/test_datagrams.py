"""Sealed datagrams: what is on the wire, what is refused in silence, and what is passed on."""

import asyncio

import pytest
from tests.unit.mesh.nodes import Lossy, cards, until

from cronos.errors import DeniedError, InputError
from cronos.mesh.datagrams import MAX_DATA_BYTES, RELAY, VERSION, SealedDatagrams
from cronos.mesh.memberwire import Card, unpack
from cronos.mesh.relay import RelayBudget
from cronos.mesh.udp import MAX_DATAGRAM_BYTES
from cronos.runtime.world import SystemClock
from cronos.testing.tasks import InlineTasks

CHANNEL = 7


async def ends(*names):
    made = {}
    for name in names:
        one = SealedDatagrams(Lossy(), cards(name), SystemClock(), InlineTasks())
        await one.start()
        one.heard = []
        one.listen(CHANNEL, lambda peer, data, one=one: one.heard.append((peer, data)))
        made[name] = one
    for name, one in made.items():
        for peer, other in made.items():
            if peer != name:
                host, port = other._wire.socket.address
                one.place(peer, f"{host}:{port}")
                await meet(name, one, peer, other)
    await asyncio.sleep(0.01)
    return made


async def meet(name, one, peer, other):
    """Carry cards, an offer and its answer, as streams do."""
    await one.agree(peer, Card(other.cards.of(peer).packed))
    await other.agree(name, Card(one.cards.of(name).packed))
    answer = await other.agree(name, unpack(await one.offer(peer)))
    await one.agree(peer, unpack(answer))


def stop(nodes):
    for one in nodes.values():
        one.stop()


def test_nothing_on_the_wire_is_readable_or_long():
    async def story():
        nodes = await ends("alpha", "beta", "gamma")
        alpha, beta = nodes["alpha"], nodes["beta"]
        secret = b"isolate 192.0.2.66" * 56
        data = secret[:MAX_DATA_BYTES]
        assert alpha.send("beta", CHANNEL, data)
        assert alpha.send("beta", CHANNEL, data, "gamma")
        await until(lambda: len(beta.heard) == 2)
        assert beta.heard == [("alpha", data)] * 2
        wire = [data for one in nodes.values() for _, data in one._wire.sent]
        assert len(wire) == 3
        assert all(len(one) <= MAX_DATAGRAM_BYTES and one[0] == VERSION for one in wire)
        assert not any(b"isolate" in one or b"beta" in one or b"alpha" in one for one in wire)
        with pytest.raises(InputError):
            alpha.send("beta", CHANNEL, bytes(MAX_DATAGRAM_BYTES))
        stop(nodes)

    asyncio.run(story())


def test_the_longest_that_a_name_allows_still_fits_when_it_is_passed_on():
    async def story():
        long = "b" * 63
        nodes = await ends("alpha", long, "gamma")
        assert nodes["alpha"].send(long, CHANNEL, bytes(MAX_DATA_BYTES), "gamma")
        await until(lambda: nodes[long].heard != [])
        stop(nodes)

    asyncio.run(story())


def test_strangers_replays_and_rubbish_are_dropped_in_silence():
    async def story():
        nodes = await ends("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        alpha.send("beta", CHANNEL, b"once")
        await until(lambda: beta.heard != [])
        address, record = alpha._wire.sent[-1]
        sent = len(beta._wire.sent)
        for data in (record, record[:-1], b"", b"\xc1", b"GET / HTTP/1.1", bytes(1200), record[1:]):
            alpha._wire.socket.send(address, data)
        await until(lambda: beta.refused == 7)
        assert beta.heard == [("alpha", b"once")]
        assert len(beta._wire.sent) == sent
        stop(nodes)

    asyncio.run(story())


def test_without_a_key_or_an_address_nothing_is_sent():
    async def story():
        nodes = await ends("alpha", "beta")
        alpha = nodes["alpha"]
        assert not alpha.send("nobody", CHANNEL, b"x")
        assert not alpha.send("beta", CHANNEL, b"x", "nobody")
        alpha.forget("beta")
        assert not alpha.send("beta", CHANNEL, b"x")
        assert alpha.stale() == ()
        stop(nodes)

    asyncio.run(story())


def test_a_relay_passes_on_for_members_within_their_budget_and_nothing_to_itself():
    async def story():
        nodes = await ends("alpha", "beta", "gamma")
        alpha, beta, gamma = nodes.values()
        gamma._budget = RelayBudget(each_per_s=50)
        for _ in range(600):
            alpha.send("beta", CHANNEL, b"x", "gamma")
        await until(lambda: gamma.refused + len(beta.heard) == 600)
        assert 50 <= len(beta.heard) <= 500
        refused = gamma.refused
        # A circle: passed on to the one that is asked, and what is no request at all.
        alpha.send("gamma", RELAY, b"\x01\x05gamma" + b"x")
        alpha.send("gamma", RELAY, b"\x09\x04betax")
        await until(lambda: gamma.refused == refused + 2)
        stop(nodes)

    asyncio.run(story())


def test_who_does_not_know_the_way_asks_one_other_and_no_more():
    async def story():
        nodes = await ends("alpha", "beta", "gamma", "delta")
        alpha, beta, gamma = nodes["alpha"], nodes["beta"], nodes["gamma"]
        gamma._places.pop("beta")
        assert alpha.send("beta", CHANNEL, b"far", "gamma")
        await until(lambda: beta.heard == [("alpha", b"far")])
        for one in nodes.values():
            one._places.pop("beta", None)
        counts = [len(one._wire.sent) for one in nodes.values()]
        alpha.send("beta", CHANNEL, b"lost", "gamma")
        await asyncio.sleep(0.05)
        assert sum(len(one._wire.sent) for one in nodes.values()) - sum(counts) == 2
        stop(nodes)

    asyncio.run(story())


def test_another_s_card_is_not_one_s_own():
    async def story():
        nodes = await ends("alpha", "beta")
        alpha = nodes["alpha"]
        card = Card(cards("gamma").of("gamma").packed)
        with pytest.raises(DeniedError) as refused:
            await alpha.agree("beta", card)
        assert refused.value.code == "mesh.another_s_card"
        stop(nodes)

    asyncio.run(story())


def test_a_member_is_sent_nothing_where_the_gate_is_closed_and_no_name_is_asked_for(monkeypatch):
    asked = []

    async def resolve(address):
        asked.append(address)
        await asyncio.sleep(0)
        return ("127.0.0.1", 9)

    def permit(host, port):
        if host != "127.0.0.1":
            raise DeniedError("link.egress_closed", "It is closed.", "Open it.")

    async def story():
        monkeypatch.setattr("cronos.mesh.datagrams.resolved", resolve)
        wire = Lossy()
        one = SealedDatagrams(wire, cards("alpha"), SystemClock(), InlineTasks(), permit)
        for number in range(50):
            one.place("beta", f"{number}.victim.example:53")
        await asyncio.sleep(0.01)
        assert asked == []
        for number in range(1, 50):
            one.place("beta", f"127.0.0.1:{number}")
        await asyncio.sleep(0.01)
        # One question at a time, and the last that was said is what counts.
        assert asked == ["127.0.0.1:49"]

    asyncio.run(story())
