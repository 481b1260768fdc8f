"""What is broken, hostile or refused: a sentence with place and remedy; the rest is done."""

import gzip
import os
import pathlib
import shutil
import sqlite3
import struct
import subprocess

import pytest
from bench.capture_generator import HEADER
from tests.integration.product import (
    COMMAND,
    ENVIRONMENT,
    ROOT,
    Done,
    Up,
    cronos,
    failed_logins,
    modbus_capture,
    policy_file,
    remove,
    short_folder,
)

GOOD = b'{"timestamp":"2026-11-14T22:13:20.000000+0000","event_type":"dns","src_ip":"192.0.2.1"}\n'


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def run(state, *given, **more):
    return cronos("run", "--state", state, "--json", *given, **more)


def written(path, data):
    path.write_bytes(data)
    return path


def defects_of(done):
    """Give the defects; each says where, what and what to do."""
    found = done.document["defects"]
    for one in found:
        assert one["source"]
        assert one["reason"]
        assert one["remedy"]
    return found


def counted(done):
    return {pathlib.Path(one["source"]).name: one for one in done.document["sources"]}


# --- records ---------------------------------------------------------------------------------


def test_a_capture_cut_short_yields_its_good_packets_and_one_defect(tmp_path, state):
    clients = [f"203.0.113.{n}" for n in range(1, 11)]
    whole = modbus_capture(tmp_path / "whole.pcap", clients).read_bytes()
    cut = written(tmp_path / "cut.pcap", whole[:-30])
    policy = policy_file(tmp_path)
    done = run(state, "--policy", policy, cut)
    assert done.code == 1
    assert len(done.document["incidents"]) == 10
    (defect,) = defects_of(done)
    assert defect["source"] == str(cut)
    assert defect["position"] == 80  # eight packets to each of ten connections


def test_a_packet_that_claims_to_be_endless_ends_the_capture_and_not_the_run(tmp_path, state):
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.66"])
    with capture.open("ab") as file:
        file.write(struct.pack("<IIII", 1_700_000_009, 0, 0x7FFFFFFF, 0x7FFFFFFF) + b"x" * 100)
    done = run(state, "--policy", policy_file(tmp_path), capture)
    assert done.incident("192.0.2.66")["state"] == "confirmed"
    assert defects_of(done)


def test_broken_gzip_yields_what_came_before_the_break(tmp_path, state):
    data = gzip.compress(failed_logins(5_000), 1)
    torn = written(tmp_path / "torn.log.gz", data[: len(data) // 2])
    flipped = written(tmp_path / "flipped.log.gz", data[:-2_000] + b"\xff" * 16 + data[-1_984:])
    done = run(state, torn, flipped)
    assert done.code == 1
    defects = {pathlib.Path(one["source"]).name: one for one in defects_of(done)}
    assert "byte" in defects["torn.log.gz"]["reason"]
    for name in ("torn.log.gz", "flipped.log.gz"):
        assert 1_000 < counted(done)[name]["observations"] < 5_000
        assert counted(done)[name]["complete"] is False
        assert name in defects


def test_bad_lines_between_good_ones_are_named_by_their_number(tmp_path, state):
    bad = [b"not json\n", b'{"timestamp":\n', b'{"a":' + b"[" * 5_000 + b"\n", b"\xff\xfe\x00\n"]
    path = written(tmp_path / "eve.json", GOOD + b"".join(one + GOOD for one in bad))
    done = run(state, path)
    assert done.code == 0
    assert done.document["observations"] == 5
    assert [one["position"] for one in defects_of(done)] == [2, 4, 6, 8]
    assert counted(done)["eve.json"]["complete"] is True


def test_an_endless_line_is_one_defect_and_the_lines_around_it_are_read(tmp_path, state):
    lines = failed_logins(30).splitlines(keepends=True)
    endless = b"<13>Nov 14 22:13:20 host app: " + b"x" * (5 << 20) + b"\n"
    path = written(tmp_path / "auth.log", b"".join([*lines[:15], endless, *lines[15:]]))
    done = run(state, path)
    assert done.code == 1
    assert counted(done)["auth.log"]["observations"] == 30
    (defect,) = defects_of(done)
    assert defect["position"] == 16


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_read_or_said_and_never_a_fault(tmp_path, state, encoding):
    text = failed_logins(30).decode().replace("root", "jürgen")
    path = written(tmp_path / "auth.log", text.encode(encoding))
    done = run(state, path)
    read = done.document["observations"]
    assert read == 30 or defects_of(done)
    assert done.code == (1 if read else 2)


def test_latin_1_is_read_whole(tmp_path, state):
    text = failed_logins(30).decode().replace("gate", "tür")
    path = written(tmp_path / "auth.log", text.encode("latin-1"))
    done = run(state, path)
    assert done.document["observations"] == 30


def test_noise_is_no_format_and_named_formats_survive_it(tmp_path, state):
    noise = bytes((n * 7_919 + n // 3 * 104_729) % 256 for n in range(200_000))
    path = written(tmp_path / "noise", noise)
    done = run(state, path)
    assert done.code == 2
    (defect,) = defects_of(done)
    assert "no format" in defect["reason"]
    assert "--format" in defect["remedy"]
    for name in ("pcap", "eve", "zeek", "windows", "syslog", "json"):
        forced = run(state, "--format", name, path)
        assert forced.code in (0, 2), name
        assert forced.document["observations"] or defects_of(forced), name


def test_a_clock_that_goes_back_in_a_capture_loses_nothing(tmp_path, state):
    capture = modbus_capture(tmp_path / "plant.pcap", [f"203.0.113.{n}" for n in range(1, 9)])
    data = capture.read_bytes()
    half = len(HEADER) + (len(data) - len(HEADER)) // 2
    swapped = written(tmp_path / "back.pcap", HEADER + data[half:] + data[len(HEADER) : half])
    done = run(state, "--policy", policy_file(tmp_path), swapped)
    assert len(done.document["incidents"]) == 8
    assert defects_of(done) == []


# --- files -----------------------------------------------------------------------------------


def test_an_empty_file_says_that_it_is_empty_and_the_others_are_read(tmp_path, state):
    empty = written(tmp_path / "empty.log", b"")
    alone = run(state, empty)
    assert alone.code == 2
    assert "is empty" in defects_of(alone)[0]["reason"]
    good = written(tmp_path / "auth.log", failed_logins(30))
    both = run(state, empty, good)
    assert both.code == 1
    assert both.document["observations"] == 30
    assert [one["source"] for one in defects_of(both)] == [str(empty)]


def test_a_capture_of_nothing_but_its_header_is_quiet(tmp_path, state):
    done = run(state, written(tmp_path / "none.pcap", HEADER))
    assert (done.code, done.document["observations"]) == (0, 0)


@pytest.mark.parametrize("name", ["missing.log", "empty-folder"])
def test_what_is_not_there_is_refused_before_anything_starts(tmp_path, state, name):
    (tmp_path / "empty-folder").mkdir()
    done = run(state, tmp_path / name)
    assert done.code == 2
    assert name in done.document["sentence"]
    assert done.document["remedy"]
    assert name in done.err
    assert not state.exists()


def test_what_is_no_file_is_a_defect(tmp_path, state):
    os.mkfifo(tmp_path / "pipe")
    done = run(state, tmp_path / "pipe", written(tmp_path / "auth.log", failed_logins(30)))
    assert done.code == 1
    (defect,) = defects_of(done)
    assert "no regular file" in defect["reason"]
    assert "`-`" in defect["remedy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_defect(tmp_path, state):
    path = written(tmp_path / "auth.log", failed_logins(30))
    path.chmod(0)
    done = run(state, path)
    assert done.code == 2
    assert "Permission denied" in defects_of(done)[0]["reason"]


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh9", b"PK\x03\x04"])
def test_another_compression_names_the_command_that_undoes_it(tmp_path, state, magic):
    done = run(state, written(tmp_path / "log", magic + bytes(100)))
    assert done.code == 2
    (defect,) = defects_of(done)
    assert "compressed with" in defect["reason"]
    assert "Decompress it first" in defect["remedy"]


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[lease]\ndefault = 3\n", "default"),
        ("[lease]\ndefault_s = 0\n", "default_s"),
        ("[[lease\n", "line 1"),
        ("colour = 'red'\n", "colour"),
        ("detectors = ['scam']\n", "scam"),
        ("executors = ['nftable']\n", "nftable"),
        ("[plugin.scan]\nport = 3\n", "[plugin.scan]"),
        ("[plugin.sqlite]\nnonsense = 3\n", "[plugin.sqlite]"),
        ("[plugin.enforcer]\nnonsense = 3\n", "[plugin.enforcer]"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(tmp_path, state, content, says):
    config = tmp_path / "cronos.toml"
    config.write_text(content)
    log = written(tmp_path / "auth.log", failed_logins(3))
    done = run(state, "--config", config, log)
    assert done.code == 2
    assert says in done.document["sentence"]
    assert done.document["remedy"]


def test_a_wrong_setting_of_a_sensor_is_the_defect_of_its_source(tmp_path, state):
    config = tmp_path / "cronos.toml"
    config.write_text("[plugin.syslog]\nnonsense = 3\n")
    log = written(tmp_path / "auth.log", failed_logins(3))
    done = run(state, "--config", config, log)
    assert done.code == 2
    assert "[plugin.syslog]" in defects_of(done)[0]["reason"]


@pytest.mark.parametrize(
    ("content", "says"),
    [("version = 'x'\n", "version"), ("[[server\n", "line 1"), (None, "policy")],
)
def test_a_wrong_policy_is_named_with_what_to_do(tmp_path, state, content, says):
    policy = tmp_path / "policy.toml"
    if content is not None:
        policy.write_text(content)
    done = run(state, "--policy", policy, written(tmp_path / "auth.log", failed_logins(3)))
    assert done.code == 2
    assert says in done.document["sentence"]
    assert done.document["remedy"]


def test_a_folder_of_rules_that_is_not_there_is_named(tmp_path, state):
    log = written(tmp_path / "auth.log", failed_logins(3))
    done = run(state, "--rules", tmp_path / "no-rules", log)
    assert done.code == 2
    assert "no-rules" in done.document["sentence"]


# --- the state folder ------------------------------------------------------------------------


def test_a_file_in_the_state_folders_place_is_refused(tmp_path):
    there = written(tmp_path / "state", b"")
    done = run(there, written(tmp_path / "auth.log", failed_logins(3)))
    assert done.code == 4
    assert done.document["code"] == "state.unwritable"
    assert str(there) in done.document["sentence"]
    assert "--state" in done.document["remedy"]


def test_a_second_process_on_one_state_folder_is_refused_and_the_first_goes_on(tmp_path):
    state = short_folder()
    log = written(tmp_path / "auth.log", failed_logins(30))
    up = Up("--state", state, "--follow", log)
    try:
        up.wait_for("node.ready")
        second = run(state, log)
        assert second.code == 4
        assert second.document["code"] == "state.in_use"
        assert str(state) in second.document["sentence"]
        assert up.process.poll() is None
        up.wait_for("incident.decision")
        first = up.stop()
        assert first.code == 1
        assert first.document["observations"] == 30
    finally:
        up.kill()
        remove(state)


def test_a_ledger_that_was_changed_is_refused_and_named(tmp_path, state):
    log = written(tmp_path / "auth.log", failed_logins(30))
    assert run(state, log).code == 1
    ledger = state / "local" / "ledger" / "ledger.db"
    database = sqlite3.connect(ledger)
    with database:
        database.execute(
            "UPDATE record SET stored = CAST(stored || x'00' AS BLOB) WHERE position = 3"
        )
    database.close()
    done = cronos("audit", "verify", "--state", state, "--json")
    assert done.code == 1
    assert done.document["verified"] is False
    assert str(ledger) in done.document["problem"]
    assert "record" in done.document["problem"]


def on_a_small_disk(tmp_path, size, log):
    """Run with the state on a file system of a given size."""
    if shutil.which("unshare") is None:
        pytest.skip("`unshare` is not installed")
    there = tmp_path / "small"
    there.mkdir()
    script = (
        f"mount -t tmpfs -o size={size} none {there} || exit 99\n"
        f"exec {' '.join(COMMAND)} run --json --state {there}/state {log}"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        cwd=ROOT,
        timeout=60,
    )
    if done.returncode in (1, 99) and not done.stdout:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("size", ["4k", "16k", "64k"])
def test_a_full_disk_is_said_and_nothing_unrecorded_is_shown_as_recorded(tmp_path, size):
    attackers = [f"198.18.{n // 200}.{n % 200 + 1}" for n in range(400)]
    lines = b"".join(failed_logins(12, one, f"host-{n}") for n, one in enumerate(attackers))
    done = on_a_small_disk(tmp_path, size, written(tmp_path / "auth.log", lines))
    assert done.code in (4, 70), done.err
    document = done.document
    assert document["schema"] == "cronos.error/1"
    assert str(tmp_path / "small") in document["sentence"]
    assert "space" in document["sentence"] or "disk" in document["sentence"]
    assert document["remedy"]


def test_a_disk_with_room_records_everything(tmp_path):
    done = on_a_small_disk(tmp_path, "64m", written(tmp_path / "auth.log", failed_logins(30)))
    assert done.code == 1
    assert done.document["ledger"]["records"] > 0


def test_a_file_whose_name_is_no_text_is_named_and_the_others_are_read(tmp_path, state):
    folder = tmp_path / "logs"
    folder.mkdir()
    written(folder / "good.log", failed_logins(3))
    pathlib.Path(os.fsdecode(os.fsencode(folder) + b"/\xff.log")).write_text("x")

    done = run(state, folder)

    assert done.document["observations"] == 3
    assert [one["source"].rpartition("/")[2] for one in done.document["defects"]] == ["\\xff.log"]
