"""`cronos seal`: to keys, to a passphrase, by someone; and what it refuses."""

import json

import pytest
from tests.unit.front.commands.sealed_state import file, shared

from cronos.front.cli import main

__all__ = ["file", "shared"]


def seal(*given):
    return main(["seal", *map(str, given)])


def test_a_file_is_sealed_beside_itself_and_told_in_a_sentence(shared, file, capsys):
    assert seal(file, "--key", "state", "--state", shared / "state") == 0
    sealed = file.with_name("report.txt.sealed")
    assert sealed.read_bytes().startswith(b"CRSEAL\x01")
    assert b"nobody else" not in sealed.read_bytes()
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert f"{sealed}: 1,040,000 bytes sealed to 1 key (hybrid)." in capsys.readouterr().out


def test_it_needs_no_keystore_to_seal_to_others(shared, file, tmp_path):
    to = ["--to", shared / "state.key", shared / "node.key"]
    assert seal(file, *to, "--state", tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()


def test_the_document_tells_for_whom_and_by_whom(shared, file, capsysbinary):
    given = ["--to", shared / "state.key", "--sign-by", "identity", "--state", shared / "state"]
    assert seal(file, *given, "--json") == 0
    document = json.loads(capsysbinary.readouterr().out)
    assert document["schema"] == "cronos.seal/1"
    assert document["plain_bytes"] == 1_040_000
    assert document["recipients"] == [(shared / "state.key").read_text().split()[2]]
    assert document["signer"] == (shared / "identity.key").read_text().split()[2]


def test_a_passphrase_is_told_as_one(shared, file, capsys):
    assert seal(file, "--passphrase-file", shared / "words") == 0
    assert "sealed to a passphrase (hybrid)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "not said for whom"),
        (["--to", "{shared}/none.key"], "No such file"),
        (["--to", "{shared}/words"], "no public key"),
        (["--to", "{shared}/identity.key"], "No key of `ml-dsa-87` seals"),
        (["--to", "{shared}/state.key", "--passphrase-file", "{shared}/words"], "not to both"),
        (["--to", "{shared}/state.key", "--suite", "rate"], "of one suite"),
        (["--key", "nobody", "--state", "{shared}/state"], "nobody"),
        (["--key", "state", "--state", "{shared}/none"], "no keystore"),
        (["--to", "{shared}/state.key", "-o", "-", "--json"], "standard output"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(shared, file, capsys, given, said):
    assert seal(file, *(word.format(shared=shared) for word in given)) == 2
    assert said in capsys.readouterr().err
    assert [one.name for one in file.parent.iterdir()] == ["report.txt"]


@pytest.mark.parametrize("key", ["state.1", "later.1"])
def test_a_key_that_is_not_active_is_not_sealed_to(file, tmp_path, capsys, key):
    state = ["--state", str(tmp_path / "state")]
    assert main(["keys", "new", *state]) == 0
    assert main(["keys", "rotate", "state", *state]) == 0
    assert main(["keys", "new", "later", "--algorithm", "hybrid", "--pending", *state]) == 0
    assert seal(file, "--key", "state", *state, "-o", tmp_path / "fine") == 0
    assert seal(file, "--key", key, *state) == 4
    assert "not active" in capsys.readouterr().err
    assert not file.with_name("report.txt.sealed").exists()


def test_a_name_of_any_bytes_is_no_obstacle(shared, file, capsysbinary):
    odd = file.rename(file.with_name("odd\udcff"))
    assert seal(odd, "--to", shared / "state.key", "--json") == 0
    assert json.loads(capsysbinary.readouterr().out)["source"].endswith("odd\ufffd")
    assert seal(odd, "--to", shared / "state.key", "--json") == 2
    assert json.loads(capsysbinary.readouterr().out)["code"] == "output.exists"


def test_a_file_that_is_there_is_only_replaced_by_force(shared, file, capsys):
    sealed = file.with_name("report.txt.sealed")
    sealed.write_bytes(b"precious")
    assert seal(file, "--to", shared / "state.key") == 2
    assert "--force" in capsys.readouterr().err
    assert sealed.read_bytes() == b"precious"
    assert seal(file, "--to", shared / "state.key", "--force") == 0
    assert sealed.read_bytes() != b"precious"
