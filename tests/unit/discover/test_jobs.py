"""Discoveries in processes of their own: a queue, limits, and the best result so far."""

import os
import select
import signal
import subprocess
import sys

import pytest

from cronos.discover import jobs
from cronos.discover.child import LearnAsk, ReadAsk
from cronos.discover.jobs import Jobs, Launch
from cronos.discover.learned import Learned, Phase
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.runtime.world import SystemClock

SERVICE = Service("tcp/1", tuple(Message(bytes((1, n))) for n in range(20)), tuple(range(20)))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def launch(engine):
    return Launch((sys.executable, "-m", "tests.unit.discover.plain", engine), ENVIRONMENT)


@pytest.fixture
def make():
    made = []

    def build(engine="discover", **given):
        made.append(Jobs(launch(engine), SystemClock(), **given))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_a_job_gives_its_result_and_tells_its_phases(make):
    heard = []
    running = make(heard=heard.append)
    number = running.submit(LearnAsk(SERVICE, Limits()))
    learned = running.wait(number)

    assert isinstance(learned, Learned)
    assert learned.stopped == ""
    assert learned.discovery.types == (1,) * 20
    assert {event.job for event in heard} == {number}
    assert heard[0].told.phase is Phase.STATISTICS
    assert running.running == 0


def test_no_more_run_at_once_than_is_said_and_the_rest_waits(make):
    running = make(at_once=2)
    numbers = [running.submit(LearnAsk(SERVICE, Limits())) for _ in range(4)]
    running.step(0)

    assert (running.running, running.waiting) == (2, 2)
    assert all(isinstance(running.wait(number), Learned) for number in numbers)


def test_more_than_ten_never_run_at_once(make):
    assert make(at_once=50)._at_once == 10


def test_in_a_hurry_what_runs_gives_its_best_and_what_waits_is_not_begun(make):
    running = make("slow", at_once=1)
    numbers = [running.submit(LearnAsk(SERVICE, Limits(max_seconds=60.0))) for _ in range(3)]
    while not any(job.best for job in running._running.values()):
        running.step(0.05)
    running.hurry()
    first, *others = [running.answer(number) for number in numbers]

    assert running.running == running.waiting == 0
    assert isinstance(first, Learned)
    assert first.stopped
    assert all(isinstance(other, InputError) for other in others)


def test_a_queue_has_an_end(make, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_WAITING", 3)
    running = make()
    for _ in range(3):
        running.submit(LearnAsk(SERVICE, Limits()))

    with pytest.raises(DeniedError, match="wait already"):
        running.submit(LearnAsk(SERVICE, Limits()))


def test_one_that_does_not_end_is_ended_with_what_it_had_found(make, monkeypatch):
    monkeypatch.setattr(jobs, "_GRACE_NS", 0)
    running = make("slow")
    learned = running.wait(running.submit(LearnAsk(SERVICE, Limits(max_seconds=2.0))))

    assert isinstance(learned, Learned)
    assert "ended after 2 s" in learned.stopped
    assert learned.summary.messages == 20


def test_one_that_wants_more_memory_than_allowed_keeps_what_it_had_found(make):
    running = make("greedy")
    learned = running.wait(running.submit(LearnAsk(SERVICE, Limits(max_memory_mb=300))))

    assert "300 MiB" in learned.stopped
    assert learned.summary.messages == 20


def test_one_that_dies_leaves_what_it_had_found(make):
    running = make("dying")
    learned = running.wait(running.submit(LearnAsk(SERVICE, Limits())))

    assert "process ended" in learned.stopped


def test_one_whose_result_does_not_fit_together_is_ended(make):
    running = make("unsound")
    learned = running.wait(running.submit(LearnAsk(SERVICE, Limits())))

    assert "process ended" in learned.stopped
    assert len(learned.discovery.types) == len(learned.discovery.messages) == 20


def test_a_fault_of_ours_is_a_sentence_without_what_it_held(make):
    running = make("broken_first")
    error = running.wait(running.submit(LearnAsk(SERVICE, Limits())))

    assert isinstance(error, CronosError)
    assert (error.code, error.blame) == ("discover.fault", "ours")
    assert "plain.py, line" in error.sentence
    assert "secret" not in str(error)


def test_a_fault_after_the_first_answer_leaves_that_answer(make):
    running = make("broken")
    learned = running.wait(running.submit(LearnAsk(SERVICE, Limits())))

    assert learned.discovery.types == (1,) * 20
    assert "LookupError (plain.py, line" in learned.stopped
    assert "secret" not in learned.stopped


def test_an_input_that_cannot_be_read_is_refused_as_such(make, tmp_path):
    running = make()
    error = running.wait(running.submit(ReadAsk(str(tmp_path / "nowhere"), "", Limits())))

    assert isinstance(error, InputError)
    assert error.code == "discover.unreadable"


def test_a_large_input_comes_back_whole(make, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(b'{"payload_hex": "%s"}\n' % (b"ab" * 3_000) for _ in range(1_000)))
    running = make()
    (service,) = running.wait(running.submit(ReadAsk(str(path), "", Limits())))

    assert [len(message.payload) for message in service.messages] == [3_000] * 1_000


def test_what_cannot_be_started_is_said():
    running = Jobs(Launch(("/nowhere/python",), {}), SystemClock())

    assert isinstance(running.wait(running.submit(LearnAsk(SERVICE, Limits()))), UnreachableError)
    running.close()


def test_where_no_connection_can_be_made_that_is_the_answer(make, monkeypatch):
    def none_left():
        raise OSError(24, "Too many open files")

    running = make()
    number = running.submit(LearnAsk(SERVICE, Limits()))
    with monkeypatch.context() as patched:
        patched.setattr(jobs.socket, "socketpair", none_left)
        running.step(0)

    assert isinstance(running.answer(number), UnreachableError)
    assert isinstance(running.wait(running.submit(LearnAsk(SERVICE, Limits()))), Learned)


def test_words_that_are_no_text_end_the_child_that_says_them(make):
    script = (
        "import socket, msgspec; from cronos.discover.wire import packed;"
        "body = msgspec.msgpack.encode({'phase': 'grammar', 'found': 'abc'});"
        "one = socket.socket(fileno=0);"
        "one.sendall(packed('told', body.replace(b'abc', bytes([255, 254, 253])))); one.recv(1)"
    )
    running = Jobs(Launch((sys.executable, "-c", script), ENVIRONMENT), SystemClock())
    answer = running.wait(running.submit(LearnAsk(SERVICE, Limits())))
    running.close()

    assert isinstance(answer, InputError)


def test_closing_ends_what_runs(make):
    running = make("slow")
    running.submit(LearnAsk(SERVICE, Limits()))
    running.step(0)
    (job,) = running._running.values()
    running.close()

    assert job.process.returncode is not None


PARENT = """
import sys
from tests.unit.discover.test_jobs import SERVICE, launch
from cronos.discover.child import LearnAsk
from cronos.discover.jobs import Jobs
from cronos.discover.model import Limits
from cronos.runtime.world import SystemClock

def heard(event):
    if event.told.phase == "boundaries and meaning":
        print(next(iter(running._running.values())).process.pid, flush=True)

running = Jobs(launch("slow"), SystemClock(), heard)
running.wait(running.submit(LearnAsk(SERVICE, Limits())))
"""


def test_what_is_killed_leaves_no_discovery_behind():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([child], [], [], 10)
    if not ended:
        signal.pidfd_send_signal(child, signal.SIGKILL)
    os.close(child)

    assert ended
