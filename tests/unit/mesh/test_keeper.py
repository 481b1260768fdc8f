import asyncio
import hashlib

from tests.unit.mesh.copies import Owner

from cronos.govern.copies import LedgerCopy
from cronos.mesh import wire
from cronos.mesh.keeper import Keeper
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks
from cronos.types import Lane


class Asked:
    """A keeper, and what it answered."""

    def __init__(self, folder, max_bytes=1 << 30):
        self.folder = folder
        self.answers = []
        self.reports = []
        self.tasks = InlineTasks()
        self.max_bytes = max_bytes
        self.keeper = Keeper(self, self.place, self.tasks, self.report)

    def place(self, owner):
        return LedgerCopy(self.folder / owner, self.max_bytes)

    def report(self, peer, code, sentence):
        self.reports.append(code)

    async def send(self, peer, lane, data):
        assert lane is Lane.RECORDS
        self.answers.append(wire.unpack(data))

    async def ask(self, message, owner="one"):
        self.answers.clear()
        await self.keeper.receive(owner, message)
        for _ in range(3):
            await asyncio.sleep(0)
        return self.answers[-1] if self.answers else None


def source(folder, *records):
    one = Owner(MemoryNetwork(), "one", folder)
    one.write(*records)
    one.ledger.close()
    return one.place("x"), LedgerCopy(folder / "ledger")


def test_what_is_kept_is_given_back_piece_by_piece(tmp_path):
    async def story():
        _, ledger = source(tmp_path / "one", *(b"record %d" % n for n in range(5)))
        extent = ledger.extent()
        asked = Asked(tmp_path / "kept")
        standing = await asked.ask(wire.Offer(wire.Origin(*extent.origin)))
        assert standing.size == 0
        stored, head = ledger.rows(1, 3, 1 << 20)
        assert (await asked.ask(wire.Rows(1, tuple(stored), head))).size == 3
        assert (await asked.ask(wire.Rows(1, tuple(stored), head))).size == 3
        more, head = ledger.rows(4, 9, 1 << 20)
        assert (await asked.ask(wire.Rows(4, tuple(more), head))).head == extent.head
        given = await asked.ask(wire.Give(2))
        assert (given.first, given.stored) == (2, (*stored[1:], *more))
        assert (await asked.ask(wire.Give(6))).size == 5
        asked.keeper.close()

    asyncio.run(story())


def test_a_file_is_kept_only_when_it_is_whole(tmp_path):
    async def story():
        asked = Asked(tmp_path)
        data = b"epoch packets"
        digest = hashlib.sha256(data).digest()

        def piece(offset, part, digest=digest):
            return wire.Piece("epochs", digest, len(data), offset, part)

        assert await asked.ask(piece(0, data[:5])) is None
        assert await asked.ask(piece(6, data[6:])) is None
        assert await asked.ask(piece(5, data[5:], digest=bytes(32))) is None
        assert await asked.ask(piece(0, data, digest=bytes(32))) is None
        assert await asked.ask(piece(0, data[:5])) is None
        standing = await asked.ask(piece(5, data[5:]))
        assert standing.files == {"epochs": digest}
        given = await asked.ask(wire.Give(5, "epochs"))
        assert (given.data, given.total, given.digest) == (data[5:], len(data), digest)
        nothing = await asked.ask(wire.Give(0, "../../secret"))
        assert (nothing.data, nothing.total) == (b"", 0)
        bad = wire.Piece("../x", hashlib.sha256(b"x").digest(), 1, 0, b"x")
        assert (await asked.ask(bad)).why.startswith("govern.copy_file")
        assert sorted(one.name for one in (tmp_path / "one").iterdir()) == ["epochs", "epochs.bak"]

    asyncio.run(story())


def test_what_is_no_message_for_a_keeper_changes_nothing(tmp_path):
    async def story():
        asked = Asked(tmp_path)
        assert await asked.ask(wire.Acked(1, 1, 1)) is None
        assert (await asked.ask(wire.Offer(None))).origin is None
        refused = await asked.ask(wire.Offer(wire.Origin(1, "one", 0, bytes(32))))
        assert refused.why.startswith("govern.copy_readable")
        assert list(tmp_path.glob("*/ledger.db")) == []

    asyncio.run(story())


def test_the_number_of_owners_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.mesh.keeper._MAX_OWNERS", 2)

    async def story():
        asked = Asked(tmp_path)
        for owner in ("one", "two", "three"):
            await asked.ask(wire.Offer(None), owner)
        assert asked.reports == ["mesh.no_copy"]

    asyncio.run(story())
