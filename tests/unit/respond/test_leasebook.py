import contextlib
import os
import stat
import struct

import pytest
from tests.unit.respond.stage import S, deny
from tests.unit.sealers import Scrambler

from cronos.errors import CronosError, DeniedError, InputError
from cronos.respond import leasebook
from cronos.respond.leasebook import LeaseBook
from cronos.testing.memory_govern import MemorySealer
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


# --- sealed ----------------------------------------------------------------------------------


class Locked:
    """A double of a sealer whose key is gone."""

    sealing = "locked"
    seal_version = 1

    def seal(self, plain, context, subject=""):
        raise DeniedError("testing.locked", "There is no key.", "Find it.")

    def open(self, sealed, context):
        raise DeniedError("testing.locked", "There is no key.", "Find it.")

    def shred(self, subject):
        raise DeniedError("testing.locked", "There is no key.", "Find it.")


def sealing(folder, key=b"ours"):
    return LeaseBook(folder, Scrambler(key))


def addresses(book):
    return [it.plan.action.target.value for it in book.leases.values()]


def filled(folder, *addresses_):
    book = sealing(folder)
    for address in addresses_:
        book.write([lease(address)], durable=True)
    book.close()
    return (folder / "leases.sealed").read_bytes()


def test_a_sealed_book_says_nothing_of_what_it_holds(folder):
    data = filled(folder, "192.0.2.7")
    assert {path.name for path in folder.iterdir()} == {"leases.sealed", "lock"}
    assert b"192.0.2.7" not in data
    book = sealing(folder)
    assert addresses(book) == ["192.0.2.7"]
    assert book.defects == []
    book.close()


def test_a_book_from_before_is_sealed_at_its_first_opening(folder):
    old = LeaseBook(folder)
    old.write([lease("192.0.2.7"), lease("192.0.2.8")], durable=True)
    old.write([end(lease("192.0.2.8"))], durable=True)
    old.close()
    (folder / "leases.bad").write_bytes(b"an older damaged copy, readable")
    book = sealing(folder)
    assert (addresses(book), book.defects) == (["192.0.2.7"], [])
    assert book.first_granted_ns(deny("192.0.2.8"), "boot-1") == 0
    assert {path.name for path in folder.iterdir()} == {"leases.sealed", "lock"}
    book.write([lease("192.0.2.9")], durable=True)
    book.close()
    book = sealing(folder)
    assert (addresses(book), book.defects) == (["192.0.2.7", "192.0.2.9"], [])
    book.close()


def test_a_migration_without_room_loses_nothing_and_ends_when_there_is_some(folder, full_disk):
    old = LeaseBook(folder)
    old.write([lease("192.0.2.7")], durable=True)
    old.close()
    with full_disk():
        book = sealing(folder)
        assert addresses(book) == ["192.0.2.7"]
        assert "could not be sealed yet" in book.defects[0]
        with pytest.raises(CronosError, match="No space left"):
            book.write([lease("192.0.2.8")], durable=True)
    assert not (folder / "leases.sealed").exists()
    book.write([lease("192.0.2.9")], durable=True)
    assert not (folder / "leases").exists()
    book.close()
    book = sealing(folder)
    assert (addresses(book), book.defects) == (["192.0.2.7", "192.0.2.9"], [])
    book.close()


@pytest.mark.parametrize("step", ["fsync", "replace", "sync_folder", "unlink"])
def test_a_migration_killed_at_any_step_is_finished_by_the_next_start(folder, monkeypatch, step):
    old = LeaseBook(folder)
    old.write([lease("192.0.2.7")], durable=True)
    old.close()

    def killed(*_arguments, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(os, "fsync", killed)
            patch.setattr(leasebook, "_sync_folder", lambda _folder: None)
        elif step == "sync_folder":
            calls = iter([lambda _folder: None, killed])

            def sync_folder(path):
                next(calls)(path)

            patch.setattr(leasebook, "_sync_folder", sync_folder)
        else:
            patch.setattr(type(folder), step, killed)
        with pytest.raises(KeyboardInterrupt):
            sealing(folder)
    monkeypatch.setattr(leasebook.fcntl, "flock", lambda *_: None)  # the dead hold no lock
    book = sealing(folder)
    assert addresses(book) == ["192.0.2.7"]
    assert not (folder / "leases").exists()
    book.close()


def test_an_unsealed_book_put_beside_a_sealed_one_is_never_believed(folder):
    filled(folder, "192.0.2.7")
    forged = LeaseBook(folder.parent / "forged")
    forged.write([lease("198.51.100.1")], durable=True)
    forged.close()
    (folder.parent / "forged" / "leases").replace(folder / "leases")
    book = sealing(folder)
    assert addresses(book) == ["192.0.2.7"]
    assert "is not sealed" in book.defects[0]
    assert not (folder / "leases").exists()
    book.close()


def test_unsealed_frames_appended_to_a_sealed_book_are_never_believed(folder):
    sealed = filled(folder, "192.0.2.7")
    forged = LeaseBook(folder.parent / "forged")
    forged.write([end(lease("192.0.2.7")), lease("198.51.100.1")], durable=True)
    forged.close()
    unsealed = (folder.parent / "forged" / "leases").read_bytes()
    for data in (sealed + unsealed, unsealed + sealed):
        (folder / "leases.sealed").write_bytes(data)
        book = sealing(folder)
        assert addresses(book) == ["192.0.2.7"]
        assert book.defects
        book.close()


def test_a_lease_that_has_ended_is_not_brought_back_by_its_old_frame(folder):
    book = sealing(folder)
    book.write([lease("192.0.2.7")], durable=True)
    granted = (folder / "leases.sealed").read_bytes()
    book.write([end(lease("192.0.2.7"))], durable=True)
    book.close()
    with (folder / "leases.sealed").open("ab") as file:
        file.write(granted)
    book = sealing(folder)
    assert not book.leases
    assert "out of its order" in book.defects[0]
    book.close()


def test_the_frames_of_two_books_cannot_change_places(folder):
    filled(folder, "192.0.2.7")
    beside = LeaseBook(folder / "aside", Scrambler(b"ours"), "leases-aside")
    beside.write([lease("tank")], durable=True)
    beside.close()
    (folder / "aside" / "leases.sealed").replace(folder / "leases.sealed")
    book = sealing(folder)
    assert not book.leases
    assert "does not open" in book.defects[0]
    book.close()


def test_a_damaged_sealed_frame_costs_its_own_leases_alone_and_is_named(folder):
    data = bytearray(filled(folder, *(f"192.0.2.{i}" for i in range(1, 6))))
    data[len(data) * 3 // 10] ^= 1
    (folder / "leases.sealed").write_bytes(data)
    book = sealing(folder)
    assert addresses(book) == [f"192.0.2.{i}" for i in (1, 3, 4, 5)]
    assert "damaged" in book.defects[0]
    assert "1 frames" in book.defects[1]
    assert (folder / "leases.bad").read_bytes() == data
    book.write([lease("192.0.2.9")], durable=True)
    book.close()
    book = sealing(folder)
    assert (len(book.leases), book.defects) == (5, [])
    book.close()


def test_a_torn_sealed_tail_is_cut_off_at_every_length(folder):
    one = filled(folder, "192.0.2.7")
    both = filled(folder, "192.0.2.8")
    for cut in range(len(one), len(both), 7):
        (folder / "leases.sealed").write_bytes(both[:cut])
        book = sealing(folder)
        assert addresses(book) == ["192.0.2.7"]
        assert (len(book.defects) == 1) == (cut > len(one))
        book.close()


def test_a_book_of_another_key_is_kept_aside_and_the_enforcer_begins_anew(folder):
    data = filled(folder, "192.0.2.7", "192.0.2.8")
    book = sealing(folder, b"another")
    assert not book.leases
    assert len([defect for defect in book.defects if "does not open" in defect]) == 2
    assert (folder / "leases.bad").read_bytes() == data
    book.write([lease("192.0.2.9")], durable=True)
    book.close()
    book = sealing(folder, b"another")
    assert (addresses(book), book.defects) == (["192.0.2.9"], [])
    book.close()


def test_without_a_key_nothing_is_written_and_the_book_stays_for_a_start_with_it(folder):
    filled(folder, "192.0.2.7")
    book = LeaseBook(folder, Locked())
    assert not book.leases
    assert "does not open" in book.defects[0]
    with pytest.raises(DeniedError, match="There is no key"):
        book.write([lease("192.0.2.8")], durable=True)
    book.note([lease("192.0.2.9")])
    assert addresses(book) == ["192.0.2.9"]
    book.tidy(0)
    book.close()
    book = sealing(folder)
    assert (addresses(book), book.defects) == (["192.0.2.7"], [])
    book.close()


def test_a_sealed_file_stays_bounded_and_keeps_what_matters(folder, monkeypatch):
    monkeypatch.setattr(leasebook, "_COMPACT_BYTES", 10_000)
    book = LeaseBook(folder, MemorySealer())
    kept = lease("203.0.113.1", "kept")
    book.write([kept], durable=True)
    for i in range(500):
        one = lease("192.0.2.7", "same" if i % 2 else "other", granted=i)
        book.write([one], durable=False)
        book.write([end(one)], durable=False)
    assert (folder / "leases.sealed").stat().st_size < 50_000
    book.close()
    book = LeaseBook(folder, MemorySealer())
    assert list(book.leases.values()) == [kept]
    assert book.first_granted_ns(deny("192.0.2.7", "same"), "boot-1") is not None
    assert book.defects == []
    book.close()


def test_a_full_disk_leaves_no_gap_in_a_sealed_book(folder, full_disk):
    book = sealing(folder)
    book.write([lease("192.0.2.7")], durable=True)
    with full_disk(), pytest.raises(CronosError, match="No space left"):
        book.write([lease("192.0.2.8")], durable=True)
    book.write([lease("192.0.2.9")], durable=True)
    book.close()
    book = sealing(folder)
    assert (addresses(book), book.defects) == (["192.0.2.7", "192.0.2.9"], [])
    book.close()


def test_a_node_that_seals_no_more_sets_its_sealed_book_aside(folder):
    data = filled(folder, "192.0.2.7")
    book = LeaseBook(folder)
    assert not book.leases
    assert "without its key" in book.defects[0]
    book.write([lease("192.0.2.8")], durable=True)
    book.close()
    assert (folder / "leases.bad").read_bytes() == data
    book = sealing(folder)
    assert (addresses(book), book.defects) == (["192.0.2.8"], [])
    book.close()


class Counting(Scrambler):
    """A double that counts what it is asked to open."""

    opened = 0

    def open(self, sealed, context):
        self.opened += 1
        return super().open(sealed, context)


def test_a_book_of_many_starts_is_written_anew_so_that_the_next_one_opens_few_frames(folder):
    for number in range(100):
        book = sealing(folder)
        book.write([lease("192.0.2.7", f"inc-{number}")], durable=False)
        book.tidy(0)
        book.close()
    sealer = Counting(b"ours")
    book = LeaseBook(folder, sealer)
    assert (len(book.leases), book.defects) == (100, [])
    assert sealer.opened < 70
    size = (folder / "leases.sealed").stat().st_size
    book.tidy(0)
    book.tidy(0)
    assert (folder / "leases.sealed").stat().st_size == size  # few frames stay as they are
    book.close()


def test_a_book_that_does_not_open_is_named_in_a_few_sentences(folder):
    filled(folder, *(f"192.0.2.{i}" for i in range(1, 51)))
    book = sealing(folder, b"another")
    assert len(book.defects) == 21
    assert book.defects[-1].endswith("so in 30 more places.")
    book.close()


@pytest.mark.parametrize("name", ["leases.sealed", "leases.new", "leases.bad"])
def test_a_link_in_its_folder_is_not_followed(folder, name):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_bytes(b"precious")
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    if name == "leases.bad":
        (folder / "leases.sealed").write_bytes(b"damaged")
    with contextlib.suppress(InputError):
        book = sealing(folder)
        book.note([lease()])
        book._compact()
        book.close()
    assert elsewhere.read_bytes() == b"precious"
