"""Where a node keeps what it keeps: the folders below ``--state``, and who may use them now."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from cronos.errors import DeniedError, InputError

_MAX_SOCKET_PATH: Final = 90


def default_state() -> Path:
    """Give the state folder: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/cronos")
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "cronos"


def _make_private(folder: Path) -> None:
    """Make a folder and those above it that lack, each with mode 0700; see `_refuse_shared`."""
    for level in (*reversed(folder.parents), folder):
        if not level.exists():
            level.mkdir(mode=0o700, exist_ok=True)
    _refuse_shared(folder)
    _refuse_shared(folder.parent)


def _refuse_shared(folder: Path) -> None:
    """Refuse a folder that others own or may write: they could put anything in it.

    Raises:
        DeniedError: they do, or may.
    """
    found = folder.stat()
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
        raise DeniedError(
            "state.shared",
            f"The state folder {folder} belongs to or may be written by others.",
            f"Make it yours alone (chmod 700 {folder}), or choose another one with --state.",
        )


class Layout:
    """The folders of one node below its state folder.

    Args:
        state: the state folder; made with mode 0700 if need be.
        instance: whose part of it.
        session: True for one run that leaves only its ledger and its keys behind: its sockets, its
            scorer's memory and its enforcer's book lie in a folder that goes with it.
    """

    def __init__(self, state: Path, instance: str, *, session: bool) -> None:
        self.state = state
        self.home = state / instance
        self.ledger = self.home / "ledger"
        self.keys = self.home / "keys"
        try:
            _make_private(self.home)
            self._lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DeniedError(
                "state.unwritable",
                f"The state folder {state} cannot be used: {error.strerror}.",
                "Choose a writable folder with --state.",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DeniedError(
                "state.in_use",
                f"Another Cronos process uses {self.home}.",
                "Stop it, or choose another folder with --state.",
            ) from error
        self._temporary = session
        self.run = self.home / "run"
        try:
            if self._temporary:
                self.run = Path(tempfile.mkdtemp(prefix="cronos-"))
            self.run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            os.close(self._lock)
            raise DeniedError(
                "state.unwritable",
                f"No folder for this run can be made: {error.strerror or error}.",
                "Make room, or name a writable folder: TMPDIR for a run, --state for a node.",
            ) from error
        # A session's sockets lie where a name is short enough, whatever --state is called.
        self.agent_socket = (self.run if session else self.keys) / "agent.sock"
        self.enforcer = self.run / "enforcer" if session else state / "enforcer"
        # The enforcer outlives a node, so that its socket must be found by the next one.
        self.enforcer_socket = self.enforcer / "enforcer.sock"
        for path in (self.enforcer_socket, self.run / "tap-control.sock"):
            if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
                self.close()
                raise InputError(
                    "state.path_too_long",
                    f"{path} is too long for a Unix socket ({_MAX_SOCKET_PATH} bytes).",
                    "Choose a shorter folder with --state.",
                )

    def incarnation(self, wall_ns: int, *, remembered: bool = False) -> int:
        """Give a number that rises with every start.

        Args:
            wall_ns: Unix time; where the last number cannot be read, the seconds since 1970
                stand for it: more than any number of starts.
            remembered: peers may know numbers of this node from before its folder was lost: then
                the first is the seconds too, or they would take what it says for what it said.
        """
        path = self.home / "incarnation"
        number = wall_ns // 1_000_000_000 if remembered else 1
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text(encoding="ascii", errors="replace").strip()
            number = int(text) + 1 if text.isdecimal() else wall_ns // 1_000_000_000
        new = path.with_suffix(".new")
        self.write(new, str(number).encode())
        new.replace(path)
        return number

    def write(self, path: Path, data: bytes) -> None:
        """Write a file that only this user may read.

        Raises:
            DeniedError: the disk is full or read-only.
        """
        try:
            path.touch(mode=0o600)
            path.write_bytes(data)
        except OSError as error:
            raise DeniedError(
                "state.unwritable",
                f"{path} cannot be written: {error.strerror}.",
                "Make room or choose another folder with --state.",
            ) from error

    def close(self) -> None:
        """Let go of the lock, and of what was only for this session."""
        if self._temporary:
            # Not every file has to be there any more, nor be the last: an enforcer may be leaving.
            shutil.rmtree(self.run, ignore_errors=True)
        os.close(self._lock)
