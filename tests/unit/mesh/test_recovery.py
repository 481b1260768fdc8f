import asyncio
import shutil

import pytest
from tests.unit.mesh.copies import Owner, end, owners, until

from cronos.errors import CronosError, UnreachableError
from cronos.govern.copies import LedgerCopy, settle
from cronos.mesh import wire
from cronos.mesh.recovery import Recovery


def run(story):
    asyncio.run(story)


async def lose(one):
    """Lose a node's process and its whole directory."""
    await one.stop()
    one.ledger.close()
    one.ledger = None
    shutil.rmtree(one.folder)


def test_a_ledger_comes_back_onto_an_empty_directory_and_goes_on(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        records = [b"record %d" % n for n in range(2_000)]
        one.write(*records)
        await until(lambda: one.replicated() == 2_000)
        head = one.ledger.checkpoint().head
        await lose(one)
        await one.start()
        progress = []
        recovery = one.recovery()
        recovery._progress = lambda done, total: progress.append((done, total))
        copy = LedgerCopy(tmp_path / "one" / "ledger.recovering")
        recovered = await recovery.run(copy, 5)
        assert (recovered.peer, recovered.size, recovered.head) == ("two", 2_000, head)
        assert progress[-1] == (2_000, 2_000)
        extent = settle(copy, tmp_path / "one" / "ledger", one.sealer)
        assert extent.size == 2_000
        assert one.write(b"and on") == 2_001
        assert one.ledger.read(1, 3_000) == [*records, b"and on"]
        await until(lambda: one.replicated() == 2_001)
        assert (tmp_path / "one/ledger/epochs").read_bytes() == b"epochs of one"
        await end(one, two)

    run(story())


def test_with_two_copies_the_loss_of_a_keeper_beside_the_owner_loses_no_record(tmp_path):
    async def story():
        nodes = await owners(tmp_path, "one", "three", "two", copies=2)
        one = nodes[0]
        one.write(*(b"record %d" % n for n in range(300)))
        await until(lambda: one.replicated() == 300)
        lost = nodes[2]
        lost.write(b"its own")
        await lose(one)
        await lose(lost)
        await one.start()
        copy = LedgerCopy(tmp_path / "one" / "ledger.recovering")
        recovered = await one.recovery().run(copy, 5)
        assert (recovered.peer, recovered.size) == ("three", 300)
        settle(copy, tmp_path / "one" / "ledger", one.sealer)
        assert one.write(b"and on") == 301
        assert one.replicated() == 0
        await lost.start()
        await until(lambda: one.replicated() == 301)
        assert one.replica.holders() == {"three": 301, "two": 301}
        await end(*nodes)

    run(story())


def test_the_longest_copy_is_taken_and_one_that_contradicts_it_is_named(tmp_path):
    async def story():
        one, three, two = await owners(tmp_path, "one", "three", "two", copies=2)
        one.write(b"first", b"second")
        await until(lambda: one.replicated() == 2)
        await two.stop()
        one.write(b"third")
        await until(lambda: one.replica.holders().get("three") == 3)
        await lose(one)
        forged = Owner(one.network, "one", tmp_path / "forged", sealer=one.sealer)
        forged.write(b"first", b"forged")
        forged.ledger.close()
        shutil.rmtree(tmp_path / "two/replica/one")
        shutil.copytree(tmp_path / "forged/ledger", tmp_path / "two/replica/one")
        await two.start()
        await one.start()
        await until(lambda: len(one.mesh.peers()) == 2)
        recovered = await one.recovery().run(LedgerCopy(tmp_path / "one/recovering"), 5, 2)
        assert recovered.peer == "three"
        assert recovered.kept == {"three": 3, "two": 2}
        assert recovered.contradicts == ("two",)
        await end(one, two, three)

    run(story())


def test_where_nobody_keeps_anything_nothing_comes_back(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        assert await one.recovery().run(LedgerCopy(tmp_path / "copy"), 1.2) is None
        assert not (tmp_path / "copy").exists()
        await end(one, two)

    run(story())


def test_what_a_keeper_said_to_an_earlier_life_does_not_cut_the_copy_short(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(*(b"record %d" % n for n in range(500)))
        await until(lambda: one.replicated() == 500)
        early = wire.Standing(
            wire.Origin(*two.keeper._shelves["one"].copy.extent().origin), 200, bytes(32), "", {}
        )
        await lose(one)
        send, said = two.mesh.send, []

        async def late(peer, lane, data):
            if not said:
                said.append(data)
                for _ in range(2):
                    await send(peer, lane, wire.pack(early))
            await send(peer, lane, data)

        await one.start()
        two.keeper._mesh = type("Mesh", (), {"send": staticmethod(late)})()
        recovered = await one.recovery().run(LedgerCopy(tmp_path / "copy"), 5)
        assert (recovered.size, recovered.kept) == (500, {"two": 200})
        assert (tmp_path / "copy" / "epochs").read_bytes() == b"epochs of one"
        await end(one, two)

    run(story())


def test_who_says_what_it_keeps_and_gives_nothing_is_left_in_a_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.mesh.recovery._ANSWER_S", 5.0)

    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        await lose(one)
        send = two.mesh.send

        async def talk(peer, lane, data):
            if not isinstance(wire.unpack(data), wire.Rows):
                await send(peer, lane, data)
                return
            standing = wire.Standing(
                wire.Origin(*two.keeper._shelves["one"].copy.extent().origin), 9, bytes(32), "", {}
            )
            for _ in range(50):
                await send(peer, lane, wire.pack(standing))
                await asyncio.sleep(0)

        await one.start()
        two.keeper._mesh = type("Mesh", (), {"send": staticmethod(talk)})()
        with pytest.raises(UnreachableError, match="gave nothing"):
            await one.recovery().run(LedgerCopy(tmp_path / "copy"), 1.2)
        await end(one, two)

    run(story())


def test_a_peer_that_stops_giving_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.mesh.recovery._ANSWER_S", 0.05)

    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        await lose(one)
        send = two.mesh.send

        async def withhold(peer, lane, data):
            if not isinstance(wire.unpack(data), wire.Rows):
                await send(peer, lane, data)

        await one.start()
        two.keeper._mesh = type("Mesh", (), {"send": staticmethod(withhold)})()
        with pytest.raises(UnreachableError, match="gave nothing"):
            await one.recovery().run(LedgerCopy(tmp_path / "copy"), 1.2)
        await end(one, two)

    run(story())


def test_what_was_made_up_does_not_become_the_ledger(tmp_path):
    async def story():
        one, two = await owners(tmp_path, "one", "two")
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        await lose(one)
        forger = Owner(one.network, "one", tmp_path / "forged")
        forger.sealer._key = b"not the node's"
        forger.write(b"made up")
        forger.ledger.close()
        shutil.rmtree(tmp_path / "two/replica/one")
        two.keeper.close()
        shutil.copytree(tmp_path / "forged/ledger", tmp_path / "two/replica/one")
        await one.start()
        copy = LedgerCopy(tmp_path / "one/recovering")
        recovered = await one.recovery().run(copy, 5)
        assert recovered.size == 1
        with pytest.raises(CronosError):
            settle(copy, tmp_path / "one/ledger", one.sealer)
        assert not (tmp_path / "one/ledger").exists()
        assert settle(copy, tmp_path / "one/evidence", None).size == 1
        await end(one, two)

    run(story())


def test_who_made_its_copy_up_is_not_asked_again_and_the_next_is(tmp_path):
    async def story():
        one, three, two = await owners(tmp_path, "one", "three", "two", copies=2)
        one.write(b"first")
        await until(lambda: one.replicated() == 1)
        await lose(one)
        two.keeper.close()
        forger = Owner(one.network, "one", tmp_path / "forged")
        forger.sealer._key = b"not the node's"
        forger.write(*(b"made up %d" % n for n in range(9)))
        forger.ledger.close()
        shutil.rmtree(tmp_path / "two/replica/one")
        shutil.copytree(tmp_path / "forged/ledger", tmp_path / "two/replica/one")
        await one.start()
        await until(lambda: len(one.mesh.peers()) == 2)
        assert (await one.recovery().run(LedgerCopy(tmp_path / "lie"), 5, 2)).peer == "two"
        again = Recovery("one", one.mesh, one.replica, avoid=frozenset({"two"}))
        copy = LedgerCopy(tmp_path / "one/recovering")
        assert (await again.run(copy, 5, 1)).peer == "three"
        assert settle(copy, tmp_path / "one/ledger", one.sealer).size == 1
        await end(one, two, three)

    run(story())
