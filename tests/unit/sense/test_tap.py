import contextlib
import itertools
import socket
import struct
import threading

import msgspec
import pytest

from cronos.errors import InputError, UnreachableError
from cronos.link.frames import FrameSocket, frame, listen
from cronos.link.tapfeed import TapFrame, TapHello, pack, unpack_ack
from cronos.sense.tap import (
    INDEX_BITS,
    TapFeedConfig,
    TapFeedSource,
    TapSensor,
    TapSensorConfig,
)
from cronos.testing.conformance.sensor import SensorConformance
from cronos.testing.conformance.source import SourceConformance
from cronos.testing.memory_sense import MemorySource
from cronos.types import Defect, Entity, EntityKind, Observation, Provenance

READ = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 2)
ANSWER = struct.pack(">HHHBBBHH", 1, 0, 7, 1, 3, 4, 500, 510)
WRITE = struct.pack(">HHHBBHH", 2, 0, 6, 1, 6, 1, 60_000)


def seen(seq, kind="data", data=b"", direction="request", connection=1, **more):
    made = TapFrame(
        seq, seq * 10, seq * 100, kind, connection, "192.0.2.7", 40312, "198.51.100.2", 502
    )
    return msgspec.structs.replace(made, data=data, direction=direction, **more)


def feed(*messages):
    return b"".join(frame(pack(message)) for message in messages)


STORY = (
    seen(1, "open"),
    seen(2, data=READ),
    seen(3, data=ANSWER, direction="response"),
    seen(4, data=WRITE[:5]),
    seen(5, data=WRITE[5:] + READ),
    seen(6, "cut", b"blocked", bytes_out=36, bytes_in=13),
    seen(7, "refused", b"blocked", connection=2),
)


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


class Feeder:
    """The far end of a feed: greets each caller with its session, then gives its frames."""

    def __init__(self, path, *visits):
        self.path = path
        self.acks = []
        self._listener = listen(path)
        self._visits = visits
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError), self._listener:
            for visit in self._visits:
                self._visit(*visit)

    def _visit(self, session, messages, wait):
        connected, _ = self._listener.accept()
        caller = FrameSocket(connected)
        with contextlib.closing(caller), contextlib.suppress(UnreachableError):
            caller.send(pack(TapHello(session, "127.0.0.1:1502", "127.0.0.1:502")))
            for message in messages:
                caller.send(pack(message))
            if wait:
                self._hear(caller)

    def _hear(self, caller):
        try:
            while True:
                self.acks.append(unpack_ack(caller.receive(10)).seq)
        except UnreachableError:
            return

    def end(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self.join()

    def join(self):
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def feeders(tmp_path):
    made = []

    def make(*visits):
        made.append(Feeder(tmp_path / f"feed{len(made)}", *visits))
        return made[-1]

    yield make
    for feeder in made:
        feeder.join()


def source_of(feeder):
    return TapFeedSource(TapFeedConfig(str(feeder.path), linger_ms=1))


def test_a_lost_connection_is_made_again_and_no_frame_comes_twice(feeders):
    feeder = feeders(
        ("s-1", STORY[:3], False), ("s-1", STORY[1:], False), ("s-2", STORY[:1], False)
    )
    source = source_of(feeder)
    told = [r for batch in TapSensor(TapSensorConfig()).read(source) for r in batch]
    assert [r.seq >> INDEX_BITS for r in told] == [1, 2, 3, 5, 5, 6, 7]
    assert {r.source for r in told} == {"tap:127.0.0.1:1502@s-1"}
    assert told[0].sensed_boot_ns == 10
    source.close()


def test_frames_are_let_go_only_when_their_observations_are_safe(feeders):
    feeder = feeders(("s-1", STORY[:4], True))
    source = source_of(feeder)
    batches = TapSensor(TapSensorConfig()).read(source)
    told = []
    while len(told) < 3:
        told += next(batches)
    source.acknowledge(told[0].seq)
    source.acknowledge(told[2].seq)
    while not source._buffer and source._delivered < 4:
        next(batches)
    next(batches)
    source.close()
    feeder.join()
    # Frame 4 begins a message that has not ended, so it is still needed.
    assert feeder.acks[0] == 1
    assert feeder.acks[-1] == 3


def test_frames_that_tell_nothing_are_let_go_by_themselves(feeders):
    feeder = feeders(("s-1", [seen(n, data=b"bulk") for n in range(1, 4)], True))
    source = source_of(feeder)
    batches = TapSensor(TapSensorConfig(protocol="none")).read(source)
    while source._sent < 3:
        next(batches)
    source.close()
    feeder.join()
    assert feeder.acks[-1] == 3


def test_nobody_on_the_socket_is_unreachable(tmp_path):
    with pytest.raises(UnreachableError):
        TapFeedSource(TapFeedConfig(str(tmp_path / "absent")))


def test_what_does_not_greet_like_a_tap_is_no_source(feeders, tmp_path):
    path = tmp_path / "other"
    listener = listen(path)
    with pytest.raises(UnreachableError, match="greet"):
        TapFeedSource(TapFeedConfig(str(path), greeting_ms=1))
    listener.close()


class TestSource(SourceConformance):
    @pytest.fixture(autouse=True)
    def _feeders(self, tmp_path):
        self.folder, self.made = tmp_path, []
        yield
        for source in self.made:
            source.close()
            source.feeder.end()

    def make(self):
        path = self.folder / f"f{len(self.made)}"
        feeder = Feeder(path, ("s-1", STORY, False), ("s-2", (), False))
        source = TapFeedSource(TapFeedConfig(str(path), linger_ms=1))
        self.made.append(source)
        source.feeder = feeder
        return source

    def content(self):
        return feed(*STORY)
