"""Real processes to freeze and kill, orphans in sessions of their own: Cronos spares its own."""

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from cronos.respond import procfs
from cronos.respond.freezer import Freezer, find_mount, group_of

ORPHAN = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
os.execvp(sys.argv[1], sys.argv[1:])
"""

# Answers each byte it is sent; its children each the same, on pipes that they inherit.
FAMILY = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
if len(sys.argv) > 2:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
pairs = eval(sys.argv[1])
for read, write in pairs[1:]:
    if os.fork() == 0:
        pairs[0] = (read, write)
        break
read, write = pairs[0]
os.write(write, str(os.getpid()).encode().ljust(8))
while data := os.read(read, 1):
    os.write(write, data)
"""


class Orphan:
    """A command as a process that is no child of ours; its standard streams are pipes."""

    def __init__(self, *command: str) -> None:
        self._starter = subprocess.Popen(
            [sys.executable, "-c", ORPHAN, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.stdin, self.stdout = self._starter.stdin, self._starter.stdout
        self.pid = int(self.stdout.readline())
        assert self._starter.wait(20) == 0  # until then it is a grandchild of ours
        self.start = procfs.read(self.pid).start

    def close(self) -> None:
        end(self.pid, self.start)
        self._starter.communicate(timeout=20)


def end(pid: int, start: int) -> None:
    """Kill exactly this process, and wait for its end."""
    assert procfs.kill(pid, start, 20_000)


class Family:
    """A process with children, each of whom can be asked whether it runs."""

    def __init__(self, size: int = 3, user: int | None = None) -> None:
        down, up = [os.pipe() for _ in range(size)], [os.pipe() for _ in range(size)]
        theirs = [(read, write) for (read, _), (_, write) in zip(down, up, strict=True)]
        self._ours = [(read, write) for (_, write), (read, _) in zip(down, up, strict=True)]
        starter = subprocess.Popen(
            [sys.executable, "-c", FAMILY, str(theirs), *([str(user)] if user else [])],
            pass_fds=[end for pair in theirs for end in pair],
        )
        for pair in theirs:
            os.close(pair[0])
            os.close(pair[1])
        assert starter.wait(20) == 0
        self.pids = [int(self._read(read, 8, 20_000)) for read, _ in self._ours]
        self.started = [procfs.read(pid).start for pid in self.pids]

    def _read(self, end: int, size: int, wait_ms: int) -> bytes:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        return os.read(end, size) if poll.poll(wait_ms) else b""

    def runs(self, wait_ms: int = 5000) -> list[bool]:
        """Ask each whether it runs; what one did not take is taken back at the next question."""
        answers = []
        for read, write in self._ours:
            with contextlib.suppress(BrokenPipeError):
                os.write(write, b"?")
            answers.append(self._read(read, 64, wait_ms)[:1] == b"?")
        return answers

    def state(self) -> list[tuple[int, str | None, bool]]:
        return [
            (pid, group_of(pid), procfs.is_alive(pid, start))
            for pid, start in zip(self.pids, self.started, strict=True)
        ]

    def close(self) -> None:
        for pid, start in zip(self.pids, self.started, strict=True):
            end(pid, start)
        while self._ours:
            for descriptor in self._ours.pop():
                os.close(descriptor)


def require_freezer() -> Path:
    """Skip where no control group can be made; give the mount of cgroup v2."""
    why = Freezer("cronos").objection()
    if why is not None:
        pytest.skip(why)
    mount = find_mount()
    probe = mount / f"cronos-probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error.strerror}")
    has_freeze = (probe / "cgroup.freeze").exists()
    probe.rmdir()
    if not has_freeze:
        pytest.skip("this kernel's cgroup v2 cannot freeze (Linux 5.2)")
    return mount
