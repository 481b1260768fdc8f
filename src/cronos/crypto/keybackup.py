"""Keys on their way out of a keystore and back: an encrypted backup.

| bytes | what |
|---|---|
| 4 | ``CRKB`` |
| 1 | version, 1 |
| 16 | the fingerprint of the recipient's key; zeros where a passphrase locks it |
| 2 | length n of the wrapped data key, big-endian |
| n | the data key, wrapped by the passphrase or sealed to the recipient |
| 12 | nonce |
| rest | AES-256-GCM of the keys, with all before the nonce authenticated |
"""

import secrets
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from cronos.crypto import keyfile, keykinds, lifecycle
from cronos.crypto.keyfile import KeyEntry
from cronos.crypto.refusal import refused
from cronos.crypto.suites import fingerprint
from cronos.errors import InputError

CONTEXT: Final = b"cronos key backup v1"
PASSPHRASE: Final = bytes(16)
_MAGIC: Final = b"CRKB"
_HEADER: Final = struct.Struct(">4sB16sH")
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
# A key a minute for thirty years; a keystore itself counts a hundred times as far.
_MAX_VERSION: Final = 1 << 24

Wrap = Callable[[bytes, bytes], bytes]


class Carried(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A key outside any keystore: what is known of it, and its secret (none when destroyed)."""

    entry: KeyEntry
    secret: Annotated[bytes, Meta(max_length=512)]

    def __repr__(self) -> str:
        return f"Carried({self.entry.key_id})"


_DECODER: Final = msgspec.msgpack.Decoder(
    Annotated[tuple[Carried, ...], Meta(max_length=keyfile.MAX_KEYS)]
)


def pack(keys: Sequence[Carried], recipient: bytes, wrap: Wrap) -> bytes:
    """Give a backup of keys.

    Args:
        keys: what to carry; their `sealed` must be empty.
        recipient: the fingerprint of the key that opens it, or `PASSPHRASE`.
        wrap: takes a data key and a context, and locks it.
    """
    data_key = secrets.token_bytes(32)
    wrapped = wrap(data_key, CONTEXT)
    header = _HEADER.pack(_MAGIC, 1, recipient, len(wrapped)) + wrapped
    nonce = secrets.token_bytes(_NONCE_BYTES)
    body = msgspec.msgpack.encode(tuple(keys), order="deterministic")
    return header + nonce + AESGCM(data_key).encrypt(nonce, body, header)


def recipient_of(data: bytes) -> bytes:
    """Give the fingerprint of the key that opens a backup, or `PASSPHRASE`.

    Raises:
        InputError: this is no backup, or a newer Cronos wrote it.
    """
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise InputError(
            "crypto.no_backup",
            "This is no backup of keys.",
            "Give a file that `cronos keys export` wrote.",
        )
    _, version, recipient, _ = _HEADER.unpack_from(data)
    if version != 1:
        raise InputError(
            "crypto.backup_newer",
            f"The backup has version {version}, and this Cronos reads version 1.",
            "Import it with the Cronos that wrote it, or a newer one.",
        )
    return bytes(recipient)


def unpack(data: bytes, unwrap: Wrap) -> tuple[Carried, ...]:
    """Give the keys of a backup, each proven to be what it says.

    Raises:
        InputError: this is no backup, or a newer Cronos wrote it.
        DeniedError: another passphrase or key, or changed bytes.
    """
    recipient_of(data)
    length = _HEADER.unpack_from(data)[3]
    end = _HEADER.size + length
    if len(data) < end + _NONCE_BYTES + _TAG_BYTES or len(data) > keyfile.MAX_FILE_BYTES:
        raise refused()
    header, nonce = data[:end], data[end : end + _NONCE_BYTES]
    cipher = _cipher(unwrap, header[_HEADER.size :])
    try:
        body = cipher.decrypt(nonce, data[end + _NONCE_BYTES :], header)
        carried: tuple[Carried, ...] = _DECODER.decode(body)
    except (InvalidTag, ValueError, msgspec.DecodeError, RecursionError):
        raise refused() from None
    for one in carried:
        _proven(one)
    return carried


def _cipher(unwrap: Wrap, wrapped: bytes) -> AESGCM:
    try:
        return AESGCM(unwrap(wrapped, CONTEXT))
    except ValueError:
        raise refused() from None


def _proven(one: Carried) -> None:
    """Refuse a key whose secret does not give its public half, or that no keystore made."""
    if one.entry.algorithm not in keykinds.ALGORITHMS or not _possible(one.entry):
        raise refused()
    if not one.secret:
        return
    try:
        made = keykinds.secret_key(one.entry.algorithm, one.secret)
    except InputError:
        raise refused() from None
    if (made.kid, made.public) != (one.entry.kid, one.entry.public):
        raise refused()


def _possible(entry: KeyEntry) -> bool:
    """Say whether a keystore could have made it: from others no successor could be made."""
    most_ns = lifecycle.MAX_LIFE_S * lifecycle.SECOND_NS
    times = (entry.renew_ns, entry.expires_ns)
    lives = all(not one or 0 < one - entry.created_ns <= most_ns for one in times)
    named = not entry.public or fingerprint(entry.algorithm, entry.public) == entry.kid
    return lives and named and entry.version <= _MAX_VERSION
