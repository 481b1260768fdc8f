"""Three suites: what they open, and everything that they do not."""

import pickle

import pytest
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.suites import (
    CNSA,
    HYBRID,
    RATE,
    SUITES,
    DecryptionKey,
    EncryptionKey,
    fingerprint,
    generate_secret,
    suite_named,
)
from cronos.errors import InputError

ALL = (HYBRID, CNSA, RATE)
EACH = pytest.mark.parametrize("suite", ALL, ids=lambda suite: suite.name)
P384_ORDER = int(
    "39402006196394479212279040100143613805079739270465446667946905279627"
    "659399113263569398956308152294913554433653942643"
)
X25519_PRIME = 2**255 - 19
# Source: the points of order 1, 2, 4 and 8 (https://cr.yp.to/ecdh.html), also unreduced.
LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    X25519_PRIME - 1,
    X25519_PRIME,
    X25519_PRIME + 1,
)


def key_of(suite):
    return DecryptionKey(suite, generate_secret(suite))


def seed_key(suite, scalar=1):
    """Give a key that is the same in every run."""
    tail = scalar.to_bytes(48, "big") if suite is HYBRID else b"\x02" * (suite.secret_bytes - 64)
    return DecryptionKey(suite, b"\x01" * 64 + tail)


@EACH
def test_what_is_sealed_for_a_key_opens_with_it(suite):
    key = key_of(suite)
    for plain in (b"", b"x", bytes(range(256)) * 5):
        sealed = key.encryption_key().seal(plain, b"what for")
        assert len(sealed) == len(plain) + suite.overhead
        assert key.open(sealed, b"what for") == plain


@EACH
def test_sealing_twice_gives_two_messages(suite):
    key = seed_key(suite).encryption_key()

    assert key.seal(b"same", b"") != key.seal(b"same", b"")


@EACH
def test_another_purpose_is_refused(suite):
    key = seed_key(suite)
    sealed = key.encryption_key().seal(b"plain", b"one")

    for info in (b"", b"two", b"one\0", b"on"):
        assert_refused(key.open, sealed, info)


@EACH
def test_another_key_is_refused(suite):
    sealed = key_of(suite).encryption_key().seal(b"plain", b"")

    assert_refused(key_of(suite).open, sealed, b"")


@EACH
def test_a_changed_bit_is_refused(suite):
    key = seed_key(suite)
    sealed = key.encryption_key().seal(b"plain", b"")

    # A prime stride meets every part of the message and, over the parts, every bit of a byte.
    for bit in range(0, 8 * len(sealed), 61):
        assert_refused(key.open, flip(sealed, bit), b"")
    for bit in range(8 * (len(sealed) - 21), 8 * len(sealed), 7):  # the text and the tag
        assert_refused(key.open, flip(sealed, bit), b"")


@EACH
def test_a_cut_or_lengthened_message_is_refused(suite):
    key = seed_key(suite)
    sealed = key.encryption_key().seal(b"plain", b"")

    for length in {*range(0, len(sealed), 23), 1, suite.overhead - 1, suite.overhead}:
        assert_refused(key.open, sealed[:length], b"")
    assert_refused(key.open, sealed[:-1], b"")
    assert_refused(key.open, sealed + b"\0", b"")
    assert_refused(key.open, b"\0" + sealed, b"")


def test_a_message_of_one_suite_does_not_open_under_another():
    keys = [seed_key(suite) for suite in ALL]
    for key in keys:
        sealed = key.encryption_key().seal(b"plain", b"")
        for other in keys:
            if other is not key:
                assert_refused(other.open, sealed, b"")


def test_stripping_the_classical_half_is_refused():
    # The lattice half of a hybrid key is a whole CNSA key with the same seed: a downgrade would
    # seal for that half alone and hand the result to the hybrid holder.
    hybrid = seed_key(HYBRID)
    cnsa = DecryptionKey(CNSA, b"\x01" * 64)
    assert hybrid.public.startswith(cnsa.public)
    sealed = cnsa.encryption_key().seal(b"plain", b"")

    assert_refused(hybrid.open, sealed, b"")
    assert_refused(hybrid.open, sealed[:1568] + hybrid.public[1568:] + sealed[1568:], b"")


@EACH
def test_a_key_of_the_wrong_length_is_refused_in_a_sentence(suite):
    key = seed_key(suite)
    wrong = [key.public[:-1], key.public + b"\0", b"", bytes(1 << 20)]
    for public in wrong:
        with pytest.raises(InputError, match=f"no public key of the suite `{suite.name}`"):
            EncryptionKey(suite, public)
    for length in (0, suite.secret_bytes - 1, suite.secret_bytes + 1):
        with pytest.raises(InputError, match=f"no secret key of the suite `{suite.name}`"):
            DecryptionKey(suite, b"\x01" * length)


@EACH
def test_a_lattice_key_that_is_not_reduced_is_refused(suite):
    # A coefficient of 4095 in 12 bits, above q = 3329 (FIPS 203, 7.2), in the first and last place.
    public = seed_key(suite).public
    lattice = 1184 if suite is RATE else 1568
    last = lattice - 32  # the seed of the matrix follows
    for start in (0, last - 3):
        unreduced = public[:start] + b"\xff\xff\xff" + public[start + 3 :]
        with pytest.raises(InputError, match="no public key"):
            EncryptionKey(suite, unreduced)


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("off the curve", lambda point: point[:-1] + bytes((point[-1] ^ 1,))),
        ("infinity, padded", lambda _: bytes(97)),
        ("the origin", lambda _: b"\x04" + bytes(96)),
        ("compressed, padded", lambda point: b"\x02" + point[1:49] + bytes(48)),
        ("hybrid form", lambda point: bytes((6 + (point[-1] & 1),)) + point[1:]),
        ("a coordinate above the prime", lambda point: b"\x04" + b"\xff" * 48 + point[49:]),
    ],
)
def test_a_bad_point_of_p384_is_refused_in_a_key_and_in_a_message(why, change):
    key = seed_key(HYBRID)
    lattice, point = key.public[:1568], key.public[1568:]
    with pytest.raises(InputError, match="no public key"):
        EncryptionKey(HYBRID, lattice + change(point))

    sealed = key.encryption_key().seal(b"plain", b"")
    ephemeral = sealed[1568:1665]
    assert_refused(key.open, sealed[:1568] + change(ephemeral) + sealed[1665:], b"")


def test_a_compressed_point_is_no_second_form_of_a_key():
    key = seed_key(HYBRID)
    lattice, point = key.public[:1568], key.public[1568:]
    compressed = bytes((2 + (point[-1] & 1),)) + point[1:49]

    with pytest.raises(InputError, match="no public key"):
        EncryptionKey(HYBRID, lattice + compressed)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_is_refused_in_a_key_and_in_a_message(point):
    key = seed_key(RATE)
    low = point.to_bytes(32, "little")
    with pytest.raises(InputError, match="no public key"):
        EncryptionKey(RATE, key.public[:1184] + low)
    with pytest.raises(InputError, match="no public key"):  # the top bit is not part of a point
        EncryptionKey(RATE, key.public[:1184] + low[:31] + bytes((low[31] | 0x80,)))

    sealed = key.encryption_key().seal(b"plain", b"")
    assert_refused(key.open, sealed[:1088] + low + sealed[1120:], b"")


@pytest.mark.parametrize("scalar", [0, P384_ORDER, P384_ORDER + 1, 2**384 - 1])
def test_a_scalar_outside_the_group_is_refused(scalar):
    with pytest.raises(InputError, match="no secret key"):
        seed_key(HYBRID, scalar)


def test_the_largest_scalar_is_a_key():
    key = seed_key(HYBRID, P384_ORDER - 1)

    assert key.open(key.encryption_key().seal(b"plain", b""), b"") == b"plain"


@EACH
def test_new_secrets_differ_and_make_keys(suite):
    drawn = {generate_secret(suite) for _ in range(50)}

    assert len(drawn) == 50
    assert {len(secret) for secret in drawn} == {suite.secret_bytes}
    assert len({DecryptionKey(suite, secret).kid for secret in drawn}) == 50
    if suite is not CNSA:  # the classical half is drawn too
        assert len({secret[64:] for secret in drawn}) == 50


@EACH
def test_both_halves_of_a_key_have_one_name(suite):
    key = seed_key(suite)

    assert key.kid == key.encryption_key().kid == fingerprint(suite.name, key.public)
    assert len(key.kid) == 16


def test_the_same_bytes_under_two_kinds_have_two_names():
    assert fingerprint("cnsa", b"public") != fingerprint("rate", b"public")
    assert fingerprint("cnsa", b"public") != fingerprint("cns", b"apublic")


@EACH
def test_a_key_shows_its_name_and_never_its_secret(suite):
    secret = generate_secret(suite)
    key = DecryptionKey(suite, secret)

    for shown in (repr(key), repr(key.encryption_key())):
        assert key.kid.hex() in shown
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert secret not in vars(key).values()


@EACH
def test_a_secret_key_cannot_be_pickled(suite):
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(seed_key(suite))


@pytest.mark.parametrize(
    ("name", "suite"),
    [
        ("hybrid", HYBRID),
        ("cnsa", CNSA),
        ("rate", RATE),
        ("Hybrid", HYBRID),
        ("Kyber-1024", CNSA),
        ("kyber1024", CNSA),
        ("ML-KEM-1024", CNSA),
    ],
)
def test_a_suite_has_a_name(name, suite):
    assert suite_named(name) is suite


def test_an_unknown_suite_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="hybrid, cnsa, rate") as caught:
        suite_named("kyber-512")
    assert caught.value.code == "crypto.unknown_suite"


def test_the_bytes_of_the_suites_are_what_every_stored_header_says():
    assert {number: suite.name for number, suite in SUITES.items()} == {
        1: "hybrid",
        2: "cnsa",
        3: "rate",
    }
    assert [suite.public_bytes for suite in ALL] == [1665, 1568, 1216]
    assert [suite.secret_bytes for suite in ALL] == [112, 64, 96]
    assert [suite.overhead for suite in ALL] == [1681, 1584, 1136]


def test_the_keys_of_fixed_seeds_stay_the_same():
    # Stored seeds must make the same keys for ever; these names were computed once.
    assert {suite.name: seed_key(suite).kid.hex() for suite in ALL} == {
        "hybrid": "5ad1a9a4d1a6f71098e825b43b15bff7",
        "cnsa": "32537af7e2ff0820e12b2453495bc33f",
        "rate": "2c8137284b7777b63f572999c8a324e2",
    }
