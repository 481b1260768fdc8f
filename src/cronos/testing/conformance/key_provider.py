"""What every `KeyProvider` must do."""

from functools import partial

from cronos.errors import DeniedError, InputError
from cronos.ports import KeyProvider
from cronos.testing.conformance.base import refused, require, same
from cronos.types import KeyInfo, KeyState

_DATA_KEY = bytes(range(32))
_CONTEXT = b"cronos-conformance-v1"


class KeyProviderConformance:
    """Subclass and write `make`, `key_id`, `signing_key_id` and `signed`."""

    def make(self) -> KeyProvider:
        """Give a provider that holds the keys `key_id` and `signing_key_id`, both active."""
        raise NotImplementedError

    def key_id(self) -> str:
        """Give the id (``state.1``) of a key that encrypts."""
        raise NotImplementedError

    def signing_key_id(self) -> str:
        """Give the id of a key that signs contexts that begin with ``cronos-``."""
        raise NotImplementedError

    def signed(self, public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
        """Verify a signature as its receiver would, with the public key alone."""
        raise NotImplementedError

    def test_a_wrapped_data_key_comes_back(self) -> None:
        """Wrap and unwrap data keys of several lengths."""
        keys = self.make()
        for size in (1, 16, 32, 64):
            wrapped = keys.wrap(self.key_id(), bytes(size), b"epoch 1")
            found = keys.unwrap(self.key_id(), wrapped, b"epoch 1")
            same(found, bytes(size), f"{size} bytes come back.")

    def test_a_key_answers_to_its_id_its_name_and_its_fingerprint(self) -> None:
        """Call one key by three names."""
        keys, key_id = self.make(), self.key_id()
        info = self._info(keys, key_id)
        names = (key_id, key_id.rpartition(".")[0], info.kid.hex())
        for name in names:
            same(keys.public(name), info.public, f"`{name}` is that key.")
            wrapped = keys.wrap(name, _DATA_KEY, b"c")
            for other in names:
                same(keys.unwrap(other, wrapped, b"c"), _DATA_KEY, f"`{other}` unwraps it.")

    def test_another_context_or_a_change_is_refused(self) -> None:
        """Unwrap what was wrapped for something else, and what was changed."""
        keys, name = self.make(), self.key_id()
        wrapped = keys.wrap(name, _DATA_KEY, b"epoch 1")
        changed = wrapped[:-1] + bytes((wrapped[-1] ^ 1,))
        texts: set[str] = set()
        for data, context in (
            (wrapped, b"epoch 2"),
            (changed, b"epoch 1"),
            (wrapped[:-1], b"epoch 1"),
            (wrapped + b"\0", b"epoch 1"),
            (b"", b"epoch 1"),
        ):
            error = refused(
                DeniedError,
                partial(keys.unwrap, name, data, context),
                "Another context or changed bytes are refused.",
            )
            texts.add(str(error))
        same(len(texts), 1, "Every refusal has the same words.")

    def test_a_signature_verifies_for_its_message_and_context_alone(self) -> None:
        """Verify with the public key."""
        keys, name = self.make(), self.signing_key_id()
        signature, public = keys.sign(name, b"message", _CONTEXT), keys.public(name)
        require(self.signed(public, b"message", _CONTEXT, signature), "It verifies.")
        require(not self.signed(public, b"massage", _CONTEXT, signature), "The message counts.")
        require(not self.signed(public, b"message", b"cronos-k", signature), "The context counts.")

    def test_after_a_rotation_the_old_key_still_unwraps(self) -> None:
        """Rotate, then use both."""
        keys, old = self.make(), self.key_id()
        wrapped = keys.wrap(old, _DATA_KEY, b"c")
        new = keys.rotate(old)
        require(new != old, "A successor has an id of its own.")
        same(keys.unwrap(old, wrapped, b"c"), _DATA_KEY, "The old key still unwraps.")
        same(
            keys.unwrap(new, keys.wrap(new, _DATA_KEY, b"c"), b"c"), _DATA_KEY, "The new one works."
        )
        require(keys.public(new) != keys.public(old), "The successor is another key.")
        same(keys.public(new.rpartition(".")[0]), keys.public(new), "The name means the new one.")
        refused(
            DeniedError, lambda: keys.unwrap(new, wrapped, b"c"), "The new key opens nothing old."
        )

    def test_a_replaced_key_neither_wraps_nor_signs_nor_rotates(self) -> None:
        """Use a key that has a successor."""
        keys, old, signer = self.make(), self.key_id(), self.signing_key_id()
        keys.rotate(old)
        refused(DeniedError, lambda: keys.wrap(old, _DATA_KEY, b"c"), "It wraps no more.")
        refused(DeniedError, lambda: keys.rotate(old), "It has one successor, not two.")
        if signer != old:
            keys.rotate(signer)
        refused(DeniedError, lambda: keys.sign(signer, b"m", _CONTEXT), "It signs no more.")
        require(bool(keys.public(signer)), "Its public half stays, for what it signed.")

    def test_all_keys_are_listed_in_order(self) -> None:
        """List before and after a rotation."""
        keys, old = self.make(), self.key_id()
        before = keys.listed()
        new = keys.rotate(old)
        after = {info.key_id: info for info in keys.listed()}
        same(len(after), len(before) + 1, "A rotation adds one key.")
        same(after[old].state, KeyState.DECRYPT_ONLY, "The old one only decrypts.")
        same(after[new].state, KeyState.ACTIVE, "The new one is active.")
        same(list(after), sorted(after, key=_by_version), "Keys are sorted by name and version.")
        require(all(len(info.kid) == 16 for info in after.values()), "A kid has 16 bytes.")

    def test_a_key_that_is_not_there_is_named(self) -> None:
        """Ask for a stranger."""
        keys = self.make()
        error = refused(
            InputError, lambda: keys.public("nobody"), "An unknown key is an InputError."
        )
        require("nobody" in error.sentence, "The sentence names the key.")
        refused(InputError, lambda: keys.wrap("nobody", _DATA_KEY, b"c"), "It wraps nothing.")
        refused(DeniedError, lambda: keys.unwrap("nobody", b"x", b"c"), "A refusal tells nothing.")

    def test_a_data_key_that_is_too_long_is_refused(self) -> None:
        """Wrap what is no data key."""
        refused(
            InputError,
            lambda: self.make().wrap(self.key_id(), bytes(65), b"c"),
            "A provider wraps keys of at most 64 bytes, no data.",
        )

    @staticmethod
    def _info(keys: KeyProvider, key_id: str) -> KeyInfo:
        return next(info for info in keys.listed() if info.key_id == key_id)


def _by_version(key_id: str) -> tuple[str, int]:
    name, _, version = key_id.rpartition(".")
    return name, int(version)
