"""The mesh over gRPC: direct streams between nodes, with mutual TLS; the default `Mesh`.

Each node listens on one port and dials those that it was told to. `streams_link` has the words,
`streams_session` what is owed across streams, `streams_tls` who is believed, `streams_dial` when
it dials. Here they are put together, and here is decided how long a stream may live:

* Its dialler replaces it before it has stood for `max_age_s`, before the first of the two
  certificates has used up four fifths of what it had left, and when its own was renewed.
* It is cut a quarter of its age later; at once when a revocation list names the peer; and when
  the first certificate has ended, plus `grace_s` for a stream that stood before.
* A peer that knows beats and has said nothing for `silence_s` is taken for gone.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from cronos.config import Section
from cronos.crypto.pki.chain import EXPIRED
from cronos.crypto.pki.presence import nonce
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.upkeep import Report
from cronos.mesh import streams_wire
from cronos.mesh.corelog import LONG, Failed
from cronos.mesh.door import Door
from cronos.mesh.strangers import Strangers
from cronos.mesh.streams_dial import Dialler, parse_address, target_of
from cronos.mesh.streams_link import NEVER_NS, Attachment, Link, Surroundings
from cronos.mesh.streams_pipes import Calls, Greeter
from cronos.mesh.streams_session import Bounds
from cronos.mesh.streams_tls import Identities, Kept
from cronos.ports import Clock, Egress, Ids, Linked, Tasks
from cronos.types import MAX_FRAME_BYTES, Lane, Manifest

_S_NS: Final = 1_000_000_000
_TICK_S: Final = 1.0
# What is owed to a peer that dialled us and has gone, and what came of it, is kept for so long.
_KEPT_NS: Final = 600 * _S_NS
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to look at our own port


class GrpcMeshConfig(Section, frozen=True):
    """Where it listens, and how much and how long it bears.

    Attributes:
        listen: host and port; port 0 takes a free one.
        max_age_s: a stream is replaced before it has stood for so long.
        silence_s: a peer that has said nothing for so long is taken for gone.
        grace_s: for how long a stream that stands may outlive a certificate that nobody renews.
        drain_s: for how long `stop` waits for what is queued.
        max_connections: connections that may stand or be about to.
        waiting_kib: what may wait for one peer, on each lane.
        bulk_window_kib: what may be under way to one receiver on `bulk`; threats wait behind it.
        records_window_kib: the same on `records`.
    """

    listen: Annotated[str, Meta(min_length=3, max_length=260)] = "127.0.0.1:7443"
    max_age_s: Annotated[int, Meta(ge=1, le=86_400)] = 3600
    silence_s: Annotated[int, Meta(ge=1, le=60)] = 3
    grace_s: Annotated[int, Meta(ge=0, le=604_800)] = 0
    drain_s: Annotated[int, Meta(ge=0, le=60)] = 2
    max_connections: Annotated[int, Meta(ge=2, le=65_536)] = 512
    waiting_kib: Annotated[int, Meta(ge=1024, le=1 << 20)] = 4096
    bulk_window_kib: Annotated[int, Meta(ge=16, le=1 << 16)] = 512
    records_window_kib: Annotated[int, Meta(ge=16, le=1 << 16)] = 512


class LinkState(msgspec.Struct, frozen=True):
    """How a link stands, for people.

    Attributes:
        peer: its instance.
        address: where it is dialled; empty where only it dials.
        up: whether it is linked.
        dialler: who dialled the stream that is active.
        version: of the wire, as agreed.
        age_s: of that stream.
        rtt_ms: of beats, smoothed; 0 while none came back.
        queued: messages that wait or are not acknowledged.
        waiting_bytes: what waits.
        failures: dials in a row that failed.
        breaker: ``open`` or ``closed``.
        trouble: why the last dial failed.
    """

    peer: str
    address: str
    up: bool
    dialler: str
    version: int
    age_s: float
    rtt_ms: float
    queued: int
    waiting_bytes: int
    failures: int
    breaker: str
    trouble: str


class GrpcMesh:
    """A node's end of all its links; a `Mesh`.

    Args:
        config: see `GrpcMeshConfig`.
        clock: the time.
        tasks: where links and dials run.
        egress: the gate that each dial passes.
        ids: name this life of the process.
        holder: opens the node's credential; called by `start`.
        report: told what a person should know, and who was refused.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "grpc",
        "Streams between nodes over gRPC: mutual TLS 1.3, X25519MLKEM768, lanes and credits.",
        capabilities=("mesh",),
    )
    config_type: ClassVar[type[Section]] = GrpcMeshConfig

    def __init__(  # noqa: PLR0913 - the ports that it needs, each injected by its name
        self,
        config: GrpcMeshConfig,
        *,
        clock: Clock,
        tasks: Tasks,
        egress: Egress,
        ids: Ids,
        holder: Callable[[], Kept],
        report: Report,
    ) -> None:
        self._config = config
        self._clock = clock
        self._tasks = tasks
        self._egress = egress
        self._ids = ids
        self._holder = holder
        self._report = report
        self._links: dict[str, Link] = {}
        self._diallers: dict[str, Dialler] = {}
        self._identities: Identities | None = None
        self._around: Surroundings | None = None
        self._server: Any = None
        self._calls: Calls | None = None
        self._door: Door | None = None
        self._strangers = Strangers(clock, report)
        self._running = False
        self._ended = asyncio.Event()
        self.address = ""
        """Where it listens, once started."""
        self.speaks = streams_wire.VERSION

    @property
    def me(self) -> str:
        """The instance that the node's certificate names, once started."""
        return self._known().me

    async def start(
        self, receive: Callable[[str, Lane, bytes], Awaitable[None]], linked: Linked
    ) -> None:
        """Listen; see `Mesh.start`.

        Raises:
            InputError: there is no credential.
            DeniedError: it does not open, the port is taken, or TLS is weaker than it must be.
        """
        known = await asyncio.to_thread(lambda: Identities(self._holder(), self._clock))
        kib, bounds = 1024, Bounds()
        windows = (
            *bounds.windows[:3],
            self._config.records_window_kib * kib,
            self._config.bulk_window_kib * kib,
        )
        bounds = Bounds(bounds.batch_bytes, self._config.waiting_kib * kib, windows)
        life = f"{self._ids.next('mesh')}-{nonce().hex()[:16]}"
        self._identities = known
        self._around = Surroundings(
            me=known.me,
            life=life,
            counter=itertools.count(1),
            bounds=bounds,
            clock=self._clock,
            tasks=self._tasks,
            report=self._report,
            receive=receive,
            linked=linked,
        )
        self._ended.clear()
        self._running = True
        greeter = Greeter(known, self._clock, self._link_of, self._terms_ns, self.speaks)
        self._door = door = Door(self._config.max_connections, self._clock, self._crowded)
        known.knocked = door.knock
        self._calls = Calls(greeter, self._report, door, self._clock)
        try:
            await self._listen(known)
        except BaseException:
            self._running = False
            await self._server.stop(None)
            raise
        self._tasks.spawn(self._tick(), "mesh-tick")
        self._tasks.spawn(door.keep(parse_address(self.address)[1]), "mesh-door")

    def failed(self, failed: Failed) -> None:
        """Take word of who was refused at this node's port; for a `CoreLog`."""
        if failed.reason == LONG:
            if self._calls is not None:
                self._calls.too_long()
        elif (failed.host, failed.port) not in self._known().probes:
            self._strangers.refused(failed.reason, failed.host)

    def _crowded(self, host: str) -> None:
        self._strangers.refused("mesh.crowded_port", host)

    async def _listen(self, known: Identities) -> None:
        host, port = _listening(self._config.listen)
        assert self._calls is not None  # noqa: S101 - `start` has just made it
        self._server = self._calls.server(self._config.max_connections)
        try:
            bound = self._server.add_secure_port(_bind(host, port), known.server_credentials())
        except RuntimeError as error:
            raise DeniedError(
                "mesh.port_taken",
                f"Port {port} at {host} cannot be listened on.",
                "Choose another with `listen` under [plugin.grpc], or end what uses it.",
            ) from error
        await self._server.start()
        near = _ANYWHERE.get(host, host)
        self.address = f"[{near}]:{bound}" if ":" in near else f"{near}:{bound}"
        await asyncio.to_thread(known.require_strict, (near, bound))

    def connect(self, peer: str, address: str) -> None:
        """Keep a link; see `Mesh.connect`. A known peer is dialled at its new address.

        Raises:
            InputError: `address` is none.
        """
        place = parse_address(address)
        if not peer:
            self._tasks.spawn(self._seek(place), "mesh-seed")
            return
        if peer == self._known().me:
            return
        dialler = self._diallers.get(peer)
        if dialler is not None:
            dialler.move(place)
            return
        dialler = Dialler(self._link_of(peer), place, self._dial, self._clock, self._report)
        self._diallers[peer] = dialler
        self._tasks.spawn(dialler.run(), f"mesh-dial-{peer}")

    async def _seek(self, place: tuple[str, int]) -> None:
        """Learn who listens at the address of a seed, and connect to it."""
        pause_s, told = 0.05, ""
        while self._running:
            try:
                self._egress.permit(*place, "mesh")
                identity = await asyncio.to_thread(self._known().identify, place)
            except CronosError as error:
                if error.sentence != told:
                    self._report("warning", error.code, seed=place[0], detail=error.sentence)
                told = error.sentence
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), pause_s)
                pause_s = min(2 * pause_s, 5.0)
            else:
                if self._running:
                    self.connect(identity.name, _joined(*place))
                return

    def forget(self, peer: str) -> None:
        """Drop a link; see `Mesh.forget`."""
        dialler = self._diallers.pop(peer, None)
        if dialler is not None:
            dialler.end()
        link = self._links.pop(peer, None)
        if link is not None:
            link.close()

    async def send(self, peer: str, lane: Lane, data: bytes) -> None:
        """Send; see `Mesh.send`."""
        link = self._links.get(peer)
        if link is None or not (link.up or peer in self._diallers):
            raise UnreachableError(
                "mesh.no_peer",
                f"{peer[:63]!r} is not connected to this node.",
                "See `cronos mesh peers`; name its address, or wait until it joins.",
            )
        if len(data) > MAX_FRAME_BYTES:
            raise InputError(
                "mesh.long_message",
                f"A message of {len(data)} bytes is longer than {MAX_FRAME_BYTES}.",
                "Send it in parts.",
            )
        if not link.offer(lane, data):
            await link.send(lane, data)

    def peers(self) -> tuple[str, ...]:
        """Give the instances that are linked now, sorted."""
        return tuple(sorted(peer for peer, link in self._links.items() if link.up))

    def permit(self, host: str, port: int) -> None:
        """Return where the gate lets datagrams out as well.

        Raises:
            DeniedError: it does not.
        """
        self._egress.permit(host, port, "mesh")

    def bound_hash(self, peer: str) -> bytes | None:
        """Give the hash of the ML-DSA-87 key that a linked peer's certificate binds."""
        link = self._links.get(peer)
        active = link.active if link is not None else None
        return active.terms.identity.mldsa_hash if active is not None else None

    def stalled_ns(self, peer: str) -> int:
        """Say for how long a peer's process has taken nothing off its stream, 0 while it does.

        What it has taken and not worked off yet does not count.
        """
        link = self._links.get(peer)
        return link.stalled_ns() if link is not None else NEVER_NS

    def states(self) -> tuple[LinkState, ...]:
        """Say how each link stands, sorted by peer."""
        now_ns = self._clock.now().boot_ns
        return tuple(self._state(peer, now_ns) for peer in sorted(self._links))

    def _state(self, peer: str, now_ns: int) -> LinkState:
        link, dialler = self._links[peer], self._diallers.get(peer)
        active = link.active
        return LinkState(
            peer,
            _joined(*dialler.address) if dialler else "",
            link.up,
            active.terms.dialler if active else "",
            active.terms.version if active else 0,
            (now_ns - active.since_ns) / _S_NS if active else 0.0,
            link.rtt_ns / 1e6,
            link.session.out.queued,
            link.session.out.waiting_bytes,
            dialler.failures if dialler else 0,
            "open" if dialler and dialler.open and not link.up else "closed",
            dialler.trouble if dialler else "",
        )

    async def stop(self) -> None:
        """Drain what is queued, for `drain_s` at most, and end; more than once is harmless."""
        if not self._running:
            return
        self._running = False
        until_ns = self._clock.now().boot_ns + self._config.drain_s * _S_NS
        while self._busy() and self._clock.now().boot_ns < until_ns:  # noqa: ASYNC110 - many links
            await asyncio.sleep(0.002)
        self._ended.set()
        for peer in tuple(self._links):
            self.forget(peer)
        if self._calls is not None and self._door is not None:
            self._door.close()
            await self._calls.close()
        await self._server.stop(None)

    def _busy(self) -> bool:
        return any(link.up and link.session.out.queued for link in self._links.values())

    def _known(self) -> Identities:
        if self._identities is None:
            raise UnreachableError(
                "mesh.not_started", "The mesh has not started.", "Start it before it is used."
            )
        return self._identities

    def _link_of(self, peer: str) -> Link:
        """Give the link to a peer, made now if need be.

        Raises:
            UnreachableError: this node is stopping.
        """
        link = self._links.get(peer)
        if link is not None:
            return link
        if not self._running or self._around is None:
            raise UnreachableError("mesh.stopping", "The node is stopping.", "Try another one.")
        link = self._links[peer] = Link(peer, self._around)
        return link

    async def _dial(self, link: Link, address: tuple[str, int]) -> None:
        self._egress.permit(*address, "mesh")
        assert self._calls is not None  # noqa: S101 - nothing is dialled before `start`
        opened = await self._calls.dial(link, target_of(*address))
        if opened is not None:
            self._tasks.spawn(opened, f"mesh-read-{link.peer}")

    def _terms_ns(self, peer: str, expires_ns: int) -> tuple[int, int]:
        """Say when a new stream should be replaced and when it is cut, by boot time."""
        now = self._clock.now()
        left_ns = max(0, expires_ns - now.wall_ns) * 4 // 5
        age_ns = self._config.max_age_s * _S_NS
        # Spread by up to a fifth, so that not all streams are replaced at the same moment.
        drawn = hashlib.sha256(f"{peer} {now.boot_ns}".encode()).digest()[0]
        spread_ns = age_ns * drawn // 1280
        return now.boot_ns + min(age_ns - spread_ns, left_ns), now.boot_ns + age_ns * 5 // 4

    async def _tick(self) -> None:
        """Once a second: beats, renewed certificates and lists, streams that must end."""
        while self._running:
            try:
                await self._refresh()
            except CronosError as error:
                self._report("error", error.code, detail=error.sentence)
            self._sweep()
            self._strangers.tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _TICK_S)

    async def _refresh(self) -> None:
        if await asyncio.to_thread(self._known().refresh):
            self.replace()

    def replace(self) -> None:
        """Have each stream that this node dialled replaced now, as after a renewal."""
        for link in self._links.values():
            active = link.active
            if active is not None and active.terms.dialler == self._known().me:
                active.terms = msgspec.structs.replace(active.terms, renew_ns=0)
                link.changed.set()

    def _sweep(self) -> None:
        for link in tuple(self._links.values()):
            for stream in tuple(link.standing):
                why = self._over(stream)
                if why is not None:
                    self._report("warning", why.code, peer=link.peer, detail=why.sentence)
                    link.detach(stream)
                elif stream is link.active:
                    link.beat(stream)
            gone_ns = self._clock.now().boot_ns - link.down_ns
            if not link.up and link.peer not in self._diallers and gone_ns > _KEPT_NS:
                self.forget(link.peer)

    def _over(self, stream: Attachment) -> CronosError | None:
        """Say why a stream must end now; None while it may go on."""
        now, terms = self._clock.now(), stream.terms
        try:
            self._known().verify(stream.terms.chain)
        except CronosError as error:
            ends_ns = terms.expires_ns + self._config.grace_s * _S_NS
            if error.code != EXPIRED or now.wall_ns >= ends_ns:
                return error
        if now.wall_ns >= terms.expires_ns + self._config.grace_s * _S_NS:
            return _ended("mesh.expired", "A certificate has ended")
        if now.boot_ns >= terms.ends_ns:
            return _ended("mesh.too_old", f"It has stood for more than {self._config.max_age_s} s")
        silent_ns = now.boot_ns - stream.heard_ns
        if terms.version > 1 and silent_ns > self._config.silence_s * _S_NS:
            return _ended("mesh.silent", f"Nothing came for {silent_ns / _S_NS:.1f} s")
        return None


def _ended(code: str, why: str) -> UnreachableError:
    return UnreachableError(
        code, f"A stream was ended: {why}.", "If no other takes its place, look at the peer."
    )


def _listening(address: str) -> tuple[str, int]:
    """Read where to listen; port 0 is allowed here."""
    if address.endswith(":0"):
        return parse_address(f"{address[:-2]}:1")[0], 0
    return parse_address(address)


def _bind(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
