from cronos.gateway.feed import Feed, Ring
from cronos.link.frames import FrameSplitter
from cronos.link.tapfeed import TapFrame, TapHello, unpack

HELLO = TapHello("s-1", "127.0.0.1:1502", "127.0.0.1:502")


class Reader:
    """A reader's connection in memory that says when it is full."""

    def __init__(self, feed, room=1000):
        self.feed, self.room = feed, room
        self.got, self.ended = [], False
        self._splitter = FrameSplitter()

    def write(self, data):
        self.got += map(unpack, self._splitter.feed(data))
        self.room -= 1
        if self.room == 0:
            self.feed.ready(self, can_take=False)

    def abort(self):
        self.ended = True

    def numbers(self):
        return [m.seq for m in self.got if isinstance(m, TapFrame)]


def feed(*data, max_bytes=1 << 20):
    made = Feed(HELLO, max_bytes)
    for piece in data:
        record(made, piece)
    return made


def record(made, piece=b"x"):
    made.record(TapFrame(0, 1, 2, "data", 1, "192.0.2.7", 1, "192.0.2.8", 502, data=piece))


def test_a_reader_gets_the_greeting_and_then_all_frames_in_order():
    made = feed(b"a", b"b")
    reader = Reader(made)
    made.attach(reader)
    record(made, b"c")
    assert reader.got[0] == HELLO
    assert [m.data for m in reader.got[1:]] == [b"a", b"b", b"c"]
    assert reader.numbers() == [1, 2, 3]


def test_a_restarted_reader_gets_again_what_it_did_not_acknowledge():
    made = feed(b"a", b"b", b"c")
    first = Reader(made)
    made.attach(first)
    made.ring.acknowledge(2)
    made.detach(first)
    second = Reader(made)
    made.attach(second)
    assert second.numbers() == [3]


def test_a_new_reader_takes_the_place_of_the_old_one():
    made = feed()
    old, new = Reader(made), Reader(made)
    made.attach(old)
    made.attach(new)
    made.detach(old)
    record(made)
    assert old.ended
    assert old.numbers() == []
    assert new.numbers() == [1]
    assert made.watched


def test_a_slow_reader_is_sent_no_more_than_it_takes():
    made = feed(b"a", b"b", b"c")
    reader = Reader(made, room=2)
    made.attach(reader)
    assert reader.numbers() == [1]
    made.ready(reader, can_take=True)
    assert reader.numbers() == [1, 2, 3]


def test_when_nobody_reads_the_oldest_frames_go_and_are_counted():
    made = feed(*[b"x" * 1000] * 50, max_bytes=20_000)
    reader = Reader(made)
    made.attach(reader)
    assert made.ring.dropped > 0
    assert reader.numbers() == list(range(made.ring.dropped + 1, 51))


def test_one_frame_above_the_bound_is_still_kept():
    ring = Ring(10)
    ring.append(b"x" * 100)
    assert ring.after(1) == b"x" * 100


def test_acknowledging_what_was_never_given_is_harmless():
    ring = Ring(1000)
    ring.append(b"x")
    ring.acknowledge(99)
    assert (ring.first_seq, ring.next_seq) == (2, 2)
