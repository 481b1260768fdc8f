"""A passphrase makes the same key each time, and a stranger's parameters cost little."""

import tracemalloc

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from tests.unit.crypto.refusals import assert_refused

from cronos.crypto.filepass import (
    STRETCH_BYTES,
    Stretch,
    checked,
    new_stretch,
    parse_stretch,
    passphrase_key,
)
from cronos.crypto.suites import HYBRID, SUITES
from cronos.errors import DeniedError, InputError

CHEAP = Stretch(bytes(range(16)), 32, 1, 1)
WORDS = b"six random words are a passphrase"


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_the_same_passphrase_makes_the_same_key(suite):
    one, other = passphrase_key(WORDS, CHEAP, suite), passphrase_key(WORDS, CHEAP, suite)
    sealed = one.encryption_key().seal(b"data key", b"info")
    assert other.open(sealed, b"info") == b"data key"
    assert one.kid == other.kid


def test_salt_passphrase_costs_and_suite_each_make_another_key():
    variants = [
        (WORDS, CHEAP, HYBRID),
        (WORDS + b".", CHEAP, HYBRID),
        (WORDS, Stretch(bytes(16), 32, 1, 1), HYBRID),
        (WORDS, Stretch(CHEAP.salt, 33, 1, 1), HYBRID),
        (WORDS, Stretch(CHEAP.salt, 32, 2, 1), HYBRID),
        (WORDS, Stretch(CHEAP.salt, 32, 1, 2), HYBRID),
        *((WORDS, CHEAP, suite) for suite in SUITES.values() if suite is not HYBRID),
    ]
    assert len({passphrase_key(*one).public for one in variants}) == len(variants)


def test_a_salt_is_drawn_anew():
    assert new_stretch().salt != new_stretch().salt


def test_the_parameters_come_back_as_they_went():
    stretch = new_stretch()
    assert len(stretch.encode()) == STRETCH_BYTES
    assert parse_stretch(stretch.encode()) == stretch
    assert (stretch.memory_kib, stretch.passes, stretch.lanes) == (65536, 3, 4)


@pytest.mark.parametrize(
    ("memory_kib", "passes", "lanes"),
    [
        (100 << 20, 3, 4),  # 100 GiB
        (0xFFFFFFFF, 1, 1),
        ((256 << 10) + 1, 1, 1),
        (64 << 10, 16, 4),
        (256 << 10, 4, 1),
        (31, 1, 4),
        (7, 1, 1),
        (0, 0, 0),
        (64, 0, 1),
        (64, 1, 0),
        (64, 17, 1),
        (1024, 1, 17),
        (64, 255, 255),
    ],
)
def test_parameters_out_of_bounds_are_refused_before_memory_is_taken(memory_kib, passes, lanes):
    data = Stretch(bytes(16), memory_kib, passes, lanes).encode()
    tracemalloc.start()
    try:
        assert_refused(parse_stretch, data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_most_that_is_allowed_is_four_times_the_usual_work():
    assert parse_stretch(Stretch(bytes(16), 256 << 10, 3, 16).encode()).memory_kib == 256 << 10


def test_parameters_of_another_length_are_refused():
    for length in range(40):
        if length != STRETCH_BYTES:
            assert_refused(parse_stretch, bytes(length))


@pytest.mark.parametrize("weak", [b"", b"password", b"eleven char", b"\xff" * 20, b"x" * 1025])
def test_a_weak_passphrase_is_refused_when_sealing(weak):
    with pytest.raises(InputError) as caught:
        checked(weak)
    assert caught.value.code == "crypto.weak_passphrase"
    assert repr(weak)[2:-1] not in str(caught.value) or not weak


def test_characters_are_counted_not_bytes():
    assert checked("zwölf Zeichen".encode())
    with pytest.raises(InputError):
        checked("äöüäöüäöü".encode())


@pytest.mark.parametrize("wrong", [b"", b"x" * 1025])
def test_a_passphrase_of_no_possible_length_opens_nothing(wrong):
    assert_refused(passphrase_key, wrong, CHEAP, HYBRID)


def test_a_short_passphrase_may_be_tried_when_opening():
    try:
        passphrase_key(b"x", CHEAP, HYBRID)
    except DeniedError:  # pragma: no cover - this is what must not happen
        pytest.fail("only sealing asks for a strong passphrase")


def test_the_stretching_is_argon2id_as_published():
    # RFC 9106, 5.3.
    made = Argon2id(
        salt=b"\x02" * 16, length=32, iterations=3, lanes=4, memory_cost=32,
        ad=b"\x04" * 12, secret=b"\x03" * 8,
    ).derive(b"\x01" * 32)  # fmt: skip
    assert made.hex() == "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
