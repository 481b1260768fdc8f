"""What every `RootKey` must do."""

from functools import partial
from typing import ClassVar

from cronos.errors import DeniedError
from cronos.ports import RootKey
from cronos.testing.conformance.base import refused, require, same

_SECRET = bytes(range(32))
_CONTEXT = b"cronos keystore master v1"


class RootKeyConformance:
    """Subclass and write `make` and `other`.

    Attributes:
        hides: False only for doubles.
    """

    hides: ClassVar[bool] = True

    def make(self) -> RootKey:
        """Give a root key; every call gives one with the same key."""
        raise NotImplementedError

    def other(self) -> RootKey:
        """Give one of the same kind with another key."""
        raise NotImplementedError

    def test_what_was_wrapped_comes_back_also_for_another_process(self) -> None:
        """Wrap with one, unwrap with its twin."""
        for size in (1, 32, 64):
            wrapped = self.make().wrap(bytes(size), _CONTEXT)
            same(self.make().unwrap(wrapped, _CONTEXT), bytes(size), f"{size} bytes come back.")

    def test_it_says_what_protects_the_secret(self) -> None:
        """Look at what is shown to people."""
        root = self.make()
        require(bool(root.protection), "`protection` says what a thief would need.")
        require(bool(root.manifest.name), "The keystore records the name.")

    def test_the_same_secret_is_wrapped_to_other_bytes_each_time(self) -> None:
        """Wrap twice."""
        root = self.make()
        if self.hides:
            first, second = root.wrap(_SECRET, _CONTEXT), root.wrap(_SECRET, _CONTEXT)
            require(first != second, "Wrapping is randomised.")

    def test_a_secret_is_hidden(self) -> None:
        """Look for the secret in what is stored."""
        if self.hides:
            require(_SECRET not in self.make().wrap(_SECRET, _CONTEXT), "The secret is hidden.")

    def test_another_context_a_change_or_another_key_is_refused(self) -> None:
        """Flip bytes all over, cut, extend, use another context and another key."""
        root = self.make()
        wrapped = root.wrap(_SECRET, _CONTEXT)
        every = max(1, len(wrapped) // 24)
        forged = [
            wrapped[:at] + bytes((wrapped[at] ^ 1,)) + wrapped[at + 1 :]
            for at in (*range(0, len(wrapped), every), len(wrapped) - 1)
        ]
        forged += [wrapped[:-1], wrapped + b"\0", b""]
        errors = [
            refused(DeniedError, partial(root.unwrap, data, _CONTEXT), "A change is refused.")
            for data in forged
        ]
        errors += [
            refused(DeniedError, lambda: root.unwrap(wrapped, _CONTEXT + b"x"), "So is a context."),
            refused(
                DeniedError, lambda: self.other().unwrap(wrapped, _CONTEXT), "So is a stranger."
            ),
        ]
        same(len({str(error) for error in errors}), 1, "Every refusal has the same words.")
