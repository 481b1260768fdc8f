"""`cronos audit verify`: a ledger that holds is counted, one that does not is named."""

import json

import pytest

from cronos.config import Config
from cronos.front.cli import main
from cronos.front.workers import open_ledger
from cronos.testing.clock import VirtualClock


@pytest.fixture
def state(tmp_path):
    ledger = open_ledger(Config(), tmp_path / "local" / "ledger", VirtualClock())
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
