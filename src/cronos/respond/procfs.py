"""What `/proc` says of processes, and how to meet the same one again.

A process number is used anew once its process has ended. A process is therefore named by its
number and the time of its start, in clock ticks since boot, and is only ever signalled through a
descriptor (pidfd) that was opened before the two were compared.

Source: proc(5), pidfd_open(2), pidfd_send_signal(2).
"""

import contextlib
import errno
import os
import select
import signal
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_KERNEL_THREAD: Final = 0x00200000  # PF_KTHREAD
_STAT_BYTES: Final = 4096
_STATUS_BYTES: Final = 16384
_ENDED: Final = "ZX"
_MAX_DEPTH: Final = 1024


class Process(NamedTuple):
    """One process at one moment."""

    pid: int
    start: int
    parent: int
    session: int
    name: str
    is_kernel: bool


def read(pid: int) -> Process | None:
    """Give what is known of a process; None for one that has ended, reaped or not.

    One whose first thread alone has ended looks like a zombie, but runs on in its other threads.
    """
    try:
        with (_PROC / str(pid) / "stat").open("rb") as file:
            text = file.read(_STAT_BYTES).decode(errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may hold any character, parentheses included.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if len(fields) < 20 or (fields[0] in _ENDED and int(fields[17]) <= 1):
        return None
    name = head.partition("(")[2]
    kernel = bool(int(fields[6]) & _KERNEL_THREAD)
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), name, kernel)


def all_processes() -> Iterator[Process]:
    """Give all processes that have not ended."""
    for entry in _PROC.iterdir():
        found = read(int(entry.name)) if entry.name.isdigit() else None
        if found is not None:
            yield found


def descendants(roots: Iterable[int], of: Iterable[Process] | None = None) -> list[Process]:
    """Give all children of processes, and theirs, parents first; the roots are left out."""
    children: dict[int, list[Process]] = {}
    for process in all_processes() if of is None else of:
        children.setdefault(process.parent, []).append(process)
    found: dict[int, Process] = {}
    layer = list(roots)
    for _ in range(_MAX_DEPTH):
        born = [child for parent in layer for child in children.get(parent, ())]
        fresh = [child for child in born if child.pid not in found]
        if not fresh:
            break
        found.update((child.pid, child) for child in fresh)
        layer = [child.pid for child in fresh]
    return list(found.values())


def own_tree() -> frozenset[int]:
    """Give the processes that are us: parents, descendants, and all of our session."""
    everyone = list(all_processes())
    known = {process.pid: process for process in everyone}
    own = {os.getpid()}
    at = known.get(os.getpid())
    while at is not None and at.pid not in (0, 1) and len(own) < _MAX_DEPTH:
        own.add(at.pid)
        at = known.get(at.parent)
    # Session 0 began outside this pid namespace: in a container all that did shows it.
    session = os.getsid(0)
    own.update(one.pid for one in everyone if one.session == session and session and one.pid != 1)
    own.update(process.pid for process in descendants([os.getpid()], everyone))
    return frozenset(own)


def living_task(pid: int) -> int:
    """Give a thread of a process that has not ended: the first, while that lives."""
    folder = _PROC / str(pid)
    try:
        state = (folder / "stat").read_text(errors="replace").rpartition(") ")[2][:1]
        if state not in _ENDED:
            return pid
        tasks = {int(entry.name) for entry in (folder / "task").iterdir()}
    except OSError:
        return pid
    return min(tasks - {pid}, default=pid)


def process_of(task: int) -> int:
    """Give the process that a thread belongs to; the thread's own number when it has ended."""
    try:
        with (_PROC / str(task) / "status").open("rb") as file:
            text = file.read(_STATUS_BYTES)
    except OSError:
        return task
    line = next((line for line in text.splitlines() if line.startswith(b"Tgid:")), b"")
    return int(line.split()[1]) if line else task


def user_of(pid: int) -> int | None:
    """Give the real user number of a process, None when it has ended."""
    try:
        with (_PROC / str(pid) / "status").open("rb") as file:
            text = file.read(_STATUS_BYTES)
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    return None


def executable_of(pid: int) -> tuple[str, bool]:
    """Give the path of what a process runs, and whether that file belongs to root."""
    link = _PROC / str(living_task(pid)) / "exe"
    try:
        return str(link.readlink()).removesuffix(" (deleted)"), link.stat().st_uid == 0
    except OSError:
        return "", False


def is_alive(pid: int, start: int) -> bool:
    """Say whether the process of this number and start has not ended."""
    found = read(pid)
    return found is not None and found.start == start


@contextlib.contextmanager
def held(pid: int, start: int) -> Generator[int | None]:
    """Hold the process of this number and start by a descriptor; None when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EINVAL):
            raise
        yield None
        return
    try:
        yield descriptor if is_alive(pid, start) else None
    finally:
        os.close(descriptor)


def has_ended(descriptor: int, wait_ms: int = 0) -> bool:
    """Say whether a held process has ended, waiting so long for its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(wait_ms))


def kill(pid: int, start: int, wait_ms: int) -> bool:
    """Kill a process and wait for its end; say whether it has ended by then.

    Raises:
        OSError: this process may not do that.
    """
    with held(pid, start) as descriptor:
        if descriptor is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return has_ended(descriptor, wait_ms)
