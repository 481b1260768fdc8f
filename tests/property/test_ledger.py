"""Whatever is appended in whatever batches, and whichever byte changes: the chain knows."""

import pathlib
import sqlite3
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.errors import CronosError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.testing.clock import VirtualClock

_BATCHES = st.lists(st.lists(st.binary(max_size=300), max_size=8), min_size=1, max_size=8)


def _open(folder: str) -> SqliteLedger:
    sealer = PlaintextSealer(PlaintextConfig())
    return SqliteLedger(SqliteConfig(instance="x"), pathlib.Path(folder), sealer, VirtualClock())


@given(_BATCHES, st.data())
@settings(max_examples=60, deadline=None)
def test_records_come_back_across_restarts_and_any_page_of_them_reads(batches, data):
    with tempfile.TemporaryDirectory() as folder:
        for batch in batches:
            ledger = _open(folder)
            ledger.append(batch)
            ledger.close()
        kept = [record for batch in batches for record in batch]
        ledger = _open(folder)
        assert list(ledger.read(1, 1000)) == kept
        first = data.draw(st.integers(1, len(kept) + 2))
        count = data.draw(st.integers(0, len(kept) + 2))
        assert list(ledger.read(first, count)) == kept[first - 1 : first - 1 + count]
        assert ledger.verify().size == len(kept)
        ledger.close()


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_any_change_of_any_stored_byte_is_named_at_its_position(records, data):
    with tempfile.TemporaryDirectory() as folder:
        ledger = _open(folder)
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
