"""Keys from keys, apart by label, context and length."""

import hashlib
import hmac

import pytest

from cronos.crypto.kdf import derive, expand
from cronos.errors import InputError

SECRET = bytes(range(48))
BOTH = pytest.mark.parametrize("make", [derive, expand], ids=["derive", "expand"])


def by_hand(key, label, context, length):
    """Expand as RFC 5869 says, with nothing but HMAC."""
    name = b"cronos " + label.encode()
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + context
    block, out, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = hmac.digest(key, block + info + bytes((count,)), hashlib.sha384)
        out += block
    return out[:length]


@pytest.mark.parametrize("length", [1, 32, 48, 49, 76, 1000, 12_240])
def test_a_key_is_what_the_standard_says(length):
    extracted = hmac.digest(bytes(48), SECRET, hashlib.sha384)

    assert expand(SECRET, "l", b"c", length=length) == by_hand(SECRET, "l", b"c", length)
    assert derive(SECRET, "l", b"c", length=length) == by_hand(extracted, "l", b"c", length)


@BOTH
def test_another_secret_label_context_or_length_gives_another_key(make):
    keys = [
        make(SECRET, "label"),
        make(SECRET[:-1], "label"),
        make(SECRET, "labe"),
        make(SECRET, "label", b"context"),
        make(SECRET, "label", b"context\0"),
        make(SECRET, "label", length=64)[:32],
        make(SECRET, "labelcontext"),
        make(SECRET, "", b"label"),
    ]

    assert len(set(keys)) == len(keys)


def test_extracting_is_not_expanding():
    assert derive(SECRET, "label") != expand(SECRET, "label")


@BOTH
def test_the_same_question_gives_the_same_key(make):
    assert make(SECRET, "label", b"c", length=99) == make(SECRET, "label", b"c", length=99)


@BOTH
def test_a_label_is_short_and_ascii(make):
    assert len(make(SECRET, "l" * 248)) == 32
    with pytest.raises(ValueError, match="longer than 248"):
        make(SECRET, "l" * 249)
    with pytest.raises(UnicodeEncodeError):
        make(SECRET, "schlüssel")


@BOTH
@pytest.mark.parametrize("length", [-1, 0, 12_241, 65_536 + 32, 1 << 40])
def test_a_length_that_cannot_be_derived_is_refused_in_a_sentence(make, length):
    with pytest.raises(InputError, match="1 to 12240 can") as caught:
        make(SECRET, "label", length=length)
    assert caught.value.code == "crypto.bad_length"
