"""`cronos keys`: what was done is printed, and nothing is done by mistake."""

import io
import json
import types

import pytest
from tests.unit.crypto.sealed_store import sealer

from cronos.config import Config
from cronos.crypto.keytext import parse_key
from cronos.crypto.roots.machine import MachineRoot
from cronos.crypto.suites import RATE, DecryptionKey, generate_secret
from cronos.errors import UnreachableError
from cronos.front import keyring
from cronos.front.cli import main
from cronos.front.commands import keys as command
from cronos.runtime.world import SystemClock

CHEAP = """[plugin.keystore]
suite = "rate"
[plugin.passphrase]
memory_kib = 1024
passes = 1
lanes = 1
"""


@pytest.fixture
def run(tmp_path, capsysbinary):
    settings = tmp_path / "cronos.toml"
    settings.write_text(CHEAP)

    def run(*words, code=0, state="state"):
        given = ["keys", *map(str, words), "--config", str(settings), "--json"]
        found = main([*given, "--state", str(tmp_path / state)])
        document = json.loads(capsysbinary.readouterr().out)
        assert found == code, document
        return types.SimpleNamespace(**document)

    run.settings = settings
    run.state = tmp_path / "state"
    run.folder = tmp_path / "state" / "local" / "keys"
    return run


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("five random words\n")
    path.chmod(0o600)
    return path


def ids(document):
    return {key["key"]: key["state"] for key in document.keys}


def test_without_a_name_a_node_gets_its_keys(run):
    made = run("new")
    assert (made.done, made.schema, made.root) == ("created", "cronos.keys/1", "machine-key")
    assert ids(made) == {"identity.1": "active", "node.1": "active", "state.1": "active"}
    assert "machine.key" in made.protection
    assert run("new").keys == []


def test_a_key_is_made_listed_rotated_and_destroyed(run):
    run("new", "archive", "--algorithm", "kyber-1024", "--life-days", "90")
    (shown,) = run("list").keys
    assert (shown["key"], shown["algorithm"], len(shown["fingerprint"])) == (
        "archive.1",
        "cnsa",
        32,
    )
    assert shown["expires"] > shown["created"]
    assert ids(run("rotate", "archive")) == {"archive.2": "active"}
    refused = run("destroy", "archive.1", code=4)
    assert refused.code == "keys.not_confirmed"
    assert ids(run("destroy", "archive.1", "--yes")) == {"archive.1": "destroyed"}
    listed = run("list")
    assert ids(listed) == {"archive.1": "destroyed", "archive.2": "active"}
    assert listed.verified is True
    assert listed.remarks == []


def test_a_pending_key_waits_for_its_rotation(run):
    run("new", "a", "--algorithm", "ml-dsa-44", "--context", "x-", "--forget")
    run("new", "a", "--algorithm", "ml-dsa-44", "--pending")
    assert ids(run("list")) == {"a.1": "active", "a.2": "pending"}
    assert ids(run("rotate", "a")) == {"a.2": "active"}


def test_a_backup_goes_out_and_comes_back_elsewhere(run, passphrase, tmp_path):
    run("new")
    backup = tmp_path / "backup"
    done = run("export", "--passphrase-file", passphrase, "-o", backup)
    assert done.output == str(backup)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert len(run("import", backup, "--passphrase-file", passphrase, state="other").keys) == 3
    assert ids(run("list", state="other")) == ids(run("list"))
    again = run("export", "--passphrase-file", passphrase, "-o", backup, code=2)
    assert again.code == "crypto.file_exists"
    assert run("import", backup, code=2).code == "keys.passphrase_needed"


def test_a_wrong_passphrase_is_refused(run, passphrase, tmp_path):
    run("new", "a", "--algorithm", "rate")
    backup = tmp_path / "backup"
    run("export", "a", "--passphrase-file", passphrase, "-o", backup)
    passphrase.write_text("another passphrase")
    assert run("import", backup, "--passphrase-file", passphrase, code=4).code == "crypto.refused"


def test_a_backup_to_a_public_key_opens_where_its_secret_is(run, tmp_path):
    run("new", "safe", "--algorithm", "rate", state="other")
    line = tmp_path / "safe.key"
    run("export", "safe", "--public", "-o", line, state="other")
    run("new", "a", "--algorithm", "rate")
    backup = tmp_path / "backup"
    run("export", "a", "--to", line, "-o", backup)
    assert run("import", backup, code=4).code == "crypto.refused"
    assert ids(run("import", backup, state="other")) == {"a.1": "active"}


def test_a_public_key_is_a_line_of_text(run):
    run("new", "a", "--algorithm", "rate")
    line = run("export", "a", "--public").text
    assert parse_key(line.encode()).kid.hex() == run("list").keys[0]["fingerprint"]
    assert run("export", "--public", code=2).code == "keys.which"
    run("destroy", "a", "--yes")
    assert run("export", "a.1", "--public", code=2).code == "crypto.key_destroyed"


def test_what_is_exported_needs_a_file_and_a_key(run, passphrase, tmp_path):
    run("new", "a", "--algorithm", "rate")
    assert run("export", "--passphrase-file", passphrase, code=2).code == "keys.no_output"
    missing = run("export", "--to", tmp_path / "none", "-o", tmp_path / "b", code=2)
    assert missing.code == "keys.no_file"
    other = DecryptionKey(RATE, generate_secret(RATE))
    (tmp_path / "bad").write_bytes(other.public)
    assert run("export", "--to", tmp_path / "bad", "-o", tmp_path / "b", code=2).code
    assert not (tmp_path / "b").exists()


def test_a_keystore_is_put_under_a_passphrase_and_back(run, passphrase):
    run("new", "a", "--algorithm", "rate")
    done = run("protect", "--passphrase-file", passphrase)
    assert (done.root, done.protection) == ("passphrase", "the passphrase")
    assert run("rotate", "a", code=2).code == "crypto.no_passphrase"
    listed = run("list")
    assert listed.verified is False
    assert "Nothing vouches" in listed.remarks[0]
    with run.settings.open("a") as settings:
        settings.write(f'passphrase_file = "{passphrase}"\n')
    assert run("list").verified is True
    assert run("protect", "--root", "machine-key").root == "machine-key"
    assert ids(run("rotate", "a")) == {"a.2": "active"}


def test_a_key_log_that_was_tampered_with_is_a_finding(run):
    run("new")
    log = run.folder / "events"
    log.write_bytes(log.read_bytes()[:-10])
    assert "cut or changed" in run("list", code=1).remarks[0]
    assert "laid aside" in run("rotate", "state").remarks[0]
    assert "begun anew" in run("list", code=1).remarks[0]


def test_an_older_keystore_is_a_finding(run):
    run("new")
    old = (run.folder / "keystore").read_bytes()
    run("rotate", "state")
    for name in ("keystore", "keystore.bak"):
        (run.folder / name).write_bytes(old)
    assert "older than its key log" in run("list", code=1).remarks[0]
    # Whoever changes something next is told, and so is whoever lists later.
    assert "older than its key log" in run("rotate", "node").remarks[0]
    assert "old copy" in run("list", code=1).remarks[0]


def test_where_the_root_key_does_not_answer_keys_are_still_shown(run, monkeypatch):
    run("new", "a", "--algorithm", "rate")

    def unwrap(*_given):
        raise UnreachableError("crypto.down", "The token does not answer.", "Plug it in.")

    monkeypatch.setattr(MachineRoot, "unwrap", unwrap)
    listed = run("list")
    assert ids(listed) == {"a.1": "active"}
    assert listed.verified is False
    assert "does not answer" in listed.remarks[0]
    assert run("rotate", "a", code=3).code == "crypto.down"


def test_where_there_is_no_keystore_the_sentence_says_so(run):
    for words in (
        ["list"],
        ["rotate", "a"],
        ["destroy", "a", "--yes"],
        ["export", "a", "--public"],
    ):
        assert run(*words, code=2).code == "crypto.no_keystore"
    assert not run.folder.exists()


def test_a_life_cannot_be_negative(run):
    assert run("new", "a", "--life-days", "-1", code=2).code == "keys.life"


def test_people_get_a_table_and_sentences(tmp_path, capsys):
    state = ["--state", str(tmp_path)]
    assert main(["keys", *state, "new", "a", "--algorithm", "rate"]) == 0
    assert "created a.1" in capsys.readouterr().out
    assert main(["keys", "list", *state]) == 0
    out = capsys.readouterr().out
    assert "locked by machine-key" in out
    assert "never" in out
    assert main(["keys", "export", "a", "--public", *state]) == 0
    assert capsys.readouterr().out.startswith("cronos-key1 rate ")
    passphrase = tmp_path / "p"
    passphrase.write_text("five random words")
    passphrase.chmod(0o600)
    assert main(["keys", "protect", "--passphrase-file", str(passphrase), *state]) == 0
    assert 'root = "passphrase"' in capsys.readouterr().out
    assert main(["keys", "list", *state]) == 0
    assert "Nothing vouches" in capsys.readouterr().err


def test_a_new_passphrase_is_asked_for_twice_and_an_old_one_once(monkeypatch):
    answers = iter(["one passphrase", "one passphrase", "a", "b", "once"])
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(answers))
    assert command._passphrase(new=True) == "one passphrase"
    with pytest.raises(command.InputError, match="differ"):
        command._passphrase(new=True)
    assert command._passphrase(new=False) == "once"


@pytest.fixture
def typed(monkeypatch):
    """Be a person at a terminal who types these answers; gives the prompts that were shown."""

    def typed(*answers):
        left, prompts = list(answers), []

        def getpass(prompt):
            prompts.append(prompt)
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: True))
        monkeypatch.setattr("getpass.getpass", getpass)
        return prompts

    return typed


def test_a_passphrase_that_is_to_lock_is_typed_twice_lest_a_slip_locks_for_good(run, typed):
    run("new", "a", "--algorithm", "rate")
    typed("five random words", "five rabdom words")
    assert run("protect", "--root", "passphrase", code=2).code == "keys.passphrase_differs"
    assert run("list").root == "machine-key"
    prompts = typed("five random words", "five random words")
    assert run("protect", "--root", "passphrase").root == "passphrase"
    assert prompts == ["New passphrase of the keystore: ", "Once more: "]
    prompts = typed("five random words", "a new passphrase", "a new passphrase")
    run("protect", "--root", "passphrase")
    assert sorted(prompts)[1:] == ["Once more: ", "Passphrase of the keystore: "]
    typed("a new passphrase")
    assert ids(run("rotate", "a")) == {"a.2": "active"}


def test_a_person_is_asked_once_however_often_the_keystore_is_looked_at(run, typed, passphrase):
    run("new", "a", "--algorithm", "rate")
    run("protect", "--passphrase-file", passphrase)
    log = run.folder / "events"
    log.write_bytes(log.read_bytes()[:-10])
    prompts = typed("five random words")
    assert "cut or changed" in run("list", code=1).remarks[0]
    assert len(prompts) == 1


@pytest.mark.parametrize(
    "answer", [EOFError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")]
)
def test_who_types_no_passphrase_gets_a_sentence(run, typed, passphrase, answer):
    run("new", "a", "--algorithm", "rate")
    run("protect", "--passphrase-file", passphrase)
    typed(answer)
    assert run("rotate", "a", code=2).code == "keys.passphrase_unread"


def test_a_file_behind_a_link_is_read_and_a_loop_is_told(run, passphrase, tmp_path):
    run("new", "a", "--algorithm", "rate")
    run("export", "--passphrase-file", passphrase, "-o", tmp_path / "backup")
    (tmp_path / "link").symlink_to("backup")
    (tmp_path / "loop").symlink_to("loop")
    done = run("import", tmp_path / "link", "--passphrase-file", passphrase, state="other")
    assert ids(done) == {"a.1": "active"}
    assert run("import", tmp_path / "loop", code=4).code == "crypto.unreadable"
    looped = run("import", tmp_path / "link", "--passphrase-file", tmp_path / "loop", code=4)
    assert looped.code == "crypto.unreadable"


def test_a_table_is_shown_where_only_ascii_can_be(run, tmp_path, monkeypatch):
    run("new", "a", "--algorithm", "rate")
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    assert main(["keys", "list", "--state", str(tmp_path / "state")]) == 0
    out.flush()
    assert b"a.1" in out.buffer.getvalue()


def test_the_key_that_state_is_sealed_to_is_not_destroyed_before_its_stores_have_moved(run):
    run("new")
    folder = run.state / "local" / "ledger"
    with keyring.using_keys(Config(), run.state) as keys:
        sealed = sealer(folder, keys, SystemClock()).seal(b"plain", b"context")

    refused = run("destroy", "state", "--yes", code=4)
    assert refused.code == "keys.in_use"
    run("rotate", "state")
    assert ids(run("destroy", "state.1", "--yes")) == {"state.1": "destroyed"}

    with keyring.using_keys(Config(), run.state) as keys:
        assert sealer(folder, keys, SystemClock()).open(sealed, b"context") == b"plain"
