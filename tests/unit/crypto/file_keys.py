"""A double of a keystore for sealed files: real keys, held in memory; and sealing in one call."""

import io

from cronos.crypto.filepass import new_stretch
from cronos.crypto.files import Opening, Sealing, open_file, seal_file
from cronos.crypto.keytext import key_line
from cronos.crypto.signatures import SCHEMES, SigningKey, generate_seed
from cronos.crypto.suites import SUITES, DecryptionKey, generate_secret
from cronos.errors import InputError
from cronos.types import KeyInfo, KeyState

PASSPHRASE = b"correct horse battery staple"
ANY_KEY = Opening()
CHEAP = {"memory_kib": 32, "passes": 1, "lanes": 1}


class FileKeysDouble:
    """Keys by name: `FileKeysDouble(state="hybrid", identity="ml-dsa-87")`."""

    def __init__(self, **algorithms):
        self.held = {}
        self.infos = {}
        for name, algorithm in algorithms.items():
            secret = _secret(algorithm)
            self.held[name] = secret
            self.infos[name] = KeyInfo(
                f"{name}.1", algorithm, KeyState.ACTIVE, secret.kid, secret.public, 1
            )

    def _name(self, key_id):
        for name, info in self.infos.items():
            if key_id in (name, info.key_id, info.kid.hex()):
                return name
        raise InputError("crypto.no_key", f"There is no key {key_id}.", "Name another.")

    def wrap(self, key_id, data_key, context):
        return self.held[self._name(key_id)].encryption_key().seal(data_key, context)

    def unwrap(self, key_id, wrapped, context):
        return self.held[self._name(key_id)].open(wrapped, context)

    def sign(self, key_id, message, context):
        return self.held[self._name(key_id)].sign(message, context)

    def public(self, key_id):
        return self.infos[self._name(key_id)].public

    def rotate(self, key_id):
        raise NotImplementedError(key_id)

    def listed(self):
        return tuple(self.infos.values())

    def line(self, name):
        """Give the public half as text."""
        info = self.infos[name]
        return key_line(info.algorithm, info.public).encode()


def _secret(algorithm):
    for suite in SUITES.values():
        if suite.name == algorithm:
            return DecryptionKey(suite, generate_secret(suite))
    (scheme,) = (one for one in SCHEMES.values() if one.name == algorithm)
    return SigningKey(scheme, generate_seed())


def to_key(**more):
    """Seal to the key `state`, in chunks of 4 KiB unless told otherwise."""
    return Sealing(**{"key": "state", "chunk_log2": 12, **more})


def to_passphrase(passphrase=PASSPHRASE, **more):
    """Seal to a passphrase that is stretched cheaply, for tests."""
    return Sealing(passphrase=passphrase, stretch=new_stretch(**CHEAP), chunk_log2=12, **more)


def seal(plain, how, keys=None):
    """Give the sealed file of some bytes."""
    sink = io.BytesIO()
    seal_file(io.BytesIO(plain), sink, how, keys, lambda _: None)
    return sink.getvalue()


def opened(sealed, how=ANY_KEY, keys=None):
    """Give what a sealed file holds; only what came of the whole file."""
    sink = io.BytesIO()
    open_file(io.BytesIO(sealed), sink, how, keys, lambda _: None)
    return sink.getvalue()
