import asyncio
import shutil

import pytest
from tests.unit.mesh.mail import SECOND, THREAT, Node, bulletin, end, federation, until

from cronos.errors import CronosError, DeniedError
from cronos.mesh import rates, wire
from cronos.mesh.outbox import OutboxConfig
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import Receipt, encode


def run(story):
    asyncio.run(story)


def test_a_bulletin_reaches_every_peer_and_is_marked_as_signed_afterwards(tmp_path):
    async def story():
        one, two, three = await federation(tmp_path, "one", "two", "three")
        await one.delivery.post(bulletin("one", 1))
        for peer in (two, three):
            await until(lambda peer=peer: peer.bulletins(signed=True) == ["one-1-b1"])
            assert peer.bulletins() == ["one-1-b1"]
        await until(lambda: one.holds("two") and one.holds("three"))
        assert one.reports == two.reports == three.reports == []
        assert two.delivery.counts.heard == 1
        await end(one, two, three)

    run(story())


def test_a_thousand_at_once_take_few_signatures_and_arrive_in_order(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        posts = [one.delivery.post(bulletin("one", n)) for n in range(1, 1001)]
        await asyncio.gather(*posts)
        await until(lambda: len(two.bulletins()) == 1000 and one.outbox.told("two").held)
        one.clock.advance(SECOND)  # the flood has passed
        await until(lambda: len(two.bulletins(signed=True)) == 1000, ticking=[one])
        assert two.bulletins() == [f"one-1-b{n}" for n in range(1, 1001)]
        assert one.keys.signatures <= 10
        assert two.delivery.counts.repeated == 0
        await end(one, two)

    run(story())


def test_what_is_told_together_shares_a_sync_and_one_that_is_refused_holds_up_none(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        stores, store = [], one.outbox.store
        one.outbox.store = lambda batch: (stores.append(len(batch[0])), store(batch))
        said = [(bulletin("one", n), "") for n in range(1, 101)]
        said.insert(50, (bulletin("one", 200, name="x" * 20_000), ""))
        with pytest.raises(CronosError, match="is longer than"):
            await one.delivery.post_all(said)
        assert stores[:1] == [100]
        await until(lambda: two.bulletins() == [f"one-1-b{n}" for n in range(1, 101)])
        await end(one, two)

    run(story())


def test_receipts_come_back_and_older_ones_are_superseded(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        two.answers = True
        await asyncio.gather(*(one.delivery.post(bulletin("one", n)) for n in range(1, 51)))
        await until(lambda: any(r.sequence == 50 for r in one.receipts(signed=True)))
        await until(lambda: two.outbox.size[0] == 0)
        await end(one, two)

    run(story())


def test_a_peer_that_was_away_catches_up(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        one.network.partition(frozenset({"one"}), frozenset({"two"}))
        for n in range(1, 31):
            await one.delivery.post(bulletin("one", n))
        assert two.heard == []
        await one.network.heal()
        await until(lambda: len(two.bulletins()) == 30)
        one.clock.advance(SECOND)
        await until(lambda: len(two.bulletins(signed=True)) == 30, ticking=[one])
        assert two.bulletins() == [f"one-1-b{n}" for n in range(1, 31)]
        await end(one, two)

    run(story())


def test_a_peer_that_joins_later_hears_what_is_still_in_force(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await one.delivery.post(bulletin("one", 1, ttl_s=10))
        await one.delivery.post(bulletin("one", 2))
        await until(lambda: one.holds("two"))
        one.clock.advance(11 * SECOND)
        late = Node(one.network, "late", tmp_path / "late", clock=one.clock)
        late.bound = one.bound
        late.peers = ("one",)
        await late.start()
        await until(lambda: late.bulletins() == ["one-1-b2"])
        await end(one, two, late)

    run(story())


def test_a_sender_that_was_killed_after_its_acknowledgement_sends_when_it_is_back(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        one.network.partition(frozenset({"one"}), frozenset({"two"}))
        await one.delivery.post(bulletin("one", 1))
        await one.vanish()
        await one.network.heal()
        await one.start()
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"])
        await end(one, two)

    run(story())


def test_a_receiver_that_restarts_hears_again_what_it_acknowledged_and_nobody_else_does(tmp_path):
    async def story():
        one, two, three = await federation(tmp_path, "one", "two", "three")
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: len(two.bulletins(signed=True)) == 1)
        await until(lambda: one.holds("two"))
        await two.vanish()
        two.heard.clear()
        await two.start()
        assert two.bulletins(signed=True) == ["one-1-b1"]
        await one.delivery.post(bulletin("one", 2))
        await until(lambda: "one-1-b2" in two.bulletins(signed=True))
        assert three.bulletins() == ["one-1-b1", "one-1-b2"]
        await end(one, two, three)

    run(story())


def test_a_receiver_that_lost_its_folder_is_told_everything_in_force_again(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: one.holds("two"))
        await two.vanish()
        two.heard.clear()
        two.folder = tmp_path / "another"
        await two.start()
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"])
        await end(one, two)

    run(story())


def test_a_sender_that_lost_its_folder_is_heard_and_its_old_ids_are_known(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: one.holds("two"))
        await one.vanish()
        one.folder = tmp_path / "another"
        await one.start()
        await one.delivery.post(bulletin("one", 1))
        await one.delivery.post(bulletin("one", 1, incarnation=2))
        await until(lambda: two.bulletins() == ["one-1-b1", "one-2-b1"])
        assert two.delivery.counts.repeated == 1
        await end(one, two)

    run(story())


def test_a_sender_whose_stream_is_older_than_peers_remember_begins_a_later_one(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await one.vanish()
        one.incarnation = 99
        one.folder = tmp_path / "one-later"
        await one.start()
        await one.delivery.post(bulletin("one", 1, incarnation=100))
        await until(lambda: one.holds("two"))
        await one.vanish()
        one.incarnation = 4  # its folder is lost, and its clock was set back
        one.folder = tmp_path / "one-lost"
        await one.start()
        await one.delivery.post(bulletin("one", 1, incarnation=5))
        await until(lambda: "one-5-b1" in two.bulletins(signed=True))
        assert one.outbox.stream == 101
        assert ("two", "mesh.stream_behind") in one.reports
        await two.delivery.receive("one", THREAT, wire.pack(wire.Acked(1 << 39, 1, 1)))
        await two.delivery.receive("one", THREAT, wire.pack(wire.Acked(1 << 61, 1, 1)))
        assert two.outbox.stream == (1 << 39) + 1
        await end(one, two)

    run(story())


def test_what_cannot_be_handed_on_now_is_not_held_and_comes_again(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        two.delivery.crowded = lambda: True
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.delivery.counts.refused == 1)
        assert two.bulletins() == []
        two.delivery.crowded = lambda: False
        one.clock.advance(3 * SECOND)
        await until(lambda: two.bulletins() == ["one-1-b1"], ticking=(one, two))
        await end(one, two)

    run(story())


def test_a_sender_that_was_put_back_to_an_old_copy_is_heard(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await one.vanish()
        shutil.copytree(one.folder, tmp_path / "backup")
        for number in (1, 2, 3):
            await one.start()
            await one.delivery.post(bulletin("one", number))
            await until(lambda: one.holds("two"))
            await one.vanish()
        one.folder = tmp_path / "backup"
        await one.start()
        await one.delivery.post(bulletin("one", 9))
        await until(lambda: "one-1-b9" in two.bulletins(signed=True))
        await end(one, two)

    run(story())


def test_an_id_is_known_for_longer_than_its_message_counts_and_then_forgotten(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two", config=OutboxConfig(skew_ms=60_000))
        first = bulletin("one", 1, ttl_s=10)
        await one.delivery.post(first)
        await until(lambda: two.bulletins() == ["one-1-b1"])
        one.clock.advance(65 * SECOND)
        two.delivery.tick()
        await one.delivery.post(first)
        await until(lambda: two.delivery.counts.repeated == 1)
        one.clock.advance(16 * SECOND)
        two.delivery.tick()
        await one.delivery.post(first)
        await until(lambda: len(two.bulletins()) == 2)
        await end(one, two)

    run(story())


def test_an_expired_bulletin_is_not_sent_and_does_not_hold_up_what_follows(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        one.network.partition(frozenset({"one"}), frozenset({"two"}))
        await one.delivery.post(bulletin("one", 1, ttl_s=1))
        await one.delivery.post(bulletin("one", 2))
        one.clock.advance(2 * SECOND)
        one.delivery.tick()
        await one.network.heal()
        await until(lambda: two.bulletins(signed=True) == ["one-1-b2"])
        assert one.delivery.counts.expired == 1
        await until(lambda: one.holds("two"))
        await end(one, two)

    run(story())


def test_what_is_said_in_anothers_name_is_refused_and_reported(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await one.delivery.post(bulletin("three", 1))
        one.tasks.spawn(_post(one, Receipt("three", "two", 5), "two"), "lie")
        await until(lambda: two.delivery.counts.refused == 2)
        assert two.heard == []
        assert ("one", "mesh.false_origin") in two.reports
        await end(one, two)

    run(story())


async def _post(node, message, to):
    await node.delivery.post(message, to)


def test_a_key_that_the_certificate_does_not_bind_signs_nothing(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        two.bound["one"] = bytes(48)
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: ("one", "mesh.unknown_key") in two.reports)
        assert two.bulletins() == ["one-1-b1"]
        assert two.bulletins(signed=True) == []
        assert ("one", "mesh.false_key") in two.reports
        await end(one, two)

    run(story())


def test_a_rotated_key_is_counted_apart_until_the_certificate_is_there(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        bound = two.bound["one"]
        two.bound["one"] = bytes(48)
        two.delivery._seals._clock = two.clock
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: ("one", "mesh.unproven_key") in two.reports)
        await until(lambda: ("one", "mesh.unknown_key") in two.reports)
        counts = two.delivery.counts
        assert (counts.unproven, counts.forged, counts.signed) == (1, 0, 0)
        two.bound["one"] = bound
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"], ticking=[two])
        assert counts.forged == 0
        await end(one, two)

    run(story())


def test_signatures_that_come_before_the_certificate_is_known_count_once_it_is(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        bound = two.bound.pop("one")
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: ("one", "mesh.unknown_key") in two.reports)
        two.bound["one"] = bound
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"], ticking=[two])
        assert two.delivery.counts.forged == 0
        await end(one, two)

    run(story())


def test_a_forged_signature_is_reported_and_the_true_one_still_counts(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        sent = []
        send = one.mesh.send

        async def forge(peer, lane, data):
            message = wire.unpack(data)
            if isinstance(message, wire.Signatures):
                sent.append(data)
                data = data[:-30] + bytes(byte ^ 1 for byte in data[-30:])
                broken = wire.Signatures(message.stream, message.kid, message.size,
                                         bytes(4627), message.leaves)  # fmt: skip
                data = wire.pack(broken)
            await send(peer, lane, data)

        one.mesh.send = forge
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: ("one", "mesh.forged") in two.reports)
        assert two.bulletins(signed=True) == []
        await two.delivery.receive("one", THREAT, sent[0])
        assert two.bulletins(signed=True) == ["one-1-b1"]
        await end(one, two)

    run(story())


def test_a_signature_that_does_not_come_is_reported_and_waited_for_no_more(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        send = one.mesh.send

        async def withhold(peer, lane, data):
            if not isinstance(wire.unpack(data), wire.Signatures):
                await send(peer, lane, data)

        one.mesh.send = withhold
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.bulletins() == ["one-1-b1"])
        tick(two, 9)
        assert two.reports == []
        tick(two, 2)
        assert ("one", "mesh.unsigned") in two.reports
        await until(lambda: one.holds("two"), ticking=[two])
        await two.vanish()
        two.heard.clear()
        await two.start()
        assert two.bulletins() == ["one-1-b1"]
        assert two.bulletins(signed=True) == []
        await end(one, two)

    run(story())


def test_where_the_reflex_process_is_behind_a_flood_waits_and_others_do_not(tmp_path, monkeypatch):
    monkeypatch.setitem(rates.LIMITS, "messages", (16, 4))

    async def story():
        one, two, three = await federation(tmp_path, "one", "two", "three")
        three.delivery.pressed = lambda: True
        for n in range(200):
            await one.delivery.post(bulletin("one", n))
        await two.delivery.post(bulletin("two", 1))
        await until(lambda: "two-1-b1" in three.bulletins(), ticking=[one, two])
        assert len(three.bulletins()) <= 60
        assert ("one", "mesh.too_often") in three.reports
        assert ("two", "mesh.too_often") not in three.reports
        three.delivery.pressed = lambda: False
        for _ in range(40):
            one.clock.advance(SECOND)
            await until(lambda: True)
            await asyncio.sleep(0.01)
            one.delivery.tick()
        await until(lambda: len(set(three.bulletins())) == 201, ticking=[one, three])
        await end(one, two, three)

    run(story())


def test_receipts_that_follow_one_another_quickly_are_signed_all_the_same(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        for n in range(1, 40):
            await two.delivery.post(bulletin("two", n))
        await until(lambda: len(one.bulletins()) == 39)
        for n in range(1, 40):
            await one.delivery.post(Receipt("one", "two", n), "two")
            await until(lambda n=n: two.receipts()[-1:] == [Receipt("one", "two", n)])
        await until(lambda: one.holds("two"), ticking=[one, two])
        tick(two, 20)
        assert two.delivery.counts.missing == 0
        assert len(two.receipts(signed=True)) == len(two.receipts())
        assert two.reports == []
        await end(one, two)

    run(story())


class _Never(dict):
    """A record of what was sent that keeps nothing: so it was in the version before."""

    def __setitem__(self, peer, position):
        pass


def test_a_receipt_that_a_later_one_covers_is_not_missed(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        one.outbox.sent = _Never()
        for n in range(1, 10):
            await two.delivery.post(bulletin("two", n))
        await until(lambda: len(one.bulletins()) == 9)
        for n in range(1, 10):
            await one.delivery.post(Receipt("one", "two", n), "two")
            await until(lambda n=n: two.receipts()[-1:] == [Receipt("one", "two", n)])
        await until(lambda: two.receipts(signed=True) != [], ticking=[one])
        tick(two, 20)
        assert two.delivery.counts.missing > 0
        assert two.reports == []
        await end(one, two)

    run(story())


def test_what_found_no_place_is_posted_again_once_and_what_did_is_not(tmp_path):
    async def story():
        one, two = await federation(
            tmp_path, "one", "two", config=OutboxConfig(max_messages=4, max_bytes=1 << 20)
        )
        one.mesh.forget("two")
        await until(lambda: one.mesh.peers() == ())
        several = [(bulletin("one", n), "") for n in range(1, 8)]
        with pytest.raises(DeniedError):
            await one.delivery.post_all(several)
        assert len(list(one.outbox.posted())) == 4
        with pytest.raises(DeniedError):
            await one.delivery.post_again(several)
        assert len(list(one.outbox.posted())) == 4
        one.mesh.connect("two", "two")
        await until(lambda: len(two.bulletins()) == 4, ticking=[one, two])
        await until(lambda: one.holds("two"), ticking=[one, two])
        # What is too long finds no place however often it is tried: it holds up nothing.
        several.append((bulletin("one", 8, name="x" * 20_000), ""))
        await one.delivery.post_again(several[4:])
        await until(lambda: len(two.bulletins()) == 7, ticking=[one, two])
        await end(one, two)

    run(story())


def tick(node, seconds):
    """Let time pass for a node that looks at it as often as it should."""
    for _ in range(2 * seconds):
        node.clock.advance(SECOND // 2)
        node.delivery.tick()


def test_a_node_that_stood_still_blames_nobody_for_what_it_has_not_read(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        send, kept = one.mesh.send, []

        async def hold_back(peer, lane, data):
            if isinstance(wire.unpack(data), wire.Signatures):
                kept.append((peer, lane, data))
            else:
                await send(peer, lane, data)

        one.mesh.send = hold_back
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: bool(kept), ticking=[one])
        two.clock.advance(60 * SECOND)
        two.delivery.tick()
        tick(two, 2)
        for frame in kept:
            await send(*frame)
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"])
        tick(two, 20)
        assert two.reports == []
        await end(one, two)

    run(story())


def test_a_peer_that_was_away_signs_when_it_is_back_and_is_not_blamed(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        send = one.mesh.send

        async def withhold(peer, lane, data):
            if not isinstance(wire.unpack(data), wire.Signatures):
                await send(peer, lane, data)

        one.mesh.send = withhold
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.bulletins() == ["one-1-b1"])
        await one.vanish()
        await until(lambda: two.mesh.peers() == ())
        tick(two, 60)
        assert two.reports == []
        await one.start()
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"], ticking=[one, two])
        tick(two, 20)
        assert two.reports == []
        await end(one, two)

    run(story())


def test_who_signed_with_a_key_that_is_not_known_yet_is_not_blamed(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        del two.bound["one"]
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.delivery._early, ticking=[one])
        two.reports.clear()
        tick(two, 20)
        assert ("one", "mesh.unsigned") not in two.reports
        assert two.delivery.counts.missing == 1
        await end(one, two)

    run(story())


def test_what_does_not_count_any_more_is_not_missed(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        send = one.mesh.send

        async def withhold(peer, lane, data):
            if not isinstance(wire.unpack(data), wire.Signatures):
                await send(peer, lane, data)

        one.mesh.send = withhold
        await one.delivery.post(bulletin("one", 1, ttl_s=5))
        await until(lambda: two.bulletins() == ["one-1-b1"])
        tick(two, 20)
        assert two.reports == []
        assert not two.outbox.inbox.box("one").unsigned
        await end(one, two)

    run(story())


def test_sending_waits_for_no_signature(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        asked = asyncio.Event()

        class Stuck:
            async def sign(self, leaves):
                await asked.wait()
                raise DeniedError("testing.stuck", "No.", "Wait.")

        one.delivery._signing._seals = Stuck()
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.bulletins() == ["one-1-b1"])
        asked.set()
        await until(lambda: ("", "testing.stuck") in one.reports)
        await end(one, two)

    run(story())


def test_everything_delivered_twice_is_heard_once(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        one.network.twice = True
        two.answers = True
        for n in range(1, 21):
            await one.delivery.post(bulletin("one", n))
        await until(lambda: len(two.bulletins(signed=True)) == 20)
        assert two.bulletins() == [f"one-1-b{n}" for n in range(1, 21)]
        assert two.delivery.counts.repeated >= 20
        await until(lambda: any(r.sequence == 20 for r in one.receipts(signed=True)))
        await end(one, two)

    run(story())


def test_what_a_link_swallowed_is_sent_again_when_nothing_moves(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await until(lambda: one.delivery._lines["two"].greeted)
        send = one.mesh.send
        swallowed = []

        async def swallow(peer, lane, data):
            swallowed.append(data)

        one.mesh.send = swallow
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: swallowed)
        one.mesh.send = send
        one.clock.advance(3 * SECOND)
        await until(lambda: two.bulletins(signed=True) == ["one-1-b1"], ticking=[one])
        assert one.delivery.counts.resent >= 1
        await end(one, two)

    run(story())


def test_a_receipt_does_not_answer_for_what_it_overtook(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two", signs=False)
        two.answers = True
        first = wire.Item(1 << 21, 1, 60_000, encode(bulletin("one", 1)))
        second = wire.Item((1 << 21) + 1, 1, 60_000, encode(bulletin("one", 2)))
        ahead = wire.Parcels(1, first.position, (second,))
        await two.delivery.receive("one", THREAT, wire.pack(ahead))
        assert two.bulletins() == ["one-1-b2"]
        await asyncio.sleep(0.02)
        assert one.receipts() == []
        await two.delivery.receive("one", THREAT, wire.pack(wire.Parcels(1, 0, (first,))))
        assert two.bulletins() == ["one-1-b2", "one-1-b1"]
        await until(lambda: [r.sequence for r in one.receipts()][-1:] == [2])
        await end(one, two)

    run(story())


def test_a_receipt_for_an_earlier_life_confirms_nothing_in_this_one(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two", signs=False)
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.bulletins() == ["one-1-b1"])
        one.network.partition(frozenset({"one"}), frozenset({"two"}))
        await two.delivery.post(Receipt("two", "one", 1), "one")
        await one.vanish()
        await one.start()
        await one.network.heal()
        await until(lambda: two.outbox.size[0] == 0)
        assert one.receipts() == []
        await end(one, two)

    run(story())


def test_a_full_disk_is_said_and_what_was_posted_goes_all_the_same(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        full = DeniedError("mesh.journal_unwritable", "Full.", "Make room.")
        store = one.outbox.store

        def refuse(batch):
            raise full

        one.outbox.store = refuse
        with pytest.raises(DeniedError) as caught:
            await one.delivery.post(bulletin("one", 1))
        assert caught.value is full
        await until(lambda: two.bulletins() == ["one-1-b1"])
        assert ("", "mesh.journal_unwritable") in one.reports
        one.outbox.store = store
        await one.delivery.post(bulletin("one", 2))
        await one.vanish()
        await one.start()
        await until(lambda: one.outbox.size[0] == 2)
        await end(one, two)

    run(story())


def test_a_receiver_with_a_full_disk_hears_and_acknowledges_nothing(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        store = two.outbox.store

        def refuse(batch):
            raise DeniedError("mesh.journal_unwritable", "Full.", "Make room.")

        two.outbox.store = refuse
        await one.delivery.post(bulletin("one", 1))
        await until(lambda: two.bulletins() == ["one-1-b1"])
        await asyncio.sleep(0.02)
        assert one.outbox.told("two").held == 0
        two.outbox.store = store
        two.clock.advance(2 * SECOND)
        await until(lambda: one.holds("two"), ticking=[one, two])
        assert two.bulletins() == ["one-1-b1"]
        await end(one, two)

    run(story())


async def pass_a_second(*nodes):
    """Let time pass for nodes that have one clock, and let them say what is due."""
    for _ in range(2):
        nodes[0].clock.advance(SECOND // 2)
        for node in nodes:
            node.delivery.tick()
        await asyncio.sleep(0.02)


def test_who_signs_after_a_flood_is_blamed_for_none(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.mesh.inbox.MAX_UNSIGNED", 10)

    async def story():
        one, two = await federation(tmp_path, "one", "two")
        await asyncio.gather(*(one.delivery.post(bulletin("one", n)) for n in range(1, 41)))
        for _ in range(100):
            if len(two.bulletins()) == 40:
                break
            await pass_a_second(one, two)
        assert len(two.bulletins()) == 40
        assert two.reports == []
        await end(one, two)

    run(story())


def test_a_peer_that_sends_more_than_it_signs_is_not_acknowledged(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.mesh.inbox.MAX_UNSIGNED", 10)

    async def story():
        one, two = await federation(tmp_path, "one", "two")
        send = one.mesh.send

        async def withhold(peer, lane, data):
            if not isinstance(wire.unpack(data), wire.Signatures):
                await send(peer, lane, data)

        one.mesh.send = withhold
        await asyncio.gather(*(one.delivery.post(bulletin("one", n)) for n in range(1, 101)))
        await until(lambda: len(two.bulletins()) == 10)
        for second in range(8):
            assert second > 3 or two.reports == []
            await pass_a_second(one, two)
        assert two.reports == [("one", "mesh.flooding")]
        assert len(two.bulletins()) == 10
        one.mesh.send = send
        for _ in range(400):
            if len(two.bulletins()) == 100:
                break
            await pass_a_second(one, two)
        assert two.bulletins() == [f"one-1-b{n}" for n in range(1, 101)]
        await end(one, two)

    run(story())


def test_no_bytes_of_a_peer_raise(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        for data in (b"", b"\x01", b"\x02xx", b"\x01\xc1", bytes(100), b"\x01" + b"\x91" * 5000):
            await two.delivery.receive("one", THREAT, data)
        await two.delivery.receive("one", THREAT, wire.pack(wire.Give(1)))
        strange = wire.Parcels(1, 0, (wire.Item(1, 1, 1, b"\x01\x00"),))
        await two.delivery.receive("one", THREAT, wire.pack(strange))
        assert {code for _, code in two.reports} == {
            "mesh.bad_frame",
            "mesh.wrong_lane",
            "mesh.false_origin",
        }
        assert two.heard == []
        await end(one, two)

    run(story())


def test_who_has_left_is_waited_for_no_more(tmp_path):
    async def story():
        one, two = await federation(tmp_path, "one", "two")
        one.network.partition(frozenset({"one"}), frozenset({"two"}))
        one.delivery.members(["two", "three"])
        await one.delivery.post(bulletin("one", 1))
        assert [(s.peer, s.linked, s.waiting) for s in one.delivery.standings()] == [
            ("three", False, 1),
            ("two", False, 1),
        ]
        one.delivery.forget("three")
        assert [s.peer for s in one.delivery.standings()] == ["two"]
        await end(one, two)

    run(story())


def test_a_message_beyond_the_bound_is_refused(tmp_path):
    async def story():
        (one,) = await federation(tmp_path, "one")
        with pytest.raises(CronosError, match="longer than"):
            await one.delivery.post(bulletin("one", 1, name="x" * 20_000))
        await end(one)

    run(story())


def test_a_lone_node_posts_and_keeps_until_it_expires(tmp_path):
    async def story():
        node = Node(MemoryNetwork(), "one", tmp_path)
        await node.start()
        await node.delivery.post(bulletin("one", 1, ttl_s=5))
        assert node.outbox.size[0] == 1
        node.clock.advance(6 * SECOND)
        node.delivery.tick()
        assert node.outbox.size[0] == 0
        await end(node)

    run(story())
