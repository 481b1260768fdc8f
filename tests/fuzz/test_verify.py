"""Whatever a ledger file was turned into, verifying it ends in a checkpoint or a named error."""

import contextlib
import pathlib
import shutil
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.crypto.epochfile import EpochFile
from cronos.errors import CronosError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import read_head, verify_file
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer


def _ledger_bytes(sealer) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(
            SqliteConfig(instance="local"), pathlib.Path(folder), sealer, VirtualClock()
        )
        ledger.append([b"record %d" % n + bytes(n * 7) for n in range(60)])
        ledger.close()
        return ledger.path.read_bytes()


_PLAIN, _DOUBLE = PlaintextSealer(PlaintextConfig()), MemorySealer()
_GOOD, _SEALED = _ledger_bytes(_PLAIN), _ledger_bytes(_DOUBLE)
_EDITS = st.lists(
    st.tuples(
        st.integers(0, min(len(_GOOD), len(_SEALED)) - 1), st.binary(min_size=1, max_size=12)
    ),
    min_size=1,
    max_size=6,
)


def _verify(data: bytes, sealer=None):
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        path = folder / "ledger.db"
        path.write_bytes(data)
        with contextlib.suppress(CronosError):
            return verify_file(path, sealer)
        return None
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(("good", "sealer"), [(_GOOD, _PLAIN), (_SEALED, _DOUBLE)])
@given(edits=_EDITS, cut=st.integers(0, len(_GOOD)))
@settings(max_examples=300, deadline=None)
def test_a_damaged_ledger_never_verifies_as_another_one(good, sealer, edits, cut):
    data = bytearray(good)
    for at, piece in edits:
        data[at : at + len(piece)] = piece
    if cut % 3 == 0:
        del data[cut:]
    found = _verify(bytes(data), sealer)
    # An edit may fall on what means nothing (free space, change counters), never on a record.
    # A tail can be missing only where no head file is kept: see `cronos.govern.verify`.
    if found is not None and found.size == 60:
        assert found == _verify(good)


@given(st.binary(max_size=5000), st.booleans())
@settings(max_examples=200, deadline=None)
def test_noise_is_no_ledger(data, headed):
    assert _verify((_GOOD[:100] if headed else b"") + data) is None


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_is_no_head(data):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "head"
        path.write_bytes(data)
        try:
            size, head = read_head(path)
        except CronosError:
            return
        assert data == f"cronos-head/1 {size:020d} {head.hex()}\n".encode()


def _packet_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = EpochFile(pathlib.Path(folder))
        with file.writing():
            for number in range(20):
                file.append(bytes((number,)) * 4, bytes((number,)) * 700)
        return file.path.read_bytes()


_PACKETS = _packet_bytes()


@given(edits=_EDITS)
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_of_packets_ends_in_packets_or_a_named_error(edits):
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        data = bytearray(_PACKETS)
        for where, piece in edits:
            place = where % len(data)
            data[place : place + len(piece)] = piece
        (at / "epochs").write_bytes(bytes(data))
        (at / "epochs.bak").write_bytes(bytes(data))
        found = EpochFile(at).packets()
        assert set(found) <= {bytes((n,)) * 700 for n in range(20)}
        assert len(found) >= 20 - 2 * len(edits)
