"""What peers' words are worth outlives the process that was told it; what is damaged does not."""

import asyncio

import pytest

from cronos.mesh.trustbook import MAX_PEERS, TrustBook
from cronos.testing.memory_govern import MemorySealer
from cronos.testing.tasks import InlineTasks
from cronos.types import Reproach


def book(path, reports=None, sealer=None, instance="north"):
    told = reports if reports is not None else []
    return TrustBook(
        instance, path, sealer or MemorySealer(), InlineTasks(),
        lambda *said, **_: told.append(said),
    )  # fmt: skip


def kept(path, *said, **given):
    async def story():
        one = book(path, **given)
        await one.open()
        for reproach in said:
            one.keep(reproach)
        await one.flush()

    asyncio.run(story())


def opened(path, **given):
    return asyncio.run(book(path, **given).open())


def test_what_was_said_last_of_each_peer_is_said_again_after_a_restart(tmp_path):
    path = tmp_path / "outbox" / "trust"
    kept(path, Reproach("b", "it lied", 0.45), Reproach("c", "it lied", 0.45))
    kept(path, Reproach("b", "", 0.55))

    assert opened(path) == (Reproach("c", "", 0.45), Reproach("b", "", 0.55))


def test_where_there_is_none_nobody_is_known(tmp_path):
    reports = []

    assert opened(tmp_path / "trust", reports=reports) == ()
    assert reports == []


@pytest.mark.parametrize("flip", [0, 5, -1])
def test_a_damaged_book_and_anothers_are_reported_and_begun_anew(tmp_path, flip):
    path = tmp_path / "trust"
    kept(path, Reproach("b", "it lied", 0.45))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[flip] ^= 1
    for data, who in ((whole, "south"), (whole[:-1], "north"), (bytes(damaged), "north")):
        path.write_bytes(data)
        reports = []
        assert opened(path, reports=reports, instance=who) == ()
        assert len(reports) == 1
    kept(path, Reproach("c", "it lied", 0.2))
    assert opened(path) == (Reproach("c", "", 0.2),)


def test_a_book_that_was_sealed_and_is_none_is_refused(tmp_path):
    path = tmp_path / "trust"
    for plain in (b"", b"\xc1", b"\x81\xa1b\xcb\x40\x00\x00\x00\x00\x00\x00\x00", b"\x91" * 99):
        path.write_bytes(MemorySealer().seal(plain, b"cronos-mesh-trust-v1/north"))
        reports = []
        assert opened(path, reports=reports) == ()
        assert reports[0][1] == "mesh.trust_unwritten"


def test_a_disk_that_refuses_is_told_and_costs_nothing_else(tmp_path):
    reports = []
    (tmp_path / "trust.new").mkdir()
    kept(tmp_path / "trust", Reproach("b", "it lied", 0.45), reports=reports)

    assert set(reports) == {("error", "mesh.trust_unwritten")}


def test_what_a_full_disk_refused_is_written_at_the_end_at_the_latest(tmp_path):
    async def story():
        one = book(tmp_path / "trust")
        await one.open()
        (tmp_path / "trust.new").mkdir()
        one.keep(Reproach("b", "it lied", 0.45))
        await one.flush()
        (tmp_path / "trust.new").rmdir()
        await one.flush()

    asyncio.run(story())
    assert [known.peer for known in opened(tmp_path / "trust")] == ["b"]


def test_the_book_is_bounded_and_the_latest_stay(tmp_path):
    path = tmp_path / "trust"
    kept(path, *(Reproach(f"n{n}", "it lied", 0.5) for n in range(MAX_PEERS + 10)))
    known = opened(path)

    assert len(known) == MAX_PEERS
    assert known[-1].peer == f"n{MAX_PEERS + 9}"
