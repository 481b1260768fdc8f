"""`cronos audit verify`: a ledger that holds is counted, one that does not is named."""

import contextlib
import json

import pytest

from cronos.config import Config
from cronos.front.cli import main
from cronos.front.keyring import open_keystore
from cronos.front.sealed import sealer_of
from cronos.front.workers import open_ledger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer


@pytest.fixture
def state(tmp_path):
    """A state folder whose ledger is readable, as it was before there were keys."""
    sealer = PlaintextSealer(PlaintextConfig())
    ledger = open_ledger(Config(), tmp_path / "local" / "ledger", VirtualClock(), sealer)
    ledger.append([b"one", b"two", b"three"])
    ledger.close()
    return tmp_path


def test_a_ledger_that_holds_is_counted(state, capsysbinary):
    assert main(["audit", "verify", "--state", str(state), "--json"]) == 0
    document = json.loads(capsysbinary.readouterr().out)
    assert document["verified"] is True
    assert document["records"] == 3
    assert len(document["head"]) == 64
    assert document["schema"] == "cronos.audit/1"


def test_people_are_told_in_a_sentence(state, capsys):
    assert main(["audit", "verify", "--state", str(state)]) == 0
    assert "3 records, every hash recomputed" in capsys.readouterr().out


def test_a_changed_byte_is_found(state, capsysbinary):
    file = state / "local" / "ledger" / "ledger.db"
    data = file.read_bytes()
    file.write_bytes(data.replace(b"two", b"twO"))
    assert main(["audit", "verify", "--state", str(state), "--json"]) == 1
    document = json.loads(capsysbinary.readouterr().out)
    assert document["schema"] == "cronos.audit/1"
    assert document["verified"] is False
    assert str(file) in document["problem"]


def test_where_there_is_no_ledger_the_sentence_says_so(tmp_path, capsys):
    assert main(["audit", "verify", "--state", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_without_keys_the_sentence_says_what_was_not_done(tmp_path, capsys):
    ledger = open_ledger(Config(), tmp_path / "local" / "ledger", VirtualClock(), MemorySealer())
    ledger.append([b"one"])
    ledger.close()
    assert main(["audit", "verify", "--state", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 records, every hash recomputed" in said
    assert "Chain verified, contents not opened: There is no keystore" in said


@pytest.mark.parametrize(
    "given",
    [
        "3",
        "3:00",
        "x:" + "00" * 32,
        "-1:" + "00" * 32,
        "3:" + "00 " * 21 + "0",
        "\u0663:" + "00" * 32,
        "9" * 5000 + ":" + "00" * 32,
    ],
)
def test_a_checkpoint_that_is_none_is_usage(state, given, capsys):
    assert main(["audit", "verify", "--state", str(state), f"--checkpoint={given}"]) == 2
    assert "SIZE:HEAD" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_contained_is_a_broken_ledger(state, capsys):
    for size, code in ((2, 1), (9, 1)):
        given = f"{size}:{'00' * 32}"
        assert main(["audit", "verify", "--state", str(state), "--checkpoint", given]) == code
    assert "does not hold" in capsys.readouterr().out


def test_verify_takes_no_subject(state, capsys):
    assert main(["audit", "verify", "address", "192.0.2.7", "--state", str(state)]) == 2
    assert "takes no subject" in capsys.readouterr().err


def test_an_erasure_asks_twice_and_needs_a_ledger(tmp_path, state, capsys):
    assert main(["audit", "erase", "address", "192.0.2.7", "--state", str(state)]) == 2
    assert "--yes" in capsys.readouterr().err
    erase = ["audit", "erase", "address", "192.0.2.7", "--yes", "--state"]
    assert main([*erase, str(tmp_path / "nowhere")]) == 2
    assert "no ledger" in capsys.readouterr().err


@pytest.mark.parametrize(
    "subject",
    [
        ("address", "192.0.2.300"),
        ("address", "192.0.2.7/32"),
        ("user", "\udcff"),
        ("user", ""),
        ("nobody", "x"),
        ("user",),
    ],
)
def test_a_subject_that_is_none_is_usage_and_leaves_nothing_on_record(state, subject, capsys):
    before = (state / "local" / "ledger" / "ledger.db").read_bytes()
    assert main(["audit", "erase", *subject, "--yes", "--state", str(state)]) == 2
    said = capsys.readouterr().err
    assert "Whom to erase is not said" in said or f"is no {subject[0]}" in said
    assert (state / "local" / "ledger" / "ledger.db").read_bytes() == before


def test_nothing_is_on_record_as_erased_that_lies_readable(state, tmp_path, capsys):
    settings = tmp_path / "cronos.toml"
    settings.write_text('sealer = "plaintext"\n')
    erase = ["audit", "erase", "user", "alice", "--yes", "--state", str(state)]
    assert main([*erase, "--config", str(settings)]) == 4
    assert "lies readable" in capsys.readouterr().err
    assert main(["audit", "verify", "--state", str(state)]) == 0
    assert "3 records" in capsys.readouterr().out


def test_erasing_while_a_node_writes_says_to_stop_it(tmp_path, capsys):
    with contextlib.closing(
        open_keystore(Config(), tmp_path / "local" / "keys", SystemClock(), ensure=True)
    ):
        pass
    folder = tmp_path / "local" / "ledger"
    ledger = open_ledger(Config(), folder, VirtualClock(), MemorySealer())
    assert main(["audit", "erase", "user", "alice", "--yes", "--state", str(tmp_path)]) == 4
    assert "Stop the node, erase the subject, and start it again" in capsys.readouterr().err
    ledger.close()


@pytest.mark.parametrize(
    ("kind", "given", "recorded"),
    [
        ("address", "2001:0DB8:0:0::7", "2001:db8::7"),
        ("address", "::ffff:192.0.2.7", "192.0.2.7"),
        ("host", "PLC-7.Example", "plc-7.example"),
        ("user", "ACME\\Alice", "ACME\\Alice"),
    ],
)
def test_a_subject_is_found_however_it_is_spelled(tmp_path, kind, given, recorded, capsysbinary):
    clock, home = SystemClock(), tmp_path / "local"
    with contextlib.closing(open_keystore(Config(), home / "keys", clock, ensure=True)) as keys:
        sealer = sealer_of(Config(), home / "ledger", clock, "ledger", lambda: keys)
        sealer.seal(b"x", b"c", f"{kind} {recorded}")
        open_ledger(Config(), home / "ledger", clock, sealer).close()
    erase = ["audit", "erase", kind, given, "--yes", "--json", "--state", str(tmp_path)]
    assert main(erase) == 0
    assert json.loads(capsysbinary.readouterr().out)["known"] is True
