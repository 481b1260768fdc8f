"""What every `Sealer` must do."""

from typing import ClassVar

from cronos.errors import DeniedError
from cronos.ports import Sealer
from cronos.testing.conformance.base import noise, refused, require, same

_PLAIN = b"a secret that must not be seen in what is stored"
_CONTEXT = b"7/local"


class SealerConformance:
    """Subclass and write `make`.

    Attributes:
        binds: whether changes and foreign contexts are noticed. False only where `sealing` says
            that nothing is sealed.
        hides: whether plain bytes are hidden. False only there, and for doubles.
    """

    binds: ClassVar[bool] = True
    hides: ClassVar[bool] = True

    def make(self) -> Sealer:
        """Give a sealer; every call gives one with the same key."""
        raise NotImplementedError

    def test_what_was_sealed_opens_also_for_another_process(self) -> None:
        """Seal with one, open with its twin."""
        for size in (0, 1, 100, 1 << 20):
            plain = noise(size, min(size, 4096)) * max(1, size // 4096)
            sealed = self.make().seal(plain, _CONTEXT)
            same(self.make().open(sealed, _CONTEXT), plain, f"{len(plain)} bytes come back.")

    def test_it_says_how_it_seals(self) -> None:
        """Look at the name and the version."""
        sealer = self.make()
        require(bool(sealer.sealing), "`sealing` is shown to people.")
        require(0 <= sealer.seal_version <= 255, "The seal version is one byte.")
        unsealed = sealer.seal_version == 0
        same(sealer.sealing == "unsealed", unsealed, "Version 0, and it alone, is unsealed.")
        require(self.binds or unsealed, "Only what is unsealed may leave changes unnoticed.")

    def test_plain_bytes_are_hidden(self) -> None:
        """Look for the plain bytes in what is stored."""
        if self.hides:
            require(_PLAIN not in self.make().seal(_PLAIN, _CONTEXT), "Plain bytes are hidden.")

    def test_a_change_or_another_context_is_refused(self) -> None:
        """Flip each byte, cut the end, use another context, open noise."""
        if not self.binds:
            return
        sealer = self.make()
        sealed = sealer.seal(_PLAIN, _CONTEXT)
        forged = [
            sealed[:at] + bytes((byte ^ 1,)) + sealed[at + 1 :] for at, byte in enumerate(sealed)
        ]
        forged += [sealed[:-1], b"", noise(1, 200)]
        for data in forged:
            self._refuses(sealer, data, _CONTEXT)
        self._refuses(sealer, sealed, b"8/local")

    def _refuses(self, sealer: Sealer, data: bytes, context: bytes) -> None:
        refused(
            DeniedError, lambda: sealer.open(data, context), "What was not sealed so is refused."
        )
