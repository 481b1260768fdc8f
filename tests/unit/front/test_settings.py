"""The configuration file and the state folder that a command is given."""

import argparse
from pathlib import Path

import pytest

from cronos.config import Config
from cronos.errors import InputError
from cronos.front import settings
from cronos.front.layout import default_state


def options(*given):
    parser = argparse.ArgumentParser()
    settings.shared(parser)
    return parser.parse_args(given)


def test_without_a_file_the_defaults_hold():
    assert settings.config_of(options()) == Config()
    assert settings.state_of(options()) == default_state()


def test_a_state_folder_becomes_absolute():
    assert settings.state_of(options("--state", "here")) == Path.cwd() / "here"


def test_a_file_is_read_and_checked(tmp_path):
    file = tmp_path / "cronos.toml"
    file.write_text("[policy]\nautonomy = 'observe'\n")
    assert settings.config_of(options("--config", str(file))).policy.autonomy == "observe"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[policy]\nautonomie = 'act'\n", "config.invalid"),
        (b"[policy]\nautonomy = 'sometimes'\n", "config.invalid"),
        (b"[policy\n", "config.not_toml"),
        (b"\xff\xfe\x00", "config.not_toml"),
        (b"#" * (1 << 20) + b"#", "config.too_long"),
    ],
    ids=["unknown key", "wrong value", "broken", "no text", "too long"],
)
def test_a_bad_file_is_a_sentence_that_names_it(tmp_path, content, code):
    file = tmp_path / "cronos.toml"
    file.write_bytes(content)
    with pytest.raises(InputError) as refused:
        settings.config_of(options("--config", str(file)))
    assert refused.value.code == code
    assert str(file) in refused.value.sentence
    assert refused.value.remedy


def test_a_missing_file_and_a_folder_are_sentences_too(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(InputError) as refused:
            settings.read_table(path)
        assert refused.value.code == "config.unreadable"
