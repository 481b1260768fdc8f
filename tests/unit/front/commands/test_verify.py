"""`cronos verify`: 0 for exactly this file by exactly this key, else 4."""

import json

import pytest
from tests.unit.front.commands.sealed_state import file, make_state, shared

from cronos.front.cli import main

__all__ = ["file", "shared"]


@pytest.fixture
def signature(shared, file):
    """Sign the file."""
    assert main(["sign", str(file), "--state", str(shared / "state")]) == 0
    return file.with_name("report.txt.sig")


def verify(file, signature, by, *more):
    return main(["verify", str(file), str(signature), "--by", str(by), *more])


def test_it_verifies_without_any_keystore(shared, file, signature, capsys):
    assert verify(file, signature, shared / "identity.key") == 0
    assert "1,040,000 bytes, signed by" in capsys.readouterr().out


def test_the_document_tells_the_same(shared, file, signature, capsysbinary):
    capsysbinary.readouterr()
    assert verify(file, signature, shared / "identity.key", "--json") == 0
    document = json.loads(capsysbinary.readouterr().out)
    assert document["schema"] == "cronos.verify/1"
    assert document["verified"] is True
    assert document["bytes"] == 1_040_000


def test_a_changed_file_is_refused(shared, file, signature, capsys):
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert verify(file, signature, shared / "identity.key") == 4
    assert "signature does not hold" in capsys.readouterr().err


def test_another_signer_is_refused(shared, file, signature, tmp_path):
    make_state(tmp_path)
    assert verify(file, signature, tmp_path / "identity.key") == 4


def test_a_refusal_is_a_document_too(shared, file, signature, capsysbinary):
    file.write_bytes(b"")
    capsysbinary.readouterr()
    assert verify(file, signature, shared / "identity.key", "--json") == 4
    document = json.loads(capsysbinary.readouterr().out)
    assert (document["schema"], document["code"]) == ("cronos.error/1", "crypto.refused")


def test_what_is_no_signature_or_no_key_is_told_so(shared, file, signature, capsys):
    assert verify(file, file, shared / "identity.key") == 2
    assert "too long" in capsys.readouterr().err
    assert verify(file, shared / "state.key", shared / "identity.key") == 2
    assert "no signature" in capsys.readouterr().err
    assert verify(file, signature, shared / "state.key") == 2
    assert "No key of `hybrid` signs" in capsys.readouterr().err


def test_whose_it_must_be_has_to_be_said(file, signature, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["verify", str(file), str(signature)])
    assert caught.value.code == 2
    assert "--by" in capsys.readouterr().err
