"""A double of a keystore: real keys of the suites, held in memory and locked by nothing."""

from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_44, SigningKey, generate_seed
from cronos.crypto.suites import CNSA, DecryptionKey, generate_secret
from cronos.errors import InputError
from cronos.types import KeyInfo, KeyState

ADMIN_KEY = b"only who can unlock it knows this"


class HeldKeysDouble:
    """A key wraps with ML-KEM-1024 and signs with ML-DSA-44, both under one name."""

    def __init__(self, *names):
        self.held = {}
        self.steps = []
        self.closed = False
        self.due = []
        self.broken = None
        for name in names:
            self._add(f"{name}.1")

    def _add(self, key_id):
        secret = DecryptionKey(CNSA, generate_secret(CNSA))
        self.held[key_id] = (secret, SigningKey(ML_DSA_44, generate_seed()))

    def _find(self, key_id):
        if self.broken is not None:
            raise self.broken
        for known, pair in reversed(self.held.items()):
            if key_id in (known, known.partition(".")[0]):
                return pair
        raise InputError("crypto.no_key", f"There is no key {key_id!r}.", "Name another.")

    def wrap(self, key_id, data_key, context):
        return self._find(key_id)[0].encryption_key().seal(data_key, context)

    def unwrap(self, key_id, wrapped, context):
        secret = self._find(key_id)[0]
        if secret is None:
            raise refused()
        return secret.open(wrapped, context)

    def sign(self, key_id, message, context):
        return self._find(key_id)[1].sign(message, context)

    def public(self, key_id):
        return self._find(key_id)[1].public

    def rotate(self, key_id):
        self._find(key_id)
        name = key_id.partition(".")[0]
        successor = f"{name}.{1 + sum(one.startswith(name + '.') for one in self.held)}"
        self._add(successor)
        return successor

    def listed(self):
        return [
            KeyInfo(key_id, "cnsa", KeyState.ACTIVE, secret.kid, secret.public, 1)
            for key_id, (secret, _) in self.held.items()
        ]

    def create(self, name, algorithm, *, life_s=0):
        del algorithm, life_s
        self._add(f"{name}.1")
        return self.listed()[-1]

    def destroy(self, key_id):
        gone = next(info for info in self.listed() if info.key_id == key_id)
        del self.held[key_id]
        return gone

    def admin_key(self):
        return ADMIN_KEY

    def step(self):
        self.steps.append(len(self.steps))
        due, self.due = self.due, []
        return due

    def close(self):
        self.closed = True
