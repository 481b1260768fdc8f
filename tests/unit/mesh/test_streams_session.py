"""A session: order, credit, and nothing lost or repeated however its streams break."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.errors import DeniedError
from cronos.mesh.streams_session import Bounds, Session, require_peer, urgent
from cronos.mesh.streams_wire import LANES, Batch, Hello
from cronos.types import Lane

SMALL = Bounds(batch_bytes=200, waiting_bytes=4_000, windows=(600, 600, 600, 400, 200))


def greet(session, name="x"):
    return Hello(2, name, *session.greeting(), bytes(16))


def meet(one, two):
    """Begin a stream between two, as dialler and server do."""
    hello = greet(one)
    welcome = greet(two)
    two.joined(hello)
    one.joined(welcome)


def flow(sender, receiver, arrived):
    """Carry what may be sent, until nothing moves."""
    while (batch := sender.next()) is not None:
        for index, messages in receiver.take(batch):
            arrived += [(LANES[index], data) for data in messages]
            receiver.incoming.worked_off(LANES[index], messages)
        word = receiver.word()
        if word is not None:
            sender.take(word)


def pair(bounds=SMALL):
    one, two = Session("one", bounds), Session("two", bounds)
    meet(one, two)
    return one, two


def test_the_most_urgent_goes_first():
    one, two = pair()
    for lane in reversed(LANES):
        one.out.put(lane, lane.encode())
    arrived = []
    flow(one, two, arrived)
    assert [lane for lane, _ in arrived] == list(LANES)
    assert [urgent(index) for index in range(5)] == [True, True, True, False, False]


def test_no_more_is_sent_than_the_receiver_allows():
    one, two = pair()
    for _ in range(50):
        one.out.put(Lane.BULK, bytes(20))
    batches = []
    while (batch := one.next()) is not None:
        batches.append(batch)
    under_way = sum(len(messages) for batch in batches for _, messages in batch.runs)
    assert under_way * (20 + 32) < 200 + 52
    one.out.put(Lane.THREAT, b"overtakes")
    assert one.next().runs == [(0, [b"overtakes"])]
    assert one.next() is None
    for batch in batches:
        for index, messages in two.take(batch):
            two.incoming.worked_off(LANES[index], messages)
    assert two.next().number == 0
    assert one.next() is None


def test_a_message_longer_than_the_window_passes_while_any_of_it_is_left():
    one, two = pair()
    one.out.put(Lane.BULK, bytes(3_000))
    one.out.put(Lane.BULK, b"next")
    arrived = []
    flow(one, two, arrived)
    assert [len(data) for _, data in arrived] == [3_000, 4]


def test_what_waits_is_counted_with_what_empty_messages_cost():
    one, _ = pair()
    while one.out.put(Lane.BULK, b""):
        pass
    assert one.out.queued == 125
    assert one.out.waiting_bytes == 4_000
    assert not one.out.roomy(Lane.BULK)
    assert one.out.roomy(Lane.THREAT)


def test_a_broken_stream_sends_again_what_had_not_come():
    one, two = pair()
    for n in range(5):
        one.out.put(Lane.THREAT, b"%d" % n)
        one.next()
    one.out.put(Lane.THREAT, b"5")
    arrived = []
    meet(one, two)
    flow(one, two, arrived)
    assert [data for _, data in arrived] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert one.out.queued == 0


def test_what_had_come_is_not_taken_twice():
    one, two = pair()
    one.out.put(Lane.KEYS, b"once")
    batch = one.next()
    assert two.take(batch) == [(1, [b"once"])]
    assert two.take(batch) == []


def test_a_peer_that_began_anew_is_sent_what_it_may_not_have_had():
    one, two = pair()
    for n in range(3):
        one.out.put(Lane.RECORDS, b"%d" % n)
    two.take(one.next())
    again = Session("two, its second life", SMALL)
    arrived = []
    meet(one, again)
    flow(one, again, arrived)
    assert [data for _, data in arrived] == [b"0", b"1", b"2"]
    again.out.put(Lane.THREAT, b"back")
    back = []
    flow(again, one, back)
    assert back == [(Lane.THREAT, b"back")]


def test_a_hello_from_before_the_other_stream_changes_nothing():
    one, two = Session("one", SMALL), Session("two", SMALL)
    early = greet(two)
    meet(one, two)
    one.out.put(Lane.THREAT, b"a")
    batch = one.next()
    one.joined(early)
    arrived = []
    assert two.take(batch) == [(0, [b"a"])]
    one.out.put(Lane.THREAT, b"b")
    flow(one, two, arrived)
    assert arrived == [(Lane.THREAT, b"b")]


def test_allowance_of_a_former_life_is_not_believed():
    one, two = pair()
    for _ in range(40):
        one.out.put(Lane.BULK, bytes(20))
    flow(one, two, [])
    hello = greet(two)
    fresh = Session("one, its second life", SMALL)
    fresh.joined(hello)
    fresh.out.put(Lane.BULK, b"x")
    assert fresh.next().runs == []
    assert fresh.next() is None


@pytest.mark.parametrize(
    "batch",
    [
        Batch(3, 0, (0,) * 5, [(0, [b"the second is missing"])]),
        Batch(2, 1, (0,) * 5, [(0, [b"acknowledges what was never sent"])]),
        Batch(2, 0, (0,) * 5, [(4, [bytes(300), b"beyond the window"])]),
        Batch(2, 0, (0,) * 5, [(4, [])]),
    ],
)
def test_a_peer_that_breaks_a_rule_is_refused(batch):
    one, two = pair()
    one.out.put(Lane.THREAT, b"the first")
    two.take(one.next())
    with pytest.raises(DeniedError) as refused:
        two.take(batch)
    assert refused.value.code == "mesh.broken_stream"


def test_a_peer_is_called_what_its_certificate_says():
    hello = greet(Session("s", SMALL), "alpha")
    require_peer(hello, "alpha", "beta")
    for certified, me in (("gamma", "beta"), ("alpha", "alpha")):
        with pytest.raises(DeniedError):
            require_peer(hello, certified, me)


class Wire:
    """Two sessions, the stream between them, and an older one whose batches may come late."""

    def __init__(self):
        self.one, self.two = pair()
        self.streams, self.sent, self.got, self.held = [[], []], [], [], []

    def put(self, lane, data):
        if self.one.out.put(lane, data):
            self.sent.append((lane, data))

    def send(self):
        if (batch := self.one.next()) is not None:
            self.streams[0].append(batch)

    def carry(self, which):
        if self.streams[which]:
            self.held += self.two.take(self.streams[which].pop(0))

    def work(self):
        if self.held:
            index, messages = self.held.pop(0)
            self.got += [(LANES[index], data) for data in messages]
            self.two.incoming.worked_off(LANES[index], messages)

    def word(self):
        if (word := self.two.word()) is not None:
            self.one.take(word)

    def again(self, overlap):
        self.streams = [[], self.streams[0] if overlap else []]
        meet(self.one, self.two)

    def finish(self):
        self.again(False)
        while self.held:
            self.work()
        self.word()
        flow(self.one, self.two, self.got)


ACTIONS = {
    "send": lambda wire, _: wire.send(),
    "carry": lambda wire, _: wire.carry(0),
    "carry-late": lambda wire, _: wire.carry(1),
    "work": lambda wire, _: wire.work(),
    "word": lambda wire, _: wire.word(),
    "break": lambda wire, _: wire.again(False),
    "second": lambda wire, _: wire.again(True),
}
STEPS = st.lists(
    st.one_of(
        st.sampled_from(sorted(ACTIONS)), st.tuples(st.sampled_from(LANES), st.integers(0, 300))
    ),
    max_size=120,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_repeated_or_out_of_order(steps):
    """Streams break, are replaced and overlap; batches of the old one may come late or never."""
    wire = Wire()
    for n, step in enumerate(steps):
        if isinstance(step, tuple):
            wire.put(step[0], b"%d " % n + bytes(step[1]))
        else:
            ACTIONS[step](wire, n)
    wire.finish()
    for lane in LANES:
        came = [data for way, data in wire.got if way is lane]
        assert came == [data for way, data in wire.sent if way is lane]
    assert wire.one.out.queued == 0


def test_to_begin_anew_gives_no_more_room_than_there_was():
    two = Session("two", SMALL)

    def begin(life):
        two.joined(Hello(2, "one", f"life {life}", 1, ("", 0), (1 << 40,) * 5, bytes(16)))
        two.take(Batch(1, 0, (0,) * 5, [(3, [bytes(200)])]))

    begin(1)
    begin(2)
    with pytest.raises(DeniedError):
        begin(3)


def test_what_is_left_of_a_former_life_is_given_back_as_it_is_worked_off():
    two = Session("two", SMALL)
    two.joined(Hello(2, "one", "first", 1, ("", 0), (1 << 40,) * 5, bytes(16)))
    runs = two.take(Batch(1, 0, (0,) * 5, [(3, [bytes(300)])]))
    two.joined(Hello(2, "one", "second", 1, ("", 0), (1 << 40,) * 5, bytes(16)))
    assert two.word().limits[3] == 400 - 332
    two.incoming.worked_off(Lane.RECORDS, runs[0][1])
    assert two.word().limits[3] == 400


def test_what_is_never_acknowledged_is_not_sent_for_ever(monkeypatch):
    monkeypatch.setattr("cronos.mesh.streams_session.MOST_KEPT", 2_000)
    one, _ = pair()
    boundless = Batch(0, 0, (1 << 40,) * 5, [])
    one.take(boundless)
    sent = 0
    for _ in range(100):
        one.out.put(Lane.THREAT, bytes(100))
        sent += one.next() is not None
    assert sent <= 16
    one.take(Batch(0, sent, (1 << 40,) * 5, []))
    assert one.next() is not None
