"""A public key as one line of text, to be mailed, pasted and read over a telephone.

``cronos-key1 ALGORITHM FINGERPRINT BASE64``, fields apart by one space. The fingerprint (32 hex
digits) names the key in packets and serves as the line's checksum. Nothing in it is secret; that
it is *whose* it says is for the person to check who compares the fingerprint.
"""

import base64
import binascii
import re
from typing import Final

import msgspec

from cronos.crypto.signatures import SCHEMES, VerifyingKey
from cronos.crypto.suites import SUITES, EncryptionKey, fingerprint
from cronos.errors import InputError

MARK: Final = "cronos-key1"
MAX_KEY_TEXT_BYTES: Final = 8 << 10  # the longest of our keys takes 3,600
_ALGORITHM: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class KeyText(msgspec.Struct, frozen=True):
    """What such a line says; `algorithm` is a suite's or a signature scheme's name."""

    algorithm: str
    public: bytes
    kid: bytes


def key_line(algorithm: str, public: bytes) -> str:
    """Write a public key as one line, its newline included."""
    kid = fingerprint(algorithm, public).hex()
    return f"{MARK} {algorithm} {kid} {base64.b64encode(public).decode()}\n"


def parse_key(text: bytes) -> KeyText:
    """Read such a line; it has one spelling, but may end in CR LF or without a newline.

    Raises:
        InputError: it is none, or it was changed.
    """
    fields = _line(text).split(" ")
    if len(fields) != 4 or fields[0] != MARK or not _ALGORITHM.fullmatch(fields[1]):
        raise _no_line("It is no public key of Cronos.")
    algorithm = fields[1]
    try:
        public = base64.b64decode(fields[3], validate=True)
    except (binascii.Error, ValueError):
        raise _no_line("The public key is damaged.") from None
    if key_line(algorithm, public).rstrip("\n") != " ".join(fields):
        raise _no_line("The public key is damaged: it does not match its fingerprint.")
    return KeyText(algorithm, public, fingerprint(algorithm, public))


def encryption_key(text: bytes) -> EncryptionKey:
    """Read a key that can be sealed to.

    Raises:
        InputError: it is none, or it was changed.
    """
    key = parse_key(text)
    for suite in SUITES.values():
        if suite.name == key.algorithm:
            return EncryptionKey(suite, key.public)
    raise _wrong_kind(key, "seals", "Give a key of a suite: hybrid, cnsa or rate.")


def verifying_key(text: bytes) -> VerifyingKey:
    """Read a key that verifies signatures.

    Raises:
        InputError: it is none, or it was changed.
    """
    key = parse_key(text)
    for scheme in SCHEMES.values():
        if scheme.name == key.algorithm:
            return VerifyingKey(scheme, key.public)
    raise _wrong_kind(key, "signs", "Give a key of ML-DSA, such as the one called `identity`.")


def _line(text: bytes) -> str:
    if len(text) > MAX_KEY_TEXT_BYTES:
        raise _no_line("It is too long for a public key.")
    try:
        return text.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _no_line("It is no public key of Cronos.") from None


def _no_line(sentence: str) -> InputError:
    return InputError(
        "crypto.bad_key_text",
        sentence,
        "Give the line that `cronos keys export --public` wrote, whole.",
    )


def _wrong_kind(key: KeyText, verb: str, remedy: str) -> InputError:
    return InputError(
        "crypto.wrong_kind_of_key", f"No key of `{key.algorithm}` {verb} anything.", remedy
    )
