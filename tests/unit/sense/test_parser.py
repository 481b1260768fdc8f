"""The parser process: every record is sent once, whoever crashes; bad sources are defects."""

import contextlib
import threading

import msgspec

from cronos.errors import InputError, UnreachableError
from cronos.sense.parser import Outbox, Parser
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_sense import MemorySensor, MemorySource
from cronos.testing.memory_transport import memory_pair
from cronos.types import (
    MAX_FRAME_BYTES,
    Acknowledged,
    Batch,
    Defect,
    Hello,
    Observation,
    Provenance,
    Resume,
    decode,
    encode,
)


class FakeScorer:
    """The other end of the parser's connections; a thread of the test plays it."""

    def __init__(self, sources=()):
        self.sources = dict(sources)
        self.batches = []
        self.crash_after = None
        self.greetings = 0
        self._threads = []

    def connect(self):
        ours, theirs = memory_pair()
        thread = threading.Thread(target=self._play, args=(theirs,))
        self._threads.append(thread)
        thread.start()
        return ours

    def _play(self, end):
        with contextlib.suppress(UnreachableError):
            self._serve(end)
        end.close()

    def _serve(self, end):
        greeting = decode(end.receive(20))
        assert isinstance(greeting, Hello)
        self.greetings += 1
        end.send(encode(Resume(self.sources)))
        while True:
            batch = decode(end.receive(20))
            if self.crash_after is not None and len(self.batches) >= self.crash_after:
                self.crash_after = None
                return
            self.batches.append(batch)
            self.sources[batch.source] = max(self.sources.get(batch.source, 0), batch.last_seq)
            end.send(encode(Acknowledged(batch.source, batch.last_seq, batch.ended)))
            if batch.ended:
                self.ended(batch)

    def ended(self, _batch):
        """Tell the test that a source has ended; a live one stops its parser here."""

    def seen(self):
        return [one.seq for batch in self.batches for one in batch.observations]

    def defects(self):
        return [one for batch in self.batches for one in batch.defects]


def parser_of(scorer, most=4):
    return Parser(scorer.connect, VirtualClock(boot_ns=5), most, 1)


def lines(count):
    return b"scan a b\n" * count


def opener(data, name="memory", opened=None):
    def opening():
        source = MemorySource(data, cuts=[20], name=name)
        if opened is not None:
            opened.append(source)
        return source, MemorySensor()

    return name, opening


def test_a_source_is_sent_in_batches_to_its_end_and_then_forgotten():
    scorer, opened = FakeScorer(), []
    parser_of(scorer).run([opener(lines(10), opened=opened)], live=False)
    assert scorer.seen() == list(range(1, 11))
    assert max(len(one.observations) for one in scorer.batches) <= 4
    assert [one.ended for one in scorer.batches].count(True) == 1
    assert opened[0].acknowledged == 10
    assert opened[0].closed


def test_several_sources_are_sent_one_after_the_other():
    scorer = FakeScorer()
    parser_of(scorer).run([opener(lines(3), "a"), opener(lines(2), "b")], live=False)
    assert [one.source for one in scorer.batches if one.ended] == ["a", "b"]
    assert scorer.sources == {"a": 3, "b": 2}
    assert scorer.greetings == 1


def test_a_parser_that_comes_back_skips_what_was_processed():
    scorer = FakeScorer({"memory": 7})
    parser_of(scorer).run([opener(lines(10))], live=False)
    assert scorer.seen() == [8, 9, 10]


def test_when_the_scorer_restarts_the_source_is_read_again_without_losing_or_doubling():
    scorer, opened = FakeScorer(), []
    scorer.crash_after = 2
    parser_of(scorer).run([opener(lines(30), opened=opened)], live=False)
    assert scorer.greetings == 2
    assert scorer.seen() == list(range(1, 31))
    assert [one.closed for one in opened] == [True, True]


def test_bad_records_are_defects_between_the_good_ones():
    scorer = FakeScorer()
    parser_of(scorer).run([opener(b"scan a b\nnonsense\nscan a b\n")], live=False)
    assert scorer.seen() == [1, 3]
    assert [(one.source, one.position) for one in scorer.defects()] == [("memory", 2)]


def test_a_source_that_cannot_be_opened_is_a_defect_under_its_own_name():
    def broken():
        raise InputError("sense.unreadable", "gone.log cannot be read: gone.", "Look for it.")

    scorer = FakeScorer()
    parser_of(scorer).run([("gone.log", broken), opener(lines(2))], live=False)
    (defect,) = scorer.defects()
    assert (defect.source, defect.remedy) == ("gone.log", "Look for it.")
    assert scorer.seen() == [1, 2]


class TornSource(MemorySource):
    """Breaks after its bytes, as a truncated gzip does."""

    def read(self, size):
        data = super().read(size)
        if data == b"":
            raise InputError("sense.gzip", "memory ends within a member.", "Copy it again.")
        return data


def test_a_source_that_breaks_midway_keeps_what_came_before():
    scorer = FakeScorer()
    torn = ("memory", lambda: (TornSource(lines(5)), MemorySensor()))
    parser_of(scorer).run([torn], live=False)
    assert scorer.seen() == [1, 2, 3, 4, 5]
    assert "ends within a member" in scorer.defects()[0].reason
    assert scorer.batches[-1].ended


def test_a_live_source_is_stamped_sent_at_once_and_opened_again_when_it_ends():
    scorer, opened = FakeScorer(), []
    parser = parser_of(scorer, most=100)

    def stop_at_the_second_end(_batch):
        if len(opened) >= 2:
            parser.stopping = True

    scorer.ended = stop_at_the_second_end
    parser.run([opener(lines(4), opened=opened)], live=True)
    assert scorer.seen() == [1, 2, 3, 4]  # reading the same bytes again adds nothing
    assert len(opened) >= 2
    assert {one.sensed_boot_ns for batch in scorer.batches for one in batch.observations} == {5}
    assert len(scorer.batches) > 2


def test_a_live_source_that_cannot_be_opened_is_reported_once_however_often_it_is_tried():
    tried = []

    def absent():
        tried.append(1)
        if len(tried) >= 4:
            parser.stopping = True
        raise InputError("sense.unreadable", "gone.log cannot be read.", "Look for it.")

    scorer = FakeScorer()
    parser = parser_of(scorer)
    parser.run([("gone.log", absent)], live=True)
    assert len(tried) >= 4
    assert len(scorer.defects()) == 1


# --- the outbox ------------------------------------------------------------------------------


def sent_by(most=100):
    frames = []
    return Outbox("memory", most, frames.append), frames


def seen(seq, filling=0):
    return Observation(
        "memory",
        seq,
        1,
        "scan",
        Provenance.SPOOFABLE,
        native={"text": "x" * filling},
        position=seq,
    )


def test_a_batch_too_long_for_a_frame_is_halved_until_it_fits():
    outbox, frames = sent_by()
    outbox.add([seen(number, 200_000) for number in range(1, 9)], 0, 0)
    outbox.flush(ended=True)
    batches = [decode(one) for one in frames]
    assert all(len(one) <= MAX_FRAME_BYTES for one in frames)
    assert [one.seq for batch in batches for one in batch.observations] == list(range(1, 9))
    assert [one.ended for one in batches][-1]
    assert sum(one.ended for one in batches) == 1


def test_one_record_longer_than_a_frame_is_a_defect():
    outbox, frames = sent_by()
    outbox.add([seen(1), seen(2, MAX_FRAME_BYTES), seen(3)], 0, 0)
    outbox.flush(ended=True)
    batches = [decode(one) for one in frames]
    assert [one.seq for batch in batches for one in batch.observations] == [1, 3]
    (defect,) = [one for batch in batches for one in batch.defects]
    assert defect.position == 2
    assert "1 MiB" in defect.reason
    assert batches[-1].ended


def test_a_flood_of_defects_is_told_by_its_first_thousand_and_a_number():
    outbox, frames = sent_by()
    for number in range(1, 5_001):
        outbox.add([Defect("memory", number, "torn", "Copy it again.")], 0, 0)
    outbox.flush(ended=True)
    defects = [one for frame in frames for one in decode(frame).defects]
    assert len(defects) == 1_001
    assert defects[-1].reason == "4000 more records could not be read"


def test_nothing_gathered_sends_nothing():
    outbox, frames = sent_by()
    outbox.flush()
    assert frames == []
    outbox.flush(ended=True)
    assert isinstance(decode(frames[0]), Batch)
    assert msgspec.structs.asdict(decode(frames[0]))["ended"]
