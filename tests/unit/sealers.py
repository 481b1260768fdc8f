"""Sealers for tests of what lies on disk. All are doubles."""

from cronos.errors import UnreachableError
from cronos.testing.memory_govern import MemorySealer


class Scrambler(MemorySealer):
    """A double that hides what it seals from a search, and from nobody else."""

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Give it tagged and scrambled."""
        return super().seal(plain, context, subject).translate(_SCRAMBLED)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give the plain bytes."""
        return super().open(sealed.translate(_SCRAMBLED), context)


class Away(Scrambler):
    """A double whose key holder can go away and come back; it may keep the keys that open."""

    here = True
    opens_alone = False

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Seal, if the key holder is there."""
        self._ask()
        return super().seal(plain, context, subject)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Open, if the key holder is there or not needed."""
        if not self.opens_alone:
            self._ask()
        return super().open(sealed, context)

    def _ask(self) -> None:
        if not self.here:
            raise UnreachableError("testing.away", "Nobody answers.", "Wait.")


_SCRAMBLED = bytes(byte ^ 0x5A for byte in range(256))
