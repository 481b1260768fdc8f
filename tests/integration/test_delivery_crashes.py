"""Deliveries whose processes are killed: at every write, under load, with their directories.

Nothing acknowledged is lost, nothing is heard twice by a process that lives, and no number is used
twice. A kill keeps what the system has in its page cache; so at every write the power is cut too:
what was not synced is taken from the file, and a rename that was not synced is taken back.
"""

import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from cronos.link.freeports import free_ports
from cronos.mesh.outbox import Message, Outbox, OutboxConfig
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
HOUR_NS = 3_600_000_000_000


# --- at every write ------------------------------------------------------------------------------


def behind(file):
    """Give the path that a descriptor stands for."""
    return pathlib.Path(f"/proc/self/fd/{file}").readlink()


class Doom:
    """Kills this process at its n-th call that touches the disk, with or without the power."""

    def __init__(self, at, *, power):
        self.left, self.power = at, power
        self.real_write, self.real_fsync, self.real_replace = os.write, os.fsync, os.replace
        self.synced = {}  # file -> bytes of it that are on the disk
        self.renamed = []  # (name, the file before, its size) since the folder was synced

    def arm(self):
        os.write, os.fsync, os.replace = self.write, self.fsync, self.replace

    def step(self):
        self.left -= 1
        if self.left == 0:
            if self.power:
                self.cut()
            os.kill(os.getpid(), signal.SIGKILL)

    def cut(self):
        for target, before, size in reversed(self.renamed):
            if before is None:
                target.unlink(missing_ok=True)
            else:
                self.real_replace(before, target)
                self.synced[target] = size
        for path, size in self.synced.items():
            if path.exists():
                os.truncate(path, min(size, path.stat().st_size))

    def write(self, file, data):
        path = behind(file)
        self.synced.setdefault(path, path.stat().st_size)
        half = len(data) // 2
        self.real_write(file, data[:half])
        self.step()
        return half + self.real_write(file, data[half:])

    def fsync(self, file):
        self.step()
        self.real_fsync(file)
        path = behind(file)
        if path.is_dir():
            self.renamed.clear()
        else:
            self.synced[path] = path.stat().st_size
        self.step()

    def replace(self, source, target):
        self.step()
        source, target = pathlib.Path(source), pathlib.Path(target)
        before = None
        if target.exists():
            before = target.with_name(f"{target.name}.before")
            before.unlink(missing_ok=True)
            before.hardlink_to(target)
        size = self.synced.get(target, target.stat().st_size if before else 0)
        self.real_replace(source, target)
        self.synced[target] = self.synced.pop(source, target.stat().st_size)
        self.renamed.append((target, before, size))
        self.step()


def outbox(folder, incarnation):
    box = Outbox(OutboxConfig(), folder, MemorySealer(), VirtualClock(), incarnation, signs=False)
    remarks = box.open()
    return box, remarks


def work(folder, incarnation, tell):
    """Post, store, write anew, as a node does; tell what was sent and what was stored."""
    box, remarks = outbox(folder, incarnation)
    assert remarks == []
    for n in range(4):
        posted = box.add(Message(incarnation, b"message %d" % n, HOUR_NS))
        tell(f"sent {posted.position}")
        if n == 2:
            box.stale()  # the whole file is written anew
        if n == 3:
            continue  # sent, and never stored
        box.store(box.take_pending())
        tell(f"stored {posted.position}")


def doomed(folder, incarnation, at, *, power):
    """Work in a process that dies at its n-th call; give what it told, and whether it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            real = os.write
            Doom(at, power=power).arm()
            work(folder, incarnation, lambda line: real(writer, f"{line}\n".encode()))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees that it did not end as it should
            os._exit(9)
    os.close(writer)
    with os.fdopen(reader) as told:
        lines = [line.split() for line in told]
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0
    return [(what, int(position)) for what, position in lines], killed


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power cut"])
def test_at_every_write_nothing_acknowledged_is_lost_and_no_number_used_twice(tmp_path, power):
    steps, killed = 0, True
    while killed:
        steps += 1
        folder = tmp_path / str(steps)
        first, _ = doomed(folder, 1, 10**6, power=power)
        told, killed = doomed(folder, 2, steps, power=power)
        again, died = doomed(folder, 3, 10**6, power=power)
        assert not died
        every = [*first, *told, *again]
        sent = [position for what, position in every if what == "sent"]
        assert len(set(sent)) == len(sent)
        stored = {position for what, position in every if what == "stored"}
        box, remarks = outbox(folder, 4)
        assert remarks == []
        assert stored <= {one.position for one in box.posted()} <= set(sent)
        box.close()
    assert steps > 15


# --- processes -----------------------------------------------------------------------------------


class Node:
    """A node's process; everything that it ever told stays here."""

    def __init__(self, folder, name, ports):
        self.folder, self.name, self.ports = folder / name, name, ports
        self.told = []
        self.process = None

    def start(self):
        peers = ",".join(f"{one}={port}" for one, port in self.ports.items() if one != self.name)
        command = [sys.executable, "-m", "bench.delivery_node"]
        command += [str(self.folder), self.name, str(self.ports[self.name]), peers]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True).start()
        self.until(lambda told: "ready" in told, 30)
        return self

    def read(self, output):
        for line in output:
            told = json.loads(line)
            self.told.append(told)
            self.lines.put(told)
        output.close()

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def until(self, holds, seconds=30):
        """Give the first thing told from now on that holds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                told = self.lines.get(timeout=left)
            except queue.Empty:
                break
            if holds(told):
                return told
        raise AssertionError(f"{self.name} never said so; last: {self.told[-5:]}")

    def all(self, key):
        return [told[key] for told in list(self.told) if key in told]

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.send("stop")
            try:
                self.process.wait(20)
            finally:
                self.process.kill()
            self.process.stdin.close()
        assert self.all("fault") == []


@pytest.fixture
def nodes(tmp_path):
    made = []

    def make(*names):
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        made.extend(Node(tmp_path, name, ports).start() for name in names)
        return made

    yield make
    for one in made:
        one.stop()


def eventually(holds, seconds=40):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def first_heard(node):
    return [told["heard"] for told in list(node.told) if "heard" in told and not told["signed"]]


def test_a_sender_that_is_killed_again_and_again_loses_nothing_it_acknowledged(nodes):
    one, two = nodes("one", "two")
    for life in range(3):
        one.send("post", 1, 300)
        one.until(lambda told: "posted" in told)
        time.sleep(0.01 * life)
        one.kill()
        one.start()
    one.send("post", 1, 10)
    eventually(lambda: set(one.all("posted")) <= set(first_heard(two)))
    heard = first_heard(two)
    assert len(heard) == len(set(heard))
    assert len(one.all("posted")) >= 13
    eventually(lambda: set(heard) <= {t["heard"] for t in two.told if t.get("signed")})
    assert {t["report"] for t in two.told if "report" in t} == set()


def test_a_receiver_that_is_killed_again_and_again_hears_everything(nodes):
    one, two = nodes("one", "two")
    one.send("post", 1, 600)
    for _ in range(3):
        two.until(lambda told: "heard" in told)
        two.kill()
        one.send("post", 1000 + len(two.told), 100)
        two.start()
    eventually(lambda: len(one.all("posted")) == 900)
    posted = set(one.all("posted"))
    eventually(lambda: posted <= set(first_heard(two)))
    # The life that hears the last of it has heard everything of that, and of all before it:
    # what was acknowledged in an earlier life is heard again at the start of the next.
    two.kill()
    two.told.clear()
    two.start()
    eventually(lambda: posted <= set(two.all("heard")))


def test_three_receivers_are_told_while_they_and_the_sender_come_and_go(nodes):
    one, two, three, four = nodes("one", "two", "three", "four")
    one.send("post", 1, 200)
    three.kill()
    one.send("post", 1001, 100)
    one.until(lambda told: "posted" in told)
    one.kill()
    two.kill()
    four.kill()
    for node in (one, two, three, four):
        node.start()
    one.send("post", 2001, 50)
    eventually(lambda: "one-2-b2050" in one.all("posted"))
    posted = set(one.all("posted"))
    for node in (two, three, four):
        eventually(lambda node=node: posted <= set(first_heard(node)))
    one.send("say")
    assert one.until(lambda told: "waiting" in told)


def test_a_whole_directory_is_lost_and_its_ledger_comes_back_from_a_peer(nodes):
    one, two = nodes("one", "two")
    one.send("write", 5_000)
    one.until(lambda told: told.get("written") == 5_000)

    def replicated():
        one.send("say")
        return one.until(lambda told: "replicated" in told)["replicated"] == 5_000

    eventually(replicated)
    one.kill()
    shutil.rmtree(one.folder)
    one.start()
    one.send("recover")
    told = one.until(lambda told: "recovered" in told, 60)
    assert (told["recovered"], told["peer"]) == (5_000, "two")
    one.send("write", 1)
    one.until(lambda told: told.get("written") == 5_001)
    assert two.all("fault") == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system needs root and mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_and_messages_go_on_and_are_stored_when_there_is_room(
    nodes, small_disk
):
    one, two = nodes("one", "two")
    one.stop()
    shutil.rmtree(one.folder)
    (one.folder.parent / "one").symlink_to(small_disk)
    (small_disk / "ballast").write_bytes(bytes(160 << 10))
    one.start()
    one.send("post", 1, 400)
    assert one.until(lambda told: "refused" in told)["refused"] == "mesh.journal_unwritable"
    eventually(lambda: len(set(first_heard(two))) == 400)
    assert "mesh.journal_unwritable" in one.all("report")
    (small_disk / "ballast").unlink()
    one.send("post", 1001, 1)
    one.until(lambda told: told.get("posted", "").endswith("b1001"))
    one.kill()
    two.kill()
    shutil.rmtree(two.folder)
    one.start()
    two.told.clear()
    two.start()
    eventually(lambda: len(set(first_heard(two))) == 401)
