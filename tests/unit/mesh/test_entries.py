import pytest

from cronos.mesh.entries import (
    Began,
    Forgotten,
    Posted,
    Seen,
    Stood,
    Told,
    Took,
    pack,
    unpack,
    until,
)
from cronos.types import Now

ENDS = until(Now(10, 1_000), "boot-1", 500)
EVERY = [
    Began(3, 1 << 20),
    Posted(7, 3, "two", 2, ENDS, b"data", "receipt two 2"),
    Told("two", 7, 6),
    Took("two", 1, 9, 1, 0, ENDS, b"data", "two-1-b9"),
    Stood("two", 1, 9, 8),
    Seen("two", "two-1-b1", ENDS),
    Forgotten("three"),
]


def test_every_entry_survives_its_payload():
    assert [one for payload in pack(EVERY) for one in unpack(payload)] == EVERY


def test_payloads_are_bounded():
    large = [Posted(n, 1, "", 0, ENDS, bytes(10_000)) for n in range(100)]
    payloads = list(pack(large))
    assert max(map(len, payloads)) < 300 << 10
    assert [one for payload in payloads for one in unpack(payload)] == large
    assert list(pack([])) == []


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\xdc\x00\x01\x91\xa1z", b"\x91" * 3000])
def test_what_is_no_payload_is_refused(payload):
    with pytest.raises(ValueError, match=r"."):
        unpack(payload)


def test_within_a_boot_no_step_of_the_wall_clock_counts():
    assert ENDS.left_ns(Now(110, 9_999_999), "boot-1") == 400
    assert ENDS.left_ns(Now(600, 0), "boot-1") == 0


def test_across_a_boot_the_wall_clock_counts_and_never_longer_than_a_day():
    assert ENDS.left_ns(Now(1, 1_100), "boot-2") == 400
    assert ENDS.left_ns(Now(1, 1_600), "boot-2") == 0
    assert ENDS.left_ns(Now(1, -(10**18)), "boot-2") == 86_400_000_000_000
