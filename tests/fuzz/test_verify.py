"""Whatever a ledger file was turned into, verifying it ends in a checkpoint or a named error."""

import contextlib
import pathlib
import shutil
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.errors import CronosError
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import read_head, verify_file
from cronos.testing.clock import VirtualClock


def _ledger_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        sealer = PlaintextSealer(PlaintextConfig())
        ledger = SqliteLedger(
            SqliteConfig(instance="local"), pathlib.Path(folder), sealer, VirtualClock()
        )
        ledger.append([b"record %d" % n + bytes(n * 7) for n in range(60)])
        ledger.close()
        return ledger.path.read_bytes()


_GOOD = _ledger_bytes()
_EDITS = st.lists(
    st.tuples(st.integers(0, len(_GOOD) - 1), st.binary(min_size=1, max_size=12)),
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


@given(_EDITS, st.integers(0, len(_GOOD)))
@settings(max_examples=300, deadline=None)
def test_a_damaged_ledger_never_verifies_as_another_one(edits, cut):
    data = bytearray(_GOOD)
    for at, piece in edits:
        data[at : at + len(piece)] = piece
    if cut % 3 == 0:
        del data[cut:]
    found = _verify(bytes(data), PlaintextSealer(PlaintextConfig()))
    # An edit may fall on what means nothing (free space, change counters), never on a record.
    # A tail can be missing only where no head file is kept: see `cronos.govern.verify`.
    if found is not None and found.size == 60:
        assert found == _verify(_GOOD)


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
