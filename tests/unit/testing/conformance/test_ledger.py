"""The ledgers keep the port's contract: in memory, recorded, and on SQLite."""

import pathlib

import pytest

from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.ports import Ledger, Sealer
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.ledger import LedgerConformance
from cronos.testing.memory_govern import MemoryLedger, MemorySealer
from cronos.testing.recorders import LedgerRecorder


class TestMemoryLedger(LedgerConformance):
    def make(self) -> Ledger:
        return MemoryLedger(MemorySealer(), VirtualClock())


class TestLedgerRecorder(LedgerConformance):
    def make(self) -> Ledger:
        return LedgerRecorder(MemoryLedger(MemorySealer(), VirtualClock()))


class TestSqliteLedger(LedgerConformance):
    sealer: Sealer = PlaintextSealer(PlaintextConfig())

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: pathlib.Path):
        self.folder = tmp_path
        self.made = 0

    def make(self) -> Ledger:
        self.made += 1
        return self._open(self.folder / str(self.made))

    def reopen(self, ledger: Ledger) -> Ledger:
        assert isinstance(ledger, SqliteLedger)
        return self._open(ledger.path.parent)

    def _open(self, folder: pathlib.Path) -> SqliteLedger:
        return SqliteLedger(SqliteConfig(instance="test"), folder, self.sealer, VirtualClock())


class TestSqliteLedgerWithATaggingSealer(TestSqliteLedger):
    sealer = MemorySealer()
