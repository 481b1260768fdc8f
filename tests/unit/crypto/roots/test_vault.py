"""A root key in Vault, as far as no server is needed; the integration tests have a double."""

import sys

import pytest

pytest.importorskip("hvac", reason="needs the extra `vault`")

from cronos.crypto.roots.vault import VaultConfig, VaultRoot
from cronos.errors import DeniedError, ExtraMissingError, InputError, UnreachableError
from cronos.front.plugins import load
from cronos.link.egress import EgressGate

SETTINGS = {"url": "https://vault.example:8200", "token_file": "/none"}


class NoCall:
    """A gate that fails the test when it is asked."""

    def permit(self, host, port, purpose):
        raise AssertionError((host, port, purpose))


@pytest.mark.parametrize("name", ["url", "token_file"])
def test_what_no_default_could_stand_for_must_be_set(name):
    with pytest.raises(InputError) as raised:
        VaultRoot(VaultConfig(**{**SETTINGS, name: ""}), NoCall())
    assert f"`{name}`" in raised.value.sentence


def test_no_token_goes_over_an_unencrypted_network():
    with pytest.raises(InputError) as raised:
        VaultRoot(VaultConfig(url="http://vault.example:8200", token_file="/none"), NoCall())
    assert raised.value.code == "crypto.root_url"


def test_the_gate_is_closed_by_default():
    with pytest.raises(DeniedError) as raised:
        VaultRoot(VaultConfig(**SETTINGS), EgressGate()).wrap(b"s", b"c")
    assert raised.value.code == "link.egress_closed"
    assert "vault.example" in raised.value.sentence


def test_only_a_key_is_locked_no_data():
    with pytest.raises(InputError) as raised:
        VaultRoot(VaultConfig(**SETTINGS), NoCall()).wrap(bytes(65), b"c")
    assert raised.value.code == "crypto.long_secret"


@pytest.mark.parametrize(
    "wrapped",
    [
        b"",
        b"vault:v1:",
        b"vault:v0:AAAA",
        b"vault:v01:AAAA",
        b"vault:v1:AAAA\n",
        b"vault:v1:AAA",
        b"vault:v1:AAA=AAAA",
        b"vault:v1:AAB=",  # the same bytes as AAA=, spelled otherwise
        b"Vault:v1:AAAA",
        b"vault:v1:\xff\xff",
        b"vault:v1:" + b"A" * 1_024,
    ],
)
def test_what_was_never_wrapped_is_refused_before_the_server_is_asked(wrapped):
    with pytest.raises(DeniedError) as raised:
        VaultRoot(VaultConfig(**SETTINGS), NoCall()).unwrap(wrapped, b"c")
    assert raised.value.code == "crypto.refused"


def test_without_a_token_nothing_is_sent():
    root = VaultRoot(VaultConfig(url="http://127.0.0.1:1", token_file="/none"), EgressGate())
    with pytest.raises(InputError) as raised:
        root.wrap(b"s", b"c")
    assert raised.value.code == "crypto.root_file"


def test_where_nobody_listens_it_is_unreachable(tmp_path):
    (tmp_path / "token").write_text("hvs.token")
    (tmp_path / "token").chmod(0o600)
    config = VaultConfig(url="http://127.0.0.1:1", token_file=str(tmp_path / "token"))
    with pytest.raises(UnreachableError) as raised:
        VaultRoot(config, EgressGate()).wrap(b"s", b"c")
    assert "hvs.token" not in str(raised.value)


def test_it_says_what_a_thief_would_need():
    root = VaultRoot(VaultConfig(**SETTINGS), NoCall())
    assert "vault.example" in root.protection
    assert "vault.example" in repr(root)


def test_without_its_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hvac", None)
    monkeypatch.delitem(sys.modules, "cronos.crypto.roots.vault")
    with pytest.raises(ExtraMissingError) as raised:
        load("root-key", "vault")
    assert "cronos[vault]" in raised.value.remedy
