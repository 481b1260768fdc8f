"""The kill switch: a file that anyone can touch, an order with a generation, and their sum.

Engaged means that nothing new is done to anyone; what is held ends with its leases, or at once
where everything is to be released. The switch is engaged while the file is there, or the newest
order says so. It needs neither network nor ledger nor room on the disk: to look costs one
`lstat`, and what cannot be written down is kept in memory.

The file may hold ``<generation>`` and ``release-all``; an empty one, as `touch` leaves it, counts
by the time it was made, in milliseconds since 1970. That is what commands number their orders
with too, so that the later of two is the higher.
"""

import contextlib
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from cronos.errors import UnreachableError
from cronos.link.frames import FrameSocket, connect
from cronos.link.text import plain
from cronos.types import Kill, decode, encode

FILE_NAME: Final = "KILL"
RELEASE_ALL: Final = "release-all"
MAX_GENERATION: Final = (1 << 53) - 1  # what every reader of JSON still counts exactly
# One forged or mistyped number must not put every later order out of reach: a day's milliseconds.
_MAX_LEAP: Final = 86_400_000
_READ_BYTES: Final = 256
_TEXT: Final = re.compile(rb"\s*([0-9]{1,16})?\s*(release-all)?\s*")
_MS_NS: Final = 1_000_000
_MOST_SUBJECT: Final = 200
_MOST_NEWS: Final = 10_000

Stamp: TypeAlias = tuple[int, int, int]
Token: TypeAlias = tuple[Stamp | None, int]
_OFF: Final = Kill(0, engaged=False)


class KillFile:
    """The file that stops everything: whatever has its name, were it a folder, counts as there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: Stamp | None = None
        self._said = _OFF

    def look(self) -> Kill:
        """Say what the file asks for; where nobody can say, what it asked for before."""
        try:
            found = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self.stamp, self._said = None, _OFF
            return _OFF
        except OSError:
            return self._said
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self.stamp:
            text = self._text() if stat.S_ISREG(found.st_mode) else b""
            # What could not be read (no descriptor was left) is read again at the next look.
            self.stamp = stamp if text is not None else None
            self._said = _read(text or b"", found.st_mtime_ns // _MS_NS)
        return self._said

    def put(self, generation: int, *, release_all: bool) -> str:
        """Engage; give "" or why that failed. On a full disk an empty file still does it."""
        text = f"{generation}{f' {RELEASE_ALL}' if release_all else ''}\n"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(self.path, flags, 0o600)
            try:
                os.write(file, text.encode())
                os.ftruncate(file, len(text))
            finally:
                os.close(file)
        except OSError as error:
            there = self.path.is_symlink() or self.path.exists()
            less = "it is there, but what it should say was not written" if there else "not written"
            return f"{self.path}: {less} ({error.strerror})."
        return ""

    def remove(self) -> str:
        """Take the file away; give "" or why that failed."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            return f"{self.path} cannot be removed: {error.strerror}."
        return ""

    def _text(self) -> bytes | None:
        with contextlib.suppress(OSError):
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return os.read(file, _READ_BYTES)
            finally:
                os.close(file)
        return None


class KillSwitch:
    """What the file and the orders amount to; for any thread.

    Args:
        file: where the kill file would be.
        kept: where the newest order is written down, so that a restart stays killed; None keeps
            it in memory alone. What lies there and is not understood counts as engaged.
        say: hears what a person should know.
    """

    def __init__(
        self,
        file: Path,
        kept: Path | None = None,
        say: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self._file = KillFile(file)
        self._kept = kept
        self._say = say
        self._lock = threading.Lock()
        self._unsynced: int | None = None
        self._is_syncing = False
        self._ordered = self._remembered()
        self._told = _OFF

    def state(self) -> Kill:
        """Say how the switch stands; one `lstat`."""
        with self._lock:
            return self._combined()

    def token(self) -> Token | None:
        """Name what asks for everything to be released; None where nothing does."""
        with self._lock:
            filed = self._file.look()
            by_file = self._file.stamp if filed.release_all else None
            ordered = self._ordered
            by_order = ordered.generation if ordered.engaged and ordered.release_all else 0
            return (by_file, by_order) if by_file or by_order else None

    def take(self, kill: Kill, wall_ns: int) -> bool:
        """Take an order; False where its generation is over, or none that can be.

        To say the same again is harmless, and True.
        """
        with self._lock:
            known = max(self._ordered.generation, self._file.look().generation)
            if kill.generation == self._ordered.generation:
                same = (kill.engaged, kill.release_all)
                return same == (self._ordered.engaged, self._ordered.release_all)
            highest = min(max(known, wall_ns // _MS_NS) + _MAX_LEAP, MAX_GENERATION)
            if not known <= kill.generation <= highest:
                return False
            self._ordered = replace(kill, subject=plain(kill.subject, _MOST_SUBJECT))
            self._keep(self._ordered)
            return True

    def poll(self) -> Kill | None:
        """Give what changed since the last call, with a generation higher than all before it.

        This is for the reflex process, whose kernel hears of the switch as of any event.
        """
        with self._lock:
            now = self._combined()
            before = self._told
            same = (now.engaged, now.release_all) == (before.engaged, before.release_all)
            if same and (now.generation <= before.generation or not now.engaged):
                return None
            generation = max(now.generation, before.generation + 1)
            self._told = Kill(generation, now.engaged, now.release_all, now.subject)
            return self._told

    def _combined(self) -> Kill:
        filed, ordered = self._file.look(), self._ordered
        if not filed.engaged:
            return ordered
        generation = max(filed.generation, ordered.generation)
        everything = filed.release_all or (ordered.engaged and ordered.release_all)
        subject = ordered.subject if ordered.engaged else f"the file {self._file.path}"
        return Kill(generation, engaged=True, release_all=everything, subject=subject)

    def _remembered(self) -> Kill:
        if self._kept is None:
            return _OFF
        try:
            kill = decode(self._kept.read_bytes()[:4096])
        except FileNotFoundError:
            return _OFF
        except (OSError, ValueError):
            kill = None
        if isinstance(kill, Kill) and 0 <= kill.generation <= MAX_GENERATION:
            return kill
        self._say(
            f"{self._kept} is not understood, so the kill switch counts as engaged; end that with "
            "`cronos kill --off`."
        )
        return Kill(0, engaged=True, subject=f"{self._kept}, which is damaged")

    def _keep(self, kill: Kill) -> None:
        """Write it down as well as the disk allows: on a full one the file has to do."""
        if self._kept is None:
            return
        new = self._kept.with_suffix(".new")
        try:
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, encode(kill))
                new.replace(self._kept)
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            with contextlib.suppress(OSError):  # the log may lie on the same disk
                self._say(f"The kill switch could not be written down: {error.strerror}.")
            return
        self._sync_soon(file)

    def _sync_soon(self, file: int) -> None:
        """Sync it for a power cut, while nobody waits: a process that ends loses nothing of it.

        One thread at a time, and of the orders that come meanwhile only the last.
        """
        if self._unsynced is not None:
            os.close(self._unsynced)
        self._unsynced = file
        if not self._is_syncing:
            thread = threading.Thread(target=self._sync_all, name="kill-sync", daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread is left: with the next order
                thread.start()
                self._is_syncing = True

    def _sync_all(self) -> None:
        while True:
            with self._lock:
                file, self._unsynced = self._unsynced, None
                if file is None:
                    self._is_syncing = False
                    return
            _sync(file)


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError:
        pass
    finally:
        os.close(file)


def _read(text: bytes, made_ms: int) -> Kill:
    found = _TEXT.fullmatch(text)
    generation = int(found[1]) if found is not None and found[1] else made_ms
    everything = found is not None and found[2] is not None
    # As with orders: one number out of the world puts no later order out of reach.
    bounded = max(0, min(generation, made_ms + _MAX_LEAP, MAX_GENERATION))
    return Kill(bounded, engaged=True, release_all=everything)


class Told(NamedTuple):
    """What the enforcer answered: how its switch stands, and whether nothing is under way."""

    state: Kill
    settled: bool


def tell(enforcer: Path, kill: Kill, patience_s: float, settle_s: float = 0.0) -> Told:
    """Throw the enforcer's switch over its own socket, with no other process between.

    Args:
        enforcer: its socket.
        kill: the order.
        patience_s: how long to wait for its answer.
        settle_s: how long to wait for what is under way at points that wait for others.

    Raises:
        UnreachableError: nobody listens there, or nobody answers in time.
    """
    link = connect(enforcer)
    try:
        link.send(encode(kill))
        state = _answer(link, patience_s)
        if state is None:
            raise UnreachableError(
                "link.enforcer_silent",
                f"The enforcer on {enforcer} has not answered within {patience_s:g} s.",
                "The file holds for it all the same; see its log, or end its process.",
            )
        if state.subject and settle_s:
            state = _answer(link, settle_s) or state
    finally:
        link.close()
    return Told(state, settled=not state.subject)


def _answer(link: FrameSocket, patience_s: float) -> Kill | None:
    """Wait for the answer among what the enforcer tells everyone."""
    for _ in range(_MOST_NEWS):
        body = link.receive(patience_s)
        if body is None:
            return None
        try:
            news = decode(body)
        except ValueError:
            return None
        if isinstance(news, Kill):
            return news
    return None
