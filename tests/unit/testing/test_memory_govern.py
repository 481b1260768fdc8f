"""The ledger in memory names the place; the doubles say what they are."""

import pytest

from cronos.errors import CronosError
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import (
    MemoryKeyProvider,
    MemoryLedger,
    MemoryRootKey,
    MemorySealer,
)


@pytest.mark.parametrize("position", [1, 4, 10])
def test_a_record_that_was_changed_is_named(position):
    ledger = MemoryLedger(MemorySealer(), VirtualClock())
    ledger.append([b"%d" % n for n in range(10)])
    ledger.stored[position - 1] += b"!"
    with pytest.raises(CronosError, match=f"record {position}\\."):
        ledger.verify()


def test_a_record_that_was_removed_or_added_is_named():
    for tamper in (list.pop, lambda stored: stored.append(b"x")):
        ledger = MemoryLedger(MemorySealer(), VirtualClock())
        ledger.append([b"a", b"b"])
        tamper(ledger.stored)
        with pytest.raises(CronosError, match=r"record [23]\."):
            ledger.verify()


def test_a_double_calls_itself_one():
    assert "double" in MemorySealer.sealing
    assert b"secret" in MemorySealer().seal(b"secret", b"1")


def test_successors_are_counted():
    keys = MemoryKeyProvider("node")
    assert keys.rotate(keys.rotate("node")) == "node.3"
    assert [info.key_id for info in keys.listed()] == ["node.1", "node.2", "node.3"]


def test_the_doubles_hide_nothing_and_say_so():
    assert b"a secret" in MemoryRootKey().wrap(b"a secret", b"c")
    assert "double" in MemoryRootKey.protection
    assert b"a secret" in MemoryKeyProvider("node").wrap("node", b"a secret", b"c")
