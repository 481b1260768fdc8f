"""Whatever is sealed comes back; whatever is done to a sealed file, nothing else ever does."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.file_keys import FileKeysDouble, opened, seal, to_key

from cronos.crypto.fileheader import read_header
from cronos.crypto.files import Opening, open_file
from cronos.crypto.keytext import key_line, parse_key
from cronos.crypto.records import RECORD_OVERHEAD
from cronos.errors import CronosError

KEYS = FileKeysDouble(state="hybrid", rate="rate", cnsa="cnsa", identity="ml-dsa-87")
BY = Opening(by=KEYS.line("identity"))
ROOM = 1 << 12
CHUNK = ROOM - RECORD_OVERHEAD
PLAIN = bytes(range(251)) * 100
SIGNATURE = 4627 + RECORD_OVERHEAD

# Lengths that lie on a border between chunks, or beside one, more often than not.
LENGTHS = st.one_of(
    st.integers(0, 5 * CHUNK),
    st.builds(lambda n, off: max(0, n * CHUNK + off), st.integers(0, 5), st.integers(-2, 2)),
)
NAMES = st.sampled_from(["state", "rate", "cnsa"])


@given(LENGTHS, NAMES, st.booleans())
@settings(max_examples=150)
def test_what_is_sealed_comes_back_and_has_the_length_it_must_have(length, name, signed):
    plain = PLAIN[:length]
    sealed = seal(plain, to_key(key=name, sign_by="identity" if signed else ""), KEYS)
    assert opened(sealed, BY if signed else Opening(), KEYS) == plain
    chunks = max(1, -(-length // CHUNK))
    body = length + chunks * RECORD_OVERHEAD + (SIGNATURE if signed else 0)
    assert len(sealed) == len(read_header(io.BytesIO(sealed)).raw) + body


def _files():
    """Seal five lengths, signed and not, once for all examples; and a second file of each."""
    made = []
    for length in (0, 5, CHUNK, 3 * CHUNK, 3 * CHUNK + 1):
        for sign_by in ("", "identity"):
            how = to_key(key="rate", sign_by=sign_by)
            made.append((PLAIN[:length], seal(PLAIN[:length], how, KEYS), seal(PLAIN, how, KEYS)))
    return made


FILES = _files()


def _pieces(sealed):
    """Cut a file as a thief would: header, then chunks."""
    start = len(read_header(io.BytesIO(sealed)).raw)
    return [sealed[:start], *(sealed[at : at + ROOM] for at in range(start, len(sealed), ROOM))]


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=400)
def test_no_rearrangement_of_two_files_opens_as_anything_new(file, data):
    plain, sealed, other = file
    pieces = _pieces(sealed)
    pool = [*pieces, *_pieces(other)]
    order = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=len(pieces) + 2))
    changed = b"".join(pool[at] for at in order)
    _never_anything_new(changed, {sealed: plain, other: PLAIN})


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=400)
def test_no_edit_of_a_file_opens_as_anything_new(file, data):
    plain, sealed, other = file
    changed = bytearray(sealed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(at, min(len(changed), at + 2 * ROOM)))
        changed[at:end] = data.draw(st.binary(max_size=40))
    _never_anything_new(bytes(changed), {sealed: plain, other: PLAIN})


def _never_anything_new(changed, known):
    sink = io.BytesIO()
    try:
        open_file(io.BytesIO(changed), sink, Opening(), KEYS, lambda _: None)
    except CronosError:
        # Whole chunks of the file whose header stood in front, in their order; or nothing.
        left = sink.getvalue()
        assert any(plain.startswith(left) for plain in known.values())
        assert len(left) % CHUNK == 0
    else:
        assert sink.getvalue() == known[changed]


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True), st.binary(max_size=3000))
@settings(max_examples=200)
def test_a_key_line_comes_back_whatever_the_key(algorithm, public):
    line = key_line(algorithm, public).encode()
    assert (parse_key(line).algorithm, parse_key(line).public) == (algorithm, public)


@given(st.binary(min_size=1, max_size=200), st.integers(0), st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_key_line_is_refused(public, where, change):
    line = bytearray(key_line("hybrid", public).encode())
    line[where % (len(line) - 1)] ^= change
    with pytest.raises(CronosError):
        parse_key(bytes(line))
