import os
import socket

import pytest
from tests.unit.sealers import Away, Scrambler

from cronos.errors import InputError, UnreachableError
from cronos.sense.listen import SyslogListenConfig, SyslogTcpSource, SyslogUdpSource
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.testing.clock import VirtualClock
from cronos.types import Provenance

SECOND_NS = 1_000_000_000
CONFIG = SyslogListenConfig(port=0, wait_ms=100)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def udp(tmp_path):
    source = SyslogUdpSource(CONFIG, tmp_path / "udp")
    yield source
    source.close()


@pytest.fixture
def tcp(tmp_path, clock):
    source = SyslogTcpSource(CONFIG, tmp_path / "tcp", clock)
    yield source
    source.close()


def connect(source):
    return socket.create_connection(("127.0.0.1", source.port), timeout=5)


def lines(source, count):
    """Read until `count` lines are there; each read waits for the sockets, not for a time."""
    data = b""
    for _ in range(100):
        data += source.read(1 << 16) or b""
        if data.count(b"\n") >= count:
            break
    return data.splitlines()


def test_a_datagram_becomes_one_line_that_names_its_peer(udp):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>hello", ("127.0.0.1", udp.port))
    assert lines(udp, 1) == [b"@127.0.0.1 <13>hello"]
    assert udp.provenance is Provenance.SPOOFABLE
    assert udp.name.startswith("syslog-udp@")


def test_a_newline_in_a_datagram_forges_no_second_record(udp):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>a\n@10.0.0.1 <13>forged\r\0x\n", ("127.0.0.1", udp.port))
        sender.sendto(b"\n", ("127.0.0.1", udp.port))
        sender.sendto(b"<13>next", ("127.0.0.1", udp.port))
    assert lines(udp, 2) == [
        b"@127.0.0.1 <13>a\\n@10.0.0.1 <13>forged\\r\\0x",
        b"@127.0.0.1 <13>next",
    ]


def test_nothing_there_is_none(udp, tcp):
    assert udp.read(100) is None
    assert tcp.read(100) is None


def test_tcp_takes_both_framings_and_several_peers(tcp):
    with connect(tcp) as first, connect(tcp) as second:
        first.sendall(b"<13>one\n7 <2>t\nwo")
        second.sendall(b"<13>three\n")
        assert sorted(lines(tcp, 3)) == [
            b"@127.0.0.1 <13>one",
            b"@127.0.0.1 <13>three",
            b"@127.0.0.1 <2>t\\nwo",
        ]
    assert tcp.provenance is Provenance.BIDIRECTIONAL


def test_what_a_peer_left_unfinished_is_its_last_line(tcp):
    with connect(tcp) as peer:
        peer.sendall(b"<13>half")
    assert lines(tcp, 1) == [b"@127.0.0.1 <13>half"]
    assert not tcp._connections


def test_a_peer_that_never_ends_its_message_is_cut_off(tcp, clock):
    with connect(tcp) as slow, connect(tcp) as silent:
        slow.sendall(b"<13>a")
        silent.sendall(b"<13>whole\n")
        lines(tcp, 1)
        data = b""
        for _ in range(4):
            slow.sendall(b"a")
            clock.advance(9 * SECOND_NS)
            data += tcp.read(100) or b""
        assert data.startswith(b"@127.0.0.1 <13>a")
        assert len(tcp._connections) == 1


def test_connections_are_bounded_for_each_peer(tmp_path, clock):
    source = SyslogTcpSource(
        SyslogListenConfig(port=0, connections_per_peer=2), tmp_path / "spool", clock
    )
    peers = [connect(source) for _ in range(3)]
    for _ in range(10):
        source.read(100)
    assert len(source._connections) == 2
    assert peers[2].recv(1) == b""
    for peer in peers:
        peer.close()
    source.close()


def test_what_was_spooled_is_read_again_after_a_restart_until_it_is_acknowledged(tmp_path):
    source = SyslogUdpSource(CONFIG, tmp_path / "spool")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(3):
            sender.sendto(b"<13>%d" % number, ("127.0.0.1", source.port))
        before = lines(source, 3)
    source.close()
    source = SyslogUdpSource(CONFIG, tmp_path / "spool")
    assert source.first == 1
    assert lines(source, 3) == before
    source.acknowledge(3)
    source.close()
    source = SyslogUdpSource(CONFIG, tmp_path / "spool")
    assert source.first == 4
    source.close()


def test_an_inherited_socket_goes_on_where_the_parent_bound_it(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as parent:
        parent.bind(("127.0.0.1", 0))
        source = SyslogUdpSource(CONFIG, tmp_path / "spool", os.dup(parent.fileno()))
        assert source.port == parent.getsockname()[1]
        source.close()


def test_a_port_that_is_taken_is_refused_with_a_remedy(tmp_path, clock, tcp):
    with pytest.raises(InputError, match="Choose a free port"):
        SyslogTcpSource(SyslogListenConfig(port=tcp.port), tmp_path / "other", clock)


def test_the_sensor_reads_what_the_listener_spooled(udp):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(
            b"<38>Oct 11 22:14:15 web1 sshd[1]: Failed password for root"
            b" from 203.0.113.9 port 4242 ssh2",
            ("127.0.0.1", udp.port),
        )
    readings = []
    for batch in SyslogSensor(SyslogConfig()).read(udp):
        readings += batch
        if readings:
            break
    (seen,) = readings
    assert seen.actor.value == "203.0.113.9"
    assert seen.fields["device.ip"] == "127.0.0.1"
    assert seen.provenance is Provenance.SPOOFABLE


def test_what_is_received_is_sealed(tmp_path):
    source = SyslogUdpSource(CONFIG, tmp_path / "spool", sealer=Scrambler())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<34>a secret", ("127.0.0.1", source.port))
    assert source.read(100) == b"@127.0.0.1 <34>a secret\n"
    source.close()
    assert b"secret" not in b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())
    again = SyslogUdpSource(CONFIG, tmp_path / "spool", sealer=Scrambler())
    assert again.read(100) == b"@127.0.0.1 <34>a secret\n"
    again.close()


def test_while_nobody_can_seal_what_was_received_waits_and_nothing_more_is(tmp_path):
    sealer = Away()
    sealer.opens_alone = True
    source = SyslogUdpSource(CONFIG, tmp_path / "spool", sealer=sealer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sealer.here = False
        for text in (b"one", b"two", b"three"):
            sender.sendto(text, ("127.0.0.1", source.port))
            assert source.read(100) is None
        sealer.here = True
        lines = b""
        while lines.count(b"\n") < 3:
            lines += source.read(100) or b""
    assert lines == b"@127.0.0.1 one\n@127.0.0.1 two\n@127.0.0.1 three\n"
    source.close()


def test_a_source_whose_spool_cannot_be_opened_lets_go_of_its_socket(tmp_path, clock):
    SyslogTcpSource(CONFIG, tmp_path / "spool", clock, sealer=Scrambler()).close()
    sealer = Away()
    sealer.here = False
    with socket.create_server(("127.0.0.1", 0)) as parent:
        for _ in range(3):
            descriptor = os.dup(parent.fileno())
            with pytest.raises(UnreachableError):
                SyslogTcpSource(CONFIG, tmp_path / "spool", clock, descriptor, sealer)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
