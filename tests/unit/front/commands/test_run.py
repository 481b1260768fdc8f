"""`cronos run`: what its options mean, and what it calls each file."""

import argparse
from pathlib import Path

import pytest

from cronos.config import Config, SourceEntry
from cronos.errors import InputError
from cronos.front.commands import run


def options(*given):
    parser = argparse.ArgumentParser()
    run.arguments(parser)
    return parser.parse_args(given)


def test_a_folder_stands_for_all_files_below_it_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("c.log", "a.log", "b/d.log"):
        (tmp_path / name).write_text("x")
    paths = [one.given["path"] for one in run.files(str(tmp_path), "", follow=False)]
    assert paths == [str(tmp_path / name) for name in ("a.log", "b/d.log", "c.log")]


def test_a_file_is_followed_where_that_was_asked_and_its_format_is_kept(tmp_path):
    file = tmp_path / "a.log"
    file.write_text("x")
    assert run.files(str(file), "syslog", follow=True) == [
        SourceEntry("follow", "syslog", {"path": str(file)})
    ]


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.log").write_text("x")
    (entry,) = run.files("a.log", "", follow=False)
    assert entry.given["path"] == str(tmp_path / "a.log")


def test_a_dash_is_standard_input():
    assert run.files("-", "eve", follow=False) == [SourceEntry("stdin", "eve")]


@pytest.mark.parametrize("make", [lambda _: None, lambda path: path.mkdir()])
def test_what_is_not_there_or_holds_nothing_is_a_sentence(tmp_path, make):
    path = tmp_path / "nothing"
    make(path)
    with pytest.raises(InputError) as refused:
        run.files(str(path), "", follow=False)
    assert str(path) in refused.value.sentence


def test_policy_and_rules_stand_over_the_tables_and_leave_their_other_keys(tmp_path):
    given = options("x", "--policy", "p.toml", "--rules", "one", "--rules", "two")
    config = Config(plugin={"sigma": {"min_level": "high"}, "scan": {"ports": 9}})
    plugin = run.with_detection(config, given).plugin
    assert plugin["modbus-policy"]["policy_file"] == str(Path("p.toml").absolute())
    assert plugin["sigma"] == {
        "min_level": "high",
        "rules": [str(Path("one").absolute()), str(Path("two").absolute())],
    }
    assert plugin["scan"] == {"ports": 9}
    assert run.with_detection(config, options("x")).plugin == config.plugin


def test_an_unknown_format_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as left:
        options("x", "--format", "pcpa")
    assert left.value.code == 2
    assert "pcap" in capsys.readouterr().err


def test_progress_is_silent_where_nobody_watches(capsys):
    with run.Progress(3) as progress:
        progress.show(None)
    assert capsys.readouterr().err == ""
