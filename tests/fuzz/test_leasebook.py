import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.respond.stage import deny

from cronos.respond.leasebook import LeaseBook
from cronos.types import Lease, Plan


def good(count):
    with tempfile.TemporaryDirectory() as folder:
        book = LeaseBook(Path(folder))
        for i in range(count):
            plan = Plan(deny(f"192.0.2.{i}"), b"{}", "block", "unblock")
            book.write([Lease(plan, "boot-1", i, i + 1)], durable=False)
        book.close()
        return (Path(folder) / "leases").read_bytes()


GOOD = good(5)


def opened(data):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "leases").write_bytes(data)
        book = LeaseBook(Path(folder))
        leases = dict(book.leases)
        book.close()
        again = LeaseBook(Path(folder))
        assert again.leases == leases
        assert not any("torn" in defect for defect in again.defects)
        again.close()
        return leases


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_open_as_a_book(data):
    opened(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.integers(0, len(GOOD)))
@settings(max_examples=200, deadline=None)
def test_damage_never_invents_a_lease(at, flip, cut):
    data = bytearray(GOOD)
    data[at] ^= flip
    whole = opened(GOOD)
    for key, lease in opened(bytes(data[:cut])).items():
        assert whole[key] == lease
