"""Detached signatures of files: `cronos sign` and `cronos verify`.

A signature is one line of text, ``cronos-signature1 ml-dsa-87 FINGERPRINT LENGTH BASE64``. What is
signed is the file's length and its SHA-512, so that a file of any size is read once, in constant
memory, and its bytes never travel to the process that holds the key.
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

import msgspec

from cronos.crypto.chunks import Reads, fill
from cronos.crypto.epoch import Signer
from cronos.crypto.keytext import verifying_key
from cronos.crypto.refusal import refused
from cronos.crypto.running import RunningHash
from cronos.crypto.signatures import ML_DSA_87
from cronos.errors import InputError
from cronos.ports import KeyProvider
from cronos.types import KeyInfo

MARK: Final = "cronos-signature1"
CONTEXT: Final = b"cronos-file-v1"
MAX_SIGNATURE_TEXT_BYTES: Final = 8 << 10
_READ_BYTES: Final = 256 << 10
_FORM: Final = re.compile(
    rf"{MARK} {ML_DSA_87.name} ([0-9a-f]{{32}}) (0|[1-9][0-9]{{0,18}}) ([A-Za-z0-9+/=]+)"
)


class FileSignature(msgspec.Struct, frozen=True):
    """Who signed how many bytes; `line` is the signature as text, its newline included."""

    line: str
    kid: str
    length: int


def sign_file(
    source: Reads, name: str, keys: KeyProvider, progress: Callable[[int], None]
) -> FileSignature:
    """Sign all of `source` with the key `name`, which must be one of ML-DSA-87.

    Raises:
        InputError: no such key, or one that does not sign.
        DeniedError: it may not sign.
    """
    signer = signer_named(name, keys)
    length, message = _message(source, progress)
    signature = base64.b64encode(signer.sign(message, CONTEXT)).decode()
    kid = signer.kid.hex()
    return FileSignature(f"{MARK} {ML_DSA_87.name} {kid} {length} {signature}\n", kid, length)


def verify_file(
    source: Reads, text: bytes, by: bytes, progress: Callable[[int], None]
) -> FileSignature:
    """Return when `text` is a signature over all of `source`.

    Args:
        source: raw bytes, read once.
        text: what `cronos sign` wrote.
        by: the signer's public key as text.
        progress: told how many bytes are done.

    Raises:
        InputError: `text` is no signature at all, or `by` no key that signs.
        DeniedError: the signature is not by this key, or not over this file.
    """
    key = verifying_key(by)
    kid, length, signature = _parse(text)
    if kid != key.kid.hex():
        raise refused()
    found, message = _message(source, progress)
    if found != length:
        raise refused()
    key.verify(message, CONTEXT, signature)
    return FileSignature(text.decode("ascii"), kid, length)


def signer_named(name: str, keys: KeyProvider | None) -> Signer:
    """Find the key that signs under `name` now.

    Raises:
        InputError: there is none, or it does not sign with ML-DSA-87.
    """
    if keys is None or (info := key_named(name, keys)).algorithm != ML_DSA_87.name:
        raise InputError(
            "crypto.wrong_kind_of_key",
            f"The key `{name}` does not sign with ML-DSA-87.",
            "Name one that does; `identity` is there from the start.",
        )
    kid = info.kid

    def sign(message: bytes, context: bytes) -> bytes:
        # By its fingerprint: a rotation in between does not change who signs.
        return keys.sign(kid.hex(), message, context)

    return Signer(kid, sign)


def key_named(name: str, keys: KeyProvider) -> KeyInfo:
    """Find the key that `name` means now.

    Raises:
        InputError: there is none.
    """
    public = keys.public(name)
    for one in keys.listed():
        if one.public == public:
            return one
    raise InputError(
        "crypto.no_key",
        f"There is no key `{name}` any more.",
        "See `cronos keys list`.",
    )


def _message(source: Reads, progress: Callable[[int], None]) -> tuple[int, bytes]:
    buffer = memoryview(bytearray(_READ_BYTES))
    length = 0
    with RunningHash() as digest:
        while held := fill(source, buffer):
            digest.update(buffer[:held])
            length += held
            progress(length)
        return length, b"cronos signed file v1\0" + length.to_bytes(8, "big") + digest.digest()


def _parse(text: bytes) -> tuple[str, int, bytes]:
    """Read the line; it has one spelling, but may end in CR LF or without a newline."""
    if not text.startswith(MARK.encode() + b" "):
        raise InputError(
            "crypto.not_a_signature",
            "It is no signature that `cronos sign` wrote.",
            "Name the file that `cronos sign` wrote beside the signed one.",
        )
    if len(text) > MAX_SIGNATURE_TEXT_BYTES:
        raise refused()
    line = text.decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")
    found = _FORM.fullmatch(line)
    if found is None:
        raise refused()
    kid, length, encoded = found.groups()
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise refused() from None
    if base64.b64encode(signature).decode() != encoded:
        raise refused()
    return kid, int(length), signature
