"""The keystore's file: what is in it, and its bytes.

| bytes | what |
|---|---|
| 4 | ``CRKS`` |
| 1 | version, 1 |
| 4 | length n of the body, big-endian |
| 32 | SHA-256 of the body: damage shows without any key |
| n | the body: `KeystoreImage` as a msgpack array, in the one canonical form |
| 48 | HMAC-SHA384 of all before, under a key derived from the master key |

The body hides nothing but the secrets, each sealed on its own; whoever has the file may list the
keys. Only who has the root key can change it unnoticed.
"""

import hashlib
import hmac
import struct
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.errors import InputError
from cronos.types import KeyInfo, KeyState

VERSION: Final = 1
MAX_FILE_BYTES: Final = 16 << 20
MAX_KEYS: Final = 4096
MAC_BYTES: Final = 48
_MAGIC: Final = b"CRKS"
_HEADER: Final = struct.Struct(">4sBI32s")

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Short = Annotated[bytes, Meta(max_length=16)]


class KeyEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One key. Times are Unix time in nanoseconds; 0 means never.

    Attributes:
        renew_ns: when a successor is due.
        forget: whether its secret is destroyed by itself once it has expired and was replaced.
        contexts: what the contexts of its signatures must begin with, one of them.
        sealed: the secret, see `master.Master`; empty when destroyed.
    """

    name: Name
    version: Annotated[int, Meta(ge=1, le=(1 << 31))]
    algorithm: Annotated[str, Meta(max_length=32)]
    state: KeyState
    kid: Annotated[bytes, Meta(min_length=16, max_length=16)]
    public: Annotated[bytes, Meta(max_length=4096)]
    created_ns: Count
    renew_ns: Count
    expires_ns: Count
    forget: bool
    contexts: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...],
        Meta(max_length=16),
    ]
    sealed: Annotated[bytes, Meta(max_length=512)]

    @property
    def key_id(self) -> str:
        """Give ``<name>.<version>``."""
        return f"{self.name}.{self.version}"

    def info(self) -> KeyInfo:
        """Give what may be known of it."""
        return KeyInfo(
            self.key_id,
            self.algorithm,
            self.state,
            self.kid,
            self.public,
            self.created_ns,
            self.expires_ns,
        )

    def identity(self, keystore_id: bytes) -> bytes:
        """Give the bytes that its sealed secret is bound to: what never changes of it."""
        return b"cronos keystore secret v1\0" + msgspec.msgpack.encode(
            (keystore_id, self.name, self.version, self.algorithm, self.kid)
        )


class KeystoreImage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A whole keystore at one generation.

    Attributes:
        keystore_id: drawn once; binds secrets, events and the wrapped master key to this store.
        root: the catalogue name of the root key that `wrapped` needs.
        wrapped: the master key under the root key.
        time_ns: the latest time that this keystore has seen; it never goes back.
        log_size: how many events the key log has that led here.
        log_head: the hash of the last of them.
        versions: the last version that each name has used; no version is ever used twice.
    """

    keystore_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    generation: Count
    root: Name
    wrapped: Annotated[bytes, Meta(max_length=65_536)]
    time_ns: Count
    log_size: Count
    log_head: Annotated[bytes, Meta(min_length=48, max_length=48)]
    versions: Annotated[tuple[tuple[Name, Count], ...], Meta(max_length=MAX_KEYS)]
    keys: Annotated[tuple[KeyEntry, ...], Meta(max_length=MAX_KEYS)]

    def find(self, key_id: str) -> KeyEntry | None:
        """Find a key by its id, its name (the active version) or its fingerprint in hex."""
        return next((key for key in self.keys if _named(key, key_id)), None)


def _named(key: KeyEntry, wanted: str) -> bool:
    if key.state is KeyState.ACTIVE and key.name == wanted:
        return True
    return key.key_id == wanted or key.kid.hex() == wanted


class Sheet(msgspec.Struct, frozen=True):
    """A file that was read: its image, the bytes that its MAC covers, and the MAC."""

    image: KeystoreImage
    covered: bytes
    mac: bytes


class KeyPlan(msgspec.Struct, frozen=True):
    """What a new key is to be.

    Attributes:
        life_s: how long it lasts; 0 is for good. A successor is due before its end.
        renew_s: when a successor is due, where that is not for the life to say; see `lifecycle`.
        contexts: what the contexts of its signatures must begin with.
        forget: whether its secret is destroyed by itself once it is expired and replaced.
        pending: made, but not to be used before a rotation makes it the active one.
    """

    name: str
    algorithm: str
    life_s: int = 0
    contexts: tuple[str, ...] = ()
    forget: bool = False
    pending: bool = False
    renew_s: int = 0


_DECODER: Final = msgspec.msgpack.Decoder(KeystoreImage)


def write(image: KeystoreImage) -> bytes:
    """Give the bytes that the MAC covers: all but the MAC itself."""
    body = msgspec.msgpack.encode(image, order="deterministic")
    return _HEADER.pack(_MAGIC, VERSION, len(body), hashlib.sha256(body).digest()) + body


def read(data: bytes, origin: str) -> Sheet:
    """Read a keystore's file. Its MAC is not checked: that takes the root key.

    Raises:
        InputError: it is damaged (``crypto.keystore_damaged``), or a newer Cronos wrote it.
    """
    if len(data) < _HEADER.size + MAC_BYTES or data[:4] != _MAGIC:
        raise damaged(origin)
    _, version, length, digest = _HEADER.unpack_from(data)
    image = _image(data[_HEADER.size : -MAC_BYTES], length, digest)
    # What is whole as ours under another version is ours with a changed byte, not a newer one.
    if version > VERSION and image is None:
        raise InputError(
            "crypto.keystore_newer",
            f"{origin} has version {version}, and this Cronos reads version {VERSION}.",
            "Open it with the Cronos that wrote it, or a newer one.",
        )
    if image is None or write(image) != data[:-MAC_BYTES]:
        raise damaged(origin)
    return Sheet(image, data[:-MAC_BYTES], data[-MAC_BYTES:])


def _image(body: bytes, length: int, digest: bytes) -> KeystoreImage | None:
    if len(body) != length or not hmac.compare_digest(hashlib.sha256(body).digest(), digest):
        return None
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, OverflowError):
        return None


def damaged(origin: str) -> InputError:
    """Give the error of a file whose damage shows without any key."""
    return InputError(
        "crypto.keystore_damaged",
        f"{origin} is damaged: it was cut, or its bytes were changed.",
        "Restore it from a backup, or bring the keys back with `cronos keys import`.",
    )
