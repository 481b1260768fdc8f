"""What may be called, with what settings, and which files are believed."""

import contextlib
import os

import pytest

from cronos.config import Section
from cronos.crypto.roots.remote import first_line, place_of, require_set, require_short
from cronos.errors import CronosError, DeniedError, InputError


class Table(Section, frozen=True):
    key: str = "k"
    url: str = ""


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://vault.example:8200", ("vault.example", 8200)),
        ("https://vault.example/", ("vault.example", 443)),
        ("https://VAULT.example", ("vault.example", 443)),
        ("https://[2001:db8::7]:8200", ("2001:db8::7", 8200)),
        ("http://127.0.0.1:8200", ("127.0.0.1", 8200)),
        ("http://[::1]", ("::1", 80)),
        ("http://localhost:1", ("localhost", 1)),
    ],
)
def test_an_address_has_a_host_and_a_port(url, place):
    assert place_of(url, "vault") == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vault.example:8200",
        "http://vault.example:8200",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "unix:///run/vault.sock",
        "https://",
        "https://user@vault.example",
        "https://:word@vault.example",
        "https://vault.example:99999",
        "https://vault.example:port",
        "https://[::1",
    ],
)
def test_what_is_unencrypted_or_no_address_is_refused(url):
    with pytest.raises(InputError) as raised:
        place_of(url, "vault")
    assert raised.value.code == "crypto.root_url"
    assert "[plugin.vault]" in raised.value.remedy


def test_a_setting_that_is_missing_is_named():
    require_set(Table(), "vault", "key")
    with pytest.raises(InputError) as raised:
        require_set(Table(), "vault", "key", "url")
    assert "`url`" in raised.value.sentence


def test_only_a_key_is_locked_no_data():
    require_short(bytes(64))
    with pytest.raises(InputError):
        require_short(bytes(65))


def test_the_first_line_of_a_private_file_is_taken(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(b" hvs.token \r\nanother line\n")
    path.chmod(0o600)
    assert first_line(str(path), "token") == "hvs.token"


@pytest.mark.parametrize("data", [b"", b"\ntoken", b"   \n", "tökén".encode()])
def test_a_file_that_holds_nothing_of_the_sort_is_a_sentence(tmp_path, data):
    path = tmp_path / "token"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(InputError) as raised:
        first_line(str(path), "token")
    assert raised.value.code == "crypto.root_file"
    with pytest.raises(InputError):
        first_line(str(tmp_path / "none"), "token")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no\0name", "crypto.root_file"),
        ("/" + "a" * 5_000, "crypto.unreadable"),
        ("{file}/below", "crypto.unreadable"),
    ],
)
def test_a_name_that_no_file_can_have_is_a_sentence(tmp_path, name, code):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CronosError) as raised:
        first_line(name.format(file=tmp_path / "file"), "token")
    assert raised.value.code == code


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_folder_that_this_user_may_not_look_into_is_a_sentence(tmp_path):
    tmp_path.chmod(0o700)
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        code = 1
        with contextlib.suppress(BaseException):
            os.setuid(65534)
            try:
                first_line(str(tmp_path / "token"), "token")
            except DeniedError as error:
                code = 0 if error.code == "crypto.unreadable" else 2
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_bytes(b"hvs.token")
    path.chmod(0o644)
    with pytest.raises(DeniedError):
        first_line(str(path), "token")
