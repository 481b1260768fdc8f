"""A root key on a token, as far as no token is needed; a real one is in the integration tests."""

import sys
import threading

import pytest

pytest.importorskip("pkcs11", reason="needs the extra `pkcs11`")

from cronos.config import convert
from cronos.crypto.roots.pkcs11 import _TURN, Pkcs11Config, Pkcs11Root
from cronos.errors import DeniedError, ExtraMissingError, InputError, UnreachableError
from cronos.front.plugins import load

SETTINGS = {"module": "/usr/lib/none.so", "token": "drawer", "pin_file": "/none"}


@pytest.mark.parametrize("name", ["module", "token", "pin_file"])
def test_what_no_default_could_stand_for_must_be_set(name):
    with pytest.raises(InputError) as raised:
        Pkcs11Root(Pkcs11Config(**{**SETTINGS, name: ""}))
    assert f"`{name}`" in raised.value.sentence


def test_only_a_key_is_locked_no_data():
    with pytest.raises(InputError) as raised:
        Pkcs11Root(Pkcs11Config(**SETTINGS)).wrap(bytes(65), b"c")
    assert raised.value.code == "crypto.long_secret"


@pytest.mark.parametrize(
    "wrapped", [b"", b"\x01", b"\x01" + bytes(27), b"\x02" + bytes(60), b"\x01" + bytes(93)]
)
def test_what_was_never_wrapped_is_refused_before_the_token_is_asked(wrapped):
    with pytest.raises(DeniedError) as raised:
        Pkcs11Root(Pkcs11Config(**SETTINGS)).unwrap(wrapped, b"c")
    assert raised.value.code == "crypto.refused"


def test_a_library_that_is_not_there_is_a_sentence():
    with pytest.raises(InputError) as raised:
        Pkcs11Root(Pkcs11Config(**SETTINGS)).wrap(b"s", b"c")
    assert raised.value.code == "crypto.token_library"
    assert "/usr/lib/none.so" in raised.value.sentence


def test_a_call_that_was_given_up_on_before_its_turn_is_never_made():
    root = Pkcs11Root(Pkcs11Config(**SETTINGS, timeout_s=1))
    threads = threading.active_count()
    with _TURN, pytest.raises(UnreachableError) as raised:  # as a call holds it that hangs
        root.wrap(b"s", b"c")
    assert raised.value.code == "crypto.token_unreachable"
    assert threading.active_count() == threads
    with pytest.raises(InputError):
        root.wrap(b"s", b"c")


@pytest.mark.parametrize("name", ["pkcs11", "aws-kms", "vault", "key-agent"])
def test_a_time_that_no_clock_can_count_is_a_sentence(name):
    kind = "keys" if name == "key-agent" else "root-key"
    with pytest.raises(InputError):
        convert({"timeout_s": 10**12}, load(kind, name).config_type, f"[plugin.{name}]")


def test_it_says_what_a_thief_would_need():
    root = Pkcs11Root(Pkcs11Config(**SETTINGS))
    assert "drawer" in root.protection
    assert "drawer" in repr(root)


def test_without_its_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.delitem(sys.modules, "cronos.crypto.roots.pkcs11")
    with pytest.raises(ExtraMissingError) as raised:
        load("root-key", "pkcs11")
    assert "cronos[pkcs11]" in raised.value.remedy
