"""The node's keys open as the configuration says."""

import pytest

from cronos.config import parse
from cronos.errors import DeniedError, InputError
from cronos.front import keyring
from cronos.testing.clock import VirtualClock

CHEAP = {"memory_kib": 1024, "passes": 1, "lanes": 1}


def config(**plugin):
    return parse({"plugin": {"keystore": {"suite": "rate"}, **plugin}}, "test")


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("five random words")
    path.chmod(0o600)
    return {"passphrase_file": str(path), **CHEAP}


def test_a_newcomer_needs_nothing(tmp_path):
    keystore = keyring.open_keystore(config(), tmp_path / "k", VirtualClock(), ensure=True)
    assert [info.key_id for info in keystore.listed()] == ["identity.1", "node.1", "state.1"]
    assert "machine.key" in keystore.protection
    keystore.close()


def test_the_root_is_what_the_keystore_says_where_nothing_is_configured(tmp_path, passphrase):
    chosen = config(keystore={"root": "passphrase", "suite": "rate"}, passphrase=passphrase)
    keyring.open_keystore(chosen, tmp_path / "k", VirtualClock()).close()
    assert keyring.root_name(config(), tmp_path / "k") == "passphrase"
    keyring.open_keystore(config(passphrase=passphrase), tmp_path / "k", VirtualClock()).close()
    assert keyring.root_name(config(), tmp_path / "new") == "machine-key"


def test_a_root_that_is_configured_refuses_every_other(tmp_path, passphrase):
    keyring.open_keystore(config(), tmp_path / "k", VirtualClock()).close()
    chosen = config(keystore={"root": "passphrase"}, passphrase=passphrase)
    with pytest.raises(InputError, match="machine-key"):
        keyring.open_keystore(chosen, tmp_path / "k", VirtualClock())


def test_a_person_is_asked_where_no_file_is_named(tmp_path):
    chosen = config(keystore={"root": "passphrase"}, passphrase=CHEAP)
    asked = []

    def ask():
        asked.append(1)
        return "five random words"

    keyring.open_keystore(chosen, tmp_path / "k", VirtualClock(), ask=ask).close()
    assert asked == [1]
    with pytest.raises(InputError, match="passphrase"):
        keyring.open_keystore(chosen, tmp_path / "k", VirtualClock())


def test_a_systemd_credential_is_found_in_the_folder_of_the_environment(
    tmp_path, passphrase, monkeypatch
):
    chosen = config(
        keystore={"root": "passphrase"}, passphrase={**CHEAP, "credential": "passphrase"}
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    keyring.open_keystore(chosen, tmp_path / "k", VirtualClock()).close()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(InputError):
        keyring.open_keystore(chosen, tmp_path / "k", VirtualClock())
    same = config(passphrase=passphrase)
    keyring.open_keystore(same, tmp_path / "k", VirtualClock()).close()


def test_keys_are_used_for_a_while_and_let_go(tmp_path):
    with keyring.using_keys(config(), tmp_path, ensure=True) as keys:
        wrapped = keys.wrap("state", bytes(32), b"c")
    with keyring.using_keys(config(), tmp_path) as keys:
        assert keys.unwrap("state", wrapped, b"c") == bytes(32)


def test_using_keys_makes_no_keystore_by_the_way(tmp_path):
    with pytest.raises(InputError, match="no keystore"), keyring.using_keys(config(), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_while_another_process_holds_them_without_an_agent_a_sentence_says_so(tmp_path):
    folder = keyring.folder_of(tmp_path, config())
    held = keyring.open_keystore(config(), folder, VirtualClock())
    with pytest.raises(DeniedError) as caught, keyring.using_keys(config(), tmp_path):
        pass
    assert caught.value.code == keyring.IN_USE
    held.close()


def test_where_a_standard_key_cannot_be_made_the_keystore_is_let_go(tmp_path):
    wrong = parse({"plugin": {"keystore": {"suite": "nonsense"}}}, "test")
    with pytest.raises(InputError, match="nonsense"):
        keyring.open_keystore(wrong, tmp_path / "k", VirtualClock(), ensure=True)
    keyring.open_keystore(config(), tmp_path / "k", VirtualClock()).close()
