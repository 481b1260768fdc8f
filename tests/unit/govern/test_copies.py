"""Copies of ledgers: the keys that a recovered record needs, shown with real ones."""

import pytest

from cronos.config import Config
from cronos.crypto.sealer import EpochsConfig, EpochSealer
from cronos.errors import CronosError, DeniedError, InputError
from cronos.front.keyring import using_keys
from cronos.govern.copies import LedgerCopy, LedgerSource, settle
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.types import (
    AuditRecord,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Provenance,
    encode,
)

CLOCK = VirtualClock(wall_ns=1_700_000_000_000_000_000)


def ledger_in(folder, sealer):
    return SqliteLedger(SqliteConfig("one"), folder, sealer, CLOCK)


def finding(number, address):
    found = Finding(
        f"f{number}",
        "scan",
        "a scan",
        "of many ports",
        EvidenceClass.DECLARED,
        Provenance.BIDIRECTIONAL,
        0.9,
        4,
        number,
        actor=Entity(EntityKind.ADDRESS, address),
    )
    return encode(AuditRecord("one", "finding", 7, 7, f"i{number}", encode(found)))


def copied(source, copy):
    """Bring a copy up to its source, as a keeper does; rows in small pieces."""
    extent = source.extent()
    if copy.extent().origin is None:
        copy.begin(extent.origin)
    for name, data in source.files().items():
        copy.put(name, data)
    while (first := copy.extent().size + 1) <= extent.size:
        copy.append(first, *source.rows(first, 3, 1 << 20))
    assert copy.extent() == extent
    copy.close()
    source.close()
    return extent


def epochs(folder, keys):
    return EpochSealer(EpochsConfig(), folder, keys, CLOCK, "ledger")


def test_with_its_keystore_a_recovered_ledger_opens_and_goes_on(tmp_path):
    with using_keys(Config(), tmp_path / "state", ensure=True) as keys:
        ledger = ledger_in(tmp_path / "ledger", epochs(tmp_path / "ledger", keys))
        records = [finding(n, f"192.0.2.{n}") for n in range(10)]
        ledger.append(records)
        copied(LedgerSource(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy"))
        ledger.close()
        copy = LedgerCopy(tmp_path / "copy")
        settle(copy, tmp_path / "empty" / "ledger", epochs(copy.folder, keys))
        back = ledger_in(tmp_path / "empty/ledger", epochs(tmp_path / "empty/ledger", keys))
        assert back.read(1, 99) == records
        assert back.append([b"and on"]) == 11
        back.close()


def test_with_another_keystore_nothing_opens_and_the_copy_is_evidence_only(tmp_path):
    with using_keys(Config(), tmp_path / "state", ensure=True) as keys:
        ledger = ledger_in(tmp_path / "ledger", epochs(tmp_path / "ledger", keys))
        ledger.append([finding(1, "192.0.2.1")])
        copied(LedgerSource(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy"))
        ledger.close()
    with using_keys(Config(), tmp_path / "other", ensure=True) as others:
        copy = LedgerCopy(tmp_path / "copy")
        with pytest.raises(DeniedError) as caught:
            settle(copy, tmp_path / "new", epochs(copy.folder, others))
        assert caught.value.code == "crypto.other_keystore"
        assert settle(copy, tmp_path / "new", None).size == 1
    assert verify_file(tmp_path / "new" / "ledger.db").size == 1


def test_what_was_shredded_stays_shredded_in_a_copy_and_after_recovery(tmp_path):
    with using_keys(Config(), tmp_path / "state", ensure=True) as keys:
        sealer = epochs(tmp_path / "ledger", keys)
        ledger = ledger_in(tmp_path / "ledger", sealer)
        records = [finding(n, f"192.0.2.{n}") for n in range(3)]
        ledger.append(records)
        source, copy = LedgerSource(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy")
        copied(source, copy)
        before = copy.file("subjects")
        assert sealer.shred("address 192.0.2.1")
        copied(source, copy)
        assert copy.file("subjects") != before
        assert not copy.put("subjects", before)
        ledger.close()
        settle(copy, tmp_path / "empty", epochs(copy.folder, keys))
        back = ledger_in(tmp_path / "empty", epochs(tmp_path / "empty", keys))
        assert back.read(1, 9) == [records[0], b"", records[2]]
        back.close()


def small(folder, count=5):
    ledger = ledger_in(folder, MemorySealer())
    ledger.append([b"record %d" % n for n in range(count)])
    ledger.close()
    return LedgerSource(folder)


def test_a_copy_takes_only_what_continues_its_chain(tmp_path):
    source, copy = small(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy")
    copy.begin(source.extent().origin)
    stored, head = source.rows(1, 2, 1 << 20)
    wrong = [
        (2, stored, head),
        (0, stored, head),
        (1, stored, bytes(32)),
        (1, stored[::-1], head),
        (1, [b"\x00readable"], head),
        (1, [b"\x01"], head),
        (1, [b""], head),
    ]
    for first, rows, end in wrong:
        with pytest.raises(DeniedError):
            copy.append(first, rows, end)
    assert copy.extent().size == 0
    assert copy.append(1, stored, head) == 2
    assert copy.append(1, stored, head) == 2
    other = small(tmp_path / "other", 9)
    with pytest.raises(DeniedError):
        copy.append(3, *other.rows(4, 1, 1 << 20))
    assert copy.append(2, *source.rows(2, 9, 1 << 20)) == 5
    assert copy.extent() == source.extent()


def test_a_copy_without_a_beginning_takes_nothing(tmp_path):
    source, copy = small(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy")
    with pytest.raises(DeniedError):
        copy.append(1, *source.rows(1, 2, 1 << 20))
    assert copy.rows(1, 9, 9) == ([], b"")
    assert copy.file("epochs") == b""
    assert copy.digests() == {}


def test_a_source_gives_rows_within_bounds_and_one_at_least(tmp_path):
    source = small(tmp_path / "ledger")
    assert len(source.rows(1, 3, 1 << 20)[0]) == 3
    assert len(source.rows(2, 9, 1)[0]) == 1
    assert source.rows(6, 9, 9) == ([], b"")
    for position in range(6):
        assert source.chain_at(position)
    assert source.chain_at(6) == b""
    assert source.rows(1, 3, 1 << 20)[1] == source.chain_at(3)
    source.close()


def test_no_ledger_yet_is_no_extent_and_a_readable_one_is_given_to_nobody(tmp_path):
    assert LedgerSource(tmp_path / "none").extent().origin is None
    ledger = ledger_in(tmp_path / "ledger", PlaintextSealer(PlaintextConfig()))
    ledger.append([b"readable"])
    ledger.close()
    source = LedgerSource(tmp_path / "ledger")
    with pytest.raises(DeniedError) as caught:
        source.extent()
    assert caught.value.code == "govern.copy_readable"
    with pytest.raises(DeniedError):
        LedgerCopy(tmp_path / "copy").begin((1, "one", 0, bytes(32)))
    assert not (tmp_path / "copy").exists()


def test_a_copy_is_bounded(tmp_path):
    source, copy = small(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy", max_bytes=1_000)
    copy.begin(source.extent().origin)
    with pytest.raises(DeniedError) as caught:
        copy.append(1, *source.rows(1, 9, 1 << 20))
    assert caught.value.code == "govern.copy_full"


def test_another_ledgers_copy_is_put_aside_the_first_one_for_good(tmp_path):
    first, second = small(tmp_path / "a"), small(tmp_path / "b", 2)
    copy = LedgerCopy(tmp_path / "copy")
    copied(first, copy)
    copy.begin(second.extent().origin)
    assert copy.extent().size == 0
    copied(second, copy)
    copy.begin(first.extent().origin)
    assert verify_file(tmp_path / "copy.forked" / "ledger.db").size == 5
    assert copy.extent().size == 0


def test_only_the_files_of_a_ledger_are_kept(tmp_path):
    copy = LedgerCopy(tmp_path / "copy")
    for name, data in (("../x", b"x"), ("ledger.db", b"x"), ("epochs", b"")):
        with pytest.raises(InputError):
            copy.put(name, data)
    assert copy.put("epochs", b"x")
    assert (tmp_path / "copy/epochs").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_nothing_is_recovered_over_something(tmp_path):
    source, copy = small(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy")
    with pytest.raises(DeniedError, match="nothing was given"):
        settle(copy, tmp_path / "empty", None)
    copied(source, copy)
    with pytest.raises(DeniedError):
        settle(copy, tmp_path / "ledger", None)
    (tmp_path / "empty").mkdir()
    settle(copy, tmp_path / "empty", MemorySealer())
    ledger = ledger_in(tmp_path / "empty", MemorySealer())
    assert ledger.read(5, 1) == [b"record 4"]
    ledger.close()


def test_a_copy_whose_file_was_changed_is_not_recovered(tmp_path):
    copied(small(tmp_path / "ledger"), LedgerCopy(tmp_path / "copy"))
    path = tmp_path / "copy" / "ledger.db"
    LedgerCopy(tmp_path / "copy").fold()
    data = path.read_bytes()
    assert b"record 2" in data
    path.write_bytes(data.replace(b"record 2", b"record X"))
    with pytest.raises(CronosError):
        settle(LedgerCopy(tmp_path / "copy"), tmp_path / "empty", MemorySealer())
    assert not (tmp_path / "empty").exists()
