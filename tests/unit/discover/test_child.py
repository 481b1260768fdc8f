"""What the process of a discovery does when it is asked."""

import pytest
from tests.unit.discover import plain
from tests.unit.discover.wires import CLIENT, SERVER, pcap, udp

from cronos.discover.child import SO_FAR, TOLD, LearnAsk, ReadAsk, carried_out
from cronos.discover.learned import Learned
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.errors import InputError
from cronos.testing.clock import VirtualClock

SERVICE = Service("tcp/1", tuple(Message(bytes((1, n))) for n in range(20)), tuple(range(20)))


def asked(ask):
    told = []
    answer = carried_out(
        ask, VirtualClock(), lambda _: plain.PARTS, lambda kind, data: told.append((kind, data))
    )
    return answer, told


def test_it_reads_an_input(tmp_path):
    path = tmp_path / "c.pcap"
    path.write_bytes(pcap([udp(CLIENT, 5_000, SERVER, 53, b"q")]))
    (service,), told = asked(ReadAsk(str(path), "udp", Limits()))

    assert (service.name, told) == ("udp/53", [])
    with pytest.raises(InputError):
        asked(ReadAsk(str(path), "tcp", Limits()))


def test_it_keeps_no_more_of_an_input_than_a_sixth_of_its_memory(tmp_path):
    path = tmp_path / "c.pcap"
    path.write_bytes(pcap([udp(CLIENT, 5_000, SERVER, 53, bytes(1_000))] * 2_000))
    (service,), _ = asked(ReadAsk(str(path), "", Limits(max_memory_mb=4)))

    assert 400 < len(service.messages) < 600


def test_it_learns_and_tells_how_far_it_is():
    answer, told = asked(LearnAsk(SERVICE, Limits()))

    assert isinstance(answer, Learned)
    assert answer.discovery.types == (1,) * 20
    assert {kind for kind, _ in told} == {TOLD, SO_FAR}
    assert told[-1] == (SO_FAR, answer)


def test_the_profiles_to_try_first_reach_the_parts():
    seen = []
    carried_out(
        LearnAsk(SERVICE, Limits(), {"plant": b"{}"}),
        VirtualClock(),
        lambda profiles: seen.append(profiles) or plain.PARTS,
        lambda *_: None,
    )

    assert seen == [{"plant": b"{}"}]
