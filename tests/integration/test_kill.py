"""The kill switch against a real enforcer process, raced by those who ask for more."""

import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.unit.respond.stage import deny

from cronos.errors import CronosError
from cronos.link.frames import connect
from cronos.link.killswitch import KillFile, tell
from cronos.types import Hello, Kill, Operation, Order, Outcomes, decode, encode

PROGRAM = [sys.executable, "-m", "tests.integration.enforcer_process"]


def started(folder):
    process = subprocess.Popen([*PROGRAM, str(folder), "never"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(CronosError):
            link = connect(folder / "socket")
            link.send(encode(Hello("kernel", 1)))
            link.receive(30)
            return process, link
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("the enforcer did not start")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "world").mkdir()
    (tmp_path / "enforcer").mkdir()
    (tmp_path / "enforcer" / "enforcer.sock").symlink_to(tmp_path / "socket")
    return tmp_path


@contextlib.contextmanager
def enforcing(folder):
    process, link = started(folder)
    try:
        yield process, link
    finally:
        link.close()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stderr.close()


class Hammer(threading.Thread):
    """Asks for one block after another, as fast as it is answered, and never stops by itself."""

    def __init__(self, folder, number):
        super().__init__()
        self.link = connect(folder / "socket")
        self.number = number
        self.stopping = threading.Event()
        self.refused = 0
        self.asked = 0

    def run(self):
        while not self.stopping.is_set():
            actions = [
                deny(f"10.{self.number}.{self.asked >> 8 & 255}.{i}", f"inc-{self.number}")
                for i in range(1, 9)
            ]
            self.asked += 1
            self.link.send(encode(Order(self.asked, Operation.APPLY, tuple(actions))))
            outcomes = []
            while len(outcomes) < len(actions):
                news = decode(self.link.receive(30))
                if isinstance(news, Outcomes) and news.order_id == self.asked:
                    outcomes += news.outcomes
            self.refused += sum("kill switch" in one.detail for one in outcomes)

    def halt(self):
        self.stopping.set()
        self.join(30)
        self.link.close()


@contextlib.contextmanager
def hammering(folder, many=3):
    hammers = [Hammer(folder, number) for number in range(1, many + 1)]
    for one in hammers:
        one.start()
    try:
        yield hammers
    finally:
        for one in hammers:
            one.halt()


def killed(folder, *more, **how):
    command = [sys.executable, "-m", "cronos.front.cli", "kill", "--json", "--state", str(folder)]
    done = subprocess.run([*command, *more], capture_output=True, timeout=60, check=False, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def effects(folder):
    return {one.name for one in (folder / "world").iterdir()}


@pytest.mark.parametrize("everything", [False, True], ids=["stop", "release-all"])
@pytest.mark.parametrize("way", ["socket", "file"])
def test_after_the_acknowledgement_nothing_new_happens_however_many_ask(folder, way, everything):
    with enforcing(folder), hammering(folder) as hammers:
        until(lambda: all(one.asked > 5 for one in hammers))
        if way == "socket":
            told = tell(folder / "socket", Kill(1, True, everything), 30)
            assert told.settled
        else:
            assert KillFile(folder / "KILL").put(1, release_all=everything) == ""
            # The file alone acknowledges nothing: the first refusal does.
            before = [one.refused for one in hammers]
            until(
                lambda: all(one.refused > seen for one, seen in zip(hammers, before, strict=True))
            )
            if everything:
                until(lambda: not effects(folder))
        then = effects(folder)
        assert bool(then) != everything
        asked = [one.asked for one in hammers]
        until(lambda: all(one.asked > seen + 20 for one, seen in zip(hammers, asked, strict=True)))
        assert effects(folder) == then
        assert all(one.refused >= 8 * 20 for one in hammers)


def test_the_command_stops_it_and_a_restart_stays_stopped(folder):
    with enforcing(folder) as (process, _), hammering(folder, 1) as (hammer,):
        until(lambda: hammer.asked > 5)
        done = killed(folder, "--release-all")
        document = json.loads(done.stdout)
        assert document["enforcer"] == "acknowledged"
        assert effects(folder) == set()
        hammer.halt()
        process.kill()
        process.wait(30)
    (folder / "KILL").unlink()
    with enforcing(folder) as (_, link):
        link.send(encode(Order(1, Operation.APPLY, (deny("192.0.2.7"),))))
        (outcome,) = decode(link.receive(30)).outcomes
        assert f"generation {document['generation']}" in outcome.detail


def test_on_a_disk_without_room_it_stops_all_the_same(folder):
    def without_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with enforcing(folder) as (process, link):
        # Both sides: the enforcer, too, can write nothing any more.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        done = killed(folder, preexec_fn=without_room)
        document = json.loads(done.stdout)
        assert document["enforcer"] == "acknowledged"
        assert (document["file"], (folder / "KILL").exists()) == (False, True)
        link.send(encode(Order(1, Operation.APPLY, (deny("192.0.2.7"),))))
        (outcome,) = decode(link.receive(30)).outcomes
        assert "kill switch is engaged" in outcome.detail
        assert process.poll() is None
        assert effects(folder) == set()
