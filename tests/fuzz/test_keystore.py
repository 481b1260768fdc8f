"""Bytes of strangers where a keystore, a key log, a backup or a wrapped key should be."""

import contextlib
import hashlib
import struct

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.keystores import passphrase_root
from tests.unit.crypto.test_keyfile import IMAGE

from cronos.crypto import keybackup, keyfile, keylog
from cronos.crypto.keylog import NO_HEAD, KeyEvent
from cronos.errors import CronosError
from cronos.testing.memory_govern import MemoryRootKey

FILE = keyfile.write(IMAGE) + bytes(48)
LOG = keylog.lines([KeyEvent("created", "a.1", "", 1, 1)] * 3, NO_HEAD, lambda _data: bytes(48))[0]
BACKUP = keybackup.pack((), bytes(16), MemoryRootKey().wrap)
WRAPPED = passphrase_root().wrap(b"secret", b"c")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=40,
)


@st.composite
def near(draw, data):
    """Give bytes close to what is right: pieces cut out, put in, changed."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(changed)))
        changed[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(changed)


@given(st.binary(max_size=400) | near(FILE))
def test_a_keystore_file_is_read_or_refused_with_a_sentence(data):
    with contextlib.suppress(CronosError):
        assert keyfile.write(keyfile.read(data, "it").image) == data[:-48]


@given(VALUES | st.lists(VALUES, min_size=9, max_size=9))
def test_a_body_with_a_right_checksum_is_read_or_refused(value):
    body = msgspec.msgpack.encode(value)
    head = struct.pack(">4sBI32s", b"CRKS", 1, len(body), hashlib.sha256(body).digest())
    with contextlib.suppress(CronosError):
        keyfile.read(head + body + bytes(48), "it")


@settings(max_examples=50)
@given(data=st.binary(max_size=600) | near(LOG))
def test_a_key_log_is_read_as_far_as_it_holds(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "events"
    path.write_bytes(data)
    read = keylog.read(path, lambda _data: bytes(48))
    assert len(read.heads) == len(read.events) + 1
    assert read.ends[-1] <= len(data)
    assert data[: read.ends[-1]].count(b"\n") == len(read.events)


@given(st.binary(max_size=300) | near(BACKUP))
def test_a_backup_is_read_or_refused(data):
    with contextlib.suppress(CronosError):
        assert keybackup.unpack(data, MemoryRootKey().unwrap) == ()


@given(st.binary(max_size=120) | near(WRAPPED))
@settings(max_examples=100)
def test_a_wrapped_key_is_unwrapped_or_refused(data):
    with contextlib.suppress(CronosError):
        # Costs within our bounds may be paid; none here is near enough to the right one to hurt.
        if len(data) < 5 or data[1:5] == WRAPPED[1:5]:
            assert passphrase_root().unwrap(data, b"c") == b"secret"
