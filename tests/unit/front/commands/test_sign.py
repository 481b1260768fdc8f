"""`cronos sign`: a signature beside the file, as one line of text."""

import json

from tests.unit.front.commands.sealed_state import file, shared

from cronos.front.cli import main

__all__ = ["file", "shared"]


def sign(*given):
    return main(["sign", *map(str, given)])


def test_the_signature_lies_beside_the_file(shared, file, capsys):
    assert sign(file, "--state", shared / "state") == 0
    line = file.with_name("report.txt.sig").read_text()
    mark, algorithm, kid, length, _ = line.split(" ")
    assert (mark, algorithm, length) == ("cronos-signature1", "ml-dsa-87", "1040000")
    assert kid == (shared / "identity.key").read_text().split()[2]
    assert f"1,040,000 bytes of {file} signed by {kid}." in capsys.readouterr().out


def test_the_document_tells_the_same(shared, file, capsysbinary):
    assert sign(file, "--state", shared / "state", "--json", "-o", f"{file}.s") == 0
    document = json.loads(capsysbinary.readouterr().out)
    assert document["schema"] == "cronos.sign/1"
    assert document["bytes"] == 1_040_000
    assert document["output"] == f"{file}.s"


def test_a_key_that_does_not_sign_leaves_nothing(shared, file, capsys):
    assert sign(file, "--by", "state", "--state", shared / "state") == 2
    assert "does not sign" in capsys.readouterr().err
    assert [one.name for one in file.parent.iterdir()] == ["report.txt"]


def test_a_signature_that_is_there_stays(shared, file):
    assert sign(file, "--state", shared / "state") == 0
    before = file.with_name("report.txt.sig").read_text()
    assert sign(file, "--state", shared / "state") == 2
    assert file.with_name("report.txt.sig").read_text() == before
    assert sign(file, "--state", shared / "state", "--force") == 0
