"""The scorer: what it has told survives its crash, nothing is judged twice, poison is left out."""

import contextlib
import errno
import os
import signal
import struct
import subprocess
import sys
import threading

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.sealers import Away, Scrambler

from cronos.detect.bounds import MAX_SOURCES
from cronos.detect.scorer import _CONTEXT, Scorer, ScorerProcess, State
from cronos.errors import InputError, UnreachableError
from cronos.link.frames import connect, listen
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_sense import MemoryDetector
from cronos.types import (
    Acknowledged,
    Batch,
    Defect,
    Entity,
    EntityKind,
    Hello,
    Manifest,
    Observation,
    Provenance,
    Report,
    Reported,
    Resume,
    decode,
    encode,
)

ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.66")


def observation(seq, source="log", activity="scan"):
    return Observation(source, seq, seq, activity, Provenance.BIDIRECTIONAL, ATTACKER, position=seq)


def batch(first, last, source="log", **more):
    seen = tuple(observation(seq, source) for seq in range(first, last + 1))
    return Batch(source, last, seen, **more)


class Fragile(MemoryDetector):
    """Dies of observation number `poison`, as a crash of the process would look."""

    def __init__(self, poison):
        super().__init__(threshold=3)
        self.poison = poison
        self.judged = []

    def detect(self, observations):
        if any(one.seq == self.poison for one in observations):
            raise RuntimeError("crashed")
        self.judged += [one.seq for one in observations]
        return super().detect(observations)


# --- judging ---------------------------------------------------------------------------------


def test_what_was_judged_before_is_not_judged_again(tmp_path):
    scorer = Scorer([MemoryDetector(threshold=3)], VirtualClock(boot_ns=99), tmp_path)
    found, _ = scorer.score(batch(1, 4))
    assert [one.finding_id for one in found] == ["memory-count-log#3"]
    assert found[0].detected_boot_ns == 99
    again, _ = scorer.score(batch(2, 6))
    assert [one.finding_id for one in again] == ["memory-count-log#6"]
    assert scorer.state.counts == {"log": 6}


def test_two_sources_are_counted_apart_and_defects_pass_through(tmp_path):
    scorer = Scorer([MemoryDetector()], VirtualClock(), tmp_path)
    broken = Defect("b", 2, "torn", "Copy it again.")
    scorer.score(batch(1, 2, "a"))
    _, defects = scorer.score(batch(1, 1, "b", defects=(broken,), ended=True))
    assert defects == [broken]
    assert scorer.state.counts == {"a": 2, "b": 1}
    assert scorer.state.ended == ["b"]


def test_a_new_scorer_goes_on_where_the_written_state_ends(tmp_path):
    one = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path)
    one.score(batch(1, 3))
    one.write(one.prepare())
    one.score(batch(4, 4))  # judged, never written down: it will be sent again

    two = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path)
    assert two.state.sources == {"log": 3}
    found, _ = two.score(batch(4, 5))
    assert [finding.finding_id for finding in found] == ["memory-count-log#5"]
    assert two.state.counts == {"log": 5}


@pytest.mark.parametrize("damage", [b"", b"\xc1noise", b"\x80"])
def test_a_damaged_state_file_begins_anew(tmp_path, damage):
    scorer = Scorer([MemoryDetector()], VirtualClock(), tmp_path)
    scorer.score(batch(1, 3))
    scorer.write(scorer.prepare())
    (tmp_path / "scorer.state").write_bytes(damage)
    assert Scorer([MemoryDetector()], VirtualClock(), tmp_path).state.sources == {}


def test_an_observation_that_crashes_the_scorer_twice_is_left_out_and_reported(tmp_path):
    crashes = 0
    for _ in range(5):
        scorer = Scorer([Fragile(poison=7)], VirtualClock(), tmp_path)
        try:
            found, defects = scorer.score(batch(1, 10))
        except RuntimeError:
            crashes += 1
            continue
        break
    else:
        pytest.fail("the poison was never left out")

    # Once within the whole batch, then twice by itself.
    assert crashes == 3
    assert [(one.source, one.position) for one in defects] == [("log", 7)]
    assert "crashed the scorer" in defects[0].reason
    assert [one.finding_id[-2:] for one in found] == ["#3", "#6", "10"]
    assert scorer.state.sources == {"log": 10}


def test_after_the_poison_the_scorer_judges_whole_batches_again(tmp_path):
    for _ in range(3):
        with pytest.raises(RuntimeError):
            Scorer([Fragile(poison=7)], VirtualClock(), tmp_path).score(batch(1, 10))
    detector = CountingCalls()
    scorer = Scorer([detector], VirtualClock(), tmp_path)
    scorer.score(batch(1, 10))
    careful = detector.calls
    scorer.score(batch(11, 30))
    assert careful == 9
    assert detector.calls == careful + 1


class CountingCalls(MemoryDetector):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def detect(self, observations):
        self.calls += 1
        return super().detect(observations)


def test_a_scorer_that_was_killed_between_batches_blames_nobody(tmp_path):
    Scorer([MemoryDetector()], VirtualClock(), tmp_path).score(batch(1, 10))
    detector = CountingCalls()
    Scorer([detector], VirtualClock(), tmp_path).score(batch(1, 10))
    assert detector.calls == 1


# --- sealed ----------------------------------------------------------------------------------


def test_a_sealed_state_is_taken_up_again_and_shows_nothing(tmp_path):
    one = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path, Scrambler())
    one.score(batch(1, 3, "/var/log/secret"))
    one.write(one.prepare())
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    two = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path, Scrambler())
    assert two.state.sources == {"/var/log/secret": 3}
    assert two.remarks == []


def test_a_state_from_before_is_read_once_and_goes_with_the_first_sealed_one(tmp_path):
    old = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path)
    old.score(batch(1, 3))
    old.write(old.prepare())
    new = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path, Scrambler())
    assert new.state.sources == {"log": 3}
    assert (tmp_path / "scorer.state").exists()
    new.write(new.prepare())
    assert not (tmp_path / "scorer.state").exists()


def test_an_unsealed_state_beside_a_sealed_one_is_never_believed(tmp_path):
    one = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    one.score(batch(1, 3))
    one.write(one.prepare())
    forged = State({"log": 10**9})
    (tmp_path / "scorer.state").write_bytes(msgspec.msgpack.encode(forged))
    again = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    assert again.state.sources == {"log": 3}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:1] + b"X" + data[2:],
        lambda data: b"\0" + data[1:],
        lambda data: data[1:],
        lambda data: msgspec.msgpack.encode(State({"log": 10**9})),
        lambda data: bytes((255,)) + Scrambler(b"another key").seal(data, _CONTEXT),
        lambda data: bytes((255,)) + Scrambler().seal(data, b"another store"),
    ],
)
def test_a_sealed_state_that_does_not_open_begins_anew_and_is_named(tmp_path, damage):
    one = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    one.score(batch(1, 3))
    one.write(one.prepare())
    path = tmp_path / "scorer.sealed"
    path.write_bytes(damage(path.read_bytes()))
    again = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    assert again.state == State()
    assert "begins afresh" in again.remarks[0].reason


def test_a_key_holder_that_is_away_costs_no_state(tmp_path):
    sealer = Away()
    one = Scorer([MemoryDetector()], VirtualClock(), tmp_path, sealer)
    one.score(batch(1, 3))
    one.write(one.prepare())
    one.score(batch(4, 5))
    sealer.here = False
    with pytest.raises(UnreachableError):
        one.write(one.prepare())
    with pytest.raises(UnreachableError):
        Scorer([MemoryDetector()], VirtualClock(), tmp_path, sealer)
    sealer.here = True
    assert Scorer([MemoryDetector()], VirtualClock(), tmp_path, sealer).state.sources == {"log": 3}


def test_where_nothing_seals_any_more_the_sealed_state_goes_with_the_next_one(tmp_path):
    one = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    one.score(batch(1, 3))
    one.write(one.prepare())
    two = Scorer([MemoryDetector()], VirtualClock(), tmp_path)
    assert two.state.sources == {}
    two.score(batch(1, 2))
    two.write(two.prepare())
    assert not (tmp_path / "scorer.sealed").exists()
    three = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    assert three.state.sources == {"log": 2}


def test_a_marker_of_an_older_version_blames_nobody(tmp_path):
    old = struct.pack("<QQQ32s", 2, 7, 10, b"log".ljust(32, b"\0"))
    (tmp_path / "scorer.mark").write_bytes(old)
    scorer = Scorer([MemoryDetector()], VirtualClock(), tmp_path)
    assert not scorer._marker.after_crash
    _, defects = scorer.score(batch(1, 10))
    assert defects == []
    assert scorer.state.counts == {"log": 10}


@pytest.mark.parametrize("sealer", [None, Scrambler()], ids=["readable", "sealed"])
@pytest.mark.parametrize("name", ["scorer.new", "scorer.mark"])
def test_a_link_where_the_scorer_writes_is_not_followed(tmp_path, sealer, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    (tmp_path / name).symlink_to(elsewhere)
    with pytest.raises((InputError, OSError)):
        Scorer([MemoryDetector()], VirtualClock(), tmp_path, sealer).write(b"")
    assert elsewhere.read_bytes() == b"precious"


def test_a_state_that_the_disk_does_not_give_back_begins_anew_and_is_named(tmp_path):
    (tmp_path / "scorer.sealed").mkdir()
    scorer = Scorer([MemoryDetector()], VirtualClock(), tmp_path, Scrambler())
    assert scorer.state == State()
    assert "Is a directory" in scorer.remarks[0].reason


# --- serving ---------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder, detector=None, sealer=None):
    path = folder / "s"
    listener = listen(path)
    detectors = [detector or MemoryDetector()]
    server = ScorerProcess(detectors, listener, SystemClock(), folder, sealer=sealer)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield path
    finally:
        server.stopping = True
        thread.join(20)
        assert not thread.is_alive()
        listener.close()


def hear(client, kind):
    """Give the next message of a kind; progress reports between are answered."""
    while True:
        received = client.receive(20)
        assert received is not None
        datum = decode(received)
        if isinstance(datum, kind):
            return datum


def greet(path, role):
    client = connect(path)
    client.send(encode(Hello(role, 1)))
    return client, hear(client, Resume) if role == "parser" else None


def test_a_parser_is_told_to_forget_only_after_the_reflex_process_has_answered(tmp_path):
    with serving(tmp_path) as path:
        reflex, _ = greet(path, "reflex")
        parser, resume = greet(path, "parser")
        assert resume.sources == {}
        parser.send(encode(batch(1, 4, ended=True)))
        report = hear(reflex, Report)
        assert [one.finding_id for one in report.findings] == ["memory-count-log#3"]
        assert (report.processed, report.ended) == ({"log": 4}, ("log",))
        assert parser.receive(0.3) is None
        reflex.send(encode(Reported(report.report_id)))
        assert hear(parser, Acknowledged) == Acknowledged("log", 4, ended=True)
        parser.close()
        reflex.close()


def test_an_unanswered_report_is_told_again_to_a_new_reflex_process(tmp_path):
    with serving(tmp_path) as path:
        first, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 3)))
        told = hear(first, Report)
        first.close()
        second, _ = greet(path, "reflex")
        assert hear(second, Report) == told
        parser.close()
        second.close()


def test_a_parser_that_comes_back_is_told_where_to_resume(tmp_path):
    with serving(tmp_path) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 3)))
        reflex.send(encode(Reported(hear(reflex, Report).report_id)))
        parser.close()
        again, resume = greet(path, "parser")
        assert resume.sources == {"log": 3}
        again.close()
        reflex.close()


def test_the_next_scorer_resumes_from_what_was_acknowledged(tmp_path):
    with serving(tmp_path) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 3, ended=True)))
        reflex.send(encode(Reported(hear(reflex, Report).report_id)))
        assert hear(parser, Acknowledged).seq == 3
        parser.close()
        reflex.close()
    with serving(tmp_path) as path:
        parser, resume = greet(path, "parser")
        assert resume.sources == {"log": 3}
        parser.close()


def test_many_findings_are_told_in_several_reports_and_the_end_with_the_last(tmp_path):
    with serving(tmp_path, MemoryDetector(threshold=1)) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 600, ended=True)))
        reports = [hear(reflex, Report) for _ in range(3)]
        assert [len(one.findings) for one in reports] == [256, 256, 88]
        assert [one.ended for one in reports] == [(), (), ("log",)]
        parser.close()
        reflex.close()


def test_parsers_wait_while_the_reflex_process_owes_answers(tmp_path):
    with serving(tmp_path, MemoryDetector(threshold=1)) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        unanswered = []
        for number in range(1, 9):
            parser.send(encode(batch(number, number)))
            unanswered.append(hear(reflex, Report))
        parser.send(encode(batch(9, 9)))
        assert reflex.receive(0.3) is None
        reflex.send(encode(Reported(unanswered[0].report_id)))
        assert [one.finding_id for one in hear(reflex, Report).findings] == ["memory-count-log#9"]
        parser.close()
        reflex.close()


def test_a_detector_that_is_new_begins_afresh_and_the_others_go_on(tmp_path):
    one = Scorer([MemoryDetector(threshold=5)], VirtualClock(), tmp_path)
    one.score(batch(1, 3))
    one.write(one.prepare())

    class Newcomer(MemoryDetector):
        manifest = Manifest("newcomer", "Was not there before.")

    two = Scorer([Newcomer(threshold=5), MemoryDetector(threshold=5)], VirtualClock(), tmp_path)
    found, _ = two.score(batch(1, 5))
    assert [finding.finding_id for finding in found] == ["memory-count-log#5"]


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"\x01\x05Batch", encode(batch(1, 1)), encode(Reported(1)), encode(Hello("who", 1))],
    ids=["empty", "no body", "no greeting", "not the reflex process", "an unknown role"],
)
def test_who_talks_nonsense_is_cut_off_and_the_others_are_served(tmp_path, nonsense):
    with serving(tmp_path) as path:
        parser, _ = greet(path, "parser")
        bad = connect(path)
        bad.send(nonsense)
        with pytest.raises(UnreachableError):
            bad.receive(20)  # the connection ends without a word
        bad.close()
        reflex, _ = greet(path, "reflex")
        parser.send(encode(batch(1, 3)))
        assert hear(reflex, Report).processed == {"log": 3}
        parser.close()
        reflex.close()


# --- what is too large, and what never ends --------------------------------------------------


class Talkative(MemoryDetector):
    """Quotes whatever it was given, as long as it may be."""

    def __init__(self, text="x", count=1, **changes):
        super().__init__(threshold=1)
        self.text, self.count, self.changes = text, count, changes

    def detect(self, observations):
        return [
            replace(
                finding,
                finding_id=f"{finding.finding_id}.{number}",
                title=self.text,
                explanation=self.text,
                actor=Entity(EntityKind.USER, self.text),
                references=(self.text,) * 40,
                techniques=("T1046",) * 40,
                **self.changes,
            )
            for finding in super().detect(observations)
            for number in range(self.count)
        ]


def test_a_finding_beyond_a_frame_is_cut_and_told_and_the_next_ones_too(tmp_path):
    with serving(tmp_path, Talkative("a" * 3_000_000)) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 2, ended=True)))
        (first, second) = hear(reflex, Report).findings
        assert (len(first.title), len(first.explanation)) == (200, 2000)
        assert (len(first.references), len(first.references[0])) == (16, 300)
        assert len(first.techniques) == 32
        assert len(first.actor.value) == 255
        assert second.finding_id == "memory-count-log#2.0"
        parser.close()
        reflex.close()


def test_two_long_names_that_differ_at_the_end_stay_two(tmp_path):
    scorer = Scorer(
        [Talkative("a" * 900 + "1"), Talkative("a" * 900 + "2")], VirtualClock(), tmp_path
    )
    found, _ = scorer.score(batch(1, 1))
    assert len({one.actor.value for one in found}) == 2


def test_reports_are_cut_by_their_bytes_and_the_end_comes_with_the_last(tmp_path):
    with serving(tmp_path, Talkative("\u20ac" * 3000, count=200)) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 1, ended=True)))
        reports = [hear(reflex, Report)]
        while not reports[-1].ended:
            reports.append(hear(reflex, Report))
        assert len(reports) > 4
        assert all(len(encode(one)) <= 1 << 19 for one in reports)
        assert sum(len(one.findings) for one in reports) == 200
        parser.close()
        reflex.close()


@pytest.mark.parametrize("changes", [{"severity": 1 << 70}, {"detector": "\ud800"}])
def test_a_finding_that_no_message_can_carry_becomes_a_defect(tmp_path, changes):
    scorer = Scorer([Talkative(**changes), MemoryDetector(threshold=1)], VirtualClock(), tmp_path)
    found, defects = scorer.score(batch(1, 1))
    assert [one.finding_id for one in found] == ["memory-count-log#1"]
    (defect,) = defects
    assert "cannot be told" in defect.reason
    encode(defect)


def test_more_sources_than_a_frame_can_name_are_resumed_the_newest_first(tmp_path):
    scorer = Scorer([MemoryDetector()], VirtualClock(), tmp_path)
    names = [f"{number:0200}" for number in range(MAX_SOURCES + 100)]
    for name in names:
        scorer.score(Batch(name, 1, (), ended=False))
    assert len(scorer.state.sources) == len(scorer.state.counts) == MAX_SOURCES
    scorer.write(scorer.prepare())
    with serving(tmp_path) as path:
        parser, resume = greet(path, "parser")
        assert 2_000 < len(resume.sources) < MAX_SOURCES
        assert list(resume.sources) == names[-len(resume.sources) :]
        parser.close()


HANGING = """
import sys
from pathlib import Path
from cronos.detect.scorer import ScorerProcess
from cronos.link.frames import listen
from cronos.runtime.world import SystemClock
from cronos.testing.memory_sense import MemoryDetector

class Spinning(MemoryDetector):
    def detect(self, observations):
        while any(one.seq == 2 for one in observations):
            pass
        return super().detect(observations)

folder = Path(sys.argv[1])
listener = listen(folder / "s")
server = ScorerProcess([Spinning(threshold=1)], listener, SystemClock(), folder, stuck_s=0.5)
print("listening", flush=True)
server.serve()
"""


def test_a_scorer_that_hangs_ends_itself_and_the_observation_is_left_out(tmp_path):
    for attempt in range(4):
        command = [sys.executable, "-c", HANGING, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"listening\n"
            reflex, _ = greet(tmp_path / "s", "reflex")
            parser, _ = greet(tmp_path / "s", "parser")
            parser.send(encode(batch(1, 3, ended=True)))
            if attempt < 3:
                assert process.wait(20) == -signal.SIGALRM
            else:
                report = hear(reflex, Report)
                process.kill()
            parser.close()
            reflex.close()
    assert [one.finding_id for one in report.findings] == [
        "memory-count-log#1",
        "memory-count-log#3",
    ]
    assert [one.position for one in report.defects] == [2]


def test_no_parser_forgets_while_the_state_cannot_be_written_down(tmp_path):
    sealer = Away()
    sealer.here = False
    with serving(tmp_path, sealer=sealer) as path:
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        parser.send(encode(batch(1, 3)))
        reflex.send(encode(Reported(hear(reflex, Report).report_id)))
        assert parser.receive(1.5) is None
        sealer.here = True
        assert hear(parser, Acknowledged) == Acknowledged("log", 3, ended=False)
        parser.close()
        reflex.close()


def test_a_full_disk_ends_no_scorer_and_is_told_once(tmp_path, monkeypatch):
    opened = os.open

    def full(path, *arguments, **more):
        if str(path).endswith("scorer.new"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, *arguments, **more)

    with serving(tmp_path, sealer=Scrambler()) as path, monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        reflex, _ = greet(path, "reflex")
        parser, _ = greet(path, "parser")
        told = []
        for last in (3, 4, 5):
            parser.send(encode(batch(1, last)))
            report = hear(reflex, Report)
            told += report.defects
            reflex.send(encode(Reported(report.report_id)))
            assert parser.receive(1.2) is None
        assert ["No space left" in defect.reason for defect in told] == [True]
        patch.undo()
        parser.send(encode(batch(1, 6)))
        reflex.send(encode(Reported(hear(reflex, Report).report_id)))
        assert hear(parser, Acknowledged) == Acknowledged("log", 6, ended=False)
        parser.close()
        reflex.close()
