"""The keystore's bytes have one form; damage shows, and a newer version says so."""

import hashlib
import struct

import msgspec
import pytest

from cronos.crypto import keyfile
from cronos.crypto.keyfile import KeyEntry, KeystoreImage
from cronos.errors import InputError
from cronos.types import KeyState

ENTRY = KeyEntry(
    "state", 1, "rate", KeyState.ACTIVE, bytes(16), b"public", 5, 0, 9, False, ("cronos-",), b"s"
)
IMAGE = KeystoreImage(
    bytes(16), 7, "machine-key", b"wrapped", 3, 2, bytes(48), (("state", 1),), (ENTRY,)
)
MAC = bytes(48)


def code_of(data):
    with pytest.raises(InputError) as caught:
        keyfile.read(data, "it")
    return caught.value.code


def test_it_comes_back():
    sheet = keyfile.read(keyfile.write(IMAGE) + MAC, "it")
    assert sheet.image == IMAGE
    assert sheet.covered + sheet.mac == keyfile.write(IMAGE) + MAC


def test_every_flipped_bit_and_every_cut_before_the_mac_shows():
    data = keyfile.write(IMAGE) + MAC
    for at in range(len(data) - len(MAC)):
        for bit in range(8):
            forged = data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]
            assert code_of(forged) == "crypto.keystore_damaged"
    for end in range(len(data)):
        assert code_of(data[:end]) == "crypto.keystore_damaged"
    assert code_of(data + b"\0") == "crypto.keystore_damaged"


def test_a_newer_version_says_so():
    longer = msgspec.msgpack.encode((*msgspec.structs.astuple(IMAGE), b"what it knows"))
    assert code_of(framed(longer, version=2)) == "crypto.keystore_newer"
    assert code_of(framed(longer, version=0)) == "crypto.keystore_damaged"


def framed(body, version=1):
    header = struct.pack(">4sBI32s", b"CRKS", version, len(body), hashlib.sha256(body).digest())
    return header + body + MAC


@pytest.mark.parametrize(
    "change",
    [
        {"keystore_id": bytes(15)},
        {"generation": -1},
        {"root": "Bad Name"},
        {"log_head": bytes(47)},
        {"keys": (msgspec.structs.replace(ENTRY, name="../x"),)},
        {"keys": (msgspec.structs.replace(ENTRY, contexts=("c",) * 17),)},
        {"keys": (msgspec.structs.replace(ENTRY, sealed=bytes(513)),)},
        {"keys": (ENTRY,) * 4097},
    ],
)
def test_a_body_out_of_bounds_is_refused_although_its_checksum_is_right(change):
    body = msgspec.msgpack.encode(msgspec.structs.replace(IMAGE, **change))
    assert code_of(framed(body)) == "crypto.keystore_damaged"


def test_a_body_in_another_form_is_refused():
    fields = list(msgspec.msgpack.decode(msgspec.msgpack.encode(IMAGE)))
    assert keyfile.read(framed(msgspec.msgpack.encode(fields)), "it").image == IMAGE
    assert code_of(framed(msgspec.msgpack.encode([*fields, 1]))) == "crypto.keystore_damaged"
    longer = b"\x99" + b"\xc4\x10" + bytes(16) + b"\xcd\x00\x07"  # 7 in three bytes
    body = msgspec.msgpack.encode(fields)
    assert body.startswith(b"\x99\xc4\x10" + bytes(16) + b"\x07")
    assert code_of(framed(longer + body[20:])) == "crypto.keystore_damaged"
    assert code_of(framed(b"\x91" * 100_000)) == "crypto.keystore_damaged"


def test_a_key_is_found_by_id_by_name_while_active_and_by_fingerprint():
    old = msgspec.structs.replace(ENTRY, state=KeyState.DECRYPT_ONLY, kid=b"o" * 16)
    new = msgspec.structs.replace(ENTRY, version=2)
    image = msgspec.structs.replace(IMAGE, keys=(old, new))
    assert image.find("state") == image.find("state.2") == image.find("00" * 16) == new
    assert image.find("state.1") == image.find("6f" * 16) == old
    assert image.find("state.3") is None
