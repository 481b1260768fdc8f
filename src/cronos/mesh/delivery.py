"""Delivery: what is posted reaches every peer at least once, or expires.

A message is *acknowledged* when `post` returns: it is on this node's disk. It is sent at once and
waits for no disk and no signature; the signature follows. A peer answers cumulatively, once what it
heard is on its own disk, and is told again what it does not hold: at every new link, and when
nothing moves. What it heard is handed over once, and again after its own restart, as far as it
still counts: a process that died may have lost it.

`heard` is called with ``signed=False`` when a message arrives, and a second time with True when its
signature has been verified. What is forged, not signed in time, or said in another's name is
reported against the peer, and never raises here.

Receipts are cumulative and leave in order: one for a message that overtook another waits until that
one is here. They carry the incarnation that they answer, so that a peer which has restarted, and
numbers its bulletins anew, takes none of them for what it says now.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from cronos.errors import CronosError, InputError, UnreachableError
from cronos.mesh import wire
from cronos.mesh.batches import Seals, leaf_of
from cronos.mesh.claims import Claims
from cronos.mesh.entries import MAX_TTL_NS, Took, until
from cronos.mesh.line import RESEND_NS, Line
from cronos.mesh.outbox import Message, Outbox
from cronos.mesh.packing import Packing
from cronos.mesh.rates import Rates
from cronos.mesh.signing import Signing
from cronos.mesh.standing import Counts, Standing
from cronos.mesh.storing import Storing
from cronos.ports import Clock, Mesh, Tasks
from cronos.types import Bulletin, Datum, Lane, Now, Receipt, Unknown, decode, encode

Heard: TypeAlias = Callable[[str, Datum, bool], None]
"""Told the peer, what it said, and whether that is signed; see the module."""

Report: TypeAlias = Callable[[str, str, str], None]
"""Told the peer that it is about ("" for this node), a code ``mesh.reason``, and a sentence."""

_NS: Final = 1_000_000_000
_RECEIPT_TTL_NS: Final = 600 * _NS
_STEP_S: Final = 0.1
_GREETING_NS: Final = 250_000_000
_MAX_RESEND_NS: Final = 30 * _NS
_UNSIGNED_NS: Final = 10 * _NS
_LATE_NS: Final = _NS
# In a flood the first signatures come after 1.5 s, and what is told again comes after 2 and 6.
_SIGNING_NS: Final = 4 * _NS
_REPORT_NS: Final = 10 * _NS
_EXPIRE_NS: Final = _NS
_WINDOW: Final = 2_048
_SEVERAL: Final = 4
_PACE_S: Final = 0.01
# Signatures whose key is not known yet are looked at again; beyond these they are sent again.
_MAX_EARLY: Final = 64
_MAX_SEQUENCES: Final = 16_384
_MAX_REPORTS: Final = 4_096


class Delivery:
    """Posts to peers and hears them.

    `start` comes first and `stop` last; in between the owner passes on what the mesh says.

    Args:
        me: this node.
        incarnation: of the node, higher at each of its starts.
        mesh: carries frames.
        outbox: not open yet.
        seals: signs and verifies; None where the federation does not sign.
        clock: expires and resends.
        tasks: run beside.
        heard: takes what peers say; must not raise.
        report: takes what is wrong, at most once in ten seconds for each peer and code.

    Attributes:
        crowded: says whether nothing more should be heard for now; its sender tells it again.
        pressed: says whether one peer should not be heard at the others' cost.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its ports, each another one
        self,
        me: str,
        incarnation: int,
        mesh: Mesh,
        outbox: Outbox,
        seals: Seals | None,
        clock: Clock,
        tasks: Tasks,
        heard: Heard,
        report: Report = lambda _peer, _code, _sentence: None,
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._mesh = mesh
        self._outbox = outbox
        self._seals = seals
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._tasks = tasks
        self._heard = heard
        self._report = report
        self._reported: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lines: dict[str, Line] = {}
        self._storing = Storing(outbox, clock, tasks, self._is_stored, self._failed)
        self._signing = Signing(seals, outbox, tasks, self._wake_all, self._failed)
        self._packing = Packing(outbox, self._signing, clock)
        self._stopped = False
        self._sequences: dict[str, OrderedDict[int, tuple[int, int]]] = {}
        self._receipts: dict[str, int] = {}  # the latest of each peer
        self._deferred: dict[str, dict[int, Receipt]] = {}
        self._hellos: dict[str, wire.Acked] = {}
        self._early: dict[str, deque[wire.Signatures]] = {}
        self._expired_ns = 0
        self._ticked_ns = 0
        self._claims = Claims()
        self.crowded: Callable[[], bool] = lambda: False
        self.pressed: Callable[[], bool] = lambda: False
        self._rates = Rates(clock, lambda peer, why, code: self._say(peer, code, why))
        self.counts = Counts()

    # --- beginning and end ---------------------------------------------------------------------

    async def start(self) -> None:
        """Open the outbox, hand over again what still counts, and begin to serve links.

        Raises:
            UnreachableError: the keys do not answer; it may be tried again.
            DeniedError: the outbox is another process's, or its keys are not these.
        """
        for remark in await asyncio.to_thread(self._outbox.open):
            self._say("", remark.code, remark.sentence)
        self._signing.add([one.position for one in self._outbox.posted()], hurry=True)
        self._storing.begin()
        for took, signed in list(self._outbox.inbox.again(self._clock.now())):
            self._tell(took, decode(took.data), signed=signed)
        self._signing.kick()
        self._tasks.spawn(self._run(), "mesh.delivery")

    async def stop(self) -> None:
        """End: what was posted is stored; links are the owner's to close."""
        self._stopped = True
        self._signing.stop()
        for line in self._lines.values():
            line.up = False
            line.wake.set()
        await self._storing.stop()
        self._outbox.close()

    async def _run(self) -> None:
        while not self._stopped:
            self.tick()
            await asyncio.sleep(_STEP_S)

    # --- for the owner -------------------------------------------------------------------------

    async def post(self, message: Bulletin | Receipt, to: str = "") -> int:
        """Tell one peer, or all where `to` is empty; returns once it is durable here.

        Gives its position; 0 for a receipt that waits for a message which it would overtake.

        Raises:
            DeniedError: nothing more fits; or (code ``mesh.journal_unwritable``) the disk refuses:
                then it is on its way all the same, and would not survive this process.
            UnreachableError: the same, because the keys do not answer.
        """
        return (await self.post_all([(message, to)]))[0]

    async def post_all(self, messages: Sequence[tuple[Bulletin | Receipt, str]]) -> list[int]:
        """Tell several at once, in their order, so that one sync of the disk serves them all.

        One that is refused holds up none of the others.

        Raises:
            CronosError: as `post`, the first there is, once what was taken is durable.
        """
        positions: list[int] = []
        refused: CronosError | None = None
        for message, to in messages:
            try:
                positions.append(self._add(message, to))
            except CronosError as error:
                refused = refused or error
        if any(positions):
            self._signing.kick()
            self._wake_all()
            await self._storing.wait()
        if refused is not None:
            raise refused
        return positions

    def own(self) -> Iterator[Bulletin]:
        """Give the bulletins of this node that wait for peers, oldest first."""
        for posted in self._outbox.posted():
            message = decode(posted.data)
            if isinstance(message, Bulletin):
                yield message

    async def post_again(self, messages: Sequence[tuple[Bulletin | Receipt, str]]) -> None:
        """Post those that have no place in the outbox; returns once all of them are durable.

        What is too long for any peer is left out: it was said when it was posted first.

        Raises:
            CronosError: as `post_all`.
        """
        placed = {(one.to, one.data) for one in self._outbox.posted()}
        lacking = [one for one in messages if (one[1], encode(one[0])) not in placed]
        await self.post_all(
            [one for one in lacking if len(encode(one[0])) <= wire.MAX_MESSAGE_BYTES]
        )
        await self._storing.wait()

    def _add(self, message: Bulletin | Receipt, to: str) -> int:
        """Give a message its place in the outbox; 0 where it has to wait for another one."""
        if isinstance(message, Receipt) and self._overtakes(message, to or message.origin):
            return 0
        position = self._outbox.add(self._message(message, to)).position
        self.counts.posted += 1
        self._signing.add([position], hurry=isinstance(message, Bulletin))
        return position

    def linked(self, peer: str, up: bool) -> None:
        """Take word of a link that stands, or broke."""
        before = self._lines.pop(peer, None)
        if not up:
            self._hellos.pop(peer, None)
        if before is not None:
            before.up = False
            before.wake.set()
        if not up or self._stopped:
            return
        self._outbox.know([peer])
        line = self._lines[peer] = Line(self._clock.now().boot_ns)
        self._outbox.inbox.excuse(line.since_ns, peer)
        if (hello := self._hellos.pop(peer, None)) is not None:
            self._acked(peer, hello)
        self._tasks.spawn(self._serve(peer, line), f"mesh.delivery.{peer}")

    def members(self, instances: Sequence[str]) -> None:
        """Wait for these peers, from now on; one that is away is waited for until `forget`."""
        self._outbox.know(one for one in instances if one != self._me)

    def forget(self, peer: str) -> None:
        """Wait for a peer no more, and forget what it said: it has left, or was revoked."""
        self.linked(peer, up=False)
        self._outbox.forget(peer)
        self._sequences.pop(peer, None)
        self._receipts.pop(peer, None)
        self._deferred.pop(peer, None)
        self._storing.forget(peer)

    def standings(self) -> tuple[Standing, ...]:
        """Say how each peer is doing; goes through what waits."""
        return tuple(
            Standing(peer, peer in self._lines, told.held, told.signed, self._outbox.waiting(peer))
            for peer in self._outbox.known()
            for told in (self._outbox.told(peer),)
        )

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take a frame from a peer, by whatever way it came; never raises for what is in it."""
        del lane
        try:
            message = wire.unpack(data)
        except InputError as error:
            self._say(peer, error.code, error.sentence)
            return
        match message:
            case wire.Parcels():
                self._take(peer, message)
            case wire.Acked():
                self._acked(peer, message)
            case wire.Signatures():
                self._verify(peer, message)
            case wire.SigningKey():
                self._learn(peer, message)
            case _:
                self._say(peer, "mesh.wrong_lane", f"{peer} sent a {type(message).__name__} here.")

    def tick(self) -> None:
        """Do what time asks for: expire, resend, try again. A few times a second is enough."""
        now = self._clock.now()
        if now.boot_ns - self._ticked_ns >= _LATE_NS:
            # This node stood still, and what came meanwhile is unread: nobody else is late.
            self._outbox.inbox.excuse(now.boot_ns)
        self._ticked_ns = now.boot_ns
        if now.boot_ns - self._expired_ns >= _EXPIRE_NS:
            self._expired_ns = now.boot_ns
            self._expire()
        for peer, line in self._lines.items():
            self._move(peer, line, now.boot_ns)
        early, self._early = self._early, {}
        for peer, waiting in early.items():
            for signed in waiting:
                self._verify(peer, signed)
        self._storing.tick()
        self._signing.kick()

    # --- sending -------------------------------------------------------------------------------

    def _message(self, message: Bulletin | Receipt, to: str) -> Message:
        data = encode(message)
        if len(data) > wire.MAX_MESSAGE_BYTES:
            raise InputError(
                "mesh.message_too_long",
                f"A message of {len(data)} bytes is longer than {wire.MAX_MESSAGE_BYTES}.",
                "Say less in it; what is long belongs into a record.",
            )
        if isinstance(message, Bulletin):
            return Message(self._incarnation, data, message.ttl_ns, to)
        to = to or message.origin
        of = self._answered(to, message.sequence)[0]
        return Message(self._incarnation, data, _RECEIPT_TTL_NS, to, of, f"receipt {to} {of}")

    def _answered(self, peer: str, sequence: int) -> tuple[int, int]:
        """Give incarnation and position of the bulletin that a receipt answers."""
        known = self._sequences.get(peer, OrderedDict())
        if sequence in known:
            return known[sequence]
        return next(reversed(known.values())) if known else (0, 0)

    def _overtakes(self, receipt: Receipt, peer: str) -> bool:
        """Keep back a receipt that would also answer for a message which is not here."""
        _, position = self._answered(peer, receipt.sequence)
        if position <= self._outbox.inbox.box(peer).held:
            return False
        self._deferred.setdefault(peer, {})[position] = receipt
        return True

    async def _serve(self, peer: str, line: Line) -> None:
        while line.up:
            sent = 0
            try:
                await self._greet(peer, line)
                while line.greeted and (some := await self._send_some(peer, line)):
                    sent += some
            except UnreachableError:
                pass  # its queue is full, or it is gone: `tick` tries again
            except CronosError as error:
                self._say("", error.code, error.sentence)
            if sent >= _SEVERAL:
                # In a flood what comes meanwhile goes in one frame; a single one never waits.
                await asyncio.sleep(_PACE_S)
            await line.wake.wait()
            line.wake.clear()

    async def _greet(self, peer: str, line: Line) -> None:
        """Say how far the peer is held here: at first, and after each batch that was stored."""
        if line.owes_ack:
            line.owes_ack = False
            stood = self._storing.durable(peer)
            acked = wire.Acked(stood.stream, stood.held, stood.signed)
            await self._mesh.send(peer, Lane.THREAT, wire.pack(acked))

    async def _send_some(self, peer: str, line: Line) -> int:
        """Send the next frame; give how much is in it, 0 when there is nothing to send now."""
        if not line.up:
            return 0
        if len(line.flying) < _WINDOW and (frame := self._packing.messages(peer, line)):
            out, last = self._outbox.sent, frame.positions[-1]
            out[peer] = max(out.get(peer, 0), last)
            await self._mesh.send(peer, Lane.THREAT, frame.data)
            line.sent = last
            line.flying.extend(frame.positions)
            self.counts.sent += len(frame.positions)
            return len(frame.positions)
        found = self._packing.signatures(peer, line)
        if found is None:
            return 0
        batch, leaves = found
        if batch.kid not in line.kids:
            key = wire.SigningKey(batch.public)
            await self._mesh.send(peer, Lane.THREAT, wire.pack(key))
            line.kids.add(batch.kid)
        signatures = wire.Signatures(
            self._outbox.stream, batch.kid, batch.size, batch.signature, leaves
        )
        await self._mesh.send(peer, Lane.THREAT, wire.pack(signatures))
        line.signed = leaves[-1].position
        return len(leaves)

    def _acked(self, peer: str, acked: wire.Acked) -> None:
        """Take a peer's word on what it holds; the first on a link says where to begin."""
        line = self._lines.get(peer)
        if self._outbox.is_behind(acked.stream, acked.held):
            self._fall_behind(peer, acked.stream)
        ours = acked.stream == self._outbox.stream
        held, signed = (acked.held, acked.signed) if ours else (0, 0)
        told = self._outbox.told(peer)
        first = line is not None and not line.greeted
        further = held > told.held or (held == told.held and signed > told.signed)
        if first or further:
            self._outbox.acknowledge(peer, held, signed)
        if line is None:
            # The peer's word may come before that of its link.
            self._hellos[peer] = acked
            return
        now_ns = self._clock.now().boot_ns
        if first:
            line.greeted = True
            line.rewind(held, signed)
            line.moved_ns = line.signed_ns = now_ns
        line.landed(held)
        if held > told.held:
            line.moved_ns, line.patience_ns = now_ns, RESEND_NS
        if signed > told.signed:
            line.signed_ns = now_ns
        line.wake.set()

    def _fall_behind(self, peer: str, stream: int) -> None:
        """Begin a stream above the one that peers remember; see `claims`."""
        own, now = self._outbox.stream, self._clock.now()
        known = self._claims.believed(peer, stream, own, now, len(self._lines))
        if not known:
            return
        self._outbox.begin_anew(known + 1)
        for line in self._lines.values():
            line.rewind(0, 0)
            line.wake.set()
        self._say(
            peer, "mesh.stream_behind", f"{peer} knows more of this node's stream {stream} than it."
        )

    def _move(self, peer: str, line: Line, now_ns: int) -> None:
        """Wake a line that may have something to send; where nothing moves, from the beginning."""
        told = self._outbox.told(peer)
        stuck = line.sent > told.held and now_ns - line.moved_ns >= line.patience_ns
        unsigned = line.signed > told.signed and now_ns - line.signed_ns >= line.patience_ns
        if not line.greeted:
            line.greeted = now_ns - line.since_ns >= _GREETING_NS
            line.rewind(told.held, told.signed)
        elif stuck or unsigned:
            self.counts.resent += stuck
            line.rewind(told.held, told.signed)
            line.moved_ns = line.signed_ns = now_ns
            line.patience_ns = min(2 * line.patience_ns, _MAX_RESEND_NS)
        line.wake.set()

    # --- hearing -------------------------------------------------------------------------------

    def _take(self, peer: str, parcels: wire.Parcels) -> None:
        inbox = self._outbox.inbox
        if not self._may_hear(peer, len(parcels.items)) or not inbox.begin(peer, parcels.stream):
            self.counts.refused += len(parcels.items)
            return
        after, now = parcels.after, self._clock.now()
        for item in parcels.items:
            if item.position <= after or not inbox.has_room(peer):
                # Who signs gets room, and tells again; whoever had the time and did not, floods.
                if item.position <= after or inbox.waits_ns(peer, now) >= _SIGNING_NS:
                    why = f"{peer} sends more than it signs, or disordered."
                    self._say(peer, "mesh.flooding", why)
                break
            if inbox.is_new(peer, item.position):
                self._hear(peer, parcels.stream, item, after, now)
            else:
                self.counts.repeated += 1
                if item.position > inbox.box(peer).held:
                    inbox.passed(peer, item.position, after)
            after = item.position
        self._release(peer)
        self._storing.owe(peer)

    def _may_hear(self, peer: str, count: int) -> bool:
        """Say whether a peer is heard now; what is not heard is told again.

        Where the reflex process is behind, who has told much has to wait, and nobody for it.
        """
        if self.crowded():
            return False
        if self.pressed():
            return self._rates.take(peer, "messages", count)
        self._rates.charge(peer, "messages", count)
        return True

    def _hear(self, peer: str, stream: int, item: wire.Item, after: int, now: Now) -> None:
        inbox = self._outbox.inbox
        message, ident = self._read(peer, item)
        repeated = inbox.is_known(peer, ident)
        inbox.passed(peer, item.position, after)
        self.counts.repeated += repeated
        if message is None or repeated:
            return
        left_ns = min(item.remaining_ms * 1_000_000, _ttl_of(message))
        if left_ns <= 0:
            self.counts.expired += 1
            return
        ends = until(now, self._boot_id, left_ns)
        took = Took(peer, stream, item.position, item.incarnation, item.of, ends, item.data, ident)
        inbox.take(took, now)
        self._outbox.note(took)
        self.counts.heard += 1
        self._tell(took, message, signed=False)

    def _read(self, peer: str, item: wire.Item) -> tuple[Bulletin | Receipt | None, str]:
        """Give a peer's message and its id; None, and a report, where it may not say that."""
        try:
            message = decode(item.data)
        except ValueError:
            message = None
        if isinstance(message, Bulletin) and wire.is_own(message, peer):
            return message, message.bulletin_id
        if isinstance(message, Receipt) and message.peer == peer and message.origin == self._me:
            return message, ""
        self.counts.refused += 1
        what = type(message).__name__
        self._say(peer, "mesh.false_origin", f"{peer} sent a {what} that is not its own.")
        return None, ""

    def _tell(self, took: Took, message: Datum | Unknown, *, signed: bool) -> None:
        if isinstance(message, Bulletin):
            known = self._sequences.setdefault(took.peer, OrderedDict())
            known[message.sequence] = (took.incarnation, took.position)
            known.move_to_end(message.sequence)
            while len(known) > _MAX_SEQUENCES:
                known.popitem(last=False)
            self._heard(took.peer, message, signed)
        elif isinstance(message, Receipt):
            self._receipts[took.peer] = max(self._receipts.get(took.peer, 0), took.position)
            if took.of == self._incarnation:
                self._heard(took.peer, message, signed)

    def _release(self, peer: str) -> None:
        """Post the receipts that had to wait for what is here now; the last says it all."""
        waiting = self._deferred.get(peer)
        if not waiting:
            return
        held = self._outbox.inbox.box(peer).held
        due = [waiting.pop(position) for position in sorted(waiting) if position <= held]
        if due:
            self._tasks.spawn(self._post_late(due[-1], peer), "mesh.receipt")

    async def _post_late(self, receipt: Receipt, peer: str) -> None:
        with suppress(CronosError):  # it was said already, and the peer will ask again
            await self.post(receipt, peer)

    # --- signatures ----------------------------------------------------------------------------

    def _learn(self, peer: str, key: wire.SigningKey) -> None:
        if self._seals is None:
            return
        try:
            self._seals.learn(peer, key.public)
        except UnreachableError as error:
            self.counts.unproven += 1
            self._say(peer, error.code, error.sentence)
        except CronosError:
            self.counts.forged += 1
            why = f"{peer} announced a key that its certificate does not bind."
            self._say(peer, "mesh.false_key", why)

    def _verify(self, peer: str, signed: wire.Signatures) -> None:
        inbox = self._outbox.inbox
        if self._seals is None or signed.stream != inbox.box(peer).stream:
            return
        for place in signed.leaves:
            took = inbox.waiting(peer, place.position)
            if took is None:
                continue
            leaf = leaf_of(took.incarnation, took.of, took.data)
            try:
                self._seals.verify(peer, leaf, signed, place)
            except UnreachableError as error:
                self._say(peer, error.code, error.sentence)
                self._early.setdefault(peer, deque(maxlen=_MAX_EARLY)).append(signed)
                break
            except CronosError:
                self.counts.forged += 1
                self._say(
                    peer, "mesh.forged", f"A signature of {peer} does not belong to its message."
                )
                break
            self.counts.signed += 1
            inbox.signed(peer, place.position)
            self._tell(took, decode(took.data), signed=True)
        self._storing.owe(peer)

    # --- what time asks for --------------------------------------------------------------------

    def _is_stored(self, peer: str) -> None:
        line = self._lines.get(peer)
        if line is not None:
            line.owes_ack = True
            line.wake.set()

    def _wake_all(self) -> None:
        for line in self._lines.values():
            line.wake.set()

    def _failed(self, error: CronosError) -> None:
        self._say("", error.code, error.sentence)

    def _expire(self) -> None:
        self.counts.expired += self._outbox.expire()
        self._signing.prune()
        patience_ns = _UNSIGNED_NS if self._seals is not None else MAX_TTL_NS
        now = self._clock.now()
        for took in self._outbox.inbox.expire(now, patience_ns, self._lines):
            self.counts.missing += 1
            self._outbox.note(took)
            self._storing.owe(took.peer)
            if self._withheld(took, now):
                self._say(took.peer, "mesh.unsigned", f"{took.peer} did not sign what it said.")

    def _withheld(self, took: Took, now: Now) -> bool:
        """Say whether a peer has to answer for a signature that is missing.

        Not where it was away for as long as the message counted, nor where it signed with a key
        that this node does not know yet, nor for a receipt that a later one covers.
        """
        early = self._early.get(took.peer, ())
        unproven = any(leaf.position == took.position for one in early for leaf in one.leaves)
        # Nodes of the version before forget to sign a receipt when another one follows it.
        covered = not took.ident and took.position < self._receipts.get(took.peer, 0)
        return took.ends.left_ns(now, self._boot_id) > 0 and not (unproven or covered)

    def _say(self, peer: str, code: str, sentence: str) -> None:
        """Report, at most once in ten seconds for each peer and code."""
        now_ns = self._clock.now().boot_ns
        last_ns = self._reported.get((peer, code))
        if last_ns is not None and now_ns - last_ns < _REPORT_NS:
            return
        self._reported[peer, code] = now_ns
        while len(self._reported) > _MAX_REPORTS:
            self._reported.popitem(last=False)
        self._report(peer, code, sentence)


def _ttl_of(message: Bulletin | Receipt) -> int:
    return message.ttl_ns if isinstance(message, Bulletin) else _RECEIPT_TTL_NS
