"""What every `Sealer` must do."""

from typing import ClassVar

from cronos.errors import DeniedError
from cronos.ports import Sealer
from cronos.testing.conformance.base import noise, refused, require, same

_PLAIN = b"a secret that must not be seen in what is stored"
_CONTEXT = b"7/local"
_SUBJECT = "address 192.0.2.7"


class SealerConformance:
    """Subclass and write `make`.

    Attributes:
        binds: whether changes and foreign contexts are noticed. False only where `sealing` says
            that nothing is sealed.
        hides: whether plain bytes are hidden. False only there, and for doubles.
        shreds: whether a subject can be erased. False only where nothing is sealed.
    """

    binds: ClassVar[bool] = True
    hides: ClassVar[bool] = True
    shreds: ClassVar[bool] = True

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

    def test_what_names_a_subject_opens_like_all_else(self) -> None:
        """Seal for a subject and open; the subject is no part of what comes back."""
        sealer = self.make()
        sealed = sealer.seal(_PLAIN, _CONTEXT, _SUBJECT)
        same(sealer.open(sealed, _CONTEXT), _PLAIN, "It comes back.")
        if self.hides:
            require(_SUBJECT.encode() not in sealed, "Nobody reads the subject either.")
        if self.binds:
            self._refuses(sealer, sealed, b"8/local")

    def test_many_at_once_are_sealed_as_each_alone(self) -> None:
        """Seal some together, for nobody and for two subjects; open each in its own context."""
        sealer = self.make()
        subjects = ("", _SUBJECT, "", "address 198.51.100.9", _SUBJECT)
        items = [(_PLAIN + bytes((n,)), b"%d/local" % n, who) for n, who in enumerate(subjects)]
        sealed = sealer.seal_all(items)
        same(len(sealed), len(items), "Each is sealed.")
        for (plain, context, _), data in zip(items, sealed, strict=True):
            same(self.make().open(data, context), plain, "It comes back, also elsewhere.")
            if self.binds:
                self._refuses(sealer, data, b"9/local")
        same(list(sealer.seal_all(())), [], "Of nothing comes nothing.")
        if self.shreds:
            require(sealer.shred(_SUBJECT), "There was something to shred.")
            for (plain, context, who), data in zip(items, sealed, strict=True):
                if who == _SUBJECT:
                    self._refuses(sealer, data, context)
                else:
                    same(sealer.open(data, context), plain, "What is another's still opens.")

    def test_a_shredded_subject_is_gone_and_nothing_else_is(self) -> None:
        """Shred one of two subjects, then seal for it again."""
        if not self.shreds:
            return
        sealer = self.make()
        gone = sealer.seal(_PLAIN, _CONTEXT, _SUBJECT)
        other = sealer.seal(_PLAIN, _CONTEXT, "address 198.51.100.9")
        nobody = sealer.seal(_PLAIN, _CONTEXT)
        require(sealer.shred(_SUBJECT), "There was something to shred.")
        error = refused(
            DeniedError, lambda: sealer.open(gone, _CONTEXT), "What was shredded never opens."
        )
        same(error.code, "crypto.shredded", "The code says that it was shredded.")
        for sealed in (other, nobody):
            same(sealer.open(sealed, _CONTEXT), _PLAIN, "What is another's still opens.")
        again = sealer.seal(_PLAIN, _CONTEXT, _SUBJECT)
        same(sealer.open(again, _CONTEXT), _PLAIN, "A shredded subject can be sealed for anew.")
        refused(DeniedError, lambda: sealer.open(gone, _CONTEXT), "That revives nothing.")

    def test_a_subject_that_is_not_there_cannot_be_shredded(self) -> None:
        """Shred a stranger."""
        if not self.shreds:
            return
        require(not self.make().shred("address 203.0.113.77"), "There was nothing to shred.")

    def _refuses(self, sealer: Sealer, data: bytes, context: bytes) -> None:
        refused(
            DeniedError, lambda: sealer.open(data, context), "What was not sealed so is refused."
        )
