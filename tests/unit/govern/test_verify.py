"""The verifier: it stands apart, names the first bad position, and fears no file."""

import hashlib
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tracemalloc

import pytest

from cronos.errors import CronosError, DeniedError, InputError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import genesis_hash, read_file, verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.types import Checkpoint

_SRC = pathlib.Path(__file__).parents[3] / "src"


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    """A closed ledger of ten records."""
    return _written(tmp_path / "ledger", [b"record %d" % n for n in range(1, 11)])


def _written(folder: pathlib.Path, records, sealer=None) -> pathlib.Path:
    sealer = sealer or PlaintextSealer(PlaintextConfig())
    ledger = SqliteLedger(SqliteConfig(instance="local"), folder, sealer, VirtualClock())
    ledger.append(records)
    ledger.close()
    return ledger.path


def _edit(path: pathlib.Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()


def _rechain(path: pathlib.Path) -> None:
    """Do what an attacker does who can write the file: make the chain fit again."""
    database = sqlite3.connect(path)
    head = genesis_hash("local")
    with database:
        rows = database.execute("SELECT position, stored FROM record ORDER BY position").fetchall()
        for position, stored in rows:
            head = hashlib.sha256(head + position.to_bytes(8, "big") + stored).digest()
            database.execute("UPDATE record SET chain = ? WHERE position = ?", (head, position))
    database.close()


def test_it_stands_apart_from_what_wrote_the_ledger():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, cronos.govern.verify; print(*sys.modules)"],
        env={"PYTHONPATH": str(_SRC)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ours = {name for name in loaded if name.startswith("cronos")}
    assert ours == {
        "cronos",
        "cronos.errors",
        "cronos.govern",
        "cronos.govern.verify",
        "cronos.types",
    }


def test_a_sound_ledger_gives_its_size_and_head(path):
    found = verify_file(path, PlaintextSealer(PlaintextConfig()))
    assert (found.size, found.sealing, found.wall_ns) == (10, "unsealed", 0)
    assert verify_file(path, None, found) == found


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE record SET stored = x'0041' WHERE position = 4", 4),
        ("UPDATE record SET stored = x'' WHERE position = 4", 4),
        ("UPDATE record SET chain = zeroblob(32) WHERE position = 10", 10),
        ("DELETE FROM record WHERE position = 1", 1),
        ("DELETE FROM record WHERE position = 7", 7),
        ("INSERT INTO record VALUES (0, x'0041', zeroblob(32))", 1),
        ("INSERT INTO record VALUES (-5, x'0041', zeroblob(32))", 1),
        ("INSERT INTO record VALUES (11, x'0041', zeroblob(32))", 11),
        ("INSERT INTO record VALUES (9223372036854775807, x'0041', zeroblob(32))", 11),
        ("UPDATE record SET position = 11 WHERE position = 3", 3),
    ],
)
def test_the_first_bad_position_is_named(path, statement, position):
    _edit(path, statement)
    with pytest.raises(CronosError, match=rf"broken at record {position}:"):
        verify_file(path)


def test_two_records_that_changed_places_are_named(path):
    _edit(
        path,
        "UPDATE record SET position = 100 WHERE position = 5",
        "UPDATE record SET position = 5 WHERE position = 8",
        "UPDATE record SET position = 8 WHERE position = 100",
    )
    with pytest.raises(CronosError, match="record 5"):
        verify_file(path)


def test_a_cut_off_end_shows_against_the_head_file_and_against_a_checkpoint_kept(path):
    kept = verify_file(path)
    _edit(path, "DELETE FROM record WHERE position > 8")
    with pytest.raises(CronosError, match="record 9: it was cut off: the `head` file"):
        verify_file(path)
    path.with_name("head").unlink()
    with pytest.raises(CronosError, match="the given checkpoint has 10 records"):
        verify_file(path, anchor=kept)


def test_without_a_checkpoint_a_cut_off_end_cannot_show(path):
    """Said plainly: the chain has no key and no witness yet."""
    path.with_name("head").unlink()
    _edit(path, "DELETE FROM record WHERE position > 8")
    assert verify_file(path).size == 8


def test_a_rewritten_history_shows_against_a_checkpoint_kept_and_not_without(path):
    kept = verify_file(path)
    _edit(path, "UPDATE record SET stored = x'0041' WHERE position = 4")
    _rechain(path)
    path.with_name("head").unlink()
    assert verify_file(path).size == 10
    with pytest.raises(CronosError, match="differs from the given checkpoint"):
        verify_file(path, anchor=kept)


def test_an_old_checkpoint_is_still_contained_in_a_ledger_that_grew(tmp_path):
    path = _written(tmp_path / "l", [b"a"])
    kept = verify_file(path)
    _written(tmp_path / "l", [b"b"] * 2000)
    assert verify_file(path, anchor=kept).size == 2001


def test_a_checkpoint_that_contradicts_the_head_file_is_named(path):
    with pytest.raises(CronosError, match="contradicts"):
        verify_file(path, anchor=Checkpoint(10, bytes(32), "unsealed", 0))


def test_another_instances_name_breaks_the_chain_at_its_beginning(path):
    _edit(path, "UPDATE genesis SET instance = 'other'")
    with pytest.raises(CronosError, match="record 1:"):
        verify_file(path)


def test_with_a_sealer_every_record_is_opened(tmp_path):
    path = _written(tmp_path / "l", [b"a", b"b"], MemorySealer(b"one key"))
    assert verify_file(path).sealing == "seal version 255"
    assert verify_file(path, MemorySealer(b"one key")).size == 2
    with pytest.raises(CronosError, match="record 1: it does not open"):
        verify_file(path, MemorySealer(b"another key"))
    with pytest.raises(CronosError, match="seal version 255"):
        verify_file(path, PlaintextSealer(PlaintextConfig()))


# --- files that are not what they should be -------------------------------------------------------


def test_what_is_not_there_or_no_ledger_is_an_input_error(tmp_path):
    for name, content in (("missing", None), ("empty", b""), ("text", b"hello" * 1000)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CronosError):
            verify_file(path)
    with pytest.raises(InputError):
        verify_file(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON record BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON record(stored)",
        "CREATE TABLE extra(x)",
        "ALTER TABLE record ADD COLUMN note TEXT",
        "DROP TABLE genesis",
    ],
)
def test_tables_that_are_not_the_ledgers_own_are_refused(path, statement):
    _edit(path, statement)
    with pytest.raises(CronosError, match="tables are not the ledger's own"):
        verify_file(path)


def test_a_view_in_the_place_of_the_records_is_never_run(path):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    _edit(path, "DROP TABLE record", f"CREATE VIEW record AS {endless}")
    with pytest.raises(CronosError, match="tables are not the ledger's own"):
        verify_file(path)


def test_values_of_other_types_are_refused(path):
    """A forged schema made the column accept numbers; ``bytes(n)`` would have been the trap."""
    database = sqlite3.connect(path, isolation_level=None)
    (sql,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'record'").fetchone()
    database.execute("PRAGMA writable_schema=ON")
    database.execute(
        "UPDATE sqlite_schema SET sql = ? WHERE name = 'record'", (sql.replace(" STRICT", ""),)
    )
    database.close()
    _edit(path, "UPDATE record SET stored = 4000000000 WHERE position = 2")
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA writable_schema=ON")
    database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'record'", (sql,))
    database.close()
    with pytest.raises(CronosError, match="broken at"):
        verify_file(path)


def test_a_value_beyond_every_limit_is_refused(path):
    _edit(path, "UPDATE record SET stored = zeroblob(3000000) WHERE position = 2")
    with pytest.raises(CronosError, match="broken"):
        verify_file(path)


def test_damaged_pages_are_named(tmp_path):
    path = _written(tmp_path / "l", [bytes(500)] * 200)
    data = bytearray(path.read_bytes())
    data[8192:8400] = b"\xff" * 208
    path.write_bytes(data)
    with pytest.raises(CronosError, match="pages are damaged"):
        verify_file(path)


def test_a_head_file_that_holds_something_else_is_named(path):
    for content in (b"", b"cronos-head/1 1 aa\n", bytes(100), b"x" * 10_000):
        path.with_name("head").write_bytes(content)
        with pytest.raises(InputError, match="does not hold a ledger's head"):
            verify_file(path)


def test_a_copy_in_a_folder_nobody_may_write_is_read_as_it_lies(path, tmp_path):
    folder = tmp_path / "evidence #1?"
    folder.mkdir()
    shutil.copy(path, folder / "ledger.db")
    folder.chmod(0o500)
    try:
        assert verify_file(folder / "ledger.db").size == 10
    finally:
        folder.chmod(0o700)


_READ_ONLY = """
import subprocess, sys
from pathlib import Path
from cronos.errors import DeniedError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.testing.clock import VirtualClock
disk = Path(sys.argv[1])
parts = SqliteConfig(), disk / "l", PlaintextSealer(PlaintextConfig()), VirtualClock()
ledger = SqliteLedger(*parts)
ledger.append([b"x"] * 5)
ledger.close()
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
print(verify_file(ledger.path).size)
try:
    SqliteLedger(*parts)
except DeniedError as error:
    print(error.code)
"""


def test_on_a_read_only_disk_it_verifies_and_no_writer_opens_it(tmp_path):
    """A real read-only mount: root may write where a mode alone forbids it."""
    mount = 'mount -t tmpfs tmpfs "$1" && exec "$2" -c "$3" "$1"'
    ended = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount, "sh", tmp_path, sys.executable, _READ_ONLY],
        env={**os.environ, "PYTHONPATH": str(_SRC)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ended.returncode != 0 and ("unshare" in ended.stderr or "mount" in ended.stderr):
        pytest.skip(f"user namespaces are not available: {ended.stderr.strip()}")
    assert ended.stdout.split() == ["5", "govern.ledger_folder"], ended.stderr


def test_a_ledger_without_its_log_has_lost_its_end(tmp_path):
    sealer = PlaintextSealer(PlaintextConfig())
    ledger = SqliteLedger(SqliteConfig(instance="local"), tmp_path / "l", sealer, VirtualClock())
    ledger.append([b"in the log still"])
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("ledger.db", "head"):
        shutil.copy(tmp_path / "l" / name, copy / name)
    ledger.close()
    with pytest.raises(CronosError):
        verify_file(copy / "ledger.db")


def test_memory_stays_constant_however_long_the_ledger(tmp_path):
    path = _written(tmp_path / "l", [bytes(2000)] * 10_000)
    tracemalloc.start()
    try:
        assert verify_file(path).size == 10_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_records_are_read_one_by_one_and_the_chain_is_checked_on_the_way(path):
    assert list(read_file(path, None)) == [(n, b"record %d" % n) for n in range(1, 11)]

    _edit(path, "UPDATE record SET stored = x'00ff' WHERE position = 4")
    got = []
    with pytest.raises(CronosError, match="record 4"):
        got.extend(read_file(path, None))
    assert [position for position, _ in got] in ([], [1, 2, 3])


def test_reading_notices_a_tail_that_was_cut_off(path):
    _edit(path, "DELETE FROM record WHERE position > 7")

    with pytest.raises(CronosError, match="cut off"):
        list(read_file(path, None))


def test_a_sealed_ledger_is_read_with_its_keys_and_an_erased_record_is_empty(tmp_path):
    sealer = MemorySealer()
    path = _written(tmp_path / "ledger", [b"one", b"two"], sealer)

    assert list(read_file(path, sealer)) == [(1, b"one"), (2, b"two")]
    with pytest.raises(DeniedError) as refused:
        list(read_file(path, None))
    assert refused.value.code == "govern.keys_needed"
    with pytest.raises(CronosError):
        list(read_file(path, MemorySealer(b"another")))


def test_it_reads_while_a_writer_appends(tmp_path):
    sealer = PlaintextSealer(PlaintextConfig())
    ledger = SqliteLedger(SqliteConfig(instance="local"), tmp_path, sealer, VirtualClock())
    ledger.append([b"one"])
    reading = read_file(ledger.path, None)
    assert next(reading) == (1, b"one")
    ledger.append([b"two"])
    assert len(list(reading)) in (0, 1)
    assert len(list(read_file(ledger.path, None))) == 2
    ledger.close()


def test_where_there_is_no_ledger_nothing_is_read(tmp_path):
    with pytest.raises(InputError):
        list(read_file(tmp_path / "none.db", None))
