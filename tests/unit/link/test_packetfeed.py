"""Packets are handed on while somebody listens and keeps up; nothing ever waits beyond its part."""

import contextlib
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest

from cronos.errors import InputError
from cronos.link.packetfeed import MAX_BYTES, PacketSender, bound, unpack


@pytest.fixture
def path():
    folder = Path(tempfile.mkdtemp(prefix="cr-"))  # a socket's path has to be short
    yield folder / "library.sock"
    shutil.rmtree(folder)


def packets(*bodies):
    out, at = [], 0
    for number, body in enumerate(bodies):
        out.append((number + 1, 7, at, at + len(body)))
        at += len(body)
    return out, b"".join(bodies)


def taken(one):
    """Give the (time, link, bytes) of all packets that wait."""
    found = []
    while True:
        try:
            datagram = one.recv(MAX_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        found += [(at, link, datagram[a:b]) for at, link, a, b in unpack(datagram)]


def test_packets_arrive_as_they_were_read(path):
    with bound(path) as one:
        sender = PacketSender(path)
        sender(*packets(b"abc", b"", b"x" * 1_500))
        assert taken(one) == [(1, 7, b"abc"), (2, 7, b""), (3, 7, b"x" * 1_500)]
        assert path.stat().st_mode & 0o077 == 0
        sender.close()
    assert sender.dropped == 0


def test_many_go_in_several_datagrams_and_one_that_is_too_long_in_none(path):
    with bound(path) as one:
        sender = PacketSender(path)
        sender(*packets(b"a" * 60_000, b"b" * 60_000, b"c" * MAX_BYTES, b"d"))
        assert [(at, len(data)) for at, _, data in taken(one)] == [(1, 60_000), (2, 60_000), (4, 1)]
        assert sender.dropped == 1
        sender.close()


def test_where_nobody_listens_packets_are_dropped_until_somebody_does(path):
    sender = PacketSender(path)
    sender(*packets(b"abc"))
    assert sender.dropped == 1
    with bound(path) as one:
        sender(*packets(b"def"))
        assert taken(one) == [(1, 7, b"def")]
    sender(*packets(b"ghi"))
    with bound(path) as one:  # it was restarted
        sender(*packets(b"jkl"))
        assert taken(one) == [(1, 7, b"jkl")]
    sender.close()


@pytest.mark.parametrize(("patience_s", "least_s"), [(0.0, 0.0), (0.4, 0.3)])
def test_who_does_not_keep_up_costs_a_bounded_wait(path, patience_s, least_s):
    with bound(path):
        sender = PacketSender(path, patience_s)
        began = time.monotonic()
        for _ in range(2_000):
            sender(*packets(b"a" * 60_000))
        spent = time.monotonic() - began
        assert sender.dropped > 1_000
        assert least_s <= spent < 20.0
        sender.close()


def test_any_bytes_are_packets_or_refused():
    source = random.Random(3)
    for _ in range(2_000):
        data = source.randbytes(source.randrange(80))
        found = []
        with contextlib.suppress(InputError):
            found = unpack(data)
        assert all(0 <= a <= b <= len(data) for _, _, a, b in found)


@pytest.mark.parametrize("data", [b"x", bytes(15), bytes(12) + b"\0\0\0\x09abc"])
def test_a_datagram_that_breaks_off_is_refused(data):
    with pytest.raises(InputError) as error:
        unpack(data)
    assert error.value.code == "link.packet_feed"
