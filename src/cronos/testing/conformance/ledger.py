"""What every `Ledger` must do."""

from typing import ClassVar

from cronos.errors import CronosError, InputError
from cronos.ports import Ledger
from cronos.testing.conformance.base import refused, require, same
from cronos.types import MAX_FRAME_BYTES, AuditRecord, encode


def records(count: int) -> list[bytes]:
    """Give `count` records, each different."""
    return [encode(AuditRecord("test", "note", n, n, "test-1-i1", b"")) for n in range(count)]


class LedgerConformance:
    """Subclass and write `make`, and `reopen` where the ledger outlives its process.

    Attributes:
        repeats: whether the same records always give the same head. False where a sealer draws
            keys, for the chain hashes what is stored.
    """

    repeats: ClassVar[bool] = True

    def make(self) -> Ledger:
        """Give an empty ledger; every call gives another of the same instance."""
        raise NotImplementedError

    def reopen(self, ledger: Ledger) -> Ledger | None:
        """Open the same ledger again after it was closed; None where it lives in memory."""
        del ledger
        return None

    def test_positions_are_counted_from_1_without_a_gap(self) -> None:
        """Append batches of different sizes."""
        ledger = self.make()
        firsts = [ledger.append(records(size)) for size in (1, 3, 1, 5)]
        same(firsts, [1, 2, 5, 6], "Positions are counted from 1 without a gap.")
        same(ledger.checkpoint().size, 10, "The checkpoint counts every record.")
        ledger.close()

    def test_records_come_back_as_they_were(self) -> None:
        """Read all, a part, and beyond the end."""
        ledger, kept = self.make(), records(20)
        ledger.append(kept)
        same(list(ledger.read(1, 100)), kept, "Records come back in order.")
        same(list(ledger.read(5, 3)), kept[4:7], "`read` begins at `first`, and gives `count`.")
        same(list(ledger.read(21, 5)), [], "Beyond the end there is nothing.")
        same(list(ledger.read(1, 0)), [], "Nothing asked is nothing given.")
        ledger.close()

    def test_appending_nothing_changes_nothing(self) -> None:
        """Append an empty batch."""
        ledger = self.make()
        ledger.append(records(2))
        before = ledger.checkpoint()
        ledger.append([])
        after = ledger.checkpoint()
        same((after.size, after.head), (before.size, before.head), "Nothing changes nothing.")
        ledger.close()

    def test_every_record_moves_the_head(self) -> None:
        """Append the same record again and again."""
        ledger, heads = self.make(), set[bytes]()
        for _ in range(5):
            ledger.append(records(1))
            heads.add(ledger.checkpoint().head)
        same(len(heads), 5, "The head commits to everything before it.")
        ledger.close()

    def test_the_head_depends_on_records_not_on_batches(self) -> None:
        """Append the same records at once and one by one."""
        if not self.repeats:
            return
        whole, single = self.make(), self.make()
        whole.append(records(6))
        for record in records(6):
            single.append([record])
        same(single.checkpoint().head, whole.checkpoint().head, "Batches leave no trace.")
        whole.close()
        single.close()

    def test_a_sound_ledger_verifies(self) -> None:
        """Verify when empty and when not."""
        ledger = self.make()
        same(ledger.verify().size, 0, "An empty ledger verifies.")
        ledger.append(records(30))
        verified, known = ledger.verify(), ledger.checkpoint()
        same((verified.size, verified.head), (known.size, known.head), "`verify` finds the head.")
        require(bool(known.sealing), "A checkpoint says how records are sealed.")
        ledger.close()

    def test_a_record_beyond_the_limit_is_refused_with_its_whole_batch(self) -> None:
        """Append a good record and one that is too long."""
        ledger = self.make()
        refused(
            InputError,
            lambda: ledger.append([*records(1), bytes(MAX_FRAME_BYTES + 1)]),
            "A record beyond 1 MiB is refused.",
        )
        same(ledger.checkpoint().size, 0, "Nothing of a refused batch is stored.")
        same(ledger.append([bytes(MAX_FRAME_BYTES)]), 1, "A record of 1 MiB is stored.")
        ledger.verify()
        ledger.close()

    def test_closing_twice_is_harmless(self) -> None:
        """Close, and close again."""
        ledger = self.make()
        ledger.close()
        ledger.close()

    def test_opened_again_it_goes_on_where_it_ended(self) -> None:
        """Append, close, open, append."""
        ledger = self.make()
        ledger.append(records(3))
        before = ledger.checkpoint()
        ledger.close()
        again = self.reopen(ledger)
        if again is None:
            return
        after = again.checkpoint()
        same((after.size, after.head), (before.size, before.head), "Size and head are kept.")
        same(again.append(records(1)), 4, "Positions go on.")
        same(list(again.read(1, 9)), records(3) + records(1), "Records are kept.")
        again.verify()
        again.close()

    def test_after_closing_appending_is_refused(self) -> None:
        """Append to a ledger that was closed, where closing means anything."""
        ledger = self.make()
        ledger.append(records(1))
        ledger.close()
        if self.reopen(ledger) is not None:
            refused(
                CronosError, lambda: ledger.append(records(1)), "A closed ledger takes nothing."
            )
