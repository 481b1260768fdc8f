"""What every `KeyProvider` must do."""

from functools import partial

from cronos.errors import DeniedError, InputError
from cronos.ports import KeyProvider
from cronos.testing.conformance.base import refused, require, same

_DATA_KEY = bytes(range(32))


class KeyProviderConformance:
    """Subclass and write `make`, `key_id` and `signed`."""

    def make(self) -> KeyProvider:
        """Give a provider that holds the key `key_id`."""
        raise NotImplementedError

    def key_id(self) -> str:
        """Name a key that is there."""
        raise NotImplementedError

    def signed(self, public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
        """Verify a signature as its receiver would, with the public key alone."""
        raise NotImplementedError

    def test_a_wrapped_data_key_comes_back(self) -> None:
        """Wrap and unwrap."""
        keys = self.make()
        wrapped = keys.wrap(self.key_id(), _DATA_KEY, b"epoch 1")
        same(keys.unwrap(self.key_id(), wrapped, b"epoch 1"), _DATA_KEY, "It comes back.")

    def test_another_context_or_a_change_is_refused(self) -> None:
        """Unwrap what was wrapped for something else, and what was changed."""
        keys, name = self.make(), self.key_id()
        wrapped = keys.wrap(name, _DATA_KEY, b"epoch 1")
        changed = wrapped[:-1] + bytes((wrapped[-1] ^ 1,))
        for data, context in ((wrapped, b"epoch 2"), (changed, b"epoch 1"), (b"", b"epoch 1")):
            refused(
                DeniedError,
                partial(keys.unwrap, name, data, context),
                "Another context or changed bytes are refused.",
            )

    def test_a_signature_verifies_for_its_message_and_context_alone(self) -> None:
        """Verify with the public key."""
        keys, name = self.make(), self.key_id()
        signature, public = keys.sign(name, b"message", b"context"), keys.public(name)
        require(self.signed(public, b"message", b"context", signature), "It verifies.")
        require(not self.signed(public, b"massage", b"context", signature), "The message counts.")
        require(not self.signed(public, b"message", b"kontext", signature), "The context counts.")

    def test_after_a_rotation_the_old_key_still_unwraps(self) -> None:
        """Rotate, then use both."""
        keys, old = self.make(), self.key_id()
        wrapped = keys.wrap(old, _DATA_KEY, b"c")
        new = keys.rotate(old)
        require(new != old, "A successor has a name of its own.")
        same(keys.unwrap(old, wrapped, b"c"), _DATA_KEY, "The old key still unwraps.")
        same(
            keys.unwrap(new, keys.wrap(new, _DATA_KEY, b"c"), b"c"), _DATA_KEY, "The new one works."
        )
        require(keys.public(new) != keys.public(old), "The successor is another key.")
        refused(
            DeniedError, lambda: keys.unwrap(new, wrapped, b"c"), "The new key opens nothing old."
        )

    def test_a_key_that_is_not_there_is_named(self) -> None:
        """Ask for a stranger."""
        error = refused(
            InputError, lambda: self.make().public("nobody"), "An unknown key is an InputError."
        )
        require("nobody" in error.sentence, "The sentence names the key.")
