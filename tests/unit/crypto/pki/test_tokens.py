"""Join tokens: one line, whole or refused, and no secret in sight."""

import base64

import msgspec
import pytest

from cronos.crypto.pki.tokens import new_token, parse_token, token_text, verifier
from cronos.errors import InputError


def token(name="alpha", domain="plant.example"):
    return new_token(b"p" * 48, domain, name, "127.0.0.1:7445", 99)


def test_a_token_comes_back_as_it_was_also_with_white_space_around_it():
    made = token()

    assert parse_token(f"  {token_text(made)}\n") == made


def test_two_tokens_share_neither_id_nor_secret():
    one, other = token(), token()

    assert one.token_id != other.token_id
    assert one.secret != other.secret
    assert len(one.secret) == 32


def test_the_key_grows_from_the_secret_and_the_issuer_keeps_only_a_hash():
    made = token()

    assert made.key().public == parse_token(token_text(made)).key().public
    kept = verifier(made.key().public)
    assert len(kept) == 48
    assert made.secret not in kept
    assert token().key().public != made.key().public


def test_a_token_shows_its_name_and_not_its_secret():
    made = token()

    assert repr(made) == "<join token of alpha>"
    assert made.secret.hex() not in f"{made} {made!r}"


def line(fields):
    body = base64.urlsafe_b64encode(msgspec.msgpack.encode(fields)).decode().rstrip("=")
    return f"cronos-join-{body}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cronos-join-",
        "cronos-join-!!!!",
        "cronos-join-AAAA",
        "cronos-join-é",
        "x" * 10_000,
        line([2, b"i" * 16, b"s" * 32, b"p" * 48, "plant.example", "alpha", "", 1]),
        line([1, b"i" * 15, b"s" * 32, b"p" * 48, "plant.example", "alpha", "", 1]),
        line([1, b"i" * 16, b"s" * 32, b"p" * 48, "plant.example", "../alpha", "", 1]),
        line([1, b"i" * 16, b"s" * 32, b"p" * 48, "Plant", "alpha", "", 1]),
        line([1, b"i" * 16, b"s" * 32, b"p" * 48, "plant.example", "alpha", "", 1, "more"]),
    ],
)
def test_what_is_no_token_is_refused_with_a_sentence(text):
    with pytest.raises(InputError) as refused:
        parse_token(text)

    assert refused.value.code == "crypto.bad_token"
    assert refused.value.__cause__ is None


def test_every_cut_of_a_token_is_refused():
    text = token_text(token())

    for end in range(len(text)):
        with pytest.raises(InputError):
            parse_token(text[:end])
