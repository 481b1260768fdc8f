"""Keys from keys: HKDF-SHA384 under labels, so that no two purposes share a key.

Source: RFC 5869; the label form follows TLS 1.3 (RFC 8446, 7.1): length, label, context.
"""

from typing import Final

from cronos.crypto.hazmat.hkdf import hkdf, hkdf_expand

_PREFIX: Final = b"cronos "
_MAX_LABEL_BYTES: Final = 255 - len(_PREFIX)


def derive(secret: bytes, label: str, context: bytes = b"", *, length: int = 32) -> bytes:
    """Extract and expand a key from a secret.

    Args:
        secret: what the key is made of; may be unevenly distributed (a shared secret).
        label: what the key is for, ASCII, at most 248 characters; one for each purpose.
        context: what the key is bound to, of any length; hash it first where it is long.
        length: how many bytes, at most 12,240.

    Raises:
        InputError: `length` is not in that range.
    """
    return hkdf(secret, _info(label, context, length), length)


def expand(key: bytes, label: str, context: bytes = b"", *, length: int = 32) -> bytes:
    """Expand `length` bytes from a key that is uniform already, such as a data key."""
    return hkdf_expand(key, _info(label, context, length), length)


def _info(label: str, context: bytes, length: int) -> bytes:
    name = label.encode("ascii")
    if len(name) > _MAX_LABEL_BYTES:
        raise ValueError(f"a label of {len(name)} bytes is longer than {_MAX_LABEL_BYTES}")
    full = _PREFIX + name
    # What does not fit two bytes is refused by HKDF itself, which knows its limit.
    return (length & 0xFFFF).to_bytes(2, "big") + bytes((len(full),)) + full + context
