"""HKDF without labels.

Warning: two purposes that happen to use the same `info` get the same key. `kdf.derive` and
`kdf.expand` put the purpose and the length in front; use those.

Source: RFC 5869.
"""

from typing import Final, Literal

from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from cronos.errors import InputError

HashName = Literal["sha256", "sha384"]
_HASHES: Final[dict[HashName, SHA256 | SHA384]] = {"sha256": SHA256(), "sha384": SHA384()}
_MAX_BLOCKS: Final = 255


def hkdf(
    secret: bytes, info: bytes, length: int, *, salt: bytes = b"", hash_name: HashName = "sha384"
) -> bytes:
    """Extract and expand `length` bytes from `secret`, which may be unevenly distributed.

    Raises:
        InputError: more than 255 hashes long, or not one byte.
    """
    algorithm = _HASHES[hash_name]
    _check(length, algorithm)
    return HKDF(algorithm, length, salt, info).derive(secret)


def hkdf_expand(key: bytes, info: bytes, length: int, *, hash_name: HashName = "sha384") -> bytes:
    """Expand `length` bytes from `key`, which must be uniform.

    Raises:
        InputError: more than 255 hashes long, or not one byte.
    """
    algorithm = _HASHES[hash_name]
    _check(length, algorithm)
    return HKDFExpand(algorithm, length, info).derive(key)


def _check(length: int, algorithm: SHA256 | SHA384) -> None:
    most = _MAX_BLOCKS * algorithm.digest_size
    if not 0 < length <= most:
        raise InputError(
            "crypto.bad_length",
            f"{length} bytes cannot be derived at once; 1 to {most} can.",
            "Derive a key and expand that, or ask for less.",
        )
