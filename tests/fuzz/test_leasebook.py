import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.respond.stage import deny

from cronos.respond.leasebook import LeaseBook
from cronos.testing.memory_govern import MemorySealer
from cronos.types import Lease, Plan

SEALERS = {"leases": None, "leases.sealed": MemorySealer()}


def good(count, name):
    with tempfile.TemporaryDirectory() as folder:
        book = LeaseBook(Path(folder), SEALERS[name])
        for i in range(count):
            plan = Plan(deny(f"192.0.2.{i}"), b"{}", "block", "unblock")
            book.write([Lease(plan, "boot-1", i, i + 1)], durable=False)
        book.close()
        return (Path(folder) / name).read_bytes()


GOOD = {name: good(5, name) for name in SEALERS}
KINDS = pytest.mark.parametrize("name", list(SEALERS))


def opened(data, name):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        book = LeaseBook(Path(folder), SEALERS[name])
        leases = dict(book.leases)
        book.close()
        again = LeaseBook(Path(folder), SEALERS[name])
        assert again.leases == leases
        assert not any("torn" in defect for defect in again.defects)
        again.close()
        return leases


@KINDS
@given(data=st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_open_as_a_book(name, data):
    assert not opened(data, name)


@KINDS
@given(at=st.integers(0, 2000), flip=st.integers(1, 255), cut=st.integers(0, 4000))
@settings(max_examples=200, deadline=None)
def test_damage_never_invents_a_lease(name, at, flip, cut):
    data = bytearray(GOOD[name])
    data[at % len(data)] ^= flip
    whole = opened(GOOD[name], name)
    for key, lease in opened(bytes(data[:cut]), name).items():
        assert whole[key] == lease


@given(st.lists(st.integers(0, 4), max_size=8), st.binary(max_size=20))
@settings(max_examples=200, deadline=None)
def test_frames_in_any_order_and_number_give_what_was_written_or_less(order, between):
    size = len(GOOD["leases.sealed"]) // 5
    frames = [GOOD["leases.sealed"][i * size : (i + 1) * size] for i in range(5)]
    leases = opened(between.join(frames[i] for i in order), "leases.sealed")
    highest, expected = -1, []
    for i in order:
        if i > highest:
            highest = i
            expected.append(f"192.0.2.{i}")
    assert [lease.plan.action.target.value for lease in leases.values()] == expected
