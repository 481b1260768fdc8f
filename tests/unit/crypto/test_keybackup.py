"""A backup opens for whom it was made, whole, or not at all."""

import msgspec
import pytest
from tests.unit.crypto.test_keyfile import ENTRY

from cronos.crypto import keybackup, keykinds
from cronos.crypto.keybackup import Carried
from cronos.crypto.refusal import REFUSED
from cronos.errors import DeniedError, InputError
from cronos.testing.memory_govern import MemoryRootKey
from cronos.types import KeyState


def carried(name="state"):
    secret = keykinds.generate("rate")
    key = keykinds.secret_key("rate", secret)
    return Carried(
        msgspec.structs.replace(ENTRY, name=name, kid=key.kid, public=key.public, sealed=b""),
        secret,
    )


KEYS = (carried("one"), carried("two"))


def packed(keys=KEYS):
    return keybackup.pack(keys, keybackup.PASSPHRASE, MemoryRootKey().wrap)


def test_keys_come_back():
    assert keybackup.unpack(packed(), MemoryRootKey().unwrap) == KEYS
    assert keybackup.recipient_of(packed()) == bytes(16)


def test_no_secret_lies_open_in_it_nor_in_a_repr():
    assert not any(one.secret in packed() for one in KEYS)
    assert not any(repr(one.secret)[2:20] in repr(one) for one in KEYS)


def test_every_flipped_byte_cut_and_extension_is_refused():
    data = packed(KEYS[:1])
    for forged in (
        *(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in range(len(data))),
        *(data[:end] for end in range(len(data))),
        data + b"\0",
    ):
        with pytest.raises((InputError, DeniedError)) as caught:
            keybackup.unpack(forged, MemoryRootKey().unwrap)
        assert caught.value.code in (
            REFUSED,
            "testing.not_sealed",
            "crypto.no_backup",
            "crypto.backup_newer",
        )


def test_another_root_key_is_refused():
    with pytest.raises(DeniedError):
        keybackup.unpack(packed(), MemoryRootKey(b"another").unwrap)


def test_a_newer_version_says_so():
    data = packed()
    with pytest.raises(InputError, match="version 2"):
        keybackup.unpack(data[:4] + b"\2" + data[5:], MemoryRootKey().unwrap)


@pytest.mark.parametrize(
    "change", [{"public": b"other"}, {"kid": bytes(16)}, {"algorithm": "cnsa"}, {"algorithm": "x"}]
)
def test_a_key_that_is_not_what_it_says_is_refused(change):
    one = KEYS[0]
    lying = Carried(msgspec.structs.replace(one.entry, **change), one.secret)
    with pytest.raises(DeniedError) as caught:
        keybackup.unpack(packed([lying]), MemoryRootKey().unwrap)
    assert caught.value.code == REFUSED


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1 << 31},
        {"created_ns": 9, "renew_ns": 9},
        {"created_ns": 9, "expires_ns": 8},
        {"created_ns": 0, "renew_ns": (1 << 63) - 1},
        {"created_ns": 0, "expires_ns": (1 << 63) - 1},
    ],
)
def test_a_key_that_would_have_no_successor_is_refused(change):
    one = KEYS[0]
    lying = Carried(msgspec.structs.replace(one.entry, **change), one.secret)
    with pytest.raises(DeniedError) as caught:
        keybackup.unpack(packed([lying]), MemoryRootKey().unwrap)
    assert caught.value.code == REFUSED


def test_a_tombstone_does_not_speak_for_another_key():
    entry = msgspec.structs.replace(
        KEYS[0].entry, state=KeyState.DESTROYED, public=KEYS[1].entry.public
    )
    with pytest.raises(DeniedError):
        keybackup.unpack(packed([Carried(entry, b"")]), MemoryRootKey().unwrap)


def test_what_unwraps_to_no_key_is_refused():
    with pytest.raises(DeniedError):
        keybackup.unpack(packed(), lambda _wrapped, _context: b"short")
