"""The ledger on SQLite: its bytes, its one writer, and what it does when the world fails it."""

import os
import pathlib
import resource
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.govern.ledger import SqliteConfig, SqliteLedger, record_starts
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import examine_file, verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.types import (
    AuditRecord,
    Checkpoint,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Kill,
    Provenance,
    Release,
    encode,
)

_SRC = pathlib.Path(__file__).parents[3] / "src"
# The first line is printed for a reader that waits; every number after it was acknowledged.
_WRITER = """
import sys
from pathlib import Path
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.testing.clock import VirtualClock
sealer = PlaintextSealer(PlaintextConfig())
ledger = SqliteLedger(SqliteConfig(), Path(sys.argv[1]), sealer, VirtualClock())
print("open", ledger.checkpoint().size, flush=True)
while True:
    size = ledger.checkpoint().size
    ledger.append([b"record %d" % n for n in range(size + 1, size + 1 + int(sys.argv[2]))])
    print(ledger.checkpoint().size, flush=True)
"""


def _ledger(folder: pathlib.Path, sealer=None, **config) -> SqliteLedger:
    sealer = sealer or PlaintextSealer(PlaintextConfig())
    config = {"instance": "local", **config}
    return SqliteLedger(SqliteConfig(**config), folder, sealer, VirtualClock(wall_ns=7))


def _edit(folder: pathlib.Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(folder / "ledger.db")
    with database:
        database.execute(statement, values)
    database.close()


def test_a_ledger_that_names_no_instance_or_two_is_broken_for_its_writer(tmp_path):
    for number, statement in enumerate(
        ("DELETE FROM genesis", "INSERT INTO genesis VALUES ('other')")
    ):
        folder = tmp_path / str(number)
        _ledger(folder).close()
        _edit(folder, statement)
        with pytest.raises(CronosError, match="does not name one instance"):
            _ledger(folder)


def test_how_each_record_begins_is_told_once(tmp_path):
    assert list(record_starts(tmp_path)) == []
    ledger = _ledger(tmp_path, MemorySealer())
    ledger.append([b"the same beginning", b"the same beginning, and more"])
    ledger.append([b"another"])
    starts = list(record_starts(tmp_path))
    assert sorted(starts) == [b"\xff" + bytes(6) + b"anoth", b"\xff" + bytes(6) + b"the s"]
    assert ledger.append([b"next"]) == 4
    ledger.close()


def test_a_damaged_ledger_does_not_tell_how_its_records_begin(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"noise" * 1000)
    with pytest.raises(CronosError):
        list(record_starts(tmp_path))


# --- frozen bytes: a ledger written today must verify for ever ------------------------------------


def test_the_bytes_of_a_record_never_change():
    record = AuditRecord(
        "node-1", "decision", 1_700_000_000_000_000_000, 42, "node-1-1-i7", b"\x01"
    )
    assert encode(record).hex() == (
        "010b41756469745265636f7264"  # version 1, eleven letters: AuditRecord
        "97ab41756469745265636f7264"  # an array of seven: the tag again,
        "a66e6f64652d31"  # node,
        "a86465636973696f6e"  # kind,
        "cf17979cfe362a0000"  # wall_ns,
        "2a"  # boot_ns,
        "ab6e6f64652d312d312d6937"  # incident_id,
        "c40101"  # body
    )


def test_the_bytes_of_a_checkpoint_never_change():
    assert encode(Checkpoint(3, b"\xaa\xbb", "unsealed", 7)).hex() == (
        "010a436865636b706f696e7495aa436865636b706f696e7403c402aabba8756e7365616c656407"
    )


def test_stored_and_chained_bytes_never_change(tmp_path):
    ledger = _ledger(tmp_path)
    genesis = ledger.checkpoint().head
    ledger.append([b"first", b"second"])
    ledger.close()
    database = sqlite3.connect(tmp_path / "ledger.db")
    rows = database.execute("SELECT position, hex(stored), hex(chain) FROM record").fetchall()
    pragmas = [
        database.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version")
    ]
    database.close()
    assert genesis.hex() == "8784f274db1f3ffc0dc1659d8843e62b77f63edb7adbe0322514b2d9804c2c32"
    assert rows == [
        (1, "006669727374", "44CF209BA992AB9F1D7BD1027AB3A52852C03ADACF9E8D2A6D517E86A2CF75B5"),
        (2, "007365636F6E64", "24BEDEA9FA7E2BBDE0930694E34E4AE20C84D67251296F2B8147AAEC62BDD135"),
    ]
    assert pragmas == [0x43524E4C, 1]
    head = (tmp_path / "head").read_text()
    assert head == f"cronos-head/1 00000000000000000002 {rows[1][2].lower()}\n"


def test_the_head_binds_the_instance(tmp_path):
    one, other = _ledger(tmp_path / "1"), _ledger(tmp_path / "2", instance="other")
    assert one.checkpoint().head != other.checkpoint().head
    one.close()
    other.close()


def test_an_unnamed_ledger_takes_the_name_of_the_folder_above(tmp_path):
    unnamed = _ledger(tmp_path / "plant-7" / "ledger", instance="")
    named = _ledger(tmp_path / "elsewhere", instance="plant-7")
    assert unnamed.checkpoint().head == named.checkpoint().head
    unnamed.close()
    named.close()


def test_a_checkpoint_shows_size_sealing_and_wall_time(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"x"])
    shown = ledger.checkpoint()
    assert (shown.size, shown.sealing, shown.wall_ns) == (1, "unsealed", 7)
    ledger.close()


# --- one writer ---------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path):
    ledger = _ledger(tmp_path)
    with pytest.raises(DeniedError, match="Another process") as refused:
        _ledger(tmp_path)
    assert refused.value.code == "govern.ledger_in_use"
    assert ledger.append([b"x"]) == 1
    ledger.close()
    _ledger(tmp_path).close()


def test_only_this_user_may_read_the_files(tmp_path):
    ledger = _ledger(tmp_path / "new")
    ledger.append([b"x"])
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    ledger.close()


def test_nothing_is_chained_onto_a_foreign_hands_work(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"one", b"two"])
    _edit(tmp_path, "DELETE FROM record WHERE position = 2")
    with pytest.raises(CronosError, match="another program changed its end"):
        ledger.append([b"three"])
    with pytest.raises(CronosError, match="record 2"):
        ledger.verify()
    ledger.close()


def test_a_record_changed_on_disk_is_not_read_as_if_it_were_true(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"one", b"two", b"three"])
    _edit(tmp_path, "UPDATE record SET stored = x'0074776F21' WHERE position = 2")
    assert ledger.read(1, 1) == [b"one"]
    with pytest.raises(CronosError, match="record 2 was changed"):
        ledger.read(1, 3)
    with pytest.raises(CronosError, match="record 2"):
        ledger.read(2, 1)
    ledger.close()


def test_another_sealers_records_are_not_opened(tmp_path):
    ledger = _ledger(tmp_path, MemorySealer())
    ledger.append([b"sealed"])
    ledger.close()
    other = MemorySealer()
    other.seal_version = 254
    sealed = _ledger(tmp_path, other)
    with pytest.raises(DeniedError, match="seal version 255"):
        sealed.read(1, 1)
    sealed.close()


def test_while_the_keys_do_not_answer_nothing_is_stored_and_later_it_goes_on(tmp_path):
    class Silent(MemorySealer):
        """A double: an epoch is due, and the key agent is gone for a moment."""

        silent = False

        def seal(self, plain, context, subject=""):
            if self.silent:
                raise UnreachableError("link.no_agent", "No key agent answers.", "Wait.")
            return super().seal(plain, context, subject)

    sealer = Silent()
    ledger = _ledger(tmp_path, sealer)
    assert ledger.append([b"one"]) == 1
    sealer.silent = True
    with pytest.raises(UnreachableError):
        ledger.append([b"two", b"three"])
    sealer.silent = False
    assert ledger.append([b"two"]) == 2
    assert ledger.verify().size == 2
    ledger.close()


def test_in_the_place_of_what_was_shredded_stands_nothing_and_the_rest_is_read(tmp_path):
    sealer = MemorySealer()
    ledger = _ledger(tmp_path, sealer)
    who = Entity(EntityKind.ADDRESS, "192.0.2.7")
    claim = EvidenceClass.DECLARED, Provenance.BIDIRECTIONAL, 0.9, 3, 1
    told = encode(Finding("f", "scan", "t", "e", *claim, actor=who))
    records = [
        encode(AuditRecord("n", "finding", 1, 2, "i1", told)),
        encode(AuditRecord("n", "kill", 1, 2, "", encode(Kill(1, engaged=True)))),
        encode(AuditRecord("n", "release", 1, 2, "i1", encode(Release("i1", "eve")))),
    ]
    ledger.append(records)
    sealer.shred("address 192.0.2.7")
    assert list(ledger.read(1, 3)) == [b"", records[1], b""]
    found = examine_file(ledger.path, sealer)
    assert (found.checkpoint.size, found.opened, found.erased) == (3, 1, 2)
    ledger.close()


def test_a_sealed_record_is_bound_to_its_position(tmp_path):
    ledger = _ledger(tmp_path, MemorySealer())
    ledger.append([b"same", b"same"])
    ledger.close()
    database = sqlite3.connect(tmp_path / "ledger.db")
    stored = [row[0] for row in database.execute("SELECT stored FROM record")]
    database.close()
    assert stored[0] != stored[1]
    assert {row[0] for row in stored} == {255}


# --- what is wrong when it is opened --------------------------------------------------------------


def test_a_lost_end_is_noticed_when_opened(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"one", b"two", b"three"])
    ledger.close()
    _edit(tmp_path, "DELETE FROM record WHERE position = 3")
    with pytest.raises(CronosError, match="ends at record 2, but had 3"):
        _ledger(tmp_path)


def test_a_lost_file_is_noticed_and_no_new_one_takes_its_place(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"one"])
    ledger.close()
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(CronosError, match="ends at record 0, but had 1"):
        _ledger(tmp_path)
    assert not (tmp_path / "ledger.db").exists()


def test_a_rewritten_ledger_is_noticed_by_its_head_file(tmp_path):
    for name in ("true", "forged"):
        ledger = _ledger(tmp_path / name)
        ledger.append([name.encode(), b"x"])
        ledger.close()
    (tmp_path / "forged" / "ledger.db").replace(tmp_path / "true" / "ledger.db")
    with pytest.raises(CronosError, match="`head` file names"):
        _ledger(tmp_path / "true")


def test_a_head_file_that_lags_is_no_trouble(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"one"])
    before = (tmp_path / "head").read_bytes()
    ledger.append([b"two"])
    ledger.close()
    (tmp_path / "head").write_bytes(before)
    again = _ledger(tmp_path)
    assert again.verify().size == 2
    again.close()


def test_a_stranger_in_its_place_is_refused(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"SQLite format 3\x00" + bytes(4000))
    with pytest.raises(CronosError):
        _ledger(tmp_path)
    (tmp_path / "ledger.db").unlink()
    _edit(tmp_path, "CREATE TABLE other(x)")
    with pytest.raises(InputError, match="not a Cronos ledger"):
        _ledger(tmp_path)


def test_a_damaged_schema_is_named_and_its_text_is_not_trusted(tmp_path):
    _ledger(tmp_path).close()
    data = (tmp_path / "ledger.db").read_bytes()
    for damage in (b"\x80REATE TABLE gen", b"CREATE TABLE g\x80n"):
        (tmp_path / "ledger.db").write_bytes(data.replace(b"CREATE TABLE gen", damage))
        with pytest.raises(CronosError):
            _ledger(tmp_path)


def test_a_later_format_is_refused(tmp_path):
    _ledger(tmp_path).close()
    _edit(tmp_path, "PRAGMA user_version=3")
    with pytest.raises(InputError, match="format 3"):
        _ledger(tmp_path)


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeniedError, match="cannot be used"):
        _ledger(tmp_path / "file")


def test_there_is_no_record_before_the_first(tmp_path):
    ledger = _ledger(tmp_path)
    with pytest.raises(InputError, match="counted from 1"):
        ledger.read(0, 1)
    ledger.close()


# --- when the world fails it ----------------------------------------------------------------------


def test_while_another_program_holds_the_file_nothing_is_stored_and_later_it_goes_on(tmp_path):
    ledger = _ledger(tmp_path, busy_timeout_ms=1)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CronosError) as refused:
        ledger.append([b"x"])
    assert refused.value.code == "govern.ledger_busy"
    other.execute("ROLLBACK")
    other.close()
    assert ledger.append([b"x"]) == 1
    assert ledger.verify().size == 1
    ledger.close()


def test_a_file_size_limit_stores_nothing_and_lifted_it_goes_on(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"before"])
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        with pytest.raises(CronosError) as refused:
            ledger.append([bytes(1000)] * 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.code in ("govern.ledger_io", "govern.disk_full")
    assert ledger.checkpoint().size == 1
    assert ledger.append([b"after"]) == 2
    assert ledger.verify().size == 2
    ledger.close()


_FULL_DISK = """
import sys
from pathlib import Path
from cronos.errors import CronosError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.testing.clock import VirtualClock
disk = Path(sys.argv[1])
sealer = PlaintextSealer(PlaintextConfig())
ledger = SqliteLedger(SqliteConfig(), disk / "l", sealer, VirtualClock())
ballast = disk / "ballast"
ballast.write_bytes(bytes(256 << 10))
acknowledged, code = 0, ""
while not code:
    try:
        acknowledged = ledger.append([bytes(500)] * 20) + 19
    except CronosError as error:
        code = error.code
size = ledger.verify().size
ballast.unlink()
ledger.append([b"goes on"])
ledger.close()
again = SqliteLedger(SqliteConfig(), disk / "l", sealer, VirtualClock())
print(code, acknowledged > 0, size == acknowledged, again.verify().size == acknowledged + 1)
"""


def test_on_a_full_disk_nothing_is_half_stored_and_with_space_it_goes_on(tmp_path):
    mount = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1"'
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
    assert ended.stdout.split() == ["govern.disk_full", "True", "True", "True"], ended.stderr


@pytest.mark.parametrize(("batch", "after"), [(1, 1), (1, 40), (7, 15), (200, 3), (200, 25)])
def test_killed_at_any_moment_everything_acknowledged_is_there(tmp_path, batch, after):
    """Killed three times in a row, each time while the next append is under way."""
    for _ in range(3):
        acknowledged = _killed_after(tmp_path, batch, after)
        assert acknowledged >= after * batch
        ledger = _ledger(tmp_path)
        size = ledger.verify().size
        assert size >= acknowledged
        assert size % batch == 0, "a batch is whole or not there"
        assert list(ledger.read(1, size)) == [b"record %d" % n for n in range(1, size + 1)]
        ledger.close()


def _killed_after(folder: pathlib.Path, batch: int, appends: int) -> int:
    """Let a writer acknowledge some appends, kill it, and give the last it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, folder, str(batch)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_SRC)},
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline().startswith(b"open")
        last = b"0\n"
        for _ in range(appends):
            last = writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().splitlines(keepends=True)
    whole = [line for line in [last, *rest] if line.endswith(b"\n")]
    return int(whole[-1])


def test_it_verifies_while_it_is_written(tmp_path):
    ledger = _ledger(tmp_path)
    ledger.append([b"begin"] * 500)
    done = threading.Event()

    def write() -> None:
        for _ in range(60):
            ledger.append([b"more"] * 50)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes = [verify_file(tmp_path / "ledger.db").size]
    while not done.is_set():
        sizes.append(verify_file(tmp_path / "ledger.db").size)
    writer.join()
    assert sizes == sorted(sizes)
    assert sizes[0] >= 500
    assert verify_file(tmp_path / "ledger.db").size == 3500
    ledger.close()
