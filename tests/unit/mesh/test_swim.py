"""The membership at work: real certificates and datagrams on loopback, streams in memory."""

import asyncio

import pytest
from tests.unit.mesh.nodes import Node, cluster, credential, stop, until

from cronos.crypto.pki.node import own_bound
from cronos.mesh import memberwire, rates
from cronos.mesh.cards import _ENCODER, CONTEXT, Claim, _Packed
from cronos.mesh.memberwire import Card, Have, Holding, Load, Notes
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import Lane, Peer, PeerStatus, Ping


def test_members_find_one_another_through_one_seed_and_agree_on_keys_and_roles():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        await until(
            lambda: all(
                peer.roles == ("defense", "audit")
                for node in nodes.values()
                for peer in node.swim.members()
            )
        )
        assert nodes["alpha"].swim.allowed()["gamma"] == ("defense", "audit")
        assert [peer.instance for peer in nodes["alpha"].swim.members()] == ["beta", "gamma"]
        await until(lambda: nodes["alpha"].swim.rtt_ns("beta") > 0)
        assert all(node.blamed == [] for node in nodes.values())
        await stop(nodes)

    asyncio.run(story())


def test_a_member_that_falls_silent_is_declared_dead_and_comes_back():
    async def story():
        network, nodes = await cluster("alpha", "beta", "gamma", "delta")
        lost = nodes["delta"]
        lost.wire.drops = lambda _address, _data: True
        others = [node for name, node in nodes.items() if name != "delta"]
        places = {node.wire.socket.address for node in others}
        for node in others:
            node.wire.drops = lambda address, _data: address not in places
        network.partition(frozenset(("alpha", "beta", "gamma")), frozenset(("delta",)))
        await until(lambda: all(node.sees("delta") == "dead" for node in others))
        for node in nodes.values():
            node.wire.drops = lambda _address, _data: False
        await network.heal()
        await until(lambda: all(node.sees("delta") == "alive" for node in others))
        await until(lambda: lost.sees("alpha") == "alive")
        await stop(nodes)

    asyncio.run(story())


def test_neighbours_say_how_busy_they_are_and_whoever_is_gone_says_nothing_any_more():
    async def story():
        network, nodes = await cluster("alpha", "beta")
        nodes["beta"].swim.load = lambda: Load(7, 3)
        await until(lambda: nodes["alpha"].swim.loads.get("beta", Load()).queued == 7)
        assert nodes["alpha"].blamed == []
        network.partition(frozenset(("alpha",)), frozenset(("beta",)))
        nodes["alpha"].swim.linked("beta", False)
        assert nodes["alpha"].swim.loads == {}
        await stop(nodes)

    asyncio.run(story())


def test_a_seed_that_is_nobody_is_dialled_no_more_once_it_is_released():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        forgotten = []
        nodes["alpha"].mesh.forget = forgotten.append
        swim = nodes["alpha"].swim
        swim.join(["nobody@127.0.0.1:9", "beta@127.0.0.1:9"])
        swim.release(("nobody", "beta"))
        assert forgotten == ["nobody"]
        assert swim.alive() == ("beta",)
        await stop(nodes)

    asyncio.run(story())


def test_who_leaves_says_so():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        await nodes["gamma"].swim.leave()
        await until(lambda: nodes["alpha"].sees("gamma") == "left")
        await until(lambda: nodes["beta"].sees("gamma") == "left")
        assert PeerStatus.DEAD not in [peer.status for peer, _ in nodes["alpha"].changes]
        await stop(nodes)

    asyncio.run(story())


def test_roles_that_are_held_anew_are_known_to_all():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        nodes["beta"].swim.claim(("audit",))
        for name in ("alpha", "gamma"):
            await until(
                lambda name=name: any(
                    peer.instance == "beta" and peer.roles == ("audit",)
                    for peer in nodes[name].swim.members()
                )
            )
        assert nodes["beta"].swim.me().roles == ("audit",)
        await stop(nodes)

    asyncio.run(story())


def test_a_role_that_no_certificate_allows_is_refused_and_told():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        held = credential("beta")
        body = _ENCODER.encode(Claim(1, "plant.example", "beta", 1 << 62, ("operations",)))
        bound = own_bound(held.keys)
        forged = _ENCODER.encode(
            _Packed(body, bound.public, held.chains.mldsa, bound.sign(body, CONTEXT))
        )
        await nodes["beta"].streams.send("alpha", Lane.MEMBERS, memberwire.pack(Card(forged)))
        await until(lambda: nodes["alpha"].blamed != [])
        ((peer, why),) = nodes["alpha"].blamed
        assert peer == "beta"
        assert "operations" in why
        await until(lambda: nodes["alpha"].swim.members()[0].roles == ("defense", "audit"))
        await stop(nodes)

    asyncio.run(story())


def signed_card(name, epoch, roles=("audit",)):
    """Give a member's own card of an epoch, in its true signature."""
    held = credential(name)
    body = _ENCODER.encode(Claim(1, "plant.example", name, epoch, roles))
    bound = own_bound(held.keys)
    packed = _Packed(body, bound.public, held.chains.mldsa, bound.sign(body, CONTEXT))
    return memberwire.pack(Card(_ENCODER.encode(packed)))


def test_a_flood_of_cards_is_dropped_told_once_and_passed_on_no_further():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        node = nodes["alpha"]
        learnt, learn = [], node.datagrams.cards.learn
        node.datagrams.cards.learn = lambda data: learnt.append(data) or learn(data)
        for n in range(300):
            await node.swim.receive("beta", Lane.MEMBERS, signed_card("beta", (1 << 62) + n))
        assert 20 <= len(learnt) <= 40
        assert [why for _, why in node.blamed] == ["beta sends cards too often: cards left out."]
        await stop(nodes)

    asyncio.run(story())


def test_false_cards_cost_their_sender_more_and_then_nothing_is_asked_of_it():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        node = nodes["alpha"]
        frame = memberwire.pack(Card(b"\x93 no card"))
        for _ in range(100):
            await node.swim.receive("beta", Lane.MEMBERS, frame)
        assert not node.swim._rates.has("beta", "cards")
        await node.swim.receive("beta", Lane.MEMBERS, memberwire.pack(Have((Holding("x", 1),))))
        assert node.swim._asked.get("beta", set()) == set()
        await stop(nodes)

    asyncio.run(story())


def test_cards_that_were_asked_for_count_as_none():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        node = nodes["alpha"]
        for n in range(100):
            have = memberwire.pack(Have((Holding("beta", (1 << 62) + n),)))
            await node.swim.receive("beta", Lane.MEMBERS, have)
            await node.swim.receive("beta", Lane.MEMBERS, signed_card("beta", (1 << 62) + n))
        assert node.blamed == []
        assert node.datagrams.cards.of("beta").epoch == (1 << 62) + 99
        await stop(nodes)

    asyncio.run(story())


def test_who_renews_its_card_without_end_is_asked_for_it_a_few_times_a_second(monkeypatch):
    monkeypatch.setitem(rates.LIMITS, "newer cards", (8, 0.1))

    async def story():
        _, nodes = await cluster("alpha", "beta")
        node = nodes["alpha"]
        for n in range(100):
            have = memberwire.pack(Have((Holding("beta", (1 << 62) + n),)))
            await node.swim.receive("beta", Lane.MEMBERS, have)
            await node.swim.receive("beta", Lane.MEMBERS, signed_card("beta", (1 << 62) + n))
        assert node.datagrams.cards.of("beta").epoch < (1 << 62) + 60
        assert len(node.blamed) == 2
        await stop(nodes)

    asyncio.run(story())


def test_a_flood_of_key_offers_makes_no_keys():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        node, answered = nodes["alpha"], []
        agree = node.datagrams.agree

        async def counted(peer, message):
            answered.append(message)
            return await agree(peer, message)

        node.datagrams.agree = counted
        offer = await nodes["beta"].datagrams.offer("alpha")
        for _ in range(200):
            await node.swim.receive("beta", Lane.KEYS, offer)
        assert 10 <= len(answered) <= 18
        assert [why for _, why in node.blamed] == [
            "beta sends offers of keys too often: offers of keys left out."
        ]
        await stop(nodes)

    asyncio.run(story())


def test_where_no_udp_passes_the_streams_carry_the_pings():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        for node in nodes.values():
            node.wire.drops = lambda _address, _data: True
        before = len(nodes["alpha"].changes)
        await asyncio.sleep(1.5)
        later = [peer.status for peer, _ in nodes["alpha"].changes[before:]]
        assert PeerStatus.DEAD not in later
        assert nodes["alpha"].sees("beta") in ("alive", "suspect")
        await stop(nodes)

    asyncio.run(story())


def test_two_that_cannot_reach_each_other_speak_through_a_third():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        alpha, beta = nodes["alpha"], nodes["beta"]
        here, there = alpha.wire.socket.address, beta.wire.socket.address
        alpha.wire.drops = lambda address, _data: address == there
        beta.wire.drops = lambda address, _data: address == here
        heard = []
        beta.datagrams.listen(9, lambda peer, data: heard.append((peer, data)))

        def asked():
            alpha.datagrams.send("beta", 9, b"straight")
            assert alpha.datagrams.send("beta", 9, b"by gamma", "gamma")
            return heard

        await until(asked)
        assert set(heard) == {("alpha", b"by gamma")}
        answers = []
        alpha.datagrams.listen(9, lambda peer, data: answers.append((peer, data)))

        def answered():
            beta.datagrams.send("alpha", 9, b"and back")
            return answers

        await until(answered)
        assert set(answers) == {("beta", b"and back")}
        await stop(nodes)

    asyncio.run(story())


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x02rest", b"\x01\xff\xff", memberwire.pack(Card(b"no card"))],
)
def test_what_is_no_message_is_blamed_on_its_sender_and_changes_nothing(data):
    async def story():
        network, places = MemoryNetwork(), {}
        node = Node("alpha", network)
        await node.start(places)
        for lane in (Lane.KEYS, Lane.MEMBERS):
            await node.swim.receive("beta", lane, data)
        assert [peer for peer, _ in node.blamed] == ["beta", "beta"]
        assert node.swim.members() == ()
        await stop({"alpha": node})

    asyncio.run(story())


def test_a_stream_may_tell_of_many_members_at_once():
    async def story():
        network, places = MemoryNetwork(), {}
        node = Node("alpha", network)
        await node.start(places)
        told = tuple(Peer(f"n{n}", "n:1") for n in range(100))
        frame = memberwire.pack(Notes(Ping(0, "beta", (Peer("beta", "beta"), *told))))
        for sender in ("beta", "gamma"):
            await node.swim.receive(sender, Lane.MEMBERS, frame)
        assert len(node.swim.members()) > 90
        await stop({"alpha": node})

    asyncio.run(story())
