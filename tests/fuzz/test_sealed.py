"""Whatever bytes are opened, and whatever the files of keys were turned into: one refusal."""

import pathlib
import shutil
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.sealed_store import keystore, sealer

from cronos.crypto.refusal import refused
from cronos.errors import DeniedError

_EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4
)

_SAID = {f"crypto.{what}" for what in ("refused", "epochs_lost", "subjects_lost", "other_keystore")}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Give a store with one plain and one subject's record, and its keys."""
    folder = tmp_path_factory.mktemp("store")
    keys = keystore(folder / "keys")
    one = sealer(folder / "s", keys)
    sealed = one.seal(b"plain", b"c"), one.seal(b"named", b"c", "user alice")
    yield folder / "s", keys, one, sealed
    keys.close()


def _edited(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    changed = bytearray(data)
    for where, piece in edits:
        at = where % len(changed)
        changed[at : at + len(piece)] = piece
    return bytes(changed)


@given(data=st.binary(max_size=300), layout=st.sampled_from([b"", b"\x01\x01", b"\x02\x01\x01"]))
@settings(max_examples=500, deadline=None)
def test_noise_is_refused_with_the_one_text(store, data, layout):
    with pytest.raises(DeniedError) as error:
        store[2].open(layout + data, b"c")
    assert str(error.value) == str(refused())


@given(edits=_EDITS, which=st.integers(0, 1))
@settings(max_examples=500, deadline=None)
def test_an_edited_record_is_refused_with_the_one_text(store, edits, which):
    _, _, one, sealed = store
    changed = _edited(sealed[which], edits)
    if changed == sealed[which]:
        return
    with pytest.raises(DeniedError) as error:
        one.open(changed, b"c")
    assert str(error.value) == str(refused())


def _outcome(one, data):
    try:
        return one.open(data, b"c").decode()
    except DeniedError as error:
        return error.code


@given(edits=_EDITS, name=st.sampled_from(["epochs", "subjects"]), both=st.booleans())
@settings(max_examples=100, deadline=None)
def test_edited_files_of_keys_open_what_they_held_or_say_what_is_lost(store, edits, name, both):
    source, keys, _, sealed = store
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place) / "s"
        shutil.copytree(source, folder)
        for each in (name, f"{name}.bak") if both else (name,):
            (folder / each).write_bytes(_edited((folder / each).read_bytes(), edits))
        again = sealer(folder, keys)
        for data, plain in zip(sealed, (b"plain", b"named"), strict=True):
            assert _outcome(again, data) in {plain.decode(), *(_SAID if both else ())}
