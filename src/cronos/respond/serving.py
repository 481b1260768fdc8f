"""The enforcer as a process: one selector, a few connections on a Unix socket.

What waits for others is carried out in threads of its own (see `cronos.respond.aside`);
the part of an order that one takes is answered in a frame of its own, later.

A client says `Hello` and hears `Restart` (what is held; several frames when it is much), then
sends `Order` and hears `Outcomes` with that order's number, split over several frames only when
they exceed one. `Outcomes` numbered 0 tell everyone what was undone or put back unasked. `Kill` is
answered with how the kill switch stands: with a `subject` while an order is still under way aside,
and without one once nothing is. Whoever sends anything else loses its connection, and nobody else
notices. No client is heard for longer than a moment while others wait, and a few places are kept
for the kill switch.

SIGTERM ends the process at once and undoes nothing: the leases stay in the book, the kernel's own
timeouts run on, and the next start takes up from there. With `linger` it stays until the last
lease has ended.
"""

import contextlib
import gc
import selectors
import signal
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.link.frames import FrameSplitter, frame, listen, require_same_user
from cronos.link.killswitch import FILE_NAME, KillSwitch
from cronos.ports import Clock, Executor, Sealer
from cronos.respond.aside import Aside, Lanes, book_folder, points_with_books, waits
from cronos.respond.deeds import FOLDER as DEEDS_FOLDER
from cronos.respond.deeds import Approvals, Deeds, nobody
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.respond.machine import own_addresses
from cronos.respond.points import outcome_of
from cronos.types import Hello, Kill, Lease, Order, Outcome, Outcomes, Restart, decode, encode

_READ_BYTES: Final = 1 << 18
_MAX_UNTAKEN_BYTES: Final = 16 << 20
_PART_BYTES: Final = 900_000
_S_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000
_NAMED_EFFECTS: Final = 5
# Of what is held, between two turns of the orders: to look at one effect takes some 20 us.
_LOOKED_AT: Final = 200
# How soon the file of the kill switch is seen where nothing else happens.
_LOOK_S: Final = 0.1
# How long one client is heard while others wait, give or take one order.
_TURN_NS: Final = 10 * _MS_NS
# Places for those who throw the kill switch while all others are taken.
_SPARE: Final = 4
_UNDER_WAY: Final = "An order is under way at a point that waits for others."
_STOP: Final = "stop"
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Home(NamedTuple):
    """Where the enforcer keeps its books, how they are hidden, and who hears what was lost.

    The sealer is used from several threads. `Keyless` stands in where its key cannot be had;
    without any the books lie readable. `kill` is the file of the kill switch, beside the folder
    unless it is named; `approvals` knows the operators, and is asked from several threads.
    """

    folder: Path
    sealer: Sealer | None = None
    say: Callable[[str], None] = lambda _sentence: None
    kill: Path | None = None
    approvals: Approvals = nobody


def run(
    config: EnforcerConfig,
    executors: Mapping[str, Executor],
    home: Home | Path,
    socket_path: Path,
    clock: Clock,
    own: Callable[[], Mapping[str, str]] = own_addresses,
) -> None:
    """Be the enforcer until SIGTERM or SIGINT: take up the book, listen, serve.

    `own` gives this machine's own addresses, which no order may name.

    Raises:
        CronosError: the book is held by another enforcer or cannot be used, or the socket cannot
            be made.
    """
    home = home if isinstance(home, Home) else Home(home)
    folder, sealer, say = home.folder, home.sealer, home.say
    switch = KillSwitch(home.kill or folder.parent / FILE_NAME, folder / "kill", say)
    slow = {name: it for name, it in executors.items() if waits(it)}
    with contextlib.ExitStack() as left, stop_signals() as stop:
        book = left.enter_context(contextlib.closing(LeaseBook(folder, sealer)))
        quick = {name: it for name, it in executors.items() if name not in slow}
        enforcer = Enforcer(config, quick, book, clock, own)
        enforcer.arm(switch, left.enter_context(_deeds(home, folder, clock)))
        lanes: dict[str, Aside[_Client]] = {}
        # Leases from before must end though their point is configured no more.
        for point in points_with_books(folder, slow):
            its_folder = book_folder(folder, point)
            beside = LeaseBook(its_folder, sealer, f"leases-{its_folder.name}")
            its_book = left.enter_context(contextlib.closing(beside))
            _tell(its_book, say)
            served = {point: slow[point]} if point in slow else {}
            other = Enforcer(config, served, its_book, clock, own)
            other.share_budget(enforcer)
            other.arm(switch, left.enter_context(_deeds(home, its_folder, clock)))
            told = bool(its_book.leases) and not its_book.defects
            lane = Aside[_Client](other, clock, None if told else partial(_tell_lost, say))
            lanes[point] = left.enter_context(contextlib.closing(lane))
        aside = left.enter_context(contextlib.closing(Lanes(lanes))) if lanes else None
        # A collection of everything took up to 10 ms between an order and its effect.
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        # A book that is gone looks like one that never was.
        suspect = bool(book.defects) or enforcer.idle()
        # What is overdue is undone before anyone can ask for more.
        recovered = enforcer.recover()
        _tell(book, say)
        _tell_lost(say, enforcer.unaccounted() if suspect else ())
        listener = listen(socket_path)
        try:
            serve(enforcer, listener, clock, stop, recovered, aside)
        finally:
            listener.close()
            socket_path.unlink(missing_ok=True)


def _deeds(home: Home, folder: Path, clock: Clock) -> contextlib.closing[Deeds]:
    """Open the book of what cannot be taken back, beside a book of leases."""
    deeds = Deeds(folder / DEEDS_FOLDER, home.sealer, clock, home.approvals)
    _tell(deeds.book, home.say)
    return contextlib.closing(deeds)


def _tell(book: LeaseBook, say: Callable[[str], None]) -> None:
    for sentence in book.defects:
        say(sentence)


def _tell_lost(say: Callable[[str], None], unaccounted: Sequence[str]) -> None:
    if unaccounted:
        named = ", ".join(unaccounted[:_NAMED_EFFECTS])
        more = len(unaccounted) - _NAMED_EFFECTS
        say(
            f"No lease in the book holds {len(unaccounted)} effects that are there: {named}"
            f"{f' and {more} more' if more > 0 else ''}. What the kernel times out ends by itself; "
            "release the others."
        )


class Keyless:
    """Stands where a sealer should, when its key cannot be had: nothing is sealed or opened.

    The book then takes no record, so nothing is applied that only the book could undo, and what
    it holds on disk stays as it is for a start with the key.
    """

    sealing: str = "no key"
    seal_version: int = 1

    def __init__(self, reason: CronosError) -> None:
        self._reason = reason

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Refuse.

        Raises:
            UnreachableError: always, with the reason.
        """
        del plain, context, subject
        raise self._unreachable()

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Refuse.

        Raises:
            UnreachableError: always, with the reason.
        """
        del sealed, context
        raise self._unreachable()

    def shred(self, subject: str) -> bool:
        """Refuse.

        Raises:
            UnreachableError: always, with the reason.
        """
        del subject
        raise self._unreachable()

    def _unreachable(self) -> UnreachableError:
        return UnreachableError(
            "respond.no_key",
            f"The enforcer has no key to seal its book with: {self._reason.sentence}",
            self._reason.remedy,
        )


def serve(
    enforcer: Enforcer,
    listener: socket.socket,
    clock: Clock,
    stop: socket.socket | None = None,
    recovered: Outcomes | None = None,
    aside: "Lanes[_Client] | None" = None,
) -> None:
    """Answer connections and undo what expires, until `stop` becomes readable.

    `aside` carries out what concerns foreign systems; without it `enforcer` does all.

    The first who says `Hello` is told what was `recovered` before anyone could hear it.
    """
    attendant = _Attendant(enforcer, listener, clock, aside)
    attendant.untold = recovered
    if stop is not None:
        attendant.heed(stop)
    try:
        while attendant.attend():
            pass
    finally:
        attendant.close()


@contextlib.contextmanager
def stop_signals() -> Generator[socket.socket]:
    """Give a socket that becomes readable at SIGTERM or SIGINT; the main thread only."""
    told, teller = socket.socketpair()
    told.setblocking(False)
    teller.setblocking(False)
    former = signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _heard) for number in _STOP_SIGNALS}
    try:
        yield told
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former)
        told.close()
        teller.close()


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor has told the selector already."""


class _Client:
    """One connection: what was read of its next frame, and what it has not taken yet."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.splitter = FrameSplitter()
        self.frames: deque[bytes] = deque()
        self.untaken = bytearray()
        self.is_spare = False


class _Attendant:
    """Waits for sockets and for time, and does what has come due."""

    def __init__(
        self,
        enforcer: Enforcer,
        listener: socket.socket,
        clock: Clock,
        aside: Lanes[_Client] | None = None,
    ) -> None:
        self.untold: Outcomes | None = None
        self._aside = aside
        self._enforcer = enforcer
        self._clock = clock
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._clients: set[_Client] = set()
        self._stopping = False
        self._was_asked = False  # by any client, ever
        self._unsettled: list[_Client] = []  # who threw the kill switch and waits for the rest
        self._reconcile_ns = self._reconcile_next()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        if aside is not None:
            self._selector.register(aside.woken, selectors.EVENT_READ)

    def heed(self, stop: socket.socket) -> None:
        """Stop when `stop` becomes readable."""
        self._selector.register(stop, selectors.EVENT_READ, _STOP)

    def attend(self) -> bool:
        """Wait for the next thing and do it; False when it is time to leave."""
        for key, events in self._selector.select(self._patience_s()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.data is _STOP:
                self._selector.unregister(key.fileobj)
                self._begin_to_stop()
            elif isinstance(key.data, _Client) and key.data in self._clients:
                self._converse(key.data, events)
        for client in [one for one in self._clients if one.frames]:
            self._hear(client)
        self._pass_on()
        self._settle()
        self._announce(self._enforcer.expire())
        if self._clock.now().boot_ns >= self._reconcile_ns:
            self._announce(self._enforcer.reconcile(_LOOKED_AT))
            if not self._enforcer.reconciling:
                self._reconcile_ns = self._reconcile_next()
        return not self._may_leave()

    def close(self) -> None:
        """Close every connection."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()

    def _may_leave(self) -> bool:
        if not self._enforcer.config.linger:
            return self._stopping
        deserted = self._was_asked and not self._clients
        idle = self._enforcer.idle() and (self._aside is None or self._aside.idle())
        return idle and (self._stopping or deserted)

    def _patience_s(self) -> float:
        if any(client.frames for client in self._clients):
            return 0
        due = self._enforcer.next_expiry_ns()
        at = self._reconcile_ns if due is None else min(due, self._reconcile_ns)
        return min(_LOOK_S, max(0, at - self._clock.now().boot_ns) / _S_NS)

    def _reconcile_next(self) -> int:
        return self._clock.now().boot_ns + self._enforcer.config.reconcile_ms * _MS_NS

    def _begin_to_stop(self) -> None:
        self._stopping = True
        self._selector.unregister(self._listener)

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError:
            return  # gone before it was taken, or no descriptors are left
        try:
            require_same_user(connected)
        except DeniedError:
            connected.close()
            return
        connected.setblocking(False)
        client = _Client(connected)
        client.is_spare = len(self._clients) >= self._enforcer.config.max_clients
        if client.is_spare and not self._spare_place():
            connected.close()
            return
        self._clients.add(client)
        self._was_asked = True
        self._selector.register(connected, selectors.EVENT_READ, client)

    def _spare_place(self) -> bool:
        """Keep a few places for the kill switch: among themselves the newest is heard."""
        spares = [one for one in self._clients if one.is_spare and one not in self._unsettled]
        if len(self._clients) >= self._enforcer.config.max_clients + _SPARE and spares:
            self._drop(spares[0])
        return len(self._clients) < self._enforcer.config.max_clients + _SPARE

    def _converse(self, client: _Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(client, b"")
        if not events & selectors.EVENT_READ or client not in self._clients or client.frames:
            return
        try:
            data = client.socket.recv(_READ_BYTES)
            if data:
                client.frames += client.splitter.feed(data)
                return
        except BlockingIOError:
            return
        except (OSError, CronosError):
            pass
        self._drop(client)

    def _hear(self, client: _Client) -> None:
        """Answer what a client has said, for one turn; the others are asked before its next."""
        until_ns = self._clock.now().boot_ns + _TURN_NS
        try:
            while client.frames and client in self._clients:
                self._send(client, self._reply(client, client.frames.popleft()))
                if self._clock.now().boot_ns >= until_ns:
                    return
        except (CronosError, ValueError):
            self._drop(client)  # it does not speak our language: only its own connection ends

    def _reply(self, client: _Client, received: bytes) -> bytes:
        message = decode(received)
        if isinstance(message, Kill):
            return self._killed(client, message)
        if client.is_spare:
            raise ValueError("this place is for the kill switch")
        if isinstance(message, Order):
            return b"".join(self._carried_out(client, message))
        if isinstance(message, Hello):
            held = self._enforcer.held() + (self._aside.held() if self._aside is not None else ())
            greeting = b"".join(_restart_frames(held))
            if self.untold is not None and self.untold.outcomes:
                greeting += b"".join(_outcome_frames(self.untold))
            self.untold = None
            return greeting
        raise ValueError("neither an order nor a greeting")

    def _killed(self, client: _Client, kill: Kill) -> bytes:
        """Throw the kill switch; what waits aside for a foreign system is answered for later."""
        state = self._enforcer.kill(kill)
        self._announce(self._enforcer.expire())
        if self._aside is not None:
            self._aside.heed()
        if self._aside is None or self._aside.settled():
            return frame(encode(replace(state, subject="")))
        self._unsettled.append(client)
        return frame(encode(replace(state, subject=_UNDER_WAY)))

    def _settle(self) -> None:
        """Tell those who threw the kill switch that by now nothing is under way any more."""
        if self._unsettled and self._aside is not None and self._aside.settled():
            waiting, self._unsettled = self._unsettled, []
            for client in waiting:
                state = self._enforcer.switched()
                self._send(client, frame(encode(replace(state, subject=""))))

    def _carried_out(self, client: _Client, order: Order) -> Iterator[bytes]:
        """Carry out what can be at once and answer it; the rest is answered when it is done."""
        points = self._aside.points if self._aside is not None else frozenset[str]()
        later = [a for a in order.actions if a.enforcement_point in points]
        if self._aside is None or not later:
            yield from _outcome_frames(self._enforcer.handle(order))
            return
        now = [a for a in order.actions if a.enforcement_point not in points]
        if now:
            at_once = Order(order.order_id, order.operation, tuple(now))
            yield from _outcome_frames(self._enforcer.handle(at_once))
        part = Order(order.order_id, order.operation, tuple(later))
        if full := self._aside.submit(client, part):
            why = "refused: too many orders wait for this enforcement point."
            refused = [outcome_of(action, order.operation, why, ok=False) for action in full]
            yield from _outcome_frames(Outcomes(order.order_id, tuple(refused)))

    def _pass_on(self) -> None:
        """Hand out what was finished aside; answers whose caller has gone are news to all."""
        for caller, answer in self._aside.take() if self._aside is not None else ():
            if caller is not None and caller in self._clients:
                self._send(caller, b"".join(_outcome_frames(answer)))
            elif self._was_asked:
                self._announce(Outcomes(0, answer.outcomes))
            else:
                told = self.untold.outcomes if self.untold is not None else ()
                self.untold = Outcomes(0, (*told, *answer.outcomes))

    def _announce(self, news: Outcomes) -> None:
        if news.outcomes:
            data = b"".join(_outcome_frames(news))
            for client in list(self._clients):
                self._send(client, data)

    def _send(self, client: _Client, data: bytes) -> None:
        """Send what fits now and keep the rest; one who does not take it is dropped."""
        if client not in self._clients:
            return
        client.untaken += data
        try:
            while client.untaken:
                del client.untaken[: client.socket.send(client.untaken)]
        except BlockingIOError:
            if len(client.untaken) > _MAX_UNTAKEN_BYTES:
                self._drop(client)
                return
        except OSError:
            self._drop(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.untaken else 0)
        self._selector.modify(client.socket, wanted, client)

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client.socket)
            client.socket.close()


def _restart_frames(leases: Sequence[Lease]) -> Iterator[bytes]:
    """Cut what is held into frames: at least one, since the caller waits for it."""
    parts = _parts(leases) or [[]]
    for number, part in enumerate(parts, 1):
        yield frame(encode(Restart(tuple(part), number == len(parts))))


def _outcome_frames(answer: Outcomes) -> Iterator[bytes]:
    for part in _parts(answer.outcomes) or [[]]:
        yield frame(encode(Outcomes(answer.order_id, tuple(part))))


DatumT = TypeVar("DatumT", Lease, Outcome)


def _parts(data: Sequence[DatumT]) -> list[list[DatumT]]:
    """Cut a sequence so that each part fits into one frame."""
    parts: list[list[DatumT]] = []
    room = 0
    for datum in data:
        size = len(encode(datum))
        if size > room or not parts:
            parts.append([])
            room = _PART_BYTES
        parts[-1].append(datum)
        room -= size
    return parts
