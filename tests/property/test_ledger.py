"""Whatever is appended in whatever batches, and whichever byte changes: the chain knows.

Readable and sealed: the sealed ledger has keys of its own, and a new epoch at every opening.
"""

import pathlib
import sqlite3
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.sealed_store import keystore, sealer

from cronos.errors import CronosError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import examine_file, verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer

_BATCHES = st.lists(st.lists(st.binary(max_size=300), max_size=8), min_size=1, max_size=8)


@pytest.fixture(scope="module", params=["readable", "sealed"])
def opened(request, tmp_path_factory):
    """Give what opens the ledger of a folder."""
    keys = keystore(tmp_path_factory.mktemp("keys")) if request.param == "sealed" else None

    def open_ledger(folder: str) -> SqliteLedger:
        at = pathlib.Path(folder)
        how = sealer(at, keys) if keys else PlaintextSealer(PlaintextConfig())
        return SqliteLedger(SqliteConfig(instance="x"), at, how, VirtualClock())

    yield open_ledger
    if keys:
        keys.close()


@given(_BATCHES, st.data())
@settings(max_examples=30, deadline=None)
def test_records_come_back_across_restarts_and_any_page_of_them_reads(opened, batches, data):
    with tempfile.TemporaryDirectory() as folder:
        for batch in batches:
            ledger = opened(folder)
            ledger.append(batch)
            ledger.close()
        kept = [record for batch in batches for record in batch]
        ledger = opened(folder)
        assert list(ledger.read(1, 1000)) == kept
        first = data.draw(st.integers(1, len(kept) + 2))
        count = data.draw(st.integers(0, len(kept) + 2))
        assert list(ledger.read(first, count)) == kept[first - 1 : first - 1 + count]
        assert ledger.verify().size == len(kept)
        ledger.close()


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=12), st.data())
@settings(max_examples=40, deadline=None)
def test_any_change_of_any_stored_byte_is_named_at_its_position(opened, records, data):
    with tempfile.TemporaryDirectory() as folder:
        ledger = opened(folder)
        ledger.append(records)
        ledger.close()
        position = data.draw(st.integers(1, len(records)))
        column = data.draw(st.sampled_from(["stored", "chain"]))
        database = sqlite3.connect(ledger.path)
        select = f"SELECT {column} FROM record WHERE position = ?"
        value = bytearray(database.execute(select, (position,)).fetchone()[0])
        at = data.draw(st.integers(0, len(value) - 1))
        value[at] ^= data.draw(st.integers(1, 255))
        with database:
            update = f"UPDATE record SET {column} = ? WHERE position = ?"
            database.execute(update, (bytes(value), position))
        database.close()
        with pytest.raises(CronosError, match=f"record {position}:"):
            verify_file(ledger.path)


@given(_BATCHES, st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_was_readable_is_the_same_once_it_is_sealed(batches, data):
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        kept = [record for batch in batches for record in batch]
        plain = PlaintextSealer(PlaintextConfig())
        ledger = SqliteLedger(SqliteConfig(instance="x"), at, plain, VirtualClock())
        checkpoints = [ledger.checkpoint()]
        for batch in batches:
            ledger.append(batch)
            checkpoints.append(ledger.checkpoint())
        ledger.close()
        double = MemorySealer()
        moved = SqliteLedger(SqliteConfig(instance="x"), at, double, VirtualClock())
        assert list(moved.read(1, 1000)) == kept
        moved.append([b"and on"])
        moved.close()
        chosen = data.draw(st.sampled_from(checkpoints))
        assert examine_file(moved.path, double, chosen).checkpoint.size == len(kept) + 1
