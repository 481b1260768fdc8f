"""The master key seals each secret for its entry alone, and shows itself to nobody."""

import copy
import pickle

import msgspec
import pytest
from tests.unit.crypto.test_keyfile import ENTRY

from cronos.crypto.master import Master, new_master, unlocked
from cronos.errors import DeniedError
from cronos.testing.memory_govern import MemoryRootKey


def sealed(master):
    return msgspec.structs.replace(ENTRY, sealed=master.seal(ENTRY, b"the secret"))


def test_a_secret_comes_back_for_its_entry_alone():
    master = new_master(bytes(16))
    entry = sealed(master)
    assert master.open(entry) == b"the secret"
    for change in (
        {"name": "other"},
        {"version": 2},
        {"algorithm": "cnsa"},
        {"kid": b"k" * 16},
        {"sealed": b""},
        {"sealed": entry.sealed[:-1]},
    ):
        with pytest.raises(DeniedError):
            master.open(msgspec.structs.replace(entry, **change))


def test_what_may_change_in_a_keys_life_does_not_unseal_it():
    master = new_master(bytes(16))
    entry = msgspec.structs.replace(sealed(master), expires_ns=1, contexts=(), forget=True)
    assert master.open(entry) == b"the secret"


def test_another_keystore_has_other_keys():
    one, two = Master(bytes(16), lambda: bytes(32)), Master(b"1" * 16, lambda: bytes(32))
    assert one.file_mac(b"x") != two.file_mac(b"x")
    assert one.admin_key() != two.admin_key()
    with pytest.raises(DeniedError):
        two.open(sealed(one))


def test_each_use_has_a_key_of_its_own():
    master = new_master(bytes(16))
    assert len({master.file_mac(b"x"), master.event_mac(b"x"), master.admin_key()}) == 3


def test_a_root_key_gives_it_back_for_its_keystore_alone():
    root = MemoryRootKey()
    master = new_master(bytes(16))
    wrapped = master.wrapped_by(root.wrap)
    assert unlocked(bytes(16), root.unwrap, wrapped).file_mac(b"x") == master.file_mac(b"x")
    with pytest.raises(DeniedError):
        unlocked(b"1" * 16, root.unwrap, wrapped)


def test_what_is_no_master_key_is_refused():
    with pytest.raises(DeniedError):
        Master(bytes(16), lambda: bytes(31))


def test_it_is_neither_shown_nor_copied_nor_pickled():
    master = Master(bytes(16), lambda: b"secret" + bytes(26))
    assert "secret" not in repr(master)
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(master)
