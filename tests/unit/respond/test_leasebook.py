import os
import stat
import struct

import pytest
from tests.unit.respond.stage import S, deny

from cronos.errors import CronosError, DeniedError, InputError
from cronos.respond import leasebook
from cronos.respond.leasebook import LeaseBook
from cronos.types import Lease, Operation, Outcome, Plan


def lease(address="192.0.2.7", incident="inc-1", granted=0):
    plan = Plan(deny(address, incident), b"{}", "block", "unblock")
    return Lease(plan, "boot-1", granted, granted + 300 * S)


def end(it):
    action = it.plan.action
    return Outcome(action.action_id, action.incident_id, Operation.UNDO, True, True, "gone")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "enforcer"


def reopened(book, folder):
    book.close()
    return LeaseBook(folder)


def test_what_was_written_is_there_after_a_restart(folder):
    book = LeaseBook(folder)
    book.write([lease(), lease("192.0.2.8")], durable=True)
    book.write([end(lease())], durable=False)
    book = reopened(book, folder)
    assert list(book.leases.values()) == [lease("192.0.2.8")]
    assert book.first_granted_ns(deny("192.0.2.7"), "boot-1") == 0
    assert book.first_granted_ns(deny("192.0.2.7"), "boot-2") is None
    assert book.defects == []
    book.close()


def test_only_its_owner_can_read_it(folder):
    book = LeaseBook(folder)
    book.write([lease()], durable=True)
    book.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


def test_two_enforcers_never_share_a_book(folder):
    book = LeaseBook(folder)
    with pytest.raises(DeniedError, match="Another enforcer"):
        LeaseBook(folder)
    book.close()
    book.close()
    LeaseBook(folder).close()


def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        LeaseBook(tmp_path / "file")


def test_a_torn_tail_is_cut_off_at_every_length_and_the_rest_is_kept(folder):
    book = LeaseBook(folder)
    book.write([lease()], durable=True)
    whole = (folder / "leases").read_bytes()
    book.write([lease("192.0.2.8")], durable=True)
    both = (folder / "leases").read_bytes()
    book.close()
    for cut in range(len(whole), len(both), 7):
        (folder / "leases").write_bytes(both[:cut])
        book = LeaseBook(folder)
        assert list(book.leases.values()) == [lease()]
        assert (len(book.defects) == 1) == (cut > len(whole))
        book.write([lease("192.0.2.9")], durable=True)
        book = reopened(book, folder)
        assert len(book.leases) == 2
        assert book.defects == []
        book.close()


def test_zeros_that_a_power_cut_left_are_cut_off(folder):
    book = LeaseBook(folder)
    book.write([lease()], durable=True)
    book.close()
    with (folder / "leases").open("ab") as file:
        file.write(bytes(4096))
    book = LeaseBook(folder)
    assert len(book.leases) == 1
    assert "torn" in book.defects[0]
    book.close()


def test_a_damaged_frame_between_good_ones_is_stepped_over_and_named(folder):
    book = LeaseBook(folder)
    for address in ("192.0.2.7", "192.0.2.8", "192.0.2.9"):
        book.write([lease(address)], durable=True)
    book.close()
    data = bytearray((folder / "leases").read_bytes())
    (length,) = struct.unpack_from(">I", data, 4)
    data[12 + length + 28] ^= 0xFF
    (folder / "leases").write_bytes(data)
    book = LeaseBook(folder)
    assert [it.plan.action.target.value for it in book.leases.values()] == [
        "192.0.2.7",
        "192.0.2.9",
    ]
    assert "damaged" in book.defects[0]
    book.close()


def test_a_full_disk_changes_nothing_and_says_so(folder, full_disk):
    book = LeaseBook(folder)
    book.write([lease()], durable=True)
    with full_disk(), pytest.raises(CronosError, match="No space left"):
        book.write([lease("192.0.2.8")], durable=True)
    assert list(book.leases.values()) == [lease()]
    book.write([lease("192.0.2.9")], durable=True)
    book = reopened(book, folder)
    assert len(book.leases) == 2
    assert book.defects == []
    book.close()


def test_a_disk_that_cannot_sync_acknowledges_nothing(folder, monkeypatch):
    book = LeaseBook(folder)

    def broken(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(CronosError, match="Input/output error"):
            book.write([lease()], durable=True)
    book = reopened(book, folder)
    assert not book.leases
    book.close()


def test_what_must_be_remembered_without_room_is_saved_once_there_is_some(folder, full_disk):
    book = LeaseBook(folder)
    book.write([lease()], durable=True)
    with full_disk():
        book.note([end(lease())])
        assert not book.leases
    book.note([lease("192.0.2.8")])
    book = reopened(book, folder)
    assert list(book.leases.values()) == [lease("192.0.2.8")]
    book.close()


def test_the_file_stays_bounded_and_keeps_what_matters(folder, monkeypatch):
    monkeypatch.setattr(leasebook, "_COMPACT_BYTES", 10_000)
    book = LeaseBook(folder)
    kept = lease("203.0.113.1", "kept")
    book.write([kept], durable=True)
    for i in range(2000):
        one = lease("192.0.2.7", "same" if i % 2 else "other", granted=i)
        book.write([one], durable=False)
        book.write([end(one)], durable=False)
    assert (folder / "leases").stat().st_size < 50_000
    book.tidy(0)
    assert (folder / "leases").stat().st_size < 11_000
    book = reopened(book, folder)
    assert list(book.leases.values()) == [kept]
    assert book.first_granted_ns(deny("192.0.2.7", "same"), "boot-1") is not None
    assert book.epoch(deny("192.0.2.7").action_id) == 1
    book.tidy(10**18)
    assert book.first_granted_ns(deny("192.0.2.7", "same"), "boot-1") is None
    assert book.epoch(deny("192.0.2.7").action_id) == 0
    book.close()


def test_the_past_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(leasebook, "_MAX_PAST", 10)
    book = LeaseBook(folder)
    for i in range(30):
        one = lease(f"192.0.2.{i}", f"inc-{i}")
        book.write([one, end(one)], durable=False)
    assert book.first_granted_ns(deny("192.0.2.1", "inc-1"), "boot-1") is None
    assert book.first_granted_ns(deny("192.0.2.29", "inc-29"), "boot-1") == 0
    book.close()


@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_of_a_length_costs_that_lease_alone(folder, bit):
    book = LeaseBook(folder)
    book.write([lease("192.0.2.1")], durable=True)
    first = (folder / "leases").stat().st_size
    for i in range(2, 6):
        book.write([lease(f"192.0.2.{i}")], durable=True)
    book.close()
    damaged = bytearray((folder / "leases").read_bytes())
    damaged[first + 4 + bit // 8] ^= 1 << bit % 8
    (folder / "leases").write_bytes(damaged)
    book = LeaseBook(folder)
    kept = [it.plan.action.target.value for it in book.leases.values()]
    assert kept == ["192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.5"]
    assert f"bytes {first} to {2 * first} are damaged" in book.defects[0]
    assert (folder / "leases.bad").read_bytes() == damaged
    assert stat.S_IMODE((folder / "leases.bad").stat().st_mode) == 0o600
    book.write([lease("192.0.2.9")], durable=True)
    book = reopened(book, folder)
    assert len(book.leases) == 5
    assert book.defects == []
    book.close()


def test_a_file_made_of_marks_opens_in_bounded_work(folder):
    folder.mkdir(mode=0o700)
    mark = b"\xffCLB" + struct.pack(">I", 1 << 20) + bytes(4)
    (folder / "leases").write_bytes(mark * 200_000)
    book = LeaseBook(folder)
    assert not book.leases
    assert "torn" in book.defects[0]
    book.close()


def test_a_lease_that_no_frame_holds_is_refused(folder):
    book = LeaseBook(folder)
    long = lease()
    plan = Plan(long.plan.action, bytes(1 << 20), "block", "unblock")
    with pytest.raises(InputError, match="longer than"):
        book.write([Lease(plan, "boot-1", 0, 1)], durable=True)
    assert not book.leases
    book.close()
