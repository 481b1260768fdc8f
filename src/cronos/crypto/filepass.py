"""A passphrase as a recipient: Argon2id makes of it the secret half of an ordinary key.

So a file that is sealed to a passphrase differs from one that is sealed to a key in 22 bytes,
which say how the passphrase is stretched. They come from a stranger and are bounded before any
memory is taken.

Source: RFC 9106 (Argon2id; its second recommendation is the default here).
"""

import secrets
import struct
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from cronos.crypto.kdf import expand
from cronos.crypto.refusal import refused
from cronos.crypto.suites import HYBRID, DecryptionKey, Suite
from cronos.errors import InputError

MIN_CHARACTERS: Final = 12
MAX_PASSPHRASE_BYTES: Final = 1024
_SALT_BYTES: Final = 16
_FORM: Final = struct.Struct(">16sIBB")
STRETCH_BYTES: Final = _FORM.size
_MAX_MEMORY_KIB: Final = 256 << 10
_MAX_PASSES: Final = 16
_MAX_LANES: Final = 16
# At most four times what we write ourselves: a stranger's file may cost a second, not an hour.
_MAX_WORK: Final = 4 * 3 * (64 << 10)


class Stretch(msgspec.Struct, frozen=True):
    """How a passphrase was stretched; `memory_kib` is Argon2's m, `passes` its t."""

    salt: bytes
    memory_kib: int = 64 << 10
    passes: int = 3
    lanes: int = 4

    def encode(self) -> bytes:
        """Give its 22 bytes."""
        return _FORM.pack(self.salt, self.memory_kib, self.passes, self.lanes)


def new_stretch(memory_kib: int = 64 << 10, passes: int = 3, lanes: int = 4) -> Stretch:
    """Draw a salt for a new passphrase."""
    return Stretch(secrets.token_bytes(_SALT_BYTES), memory_kib, passes, lanes)


def parse_stretch(data: bytes) -> Stretch:
    """Read the 22 bytes of a stranger.

    Raises:
        DeniedError: they are none, or ask for more than four times the usual work.
    """
    if len(data) != STRETCH_BYTES:
        raise refused()
    salt, memory_kib, passes, lanes = _FORM.unpack(data)
    fits = 8 * lanes <= memory_kib <= _MAX_MEMORY_KIB and memory_kib * passes <= _MAX_WORK
    if not (fits and 1 <= passes <= _MAX_PASSES and 1 <= lanes <= _MAX_LANES):
        raise refused()
    return Stretch(salt, memory_kib, passes, lanes)


def checked(passphrase: bytes) -> bytes:
    """Give a new passphrase back, if it is worth stretching.

    Raises:
        InputError: it is short, long or no text.
    """
    try:
        characters = len(passphrase.decode())
    except UnicodeDecodeError:
        characters = 0
    if characters >= MIN_CHARACTERS and len(passphrase) <= MAX_PASSPHRASE_BYTES:
        return passphrase
    raise InputError(
        "crypto.weak_passphrase",
        f"A passphrase is UTF-8 text of {MIN_CHARACTERS} characters or more,"
        f" at most {MAX_PASSPHRASE_BYTES} bytes; this one is not.",
        "Choose a longer one: six random words, for instance.",
    )


def passphrase_key(passphrase: bytes, stretch: Stretch, suite: Suite) -> DecryptionKey:
    """Make the key of a passphrase: the same one for the same stretch and suite.

    Costs about 0.2 s and 64 MiB with the default stretch.
    """
    if not 0 < len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise refused()
    stretched = Argon2id(
        salt=stretch.salt,
        length=48,
        iterations=stretch.passes,
        lanes=stretch.lanes,
        memory_cost=stretch.memory_kib,
    ).derive(passphrase)
    return DecryptionKey(suite, _secret(stretched, suite))


def _secret(stretched: bytes, suite: Suite) -> bytes:
    if suite is not HYBRID:
        return expand(stretched, f"file passphrase {suite.name}", length=suite.secret_bytes)
    lattice, scalar_bytes = suite.secret_bytes - 48, 48
    drawn = expand(stretched, "file passphrase hybrid", length=lattice + scalar_bytes + 16)
    # Sixteen bytes more than the order has: what is left of the bias is below 2^-128.
    scalar = 1 + int.from_bytes(drawn[lattice:], "big") % (ec.SECP384R1().group_order - 1)
    return drawn[:lattice] + scalar.to_bytes(scalar_bytes, "big")
