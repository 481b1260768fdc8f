"""A recipient and a signer, with what opens and verifies for them."""

from cronos.crypto.epoch import EpochTerms, Signer, begin_epoch, open_epoch
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87, SigningKey, generate_seed
from cronos.crypto.suites import CNSA, DecryptionKey, generate_secret

PRODUCER = b"producer-of-this"
TOPIC = "plant/7"
NOT_BEFORE = 1_700_000_000_000_000_000
NOT_AFTER = NOT_BEFORE + 600_000_000_000


def terms(**other):
    named = {
        "producer": PRODUCER,
        "topic": TOPIC,
        "not_before_ns": NOT_BEFORE,
        "not_after_ns": NOT_AFTER,
    }
    return EpochTerms(**{**named, **other})


class Party:
    """Holds one key that opens and one that signs, as a node does."""

    def __init__(self, suite=CNSA):
        self.key = DecryptionKey(suite, generate_secret(suite))
        self.public = self.key.encryption_key()
        self.signing = SigningKey(ML_DSA_87, generate_seed())
        self.verifying = self.signing.verifying_key()
        self.signer = Signer(self.signing.kid, self.signing.sign)

    def unwrap(self, kid, wrapped, info):
        if kid != self.key.kid:
            raise refused()
        return self.key.open(wrapped, info)

    def verify(self, kid, message, context, signature):
        if kid != self.signing.kid:
            raise refused()
        self.verifying.verify(message, context, signature)

    def begin(self, signed=True, **other):
        return begin_epoch(terms(**other), [self.public], self.signer if signed else None)

    def open(self, packet, **other):
        named = {"topic": TOPIC, "unwrap": self.unwrap, "verify": self.verify}
        return open_epoch(packet, **{**named, **other})
