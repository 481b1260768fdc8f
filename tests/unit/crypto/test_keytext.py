"""A public key as text: it comes back as it went, or not at all."""

import base64

import pytest

from cronos.crypto.keytext import encryption_key, key_line, parse_key, verifying_key
from cronos.crypto.signatures import ML_DSA_87, SigningKey, generate_seed
from cronos.crypto.suites import SUITES, DecryptionKey, fingerprint, generate_secret
from cronos.errors import InputError

SIGNING = SigningKey(ML_DSA_87, generate_seed())
LINE = key_line("ml-dsa-87", SIGNING.public)


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_a_key_that_seals_comes_back_as_it_went(suite):
    key = DecryptionKey(suite, generate_secret(suite)).encryption_key()
    read = encryption_key(key_line(suite.name, key.public).encode())
    assert (read.suite, read.public, read.kid) == (suite, key.public, key.kid)


def test_a_key_that_verifies_comes_back_as_it_went():
    read = verifying_key(LINE.encode())
    read.verify(b"message", b"context", SIGNING.sign(b"message", b"context"))
    assert read.kid == SIGNING.kid


def test_the_line_names_algorithm_and_fingerprint_for_people():
    mark, algorithm, kid, encoded = LINE.split()
    assert (mark, algorithm, kid) == ("cronos-key1", "ml-dsa-87", SIGNING.kid.hex())
    assert base64.b64decode(encoded) == SIGNING.public
    assert LINE.endswith("\n")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_it_may_end_as_editors_and_mail_end_lines(end):
    assert parse_key((LINE.rstrip("\n") + end).encode()).kid == SIGNING.kid


def test_every_changed_character_is_refused():
    line = LINE.encode()
    for at in [*range(80), *range(80, len(line) - 1, 37)]:
        changed = bytearray(line)
        changed[at] ^= 1
        with pytest.raises(InputError):
            verifying_key(bytes(changed))


def test_every_cut_line_is_refused():
    line = LINE.rstrip("\n").encode()
    for length in range(0, len(line), 11):
        with pytest.raises(InputError):
            parse_key(line[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        b"ssh-ed25519 AAAA me@here",
        LINE.encode() * 2,
        LINE.replace(" ", "  ").encode(),
        LINE.encode() + b" ",
        b"cronos-key1 HYBRID " + b"0" * 32 + b" AAAA",
        b"cronos-key2" + LINE.encode()[11:],
        b"a" * 10_000_000,
    ],
    ids=range(10),
)
def test_what_is_no_such_line_is_refused_in_a_sentence(text):
    with pytest.raises(InputError) as caught:
        parse_key(text)
    assert caught.value.code == "crypto.bad_key_text"


def test_another_spelling_of_the_same_bytes_is_refused():
    # The last group of this key has two unused bits: another letter decodes to the same bytes.
    public = SIGNING.public[:2591]
    encoded = base64.b64encode(public).decode()
    other = encoded[:-2] + chr(ord(encoded[-2]) + 1) + "="
    assert base64.b64decode(other, validate=True) == public
    kid = fingerprint("ml-dsa-87", public).hex()
    with pytest.raises(InputError):
        parse_key(f"cronos-key1 ml-dsa-87 {kid} {other}\n".encode())


def test_a_key_is_used_for_what_it_is_for():
    with pytest.raises(InputError, match="No key of `ml-dsa-87` seals"):
        encryption_key(LINE.encode())
    with pytest.raises(InputError, match="No key of `p-384` signs"):
        verifying_key(key_line("p-384", b"\x04" + bytes(96)).encode())


def test_an_alias_is_no_second_name_of_a_key():
    (cnsa,) = (suite for suite in SUITES.values() if suite.name == "cnsa")
    public = DecryptionKey(cnsa, generate_secret(cnsa)).public
    with pytest.raises(InputError):
        encryption_key(key_line("kyber-1024", public).encode())


def test_bytes_that_are_no_key_of_their_algorithm_are_refused():
    with pytest.raises(InputError):
        encryption_key(key_line("hybrid", b"short").encode())
