"""Key files and passphrase files are read in bounds, and only where nobody else may read them."""

import argparse
import os

import pytest

from cronos.errors import DeniedError, InputError
from cronos.front import sealing
from cronos.front.sealing import keys_of, output_of, plural, read_passphrase, read_text


def private(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("data", [b"words words", b"words words\n", b"words words\r\nmore\n"])
def test_the_first_line_is_the_passphrase(tmp_path, data):
    assert read_passphrase(private(tmp_path / "p", data), "-") == b"words words"


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\nwords"])
def test_an_empty_passphrase_is_refused(tmp_path, data):
    with pytest.raises(InputError, match="is empty"):
        read_passphrase(private(tmp_path / "p", data), "-")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_passphrase_that_others_may_read_is_refused(tmp_path, mode):
    path = private(tmp_path / "p", b"words words")
    path.chmod(mode)
    with pytest.raises(DeniedError, match="chmod 600"):
        read_passphrase(path, "in")


def test_a_passphrase_may_come_through_a_pipe(tmp_path):
    out, into = os.pipe()
    os.write(into, b"from a password store\n")
    os.close(into)
    try:
        assert read_passphrase(f"/dev/fd/{out}", "in") == b"from a password store"
    finally:
        os.close(out)


def test_what_is_not_there_or_too_long_is_told_so(tmp_path):
    with pytest.raises(InputError, match=r"The passphrase .* cannot be read: No such file"):
        read_passphrase(tmp_path / "none", "in")
    with pytest.raises(InputError, match="too long for a passphrase"):
        read_passphrase(private(tmp_path / "p", b"x" * 5000), "in")
    with pytest.raises(InputError, match="too long for a public key"):
        read_text(private(tmp_path / "k", b"x" * 9000), "public key")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_text(tmp_path, "public key")


def test_an_endless_file_is_read_in_bounds():
    with pytest.raises(InputError, match="too long"):
        read_text("/dev/zero", "public key")


def options(**given):
    return argparse.Namespace(
        **{"output": "", "source": "in", "json": False, "config": None, "state": None, **given}
    )


def test_the_output_is_what_was_asked_for_or_the_default():
    assert output_of(options(output="there"), "default") == "there"
    assert output_of(options(), "default") == "default"
    with pytest.raises(InputError, match=r"does not end in \.sealed"):
        output_of(options(), "")


def test_json_and_raw_bytes_do_not_mix():
    with pytest.raises(InputError, match="both go to standard output"):
        output_of(options(json=True), "-")


def test_where_no_key_of_ours_is_used_there_need_be_no_keystore(tmp_path):
    with keys_of(options(state=tmp_path / "none"), wanted=False) as keys:
        assert keys is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError), keys_of(options(state=tmp_path / "none"), wanted=True):
        pytest.fail("there is none")
    assert not (tmp_path / "none").exists()


def test_who_ends_the_question_for_a_passphrase_gets_a_sentence(monkeypatch):
    def ended(_):
        raise EOFError

    monkeypatch.setattr(sealing.getpass, "getpass", ended)
    with pytest.raises(InputError, match="No passphrase was given"):
        sealing._ask()


def test_things_are_counted_in_words():
    assert [plural(count, "byte") for count in (0, 1, 2000)] == ["0 bytes", "1 byte", "2,000 bytes"]
