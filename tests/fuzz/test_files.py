"""Whatever arrives as a sealed file, a key or a signature, it ends in an error of ours."""

import contextlib
import io
import resource

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.file_keys import PASSPHRASE, FileKeysDouble, seal, to_key, to_passphrase

from cronos.crypto.filepass import STRETCH_BYTES, parse_stretch
from cronos.crypto.files import Opening, open_file
from cronos.crypto.filesign import sign_file, verify_file
from cronos.crypto.keytext import parse_key
from cronos.errors import CronosError

KEYS = FileKeysDouble(state="rate", identity="ml-dsa-87")
BY = KEYS.line("identity")
CONTENT = b"content" * 1000
SEALED = (
    seal(CONTENT, to_key(), KEYS),
    seal(CONTENT, to_key(sign_by="identity"), KEYS),
    seal(CONTENT, to_passphrase(suite="rate")),
)
SIGNATURE = sign_file(io.BytesIO(CONTENT), "identity", KEYS, lambda _: None).line.encode()
EDITS = st.lists(
    st.tuples(st.integers(0, 9000), st.integers(0, 64), st.binary(max_size=64)),
    min_size=1,
    max_size=6,
)
MAX_GROWTH_KIB = 300 << 10


def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def edited(data, edits):
    changed = bytearray(data)
    for at, cut, new in edits:
        at %= len(changed) + 1  # noqa: PLW2901 - the same edit, wherever the file ends
        changed[at : at + cut] = new
    return bytes(changed)


def attempt(data, how, keys):
    """Open it; give what came, or None."""
    sink = io.BytesIO()
    with contextlib.suppress(CronosError):
        open_file(io.BytesIO(data), sink, how, keys, lambda _: None)
        return sink.getvalue()
    return None


@given(st.sampled_from(SEALED[:2]), EDITS, st.booleans())
@settings(max_examples=500)
def test_a_damaged_file_never_opens_as_another(sealed, edits, whose):
    changed = edited(sealed, edits)
    found = attempt(changed, Opening(by=BY if whose else b""), KEYS)
    assert found is None or changed == sealed


@given(st.binary(max_size=400), st.sampled_from([0, 6, 7, 9, 13, 200, 1500]))
@settings(max_examples=500)
def test_noise_behind_any_beginning_is_no_file(noise, kept):
    assert attempt(SEALED[0][:kept] + noise, Opening(), KEYS) is None


@given(st.binary(min_size=STRETCH_BYTES, max_size=STRETCH_BYTES))
@settings(max_examples=1000)
def test_no_parameters_of_a_stranger_cost_more_than_four_times_our_own(data):
    with contextlib.suppress(CronosError):
        stretch = parse_stretch(data)
        assert stretch.memory_kib * stretch.passes <= 4 * 3 * 65536
        assert stretch.memory_kib <= 262144


@given(EDITS)
@settings(max_examples=100)
def test_a_damaged_file_of_a_passphrase_never_opens_as_another(edits):
    # Edits of the costs alone would only cost time; those have a test of their own.
    changed = edited(SEALED[2], edits)
    changed = changed[:9] + SEALED[2][9:31] + changed[31:]
    found = attempt(changed, Opening(passphrase=PASSPHRASE), None)
    assert found is None or changed == SEALED[2]


@given(st.one_of(st.binary(max_size=300), EDITS.map(lambda edits: edited(SIGNATURE, edits))))
@settings(max_examples=500)
def test_a_damaged_signature_never_verifies(text):
    try:
        verify_file(io.BytesIO(CONTENT), text, BY, lambda _: None)
    except CronosError:
        return
    assert text.rstrip(b"\r\n") == SIGNATURE.rstrip(b"\n")


@given(st.one_of(st.binary(max_size=300), EDITS.map(lambda edits: edited(BY, edits))))
@settings(max_examples=500)
def test_a_damaged_key_is_no_key(text):
    try:
        key = parse_key(text)
    except CronosError:
        return
    assert text.rstrip(b"\r\n") == BY.rstrip(b"\n")
    assert key.kid == KEYS.infos["identity"].kid


def test_lengths_of_a_stranger_take_no_memory():
    before = peak_kib()
    for length in (1 << 20, 1 << 31, (1 << 32) - 1):
        data = bytearray(SEALED[0])
        data[9:13] = length.to_bytes(4, "big")
        assert attempt(bytes(data), Opening(), KEYS) is None
    for memory in (1 << 20, 100 << 20, (1 << 32) - 1):
        data = bytearray(SEALED[2])
        data[25:29] = memory.to_bytes(4, "big")
        assert attempt(bytes(data), Opening(passphrase=PASSPHRASE), None) is None
    assert peak_kib() - before < MAX_GROWTH_KIB // 100
