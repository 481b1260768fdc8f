import asyncio
import shutil

import pytest
from msgspec.structs import replace
from tests.unit.mesh.copies import Owner, end, owners, until

from cronos.govern.copies import LedgerCopy
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.mesh import wire
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import Lane


def run(story):
    asyncio.run(story)


def test_records_are_acknowledged_at_once_and_replicated_when_a_peer_holds_them(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(*(b"record %d" % n for n in range(100)))
        await until(lambda: one.replicated() == 100)
        assert one.replica.positions().acknowledged == 100
        one.write(b"another")
        await until(lambda: one.replicated() == 101)
        copy = verify_file(tmp_path / "two" / "replica" / "one" / "ledger.db")
        assert (copy.size, copy.head) == (101, one.ledger.checkpoint().head)
        assert (tmp_path / "two/replica/one/epochs").read_bytes() == b"epochs of one"
        assert one.reports == two.reports == []
        await end(one, two)

    run(story())


def test_two_nodes_keep_each_others_at_once(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        for n in range(30):
            one.write(b"one %d" % n)
            two.write(b"two %d" % n)
        await until(lambda: one.replicated() == two.replicated() == 30)
        await end(one, two)

    run(story())


def test_with_k_copies_a_record_counts_when_k_peers_hold_it(tmp_path):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two", copies=2)
        one = nodes[0]
        one.network.partition(frozenset({"one", "two"}), frozenset({"three"}))
        one.write(b"record")
        await until(lambda: one.replica.holders() == {"two": 1})
        assert one.replicated() == 0
        await one.network.heal()
        await until(lambda: one.replicated() == 1)
        await end(*nodes)

    run(story())


def test_a_copy_goes_on_where_it_stood_after_either_was_restarted(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(*(b"record %d" % n for n in range(10)))
        await until(lambda: one.replicated() == 10)
        await two.stop()
        one.write(*(b"more %d" % n for n in range(10)))
        await asyncio.sleep(0.05)
        assert one.replicated() == 10
        await two.start()
        await until(lambda: one.replicated() == 20)
        await one.stop()
        one.write(b"last")
        await one.start()
        await until(lambda: one.replicated() == 21)
        await end(one, two)

    run(story())


def test_a_peer_that_is_gone_is_replaced_by_the_next(tmp_path):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two")
        one = nodes[0]
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        (holder,) = one.replica.holders()
        other = "two" if holder == "three" else "three"
        one.network.partition(frozenset({"one", other}), frozenset({holder}))
        one.write(b"second")
        await until(lambda: one.replicated() == 2)
        assert one.replica.holders()[other] == 2
        await end(*nodes)

    run(story())


def test_who_is_ranked_first_keeps_it_and_gives_it_up_to_whom_is_ranked_before_it(tmp_path):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two")
        one = nodes[0]
        order = ["three", "two"]
        one.replica.ranked = lambda among: sorted(among, key=order.index)
        one.write(b"first")
        await until(lambda: one.replica.holders().get("three") == 1)
        order.reverse()
        one.write(b"second")
        await until(lambda: one.replica.holders().get("two") == 2)
        assert one.replicated() == 2
        await end(*nodes)

    run(story())


def test_a_peer_that_is_full_is_replaced_and_reported(tmp_path):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two", max_bytes=20_000)
        one = nodes[0]
        one.write(bytes(30_000))
        await until(lambda: len(one.reports) == 2)
        assert one.codes() == {"mesh.copy_refused"}
        assert one.replicated() == 0
        await end(*nodes)

    run(story())


def test_a_ledger_that_was_begun_anew_puts_the_former_copy_aside(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first", b"second")
        await until(lambda: one.replicated() == 2)
        await one.stop()
        one.ledger.close()
        one.ledger = None
        shutil.rmtree(tmp_path / "one")
        one.write(b"another life")
        await one.start()
        await until(lambda: one.replicated() == 1)
        assert ("two", "mesh.copy_forked") in one.reports
        former = verify_file(tmp_path / "two" / "replica" / "one.forked" / "ledger.db")
        assert former.size == 2
        await end(one, two)

    run(story())


def test_a_readable_ledger_is_given_to_nobody(tmp_path):
    async def story():
        network = MemoryNetwork()
        one = Owner(network, "one", tmp_path / "one", sealer=PlaintextSealer(PlaintextConfig()))
        two = Owner(network, "two", tmp_path / "two")
        one.peers = ("two",)
        one.write(b"readable")
        await one.start()
        await two.start()
        await until(lambda: "govern.copy_readable" in one.codes())
        assert not (tmp_path / "two" / "replica").exists()
        await end(one, two)

    run(story())


def test_a_file_that_changes_is_given_again(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        (tmp_path / "one" / "ledger" / "epochs").write_bytes(b"E" * 1_200_000)
        one.write(b"second")
        await until(lambda: one.replicated() == 2)
        assert len((tmp_path / "two/replica/one/epochs").read_bytes()) == 1_200_000
        await end(one, two)

    run(story())


def test_no_peer_reads_or_writes_another_ones_copy(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"secret")
        await until(lambda: one.replicated() == 1)
        answers = []

        async def keep(peer, lane, data):
            answers.append((peer, wire.unpack(data)))

        two.mesh.send = keep
        await two.replica.receive("mallory", Lane.RECORDS, wire.pack(wire.Give(1)))
        await until(lambda: answers)
        assert answers == [("mallory", wire.Standing(None, 0, bytes(32)))]
        for strange in ("../one", "one/../one", "", "O", "a" * 64):
            await two.replica.receive(strange, Lane.RECORDS, wire.pack(wire.Give(1)))
        assert sorted(path.name for path in (tmp_path / "two/replica").iterdir()) == ["one"]
        await end(one, two)

    run(story())


def test_rows_that_do_not_continue_the_chain_are_refused(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        for rows in (
            wire.Rows(2, (b"\x01forged",), bytes(32)),
            wire.Rows(1, (b"\x01forged",), bytes(32)),
            wire.Rows(9, (b"\x01forged",), bytes(32)),
            wire.Rows(2, (b"\x00readable",), bytes(32)),
        ):
            await two.replica.receive("one", Lane.RECORDS, wire.pack(rows))
        assert LedgerCopy(tmp_path / "two/replica/one").extent().size == 1
        assert two.codes() == {"govern.copy_forked", "govern.copy_readable"}
        await end(one, two)

    run(story())


def test_a_lost_answer_is_asked_for_again(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        send = two.mesh.send
        lost = []

        async def lose(peer, lane, data):
            lost.append(data)

        two.mesh.send = lose
        one.write(b"first")
        await until(lambda: lost)
        two.mesh.send = send
        one.clock.advance(11_000_000_000)
        await until(lambda: one.replicated() == 1)
        await end(one, two)

    run(story())


def test_strange_bytes_are_reported(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        await one.replica.receive("two", Lane.RECORDS, b"\x07strange")
        await one.replica.receive("two", Lane.RECORDS, wire.pack(wire.Acked(1, 1, 1)))
        assert one.codes() == {"mesh.bad_frame"}
        await end(one, two)

    run(story())


def test_a_peer_that_keeps_silent_is_replaced_by_the_next(tmp_path):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two")
        one = nodes[0]
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        (holder,) = one.replica.holders()
        silent = next(node for node in nodes if node.name == holder)

        async def swallow(peer, lane, data):
            pass

        silent.keeper._mesh = type("Mesh", (), {"send": staticmethod(swallow)})()
        one.write(b"second")
        for _ in range(5):
            one.clock.advance(11_000_000_000)
            await asyncio.sleep(0.3)  # what has grown is gathered for a quarter of a second
        await until(lambda: one.replicated() == 2)
        assert one.codes() == {"mesh.copy_refused"}
        await end(*nodes)

    run(story())


@pytest.mark.parametrize("lie", [{"head": bytes(32)}, {"files": {"epochs": bytes(32)}}])
def test_a_peer_that_tells_lies_of_its_copy_is_replaced_by_the_next(tmp_path, lie):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two")
        one = nodes[0]
        chosen = max(("three", "two"), key=one.replica._weight)
        liar = next(node for node in nodes if node.name == chosen)
        send = liar.mesh.send

        async def lies(peer, lane, data):
            said = wire.unpack(data)
            if isinstance(said, wire.Standing):
                data = wire.pack(replace(said, **lie))
            await send(peer, lane, data)

        liar.keeper._mesh = type("Mesh", (), {"send": staticmethod(lies)})()
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        assert chosen not in one.replica.holders()
        await end(*nodes)

    run(story())


def test_in_a_flood_records_are_copied_half_a_second_later_and_single_ones_at_once(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        held, two.clock_at = [], one.clock.now().boot_ns
        one.write(*(b"record %d" % n for n in range(64)))
        await until(lambda: one.replica.positions().acknowledged == 65)
        began = one.clock.now().boot_ns
        for _ in range(20):
            one.write(b"more")
            await asyncio.sleep(0.005)
            held.append(one.replicated())
        assert set(held) == {1}
        one.clock.advance(500_000_000 + began - two.clock_at)
        await until(lambda: one.replicated() == 85)
        one.write(b"single")
        await until(lambda: one.replicated() == 86)
        await end(one, two)

    run(story())
