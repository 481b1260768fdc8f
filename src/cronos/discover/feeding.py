"""What a running node's traffic teaches: packets become flows, and flows go to the library.

A `Service`, in a process of its own beside the node: nothing that acts waits for it or is told by
it. Parsers hand it packets as far as it keeps up (`cronos.link.packetfeed`); they are gathered for
some seconds, put in order and cut into messages, and each flow is asked about: known profiles
first, and what is unknown is learnt in the background by a process that ends within its limits.

The profile store has one writer at a time. It is opened for a moment only, so that commands can
look at it, and promote, while the node runs; what they promote is taken up at the next look.
"""

import asyncio
import contextlib
import os
import select
import socket
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, ClassVar, Final, TypeVar

import msgspec

from cronos.config import Section
from cronos.discover.captures import Bounds, Collector
from cronos.discover.filters import compile_filter
from cronos.discover.jobs import Jobs
from cronos.discover.library import Library, Policy
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.discover.profile import Profile
from cronos.discover.store import ProfileStore
from cronos.errors import CronosError, DeniedError, InputError
from cronos.link.metrics import MemoryMetrics
from cronos.link.packetfeed import MAX_BYTES, bound, unpack
from cronos.ports import Clock, Tasks
from cronos.types import Manifest

SOCKET_NAME: Final = "library.sock"
GAUGES_NAME: Final = "library.gauges"
_S_NS: Final = 1_000_000_000
_TURN_S: Final = 0.2
_DATAGRAMS: Final = 256  # taken in one turn
_TELL_NS: Final = 1_000_000_000
_FLUSH_NS: Final = 60 * _S_NS
_MAX_LOOK_NS: Final = 60 * _S_NS
_TRIES: Final = 30
_TRY_S: Final = 0.1
_MAX_FLOWS: Final = 2_000  # of one service in one window
_MAX_MESSAGES: Final = 50_000
_MAX_CONNECTIONS: Final = 5_000

Opened = Callable[[], AbstractContextManager[ProfileStore]]
Report = Callable[..., None]
R = TypeVar("R")


class LibraryConfig(Section, frozen=True):
    """Settings of `[plugin.library]`."""

    # How long packets are gathered before they are cut into messages, and how many at most.
    window_s: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 10
    window_mb: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16
    # Messages of an unknown service before it is learnt.
    least_messages: Annotated[int, msgspec.Meta(ge=8, le=1_000)] = 64
    # Whether the proved first version of a new protocol may go into use without anybody's word.
    promote_first: bool = False
    # Of one discovery; it runs in a process of its own.
    max_seconds: Annotated[float, msgspec.Meta(ge=1, le=600)] = 60.0
    max_memory_mb: Annotated[int, msgspec.Meta(ge=128, le=16_384)] = 1_024
    at_once: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    # How far all of this steps back behind the node's other processes.
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] = 15


class BriefStore:
    """A profile store that is open only while it is asked; used by one thread.

    How profiles did is gathered and written down once a minute, as each writing is an epoch.
    """

    def __init__(self, opened: Opened, clock: Clock, stopping: threading.Event) -> None:
        self._opened = opened
        self._clock = clock
        self._stopping = stopping
        self._notes: dict[tuple[str, int], tuple[int, int]] = {}
        self._flushed_ns = clock.now().boot_ns
        self._stamp = (0, 0)
        self._others = False  # somebody else wrote since the active ones were asked for
        self.path: Path | None = None

    def names(self) -> tuple[str, ...]:
        """Give the names there are, sorted."""
        return self._asked(lambda store: store.names())

    def actives(self) -> dict[str, Profile]:
        """Give the active version of each name that has one."""
        found = self._asked(lambda store: store.actives())
        self._others = False
        return found

    def add(self, profile: Profile) -> Profile:
        """Store a profile as the next version of its name, a candidate; give it as stored."""
        return self._asked(lambda store: store.add(profile))

    def promote(self, name: str, version: int) -> Profile:
        """Put a version into use."""
        return self._asked(lambda store: store.promote(name, version))

    def note(self, name: str, version: int, *, parsed: int, failed: int) -> None:
        """Remember how a version did."""
        before = self._notes.get((name, version), (0, 0))
        self._notes[name, version] = before[0] + parsed, before[1] + failed

    def flush(self, *, now: bool = False) -> None:
        """Write down what was noted, once a minute or now."""
        at_ns = self._clock.now().boot_ns
        if not self._notes or not (now or at_ns - self._flushed_ns > _FLUSH_NS):
            return
        notes, self._notes, self._flushed_ns = self._notes, {}, at_ns

        def write(store: ProfileStore) -> None:
            for (name, version), (parsed, failed) in notes.items():
                with contextlib.suppress(InputError):  # it may be gone since
                    store.note(name, version, parsed=parsed, failed=failed)

        self._asked(write)

    def changed(self) -> bool:
        """Say whether somebody else has written since the active ones were asked for."""
        self._look()
        return self._others

    def _look(self) -> None:
        if self.path is not None and _stamp(self.path) != self._stamp:
            self._others = True

    def _asked(self, act: Callable[[ProfileStore], R]) -> R:
        for attempt in range(_TRIES):
            try:
                self._look()
                with self._opened() as store:
                    self.path = store.path
                    found = act(store)
            except DeniedError as error:
                # A command has it open: for a moment, as we do.
                last = attempt == _TRIES - 1 or self._stopping.is_set()
                if error.code != "discover.store_in_use" or last:
                    raise
                self._stopping.wait(_TRY_S)
            else:
                self._stamp = _stamp(self.path)
                return found
        raise AssertionError("unreachable")  # the last attempt returns or raises


def _stamp(path: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return 0, 0


class Feed:
    """Gathers packets for a while and gives the library the flows in them; used by one thread.

    Args:
        library: is given the flows.
        config: see `LibraryConfig`.
        clock: the time.
        hurried: says whether whoever runs this wants it to end.
    """

    def __init__(
        self,
        library: Library,
        config: LibraryConfig,
        clock: Clock,
        hurried: Callable[[], bool] = bool,
    ) -> None:
        self._library = library
        self._hurried = hurried
        self._config = config
        self._clock = clock
        self._began_ns = 0
        self._collector: Collector | None = None
        self.missed = 0

    def take(self, datagram: bytes) -> None:
        """Take a datagram of packets.

        Raises:
            InputError: it is none.
        """
        packets = unpack(datagram)
        if self._collector is None:
            most = self._config.window_mb << 20
            bounds = Bounds(most, _MAX_MESSAGES, _MAX_CONNECTIONS, self._late)
            self._collector = Collector(compile_filter(""), bounds)
            self._began_ns = self._clock.now().boot_ns
        self._collector.packets(packets, datagram)

    @property
    def due(self) -> bool:
        """Say whether enough was gathered, or for long enough."""
        if self._collector is None:
            return False
        spent_ns = self._clock.now().boot_ns - self._began_ns
        return self._collector.full or spent_ns > self._config.window_s * _S_NS

    def look(self) -> int:
        """Give the library what was gathered, as far as time allows; how many flows it took.

        Flows beyond that are missed, as packets are that come while this goes on.
        """
        collector, self._collector = self._collector, None
        if collector is None:
            return 0
        self._began_ns = self._clock.now().boot_ns
        flows = 0
        for service in collector.services():
            for messages in by_flow(service):
                if self._late(1.0):
                    self.missed += 1
                    continue
                self._library.flow(service.name, messages)
                flows += 1
        return flows

    def forget(self) -> None:
        """Let go what was gathered: a fault is in it."""
        self._collector = None

    def _late(self, share: float) -> bool:
        """Bound how long a look takes: twice as long as packets are gathered, a minute at most."""
        spent_ns = self._clock.now().boot_ns - self._began_ns
        most_ns = min(_MAX_LOOK_NS, 2 * self._config.window_s * _S_NS)
        return self._hurried() or spent_ns > share * most_ns


def by_flow(service: Service) -> list[tuple[Message, ...]]:
    """Give the messages of each flow of a service that says anything, bounded."""
    flows: OrderedDict[str, list[Message]] = OrderedDict()
    for message in service.messages:
        if message.payload and (message.flow in flows or len(flows) < _MAX_FLOWS):
            flows.setdefault(message.flow, []).append(message)
    return [tuple(of) for of in flows.values()]


def _fault(error: Exception) -> CronosError:
    """Say where a fault is; not in its own words, which may hold what strangers sent."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return CronosError(
        "discover.fault",
        f"What was gathered could not be learnt from: {type(error).__name__} ({where}).",
        "This is a fault of ours; report it.",
    )


class LibraryService:
    """Feeds the node's library of protocols from what its parsers see; a `Service`.

    Args:
        config: see `LibraryConfig`.
        clock: the time.
        tasks: where it runs.
        report: the log.
        learning: opens the node's profile store; and how the process of a discovery is started.
        control: the node's control socket; the others of this service lie beside it.
    """

    manifest = Manifest(
        name="library",
        summary="Learns unknown protocols from what the node sees, in the background.",
        capabilities=("observe",),
    )
    config_type: ClassVar[type[Section]] = LibraryConfig

    def __init__(
        self,
        config: LibraryConfig,
        *,
        clock: Clock,
        tasks: Tasks,
        report: Report,
        learning: tuple[Opened, tuple[tuple[str, ...], Mapping[str, str]]],
        control: Path,
    ) -> None:
        self._config = config
        self._clock = clock
        self._tasks = tasks
        self._report = report
        profiles, self._launch = learning
        self._path = control.with_name(SOCKET_NAME)
        self._gauges = control.with_name(GAUGES_NAME)
        self._stopping = threading.Event()
        self._store = BriefStore(profiles, clock, self._stopping)
        self._metrics = MemoryMetrics()
        self._socket: socket.socket | None = None
        self._ended = asyncio.Event()
        self._parts: tuple[Library, Feed, Jobs] | None = None
        self._wrong = ""
        self._told_ns = 0

    async def start(self) -> None:
        """Listen for packets; the store is opened when its keys are there.

        Raises:
            InputError: the socket cannot be made.
        """
        try:
            self._socket = bound(self._path)
        except OSError as error:
            raise InputError(
                "discover.no_feed",
                f"No packets can be taken at {self._path}: {error.strerror}.",
                "Choose a shorter --state folder that this user may write to.",
            ) from error
        with contextlib.suppress(OSError):
            os.nice(self._config.nice)
        self._tasks.spawn(self._run(), "library")

    async def stop(self) -> None:
        """End what runs, and write down how profiles did."""
        self._stopping.set()
        if self._socket is not None:
            await self._ended.wait()

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        if self._socket is None:
            return "Nothing is learnt: it was not started."
        return self._wrong or "ok"

    async def _run(self) -> None:
        """Turn in one thread of its own: the store and the kernel's ties to children want one."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "library") as one:
            try:
                while not self._stopping.is_set():
                    await loop.run_in_executor(one, self._turn)
            finally:
                try:
                    await loop.run_in_executor(one, self._close)
                finally:
                    self._ended.set()

    def _turn(self) -> None:
        parts = self._parts or self._begun()
        datagrams = self._received()
        if parts is None:
            return
        library, feed, _ = parts
        try:
            self._learn(library, feed, datagrams)
            self._wrong = ""
        except CronosError as error:
            self._fails(error)
        except Exception as error:  # noqa: BLE001 - strangers' bytes must not end the learning
            feed.forget()
            self._fails(_fault(error))
        self._tell(library, feed)

    def _learn(self, library: Library, feed: Feed, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            with contextlib.suppress(InputError):
                feed.take(datagram)
        if feed.due:
            if self._store.changed():
                library.reload()
            feed.look()
        for profile in library.step():
            self._report(
                "info", "profile.learnt", profile=profile.name, version=profile.version,
                detail=", ".join(profile.services[:4]),
            )  # fmt: skip
        self._store.flush()

    def _begun(self) -> tuple[Library, Feed, Jobs] | None:
        """Open the store when that can be done: the key agent may come up after this."""
        own = self._config
        limits = Limits(own.max_seconds, own.max_memory_mb)
        policy = Policy(own.promote_first, own.least_messages, limits=limits)
        jobs = Jobs(self._launch, self._clock, at_once=own.at_once)
        try:
            library = Library(self._store, jobs, self._clock, self._metrics, policy)
        except CronosError as error:
            jobs.close()
            self._fails(error)
            self._stopping.wait(_TURN_S)
            return None
        self._wrong = ""
        self._parts = library, Feed(library, own, self._clock, self._stopping.is_set), jobs
        return self._parts

    def _received(self) -> list[bytes]:
        """Wait a moment for packets, and take a bounded number of datagrams."""
        assert self._socket is not None  # noqa: S101 - it runs after `start` alone
        out: list[bytes] = []
        ready, _, _ = select.select([self._socket], [], [], _TURN_S)
        while ready and len(out) < _DATAGRAMS:
            try:
                out.append(self._socket.recv(MAX_BYTES, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
        return out

    def _fails(self, error: CronosError) -> None:
        """Say once what is wrong."""
        if self._wrong != error.sentence:
            self._wrong = error.sentence
            self._report("warning", "library.failed", detail=error.sentence, remedy=error.remedy)

    def _tell(self, library: Library, feed: Feed) -> None:
        """Write down how it goes, for who serves the node's metrics."""
        now_ns = self._clock.now().boot_ns
        if now_ns - self._told_ns < _TELL_NS:
            return
        self._told_ns = now_ns
        gauges = {"discover.hit_rate": library.hit_rate, "discover.learning": library.learning}
        gauges |= {f"discover.flows.{how}": many for how, many in library.counts.items()}
        gauges |= {"discover.unused": library.unused, "discover.missed": feed.missed}
        counters = self._metrics.counters
        gauges |= {name: counters.get(name, 0) for name in ("discover.learned", "discover.failed")}
        data = msgspec.json.encode(gauges)
        new = self._gauges.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk costs the figures, not the learning
            new.write_bytes(data)
            new.replace(self._gauges)

    def _close(self) -> None:
        if self._parts is not None:
            library, _, jobs = self._parts
            jobs.close()
            library.close()
            with contextlib.suppress(CronosError):
                self._store.flush(now=True)
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._gauges.unlink(missing_ok=True)  # nobody is told of what has ended
