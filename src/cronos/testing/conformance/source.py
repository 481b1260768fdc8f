"""What every `Source` must do."""

from cronos.ports import Source
from cronos.testing.conformance.base import require, same
from cronos.types import Provenance


class SourceConformance:
    """Subclass and write `make` and `content`."""

    def make(self) -> Source:
        """Give the source, opened at its first byte; twice gives the same source twice."""
        raise NotImplementedError

    def content(self) -> bytes:
        """Give the bytes that it holds, uncompressed; the source ends after them."""
        raise NotImplementedError

    def test_it_gives_all_bytes_in_order_and_then_ends(self) -> None:
        """Read to the end, and once more."""
        source = self.make()
        same(_all(source, 1 << 16), self.content(), "A source gives its bytes in order.")
        same(source.read(10), b"", "A source that has ended stays ended.")
        source.close()

    def test_it_never_gives_more_than_was_asked_for(self) -> None:
        """Read in pieces of three bytes."""
        source = self.make()
        pieces: list[bytes] = []
        while (piece := source.read(3)) != b"":
            pieces.append(piece or b"")
        require(all(len(piece) <= 3 for piece in pieces), "`read(size)` gives at most `size`.")
        same(b"".join(pieces), self.content(), "Small reads give the same bytes.")
        source.close()

    def test_opened_again_it_has_the_same_name_and_bytes(self) -> None:
        """Open it twice, one after the other."""
        first = self.make()
        seen = (first.name, first.first, _all(first, 7))
        first.close()
        again = self.make()
        same((again.name, again.first, _all(again, 4096)), seen, "A source can be read again.")
        again.close()

    def test_it_says_who_it_is(self) -> None:
        """Look at name, provenance and first number."""
        source = self.make()
        require(bool(source.name), "A source has a name.")
        require(source.provenance in Provenance, "A source says how far it vouches.")
        require(source.first >= 1, "Records are counted from 1.")
        source.close()

    def test_acknowledging_and_closing_twice_are_harmless(self) -> None:
        """Acknowledge what was never read, too."""
        source = self.make()
        source.read(1)
        source.acknowledge(0)
        source.acknowledge(1)
        source.acknowledge(1)
        source.close()
        source.close()


def _all(source: Source, size: int) -> bytes:
    pieces: list[bytes] = []
    while (piece := source.read(size)) != b"":
        pieces.append(piece or b"")
    return b"".join(pieces)
