"""Freezes processes in control groups (cgroup v2) of our own, and puts them back.

A frozen process runs no instruction, takes no signal but SIGKILL, and notices nothing. Processes
are moved into a group that is frozen already, parents first: none of them can fork on the way.
Freezing is a matter of the group alone; no controller is switched on, so what a service may use
of memory and time stays counted as long as it runs.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files".
"""

import contextlib
import os
import re
import select
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cronos.errors import UnreachableError
from cronos.respond import procfs

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MAX_BYTES: Final = 1 << 22
_ROUNDS: Final = 64
_NAME: Final = re.compile(r"[0-9a-f]{32}")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def find_mount() -> Path | None:
    """Find where cgroup v2 is mounted: `/sys/fs/cgroup`, or `unified` beside version 1."""
    try:
        with _MOUNTS.open("rb") as file:
            text = file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.split()[:1] == ["cgroup2"] and len(fields) > 4:
            return Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4]))
    return None


def group_of(pid: int) -> str | None:
    """Give the group a process is in, ``/`` first; None when it has ended or is out of sight."""
    try:
        # A first thread that has ended stays where it was when the others are moved.
        with Path(f"/proc/{procfs.living_task(pid)}/cgroup").open("rb") as file:
            lines = file.read(_MAX_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None or ".." in path.split("/"):
        return None
    return path.removesuffix(" (deleted)")


def is_frozen(folder: Path) -> bool:
    """Say whether the kernel reports a group frozen, and somebody in it."""
    try:
        told = (folder / "cgroup.events").read_text().split()
    except OSError:
        return False
    events = dict(zip(told[::2], told[1::2], strict=False))
    return events.get("frozen") == "1" and events.get("populated") == "1"


def is_asked_frozen(folder: Path) -> bool:
    """Say whether a group is to stand still, whoever is in it."""
    try:
        return (folder / "cgroup.freeze").read_text().strip() == "1"
    except OSError:
        return False


def wait_frozen(folder: Path, wait_ms: int) -> bool:
    """Wait until the kernel reports a group frozen, at most so long after its last news."""
    with contextlib.suppress(OSError), (folder / "cgroup.events").open("rb") as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        for _ in range(_ROUNDS):
            events.seek(0)
            if b"frozen 1" in events.read():
                return True
            if not poll.poll(wait_ms):
                break
    return is_frozen(folder)


def freeze(folder: Path, *, frozen: bool) -> None:
    """Freeze or thaw a group.

    Raises:
        OSError: there is none, or it is not ours to change.
    """
    (folder / "cgroup.freeze").write_text("1" if frozen else "0")


class Freezer:
    """Groups of our own under `base`, each named by the effect it is for."""

    def __init__(self, base: str) -> None:
        self.mount = find_mount()
        self.base = self.mount / base if self.mount is not None else None

    def objection(self) -> str | None:
        """Say why nothing can be frozen here, or give None."""
        if self.mount is None:
            return "cgroup v2 is not mounted on this machine, so nothing can be frozen."
        if not os.access(self.mount, os.W_OK):
            return f"{self.mount} (cgroup v2) is not ours to write: freezing needs root."
        return None

    def folder(self, name: str) -> Path:
        """Give the folder of an effect's group, there or not.

        Raises:
            UnreachableError: cgroup v2 is not mounted, or the name is none.
        """
        if self.base is None or not _NAME.fullmatch(name):
            raise UnreachableError(
                "respond.freezer_missing",
                "There is no group to freeze anything in.",
                "Mount cgroup v2 (mount -t cgroup2 none /sys/fs/cgroup), and run as root.",
            )
        return self.base / name

    def catch(self, folder: Path, members: Mapping[int, int]) -> bool:
        """Move processes (number to start) and all their children into a frozen group.

        Gives False where children are still outside after many rounds.

        Raises:
            OSError: the kernel refuses.
        """
        folder.mkdir(parents=True, exist_ok=True)
        freeze(folder, frozen=True)
        for pid, start in members.items():
            _move(pid, start, folder)
        # What was born between the plan and now; what is caught can bear no more.
        for _ in range(_ROUNDS):
            caught = _pids(folder)
            outside = [p for p in procfs.descendants(caught) if p.pid not in caught]
            if not outside:
                return True
            for process in outside:
                _move(process.pid, process.start, folder)
        return False

    def release(
        self, folder: Path, former: Mapping[int, tuple[str, ...]], home: tuple[str, ...]
    ) -> bool:
        """Move all processes back, those without a former group to `home`; remove the group.

        Of several former groups the first that is still there counts. Who is outside runs
        again. Gives False where somebody is still in it.

        Raises:
            OSError: the kernel refuses.
        """
        for _ in range(_ROUNDS):
            if not folder.exists():
                return True
            inside = _pids(folder)
            if not inside:
                break
            for pid in inside:
                _join(pid, self._existing(former.get(pid, home)))
        self.remove(folder)
        return not folder.exists()

    def remove(self, folder: Path) -> None:
        """Remove an empty group, and ours around it when it was the last one."""
        for path in (folder, folder.parent):
            with contextlib.suppress(OSError):
                path.rmdir()

    def effect_of(self, group: str) -> str | None:
        """Name the effect whose group this is, None for a group that is not ours."""
        if self.base is None or self.mount is None:
            return None
        before, _, name = group.rpartition("/")
        ours = before == "/" + str(self.base.relative_to(self.mount))
        return name if ours and _NAME.fullmatch(name) else None

    def frozen(self) -> Iterator[str]:
        """Name the groups of ours that are frozen."""
        try:
            names = [path.name for path in self.base.iterdir()] if self.base is not None else []
        except OSError:
            return
        for name in names:
            if _NAME.fullmatch(name) and is_frozen(self.folder(name)):
                yield name

    def holds(self, folder: Path, pid: int) -> bool:
        """Say whether a process is in a group."""
        try:
            return pid in _pids(folder)
        except OSError:
            return False

    def _existing(self, groups: tuple[str, ...]) -> Path:
        """Give the first folder that is there, or else the nearest one around the last."""
        mount = self.mount if self.mount is not None else Path("/nonexistent")
        parts: list[str] = []
        for group in groups:
            parts = [part for part in group.split("/") if part not in ("", ".")]
            if ".." not in parts and mount.joinpath(*parts, "cgroup.procs").exists():
                break
        while parts and (".." in parts or not mount.joinpath(*parts, "cgroup.procs").exists()):
            parts.pop()
        return mount.joinpath(*parts)


def _pids(folder: Path) -> set[int]:
    """Give the processes in a group, also those whose first thread has ended.

    The kernel lists these by their other threads alone.
    """
    pids = _numbers(folder / "cgroup.procs")
    return pids | {procfs.process_of(task) for task in _numbers(folder / "cgroup.threads") - pids}


def _numbers(path: Path) -> set[int]:
    return {int(line) for line in path.read_text().split() if line.isdigit() and int(line) > 0}


def _move(pid: int, start: int, folder: Path) -> None:
    """Move exactly this process; one that took its number meanwhile is moved back."""
    before = group_of(pid)
    with procfs.held(pid, start) as descriptor:
        if descriptor is None or before is None:
            return
        _join(pid, folder)
        # While it has not ended nobody else can have its number.
        if procfs.has_ended(descriptor):
            found = procfs.read(pid)
            if found is not None and found.start != start:
                _join(pid, folder.parent.parent / before.lstrip("/"))


def _join(pid: int, folder: Path) -> None:
    with contextlib.suppress(ProcessLookupError):
        (folder / "cgroup.procs").write_text(str(pid))
