"""`cronos policy`: on a ledger of recorded incidents, and on playbooks."""

import json
import shutil

import pytest
from tests.unit.front.recorded import story, toml, write
from tests.unit.respond.playbooks import EXAMPLES, simple

from cronos.front.cli import main


@pytest.fixture
def site(tmp_path):
    """A state folder with two recorded incidents, and the configuration they ran under."""
    write(tmp_path / "state", [*story("local-1-1"), *story("local-1-2", confidence=0.6)])
    toml(tmp_path / "old.toml")
    (tmp_path / "books").mkdir(mode=0o755)
    return tmp_path


def run(site, *words):
    return main(
        ["policy", *words, "--config", str(site / "old.toml"), "--state", str(site / "state")]
    )


def document(capsysbinary):
    return json.loads(capsysbinary.readouterr().out)


def test_a_policy_that_changes_nothing_gives_zero(site, capsysbinary):
    assert run(site, "test", "--json") == 0
    found = document(capsysbinary)
    assert (found["incidents"], found["decisions"], found["reproduced"]) == (2, 2, 2)
    assert (found["changed"], found["changes"], found["steps"]) == (0, [], [])


def test_what_a_changed_policy_would_change_is_shown_and_gives_one(site, capsysbinary):
    new = toml(site / "new.toml", policy={"protected": ["192.0.2.0/24"], "version": 2})

    assert run(site, "test", "--policy-file", new, "--json") == 1
    found = document(capsysbinary)
    assert found["changed"] == found["more_careful"] == 2
    assert found["changes"][0]["old"]["disposition"] == "auto_approve"
    assert found["changes"][0]["new"]["disposition"] == "refused"
    assert "protected" in found["changes"][0]["new"]["reasons"][0]


def test_people_are_told_in_sentences(site, capsys):
    new = toml(site / "new.toml", policy={"dial": {"deny:address": "ask"}})

    assert run(site, "test", "--policy-file", new) == 1
    said = capsys.readouterr().out
    assert "2 incidents, 2 decisions, 2 of them decided now as they were recorded." in said
    assert "was    auto_approve deny address 192.0.2.66 at recording" in said
    assert "would  ask_analyst deny address 192.0.2.66 at recording" in said
    assert "1 would change: 0 bolder, 1 more careful." in said


def test_what_other_playbooks_would_propose_is_shown(site, capsysbinary):
    written = simple(value="203.0.113.9", applies={"min_confidence": 0.9})
    (site / "books" / "one.json").write_text(json.dumps(written))
    (site / "books" / "bad.json").write_text("{")

    assert run(site, "test", "--playbooks", str(site / "books"), "--json") == 1
    found = document(capsysbinary)
    (step,) = found["steps"]
    assert step == {
        "incident_id": "local-1-1",
        "action": "deny address 203.0.113.9 at recording",
        "old": "",
        "new": "auto_approve",
    }
    assert "bad.json" in found["refused"][0]["source"]


def test_nothing_is_written_to_the_ledger_and_no_key_is_made(site):
    def held():
        """Give what lies there, without what SQLite keeps beside a database that is read."""
        files = [one for one in (site / "state").rglob("*") if one.is_file()]
        beside = ("-wal", "-shm")
        return {one: one.read_bytes() for one in files if not one.name.endswith(beside)}

    before = held()
    run(site, "test")

    assert held() == before


@pytest.mark.parametrize(
    "words",
    [
        ["test", "surplus"],
        ["explain", "surplus"],
        ["import"],
        ["export"],
        ["export", "Nobody"],
        ["test", "--policy-file", "/nonexistent.toml"],
        ["test", "--playbooks", "/nonexistent"],
        ["import", "/nonexistent.json"],
    ],
)
def test_what_cannot_be_done_is_said(site, words, capsys):
    assert run(site, *words) == 2
    assert capsys.readouterr().err


def test_a_new_policy_that_is_none_is_refused(site, capsys):
    new = toml(site / "new.toml", policy={"dial": {"explode:address": "ask"}})

    assert run(site, "test", "--policy-file", new) == 2
    assert "explode" in capsys.readouterr().err


def test_the_policy_is_explained(site, capsysbinary):
    folder = ["--playbooks", str(EXAMPLES)]
    assert run(site, "explain", *folder, "--json") == 0
    found = document(capsysbinary)
    assert found["matrix"][0]["low"] == "ask_manager"
    assert found["budgets"] == {"all": 2000, "identity": 60, "service": 20, "host": 20, "fleet": 4}
    assert len(found["playbooks"]) == 4
    by_name = {f"{one['verb']}:{one['kind']}": one for one in found["abilities"]}
    assert by_name["deny:address"]["dial"] == "act"
    assert by_name["contain:host"]["risk"] >= 0.7

    dialled = toml(site / "old.toml", policy={"dial": {"deny:address": "observe"}})
    assert dialled
    assert run(site, "explain") == 0
    said = capsysbinary.readouterr().out.decode()
    assert "deny address               0.40  observe" in said
    assert "protected   127.0.0.1, ::1" in said


def test_a_playbook_goes_in_and_out_and_stays_the_same(site, capfdbinary):
    shutil.copy(EXAMPLES / "close-port.json", site / "given.json")
    there = site / "books" / "close.json"

    assert run(site, "import", str(site / "given.json"), "-o", str(there), "--json") == 0
    found = document(capfdbinary)
    assert (found["schema"], found["name"]) == ("cronos.playbook/1", "Close a port under attack")
    assert there.read_bytes() == (EXAMPLES / "close-port.json").read_bytes()
    assert run(site, "import", str(site / "given.json"), "-o", str(there)) == 2
    assert run(site, "import", str(site / "given.json"), "-o", str(there), "--force") == 0
    capfdbinary.readouterr()

    books = ["--playbooks", str(site / "books")]
    assert run(site, "export", "Close a port under attack", *books) == 0
    assert capfdbinary.readouterr().out == there.read_bytes()
    out = site / "out.json"
    assert run(site, "export", found["playbook_id"], *books, "-o", str(out)) == 0
    assert out.read_bytes() == there.read_bytes()
    assert b"9 steps" in capfdbinary.readouterr().out


def test_a_playbook_outside_the_subset_is_refused_with_its_place(site, capsys):
    written = simple() | {"workflow_exception": "end--1"}
    (site / "bad.json").write_text(json.dumps(written))

    assert run(site, "import", str(site / "bad.json"), "-o", str(site / "x.json")) == 2
    said = capsys.readouterr().err
    assert "workflow_exception" in said
    assert "on_failure" in said
    assert not (site / "x.json").exists()
