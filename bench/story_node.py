"""A whole node, with all its processes, that is handed findings and tells what became of them.

``python -m bench.story_node CONFIG STATE``: what `cronos node` runs, plus a line of JSON on
standard output for each step, with `at`, the machine's true wall clock in nanoseconds. Commands
come on standard input, one a line:

``load FIRST COUNT GAP_MS``  COUNT findings, each about an address of its own, at a steady pace
``forge ORIGIN FIRST COUNT`` bulletins in another node's name, past this node's own kernel
``claim FIRST COUNT``        bulletins in its own name about what it never saw, past its kernel
``accuse ADDRESS``           one such bulletin about any address
``again COUNT``              its latest bulletins once more, word for word
``rest``                     hand over no more findings
``stop``                     end as SIGTERM does
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from cronos.config import parse
from cronos.front.compose import Node, run_loop
from cronos.front.layout import Layout
from cronos.front.settings import read_table
from cronos.runtime.world import SystemClock
from cronos.testing.story import finding
from cronos.types import (
    Appended,
    Bulletin,
    BulletinKind,
    Confirm,
    Entity,
    EntityKind,
    Outcome,
    Publish,
    Receipt,
    Reproach,
    Roles,
)
from cronos.types import Report as Findings

_true_ns = getattr(time, "true_time_ns", time.time_ns)
TTL_NS = 600_000_000_000


def tell(what, **more):
    print(json.dumps({"what": what, "at": _true_ns(), **more}), flush=True)


def _age_ns(outcome):
    """Give how long ago an outcome came about: this process may have stood still since."""
    if not outcome.at_boot_ns:
        return 0
    return max(0, SystemClock().now().boot_ns - outcome.at_boot_ns)


def address_of(number):
    """Give the address that the finding of this number is about."""
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def number_of(address):
    """Give the number back; -1 for an address of none."""
    parts = [int(one) for one in address.split(".")]
    own = len(parts) == 4 and parts[0] == 10 and parts[1] >= 128
    return (parts[1] - 128 << 16 | parts[2] << 8 | parts[3]) if own else -1


class Witness:
    """Sees what the reflex process takes and says, and tells it on."""

    def __init__(self, node):
        self.node, self.reflex = node, node._reflex
        self.posted = []
        self.stored = 0
        self._take, self._note = self.reflex.take, self.reflex._note
        self._hear, self._publish = self.reflex.peering.hear, self.reflex.peering.publish
        self._ledger = self.reflex.on_ledger
        self.reflex.take, self.reflex._note = self.take, self.note
        self.reflex.peering.hear, self.reflex.peering.publish = self.hear, self.publish
        self.reflex.on_ledger = self.ledger

    def take(self, event):
        """Tell what the kernel is given."""
        match event:
            case Bulletin():
                tell("heard", id=event.bulletin_id, n=_named(event), origin=event.origin)
            case Outcome():
                incident = self.reflex.kernel.incident(event.incident_id)
                actor = incident.actor if incident is not None else None
                tell(
                    "outcome",
                    operation=event.operation.value,
                    ok=event.ok,
                    n=number_of(actor.value) if actor is not None else -1,
                    detail="" if event.ok else event.detail,
                    age_ns=_age_ns(event),
                )
            case Receipt():
                tell("receipt", peer=event.peer, sequence=event.sequence)
            case _:
                pass
        self._take(event)

    def note(self, note, now):
        """Tell what is noted of confirmations, reproaches and roles."""
        match note.body:
            case Confirm(incident_id, view):
                incident = self.reflex.kernel.incident(incident_id)
                if incident is not None and incident.actor is not None:
                    at = {one.name: one.boot_ns for one in incident.moments}
                    took = (now.boot_ns - at["detected"]) / 1e6
                    tell("confirmed", n=number_of(incident.actor.value), view=view, ms=took)
            case Reproach():
                tell("reproach", peer=note.body.peer, why=note.body.why)
            case Roles():
                tell("roles", held=note.body.held, epoch=note.body.epoch)
            case _:
                pass
        self._note(note, now)

    def hear(self, datum):
        """Tell up to where bulletins are durable here."""
        if isinstance(datum, Receipt) and datum.peer == datum.origin:
            tell("durable", sequence=datum.sequence)
        return self._hear(datum)

    def publish(self, said):
        """Tell which bulletin is given to the mesh."""
        message = said.message
        if isinstance(message, Bulletin) and message.kind is BulletinKind.ISOLATED:
            self.posted.append(said)
            del self.posted[:-10_000]
            tell("told", id=message.bulletin_id, n=_named(message), sequence=message.sequence)
        self._publish(said)

    def ledger(self, datum):
        """Tell which records are durable."""
        if isinstance(datum, Appended) and not datum.error:
            append, incidents = self.reflex._unstored.get(datum.request_id, (None, ()))
            if append is not None:
                self.stored = max(self.stored, datum.first + len(append.records) - 1)
                tell("stored", upto=self.stored, of=self.positions(datum.first, incidents))
        elif isinstance(datum, Appended):
            tell("unstored", why=datum.error)
        self._ledger(datum)

    def positions(self, first, incidents):
        """Say where the last record of each own incident lies."""
        own = f"{self.reflex._node}-"
        found = {}
        for position, incident_id in enumerate(incidents, first):
            incident = self.reflex.kernel.incident(incident_id)
            if incident_id.startswith(own) and incident is not None and incident.actor is not None:
                found[number_of(incident.actor.value)] = position
        return found


def _named(bulletin):
    return number_of(bulletin.actor.value) if bulletin.actor is not None else -1


def bulletin_about(name, origin, address, sequence):
    """Give a bulletin that no kernel has decided about."""
    entity = Entity(EntityKind.ADDRESS, address)
    return Bulletin(
        f"{origin}-9-{name}-isolated", BulletinKind.ISOLATED, origin, f"{origin}-9-{name}",
        sequence, entity, Entity(EntityKind.ADDRESS, "198.51.100.2"), ("T0855",), 0.99, None,
        TTL_NS, 4,
    )  # fmt: skip


class Story:
    """Carries out commands."""

    def __init__(self, node, me):
        self.node, self.me = node, me
        self.witness = Witness(node)
        self.clock = SystemClock()
        self.lies = 0
        self.resting = False

    async def load(self, first, count, gap_ms):
        """Hand over findings."""
        began = time.monotonic()
        for n in range(count):
            if self.resting:
                break
            number = first + n
            found = replace(
                finding(number, attacker=address_of(number)),
                detected_boot_ns=self.clock.now().boot_ns,
            )
            tell("sent", n=number)
            self.node._reflex.on_report(Findings(1, (found,)), lambda _datum: True)
            if gap_ms:
                await asyncio.sleep(max(0.0, began + (n + 1) * gap_ms / 1000 - time.monotonic()))
            elif n % 50 == 49:
                await asyncio.sleep(0)
        tell("loaded", first=first, count=count)

    def say(self, origin, address):
        """Give the mesh a bulletin that no kernel has decided about."""
        self.lies += 1
        # Beyond what its kernel will number for a while, in an order that its peers accept.
        sequence = self.node._reflex.kernel.communication._sequence + self.lies
        name = f"lie{self.lies}"
        self.node._mesh.send(Publish(bulletin_about(name, origin, address, sequence)))

    async def lie(self, origin, first, count):
        """Say many of them."""
        for n in range(count):
            self.say(origin, address_of(first + n))
            if n % 100 == 99:
                await asyncio.sleep(0)
        tell("lied", first=first, count=count)

    def again(self, count):
        """Give the mesh its latest bulletins once more."""
        for said in self.witness.posted[-count:]:
            self.node._mesh.send(said)
        tell("again", count=len(self.witness.posted[-count:]))

    async def obey(self, line):
        """Carry out one command; False ends."""
        match line:
            case ["load", first, count, gap_ms]:
                self.resting = False  # here: a "rest" may follow before the load has begun
                self.node._tasks.spawn(self.load(int(first), int(count), float(gap_ms)), "load")
            case ["forge", origin, first, count]:
                await self.lie(origin, int(first), int(count))
            case ["claim", first, count]:
                await self.lie(self.me, int(first), int(count))
            case ["accuse", address]:
                self.say(self.me, address)
            case ["rest"]:
                self.resting = True
            case ["again", count]:
                self.again(int(count))
            case _:
                return False
        return True


async def main(file, state):
    config = parse(read_table(Path(file)), file)
    layout = Layout(Path(state), config.node.instance, session=False)
    try:
        node = Node(config, layout, (), live=True, log_level="info")
        story = Story(node, config.node.instance)
        try:
            await node.start()
            tell("ready", incarnation=node._incarnation, workers=node.workers())
            await _obeying(node, story)
        finally:
            await asyncio.shield(node.stop())
    finally:
        layout.close()


async def _obeying(node, story):
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    stopped = asyncio.Event()

    async def read():
        while line := (await reader.readline()).decode().split():
            if not await story.obey(line):
                break
        stopped.set()

    reading = loop.create_task(read())
    await node.watch(stopped)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


if __name__ == "__main__":
    run_loop(main(*sys.argv[1:]))
