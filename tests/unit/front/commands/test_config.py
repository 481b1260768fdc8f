"""`cronos config explain`: every setting, its value, and who said so."""

import json

import msgspec
import pytest

from cronos.config import Config
from cronos.front.cli import main


def explained(capsysbinary, *given):
    assert main(["config", "explain", "--json", *given]) == 0
    document = json.loads(capsysbinary.readouterr().out)
    return {one["key"]: one for one in document["settings"]}


def leaves(section, prefix=""):
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_setting_of_the_core_is_listed_with_its_default(capsysbinary):
    told = explained(capsysbinary)
    assert set(told) == set(leaves(Config()))
    assert {one["origin"] for one in told.values()} == {"default"}
    assert told["lease.default_s"]["value"] == "300"


def test_what_a_file_says_is_shown_with_the_file(capsysbinary, tmp_path):
    file = tmp_path / "cronos.toml"
    file.write_text("executors = ['nftables']\n[lease]\ndefault_s = 60\n")
    told = explained(capsysbinary, "--config", str(file))
    assert (told["lease.default_s"]["value"], told["lease.default_s"]["origin"]) == (
        "60",
        str(file),
    )
    assert told["executors"]["origin"] == str(file)
    assert told["lease.max_s"]["origin"] == "default"


def test_people_are_shown_a_line_each(capsys):
    assert main(["config", "explain"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(list(leaves(Config())))
    assert any(line.startswith("policy.autonomy ") and "act" in line for line in shown)


@pytest.mark.parametrize("content", ["[lease]\ndefaults = 1\n", "lease = 3\n", "[["])
def test_an_invalid_file_is_an_error_that_names_it(tmp_path, capsys, content):
    file = tmp_path / "cronos.toml"
    file.write_text(content)
    assert main(["config", "explain", "--config", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
