import contextlib
import socket
import threading

import pytest
from tests.unit.sense.tap_story import STORY, feed, seen

from cronos.errors import UnreachableError
from cronos.link.frames import FrameSocket, listen
from cronos.link.tapfeed import TapHello, pack, unpack_ack
from cronos.sense.tap import INDEX_BITS, TapSensor, TapSensorConfig
from cronos.sense.tapfeed import TapFeedConfig, TapFeedSource
from cronos.testing.conformance.source import SourceConformance


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
