"""Ports for servers to come: free, each another, and none that outgoing connections are given."""

import socket

import pytest

from cronos.errors import UnreachableError
from cronos.link import freeports
from cronos.link.freeports import dealt_from, free_ports


def test_they_are_free_different_and_below_what_the_system_deals():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(10_000 <= port < dealt_from() for port in ports)
    assert not set(ports) & set(free_ports(20))
    for port in ports[:3]:
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_one_that_is_taken_either_way_is_passed_over(kind, monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.setattr(freeports, "_candidates", lambda: iter([port, port + 1]))
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", port))
        assert port not in free_ports(1)


def test_where_there_are_not_enough_it_says_so(monkeypatch):
    monkeypatch.setattr(freeports, "_candidates", lambda: iter([]))
    with pytest.raises(UnreachableError) as refused:
        free_ports(1)
    assert refused.value.code == "link.no_free_port"


@pytest.mark.parametrize(
    ("text", "first"),
    [("20000\t60999\n", 20_000), ("1024 65000", 32_768), ("", 32_768), ("x y", 32_768)],
)
def test_the_first_port_dealt_is_read_where_it_leaves_room(tmp_path, text, first):
    path = tmp_path / "range"
    path.write_text(text)
    assert dealt_from(path) == first
    assert dealt_from(tmp_path / "absent") == 32_768
