"""A readable ledger becomes a sealed one: once, whole, and never half."""

import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import examine_file, verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.types import Checkpoint

_SRC = pathlib.Path(__file__).parents[3] / "src"
_RECORDS = [b"record %d" % n for n in range(1, 31)]


def _ledger(folder, sealer, progress=None):
    config = SqliteConfig(instance="local")
    return SqliteLedger(config, folder, sealer, VirtualClock(), progress)


def _readable(folder, records=_RECORDS):
    """Leave a readable ledger behind, and give its checkpoint."""
    ledger = _ledger(folder, PlaintextSealer(PlaintextConfig()))
    ledger.append(records)
    checkpoint = ledger.checkpoint()
    ledger.close()
    return checkpoint


def test_positions_and_records_stay_and_nothing_is_readable_any_more(tmp_path):
    before = _readable(tmp_path)
    ledger = _ledger(tmp_path, MemorySealer())
    assert list(ledger.read(1, 100)) == _RECORDS
    assert ledger.append([b"next"]) == before.size + 1
    assert ledger.verify().size == before.size + 1
    ledger.close()
    database = sqlite3.connect(tmp_path / "ledger.db")
    assert {row[0][0] for row in database.execute("SELECT stored FROM record")} == {255}
    database.close()
    assert not list(tmp_path.glob("ledger.db.*"))


def test_a_checkpoint_of_the_former_chain_still_counts(tmp_path):
    parts = [_readable(tmp_path / "l", _RECORDS[:10]), _readable(tmp_path / "l", _RECORDS[10:])]
    _ledger(tmp_path / "l", MemorySealer()).close()
    path = tmp_path / "l" / "ledger.db"
    for kept in parts:
        found = examine_file(path, MemorySealer(), kept)
        assert (found.former_size, found.former_proved) == (30, True)
    # Without the keys the last head of the former chain is bound in the genesis, no earlier one.
    assert examine_file(path, None, parts[1]).former_proved is False
    with pytest.raises(InputError, match="cannot be told"):
        examine_file(path, None, parts[0])
    for forged in (Checkpoint(10, bytes(32), "", 0), Checkpoint(30, bytes(32), "", 0)):
        with pytest.raises(CronosError, match="differs from the given checkpoint"):
            examine_file(path, MemorySealer(), forged)


def test_a_sealed_ledger_takes_no_readable_record(tmp_path):
    _ledger(tmp_path, MemorySealer()).close()
    with pytest.raises(DeniedError) as refused:
        _ledger(tmp_path, PlaintextSealer(PlaintextConfig()))
    assert refused.value.code == "govern.ledger_sealed"


def test_an_empty_ledger_moves_too(tmp_path):
    _readable(tmp_path, [])
    ledger = _ledger(tmp_path, MemorySealer())
    assert ledger.append([b"first"]) == 1
    assert ledger.verify().size == 1
    ledger.close()


def test_a_broken_ledger_is_not_touched(tmp_path):
    _readable(tmp_path)
    database = sqlite3.connect(tmp_path / "ledger.db")
    with database:
        database.execute("UPDATE record SET stored = x'0041' WHERE position = 7")
    database.close()
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(CronosError, match="record 7"):
        _ledger(tmp_path, MemorySealer())
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_people_who_wait_are_told_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.govern.ledger._CHUNK", 10)
    _readable(tmp_path)
    told: list[tuple[int, int]] = []
    _ledger(tmp_path, MemorySealer(), lambda done, total: told.append((done, total))).close()
    assert told == [(10, 30), (20, 30), (30, 30)]


def test_even_a_small_ledger_says_that_it_was_sealed(tmp_path):
    """Whoever could put a readable ledger there would have it sealed: a node must not be silent."""
    _readable(tmp_path)
    told: list[tuple[int, int]] = []
    _ledger(tmp_path, MemorySealer(), lambda done, total: told.append((done, total))).close()
    assert told == [(30, 30)]


def test_a_head_file_that_lags_does_not_keep_a_ledger_from_being_sealed(tmp_path):
    """A kill between the commit and the head leaves it behind, which it may be."""
    _readable(tmp_path, _RECORDS[:10])
    behind = (tmp_path / "head").read_bytes()
    _readable(tmp_path, _RECORDS[10:])
    (tmp_path / "head").write_bytes(behind)
    ledger = _ledger(tmp_path, MemorySealer())
    assert list(ledger.read(1, 100)) == _RECORDS
    ledger.close()
    assert examine_file(tmp_path / "ledger.db", MemorySealer()).former_proved


def test_a_reader_in_the_middle_keeps_it_as_it_was_and_is_named(tmp_path, monkeypatch):
    before = _readable(tmp_path)
    monkeypatch.setattr("cronos.govern.sealing._PATIENCE_S", 0.1)
    reader = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    reader.execute("PRAGMA journal_mode=WAL")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record").fetchone()
    with pytest.raises(DeniedError, match="could not be sealed"):
        _ledger(tmp_path, MemorySealer())
    reader.execute("COMMIT")
    reader.close()
    assert verify_file(tmp_path / "ledger.db").head == before.head


class _Silent(MemorySealer):
    """A double: keys that stop answering after a while."""

    left = 12

    def seal(self, plain, context, subject=""):
        self.left -= 1
        if self.left < 0:
            raise UnreachableError("link.no_agent", "No key agent answers.", "Start it.")
        return super().seal(plain, context, subject)


def test_keys_that_stop_answering_leave_it_as_it_was(tmp_path):
    before = _readable(tmp_path)
    with pytest.raises(UnreachableError):
        _ledger(tmp_path, _Silent())
    assert verify_file(tmp_path / "ledger.db").head == before.head
    assert not list(tmp_path.glob("ledger.db.*"))
    _ledger(tmp_path, MemorySealer()).close()


class _Forgetful(MemorySealer):
    """A double: a sealer that opens something else than it was given."""

    def open(self, sealed, context):
        return super().open(sealed, context) + b"!"


def test_what_does_not_read_back_takes_no_ones_place(tmp_path):
    before = _readable(tmp_path)
    with pytest.raises(DeniedError, match="unchanged") as refused:
        _ledger(tmp_path, _Forgetful())
    assert refused.value.code == "govern.not_sealed"
    assert verify_file(tmp_path / "ledger.db").head == before.head


_FULL_DISK = """
import sys
from pathlib import Path
from cronos.errors import CronosError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
disk = Path(sys.argv[1])
def opened(sealer):
    return SqliteLedger(SqliteConfig(instance="x"), disk / "l", sealer, VirtualClock())
ledger = opened(PlaintextSealer(PlaintextConfig()))
ledger.append([bytes(1000)] * 800)
ledger.close()
ballast = disk / "ballast"
ballast.write_bytes(bytes(1500 << 10))
try:
    opened(MemorySealer())
except CronosError as error:
    print(error.code, "unchanged" in error.sentence)
print(verify_file(disk / "l" / "ledger.db").sealing)
ledger = opened(PlaintextSealer(PlaintextConfig()))
print(ledger.append([b"goes on"]))
ledger.close()
ballast.unlink()
ledger = opened(MemorySealer())
print(ledger.verify().size)
"""


def test_on_a_full_disk_the_old_ledger_stays_usable_and_with_space_it_moves(tmp_path):
    mount = 'mount -t tmpfs -o size=3m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    ended = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount, "sh", tmp_path, sys.executable, _FULL_DISK],
        env={**os.environ, "PYTHONPATH": str(_SRC)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ended.returncode != 0 and ("unshare" in ended.stderr or "mount" in ended.stderr):
        pytest.skip(f"user namespaces are not available: {ended.stderr.strip()}")
    lines = ended.stdout.splitlines()
    assert lines == ["govern.not_sealed True", "unsealed", "801", "801"], ended.stderr


_MOVES_AND_DIES = """
import os, signal, sys
from pathlib import Path
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
done = 0
def counted(real):
    def call(*given, **more):
        global done
        done += 1
        if done == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **more)
    return call
for name in ("fsync", "open", "close", "link", "pwrite"):
    setattr(os, name, counted(getattr(os, name)))
for name in ("replace", "unlink", "open"):
    setattr(Path, name, counted(getattr(Path, name)))
class Counted(MemorySealer):
    seal, open = counted(MemorySealer.seal), counted(MemorySealer.open)
SqliteLedger(SqliteConfig(instance="local"), Path(sys.argv[1]), Counted(), VirtualClock()).close()
"""


def test_killed_at_every_step_the_next_opening_finishes_or_begins_again(tmp_path):
    """Killed at the n-th call that seals, opens or touches the disk, until none is left."""
    died, sealed_at_death = 0, 0
    for step in range(1, 200):
        folder = tmp_path / str(step)
        before = _readable(folder, _RECORDS[:2])
        ended = subprocess.run(
            [sys.executable, "-c", _MOVES_AND_DIES, folder, str(step)],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(_SRC)},
        )
        # Whatever stands there verifies as it lies, without anyone's keys.
        assert verify_file(folder / "ledger.db", None, before).size == 2
        sealed_at_death += examine_file(folder / "ledger.db").former_size == 2
        ledger = _ledger(folder, MemorySealer())
        assert list(ledger.read(1, 100)) == _RECORDS[:2]
        assert ledger.append([b"next"]) == 3
        ledger.close()
        assert examine_file(folder / "ledger.db", MemorySealer(), before).former_proved
        assert not list(folder.glob("ledger.db.*"))
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        died += 1
        shutil.rmtree(folder)
    assert ended.returncode == 0
    assert died > 20
    assert sealed_at_death > 1
