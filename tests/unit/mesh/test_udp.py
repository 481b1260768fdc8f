"""One UDP socket: short datagrams, never waiting; and what is an address."""

import asyncio
import socket

import pytest
from tests.unit.mesh.nodes import until

from cronos.errors import InputError, UnreachableError
from cronos.mesh.udp import MAX_DATAGRAM_BYTES, UdpSocket, resolved, split


def test_datagrams_arrive_and_long_ones_are_neither_sent_nor_taken():
    async def story():
        one, other, got = UdpSocket("127.0.0.1", 0), UdpSocket("127.0.0.1", 0), []
        with pytest.raises(UnreachableError):
            _ = one.address
        one.send(("127.0.0.1", 9), b"before the start it is lost")
        await one.start(lambda data, address: None)
        await other.start(lambda data, address: got.append((data, address)))
        for data in (b"x", bytes(MAX_DATAGRAM_BYTES)):
            one.send(other.address, data)
        with pytest.raises(InputError):
            one.send(other.address, bytes(MAX_DATAGRAM_BYTES + 1))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(bytes(MAX_DATAGRAM_BYTES + 1), other.address)
            stranger.sendto(b"last", other.address)
        await until(lambda: len(got) == 3)
        assert [len(data) for data, _ in got] == [1, MAX_DATAGRAM_BYTES, 4]
        assert got[0][1] == one.address
        one.stop()
        one.stop()
        other.stop()

    asyncio.run(story())


def test_an_address_that_is_taken_is_said():
    async def story():
        one = UdpSocket("127.0.0.1", 0)
        await one.start(lambda data, address: None)
        with pytest.raises(UnreachableError) as refused:
            await UdpSocket(*one.address).start(lambda data, address: None)
        assert refused.value.code == "mesh.cannot_listen"
        one.stop()

    asyncio.run(story())


def test_where_nobody_listens_it_is_lost_and_nothing_breaks():
    async def story():
        one = UdpSocket("127.0.0.1", 0)
        await one.start(lambda data, address: None)
        for _ in range(5):
            one.send(("127.0.0.1", 9), b"x")
            await asyncio.sleep(0.01)
        one.send(("203.0.113.300", 9), b"no such address")
        assert one.lost > 0
        one.stop()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:7443", ("192.0.2.1", 7443)),
        ("[::1]:1", ("::1", 1)),
        ("host:65535", ("host", 65535)),
        ("::1:5", None),
        ("host:0", None),
        ("host", None),
        ("", None),
        ("a" * 300 + ":1", None),
    ],
)
def test_addresses_are_split(text, address):
    assert split(text) == address


def test_names_are_looked_up_and_numbers_are_taken_as_they_are():
    assert asyncio.run(resolved("127.0.0.1:5")) == ("127.0.0.1", 5)
    assert asyncio.run(resolved("localhost:5"))[1] == 5
    assert asyncio.run(resolved("no address")) is None
