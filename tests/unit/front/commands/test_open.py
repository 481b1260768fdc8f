"""`cronos open`: what was sealed comes back, whole or not at all."""

import json

import pytest
from tests.unit.front.commands.sealed_state import file, shared

from cronos.front.cli import main

__all__ = ["file", "shared"]


def cronos(*given):
    return main([*map(str, given)])


@pytest.fixture
def sealed(shared, file):
    """Give a signed file that is sealed to our key `state`; its plain one is gone."""
    to = ["--key", "state", "--sign-by", "identity", "--state", shared / "state"]
    assert cronos("seal", file, *to) == 0
    file.unlink()
    return file.with_name("report.txt.sealed")


def test_it_comes_back_under_its_own_name(shared, file, sealed, capsys):
    assert cronos("open", sealed, "--state", shared / "state") == 0
    assert file.read_bytes() == b"what nobody else may read\n" * 40_000
    assert file.stat().st_mode & 0o777 == 0o600
    assert "(not checked: give --by)" in capsys.readouterr().out


def test_whose_it_must_be_is_checked_and_told(shared, sealed, capsysbinary):
    capsysbinary.readouterr()
    given = ["--state", shared / "state", "--by", shared / "identity.key", "--json"]
    assert cronos("open", sealed, *given) == 0
    document = json.loads(capsysbinary.readouterr().out)
    assert document["schema"] == "cronos.open/1"
    assert document["verified"] is True
    assert document["signer"] == (shared / "identity.key").read_text().split()[2]


def test_an_unsigned_file_is_refused_where_a_signer_is_asked_for(shared, file, capsys):
    assert cronos("seal", file, "--to", shared / "state.key") == 0
    given = ["--state", shared / "state", "--by", shared / "identity.key", "-o", f"{file}.out"]
    assert cronos("open", f"{file}.sealed", *given) == 4
    assert "does not open" in capsys.readouterr().err
    assert sorted(one.name for one in file.parent.iterdir()) == ["report.txt", "report.txt.sealed"]


def test_a_passphrase_opens_it_and_another_one_does_not(shared, file, tmp_path, capsys):
    assert cronos("seal", file, "--passphrase-file", shared / "words") == 0
    wrong = tmp_path / "wrong"
    wrong.write_text("another passphrase altogether\n")
    wrong.chmod(0o600)
    out = tmp_path / "back"
    given = ["open", f"{file}.sealed", "-o", out, "--passphrase-file"]
    assert cronos(*given, wrong) == 4
    assert not out.exists()
    assert cronos(*given, shared / "words") == 0
    assert out.read_bytes() == file.read_bytes()
    assert "nobody signed it" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [0, 5, 100, 2000, -1, -4658, 300_000])
def test_a_file_that_was_cut_leaves_nothing(shared, sealed, cut, capsys):
    sealed.write_bytes(sealed.read_bytes()[:cut])
    assert cronos("open", sealed, "--state", shared / "state") == (2 if cut in (0, 5) else 4)
    assert [one.name for one in sealed.parent.iterdir()] == ["report.txt.sealed"]
    assert capsys.readouterr().err


def test_a_name_that_tells_nothing_needs_another(shared, sealed, capsys):
    other = sealed.rename(sealed.with_name("report.bin"))
    assert cronos("open", other, "--state", shared / "state") == 2
    assert "-o FILE" in capsys.readouterr().err


def test_who_has_no_keys_is_asked_for_a_passphrase_too(sealed, tmp_path, capsys):
    assert cronos("open", sealed, "--state", tmp_path / "none") == 2
    assert "--passphrase-file" in capsys.readouterr().err


def test_what_is_no_sealed_file_is_told_so(shared, file, capsys):
    assert cronos("open", file, "-o", f"{file}.out", "--state", shared / "state") == 2
    assert "no file that `cronos seal` wrote" in capsys.readouterr().err
