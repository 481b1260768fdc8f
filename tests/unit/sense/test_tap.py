import itertools

import pytest
from tests.unit.sense.tap_story import READ, STORY, WRITE, feed, seen

from cronos.errors import InputError
from cronos.link.frames import frame
from cronos.sense.tap import INDEX_BITS, TapSensor, TapSensorConfig
from cronos.testing.conformance.sensor import SensorConformance
from cronos.testing.memory_sense import MemorySource
from cronos.types import Defect, Entity, EntityKind, Observation, Provenance


def read(data, cuts=(), protocol="modbus"):
    sensor = TapSensor(TapSensorConfig(protocol=protocol))
    return [r for batch in sensor.read(MemorySource(data, cuts, name="tap")) for r in batch]


def test_a_connection_is_told_from_its_opening_to_its_cut():
    told = [r for r in read(feed(*STORY)) if r.activity == "network_activity"]
    assert [r.fields["status"] for r in told] == ["open", "closed", "refused"]
    assert told[1].fields["traffic.bytes_out"] == 36
    assert told[1].fields["traffic.bytes_in"] == 13
    assert told[1].native == {"kind": "cut", "reason": "blocked"}


def test_modbus_requests_and_answers_become_fields_of_their_two_ends():
    messages = [r for r in read(feed(*STORY)) if r.activity == "modbus"]
    assert [(m.fields["modbus.function_code"], m.fields["modbus.direction"]) for m in messages] == [
        (3, "request"),
        (3, "response"),
        (6, "request"),
        (3, "request"),
    ]
    write = messages[2]
    assert write.fields["modbus.value"] == 60_000
    assert write.fields["src_endpoint.ip"] == "192.0.2.7"
    assert write.fields["dst_endpoint.port"] == 502
    assert write.actor == Entity(EntityKind.ADDRESS, "192.0.2.7")
    assert write.target == Entity(EntityKind.ADDRESS, "198.51.100.2")
    assert write.time_ns == 500


def test_a_completed_exchange_is_bidirectional_and_numbers_follow_the_frames():
    told = read(feed(*STORY))
    assert {r.provenance for r in told} == {Provenance.BIDIRECTIONAL}
    assert [r.seq >> INDEX_BITS for r in told] == [1, 2, 3, 5, 5, 6, 7]
    assert [r.seq & (1 << INDEX_BITS) - 1 for r in told] == [0, 0, 0, 0, 1, 0, 0]


def test_dropped_frames_are_one_defect_and_the_next_message_is_read_again():
    told = read(feed(seen(1, data=WRITE[:5]), seen(4, data=READ)))
    assert isinstance(told[0], Defect)
    assert "dropped 2 frames" in told[0].reason
    assert any(isinstance(r, Observation) and r.fields["modbus.quantity"] == 2 for r in told)


def test_a_server_that_is_not_modbus_gives_connections_alone():
    told = read(feed(*STORY), protocol="none")
    assert [r.activity for r in told] == ["network_activity"] * 3


def test_what_is_no_modbus_is_a_defect_and_what_follows_is_read():
    told = read(feed(seen(1, data=b"GET / HTTP/1.1\r\n\r\n"), seen(2, data=READ)))
    assert isinstance(told[0], Defect)
    assert [r.fields["modbus.function_code"] for r in told if isinstance(r, Observation)] == [3]


def test_a_frame_that_does_not_decode_or_comes_again_is_a_defect():
    told = read(frame(b"\xc1") + feed(seen(1, "open"), seen(1, "open"), seen(2, "close")))
    assert [type(r) for r in told] == [Defect, Observation, Defect, Observation]


def test_an_absurd_length_ends_the_reading_after_what_was_good():
    data = feed(seen(1, "open")) + b"\xff\xff\xff\xff"
    batches = TapSensor(TapSensorConfig()).read(MemorySource(data))
    good = next(batches)
    assert len(good) == 1
    with pytest.raises(InputError, match="after frame number 1"):
        list(batches)


def test_frames_of_something_else_end_the_reading():
    with pytest.raises(InputError, match="64 messages"):
        read(frame(b"syslog") * 100)


def test_connections_that_are_tracked_are_bounded():
    sensor = TapSensor(TapSensorConfig(max_connections=2))
    frames = [seen(n, data=READ[:5], connection=n) for n in range(1, 50)]
    assert list(itertools.chain(*sensor.read(MemorySource(feed(*frames))))) == []


class TestSensor(SensorConformance):
    def make(self):
        return TapSensor(TapSensorConfig())

    def sample(self):
        return feed(*STORY)
