"""Whoever crashes and however the network parts: effects at the enforcers never conflict, none ends
early without a record, nobody spends another's budget, and on healing both sides come together.

Four kernels in virtual time, with the enforcers that really run (their lease books on disk), an
outbox each that a crash does not empty, and a network that parts, repeats and delays. What is
looked at is the world: which effects are there, not who thinks that he owns them.
"""

import heapq
import itertools
import pathlib
import tempfile
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.respond.stage import TurnedClock, WorldExecutor

from cronos.config import Config, Mesh, Node, Policy
from cronos.kernel.duties import ROLES
from cronos.kernel.node import Kernel
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.testing.story import POINTS, finding
from cronos.types import (
    After,
    Bulletin,
    BulletinKind,
    Confirm,
    Do,
    Entity,
    EntityKind,
    Incident,
    Members,
    Note,
    Operation,
    Order,
    Publish,
    Recalled,
    Receipt,
    Release,
    Reproach,
    Restart,
    decode,
    encode,
)

S = 1_000_000_000
NAMES = ("north", "east", "south", "west")
DUTIES = {"north": ("defense",), "east": ("defense", "operations"), "south": ("defense", "audit"),
          "west": ("defense", "communication")}  # fmt: skip
NOTICED_S = 1
BUDGET = 40  # of the whole federation, a minute
PROTECTED = "192.0.2.200"
RECALLED_KINDS = ("state", "closed", "evicted")


class World:
    """One enforcer and what it has done; it outlives the nodes that it serves."""

    def __init__(self, clock, folder):
        self.clock = clock
        self.effects = {}
        config = EnforcerConfig(protected=(PROTECTED,), actions_per_minute=10_000)
        executors = {"recording": WorldExecutor(self.effects)}
        self.book = LeaseBook(folder)
        self.enforcer = Enforcer(config, executors, self.book, clock, dict)
        self.undone = []  # (action id, epoch, the highest seen then)
        self.started = []  # (boot, node, action id)

    def carry_out(self, node, operation, action):
        before = dict(self.effects)
        highest = self.book.epoch(action.action_id)
        (outcome,) = self.enforcer.handle(Order(1, operation, (action,))).outcomes
        if operation is Operation.APPLY and action.action_id not in before and outcome.ok:
            self.started.append((self.clock.boot_ns, node, action.action_id))
        if operation is Operation.UNDO and outcome.ok:
            self.undone.append((action.action_id, action.epoch, highest))
            assert action.epoch >= highest, "who was fenced off has ended an effect"
        self.check_none_vanished(before)
        return outcome

    def expire(self):
        return self.enforcer.expire().outcomes

    def check_none_vanished(self, before):
        """An effect goes only when the last lease on it has ended."""
        for name in before.keys() - self.effects.keys():
            held = [one for one in self.book.holders(name) if one.expires_boot_ns > self.now]
            assert not held, "an effect ended while a lease on it ran"

    @property
    def now(self):
        return self.clock.boot_ns


class Member:
    """One node: its kernel, its ledger and its outbox."""

    def __init__(self, federation, name, world):
        self.federation = federation
        self.name = name
        self.world = world
        self.config = Config(
            node=Node(name),
            mesh=Mesh(roles=DUTIES[name]),
            policy=Policy(
                budget_share=0.25, actions_per_minute=BUDGET, protected=(PROTECTED, "127.0.0.1")
            ),
        )
        self.incarnation = 0
        self.up = False
        self.ledger = []
        self.timers = []
        self.outbox = {}  # number -> (message, to, until)
        self.numbers = itertools.count(1)
        self.held = Counter()  # peer -> how far it holds our outbox
        self.released = set()
        self.confirmed = {}
        self.begin()

    def begin(self):
        self.incarnation += 1
        self.up = True
        self.timers = []
        self.view = None
        self.kernel = Kernel(self.config, self.incarnation, POINTS)
        self.recall()
        leases = tuple(self.world.book.leases.values())
        self.tell(Restart(leases))

    def recall(self):
        standing = {}
        for note, wall in self.ledger:
            if note.kind in RECALLED_KINDS and isinstance(note.body, Incident):
                standing.pop(note.incident_id, None)
                standing[note.incident_id] = (note.body, wall)
        bodies = tuple(body for body, _ in standing.values())
        self.tell(Recalled(1, bodies, tuple(wall for _, wall in standing.values())))

    def tell(self, event):
        if not self.up:
            return
        now = self.federation.clock.now()
        for effect in self.kernel.step(event, now):
            match effect:
                case After(delay_ns, later):
                    due = (now.boot_ns + delay_ns, next(self.federation.count), later)
                    heapq.heappush(self.timers, due)
                case Do(operation, action):
                    self.order(operation, action)
                case Publish(message, to):
                    self.post(message, to)
                case Note():
                    kept = decode(encode(effect.body))
                    self.ledger.append((Note(effect.kind, effect.incident_id, kept), now.wall_ns))
                    if isinstance(effect.body, Confirm):
                        self.confirmed[effect.body.incident_id] = effect.body.view
                        self.federation.check_confirmed(self, effect.body)
                case _:
                    pass

    def order(self, operation, action):
        epoch = max(action.epoch, self.kernel.defense.epoch)
        if operation is Operation.UNDO:
            why = {note.kind for note, _ in self.ledger if note.incident_id == action.incident_id}
            assert why & {"deadline", "released", "release", "answer"}, "ended without a record"
        stamped = msgspec_replace(action, epoch)
        self.tell(self.world.carry_out(self.name, operation, stamped))

    def post(self, message, to):
        if isinstance(message, Receipt):
            self.federation.send(self.name, to, message)
            return
        until = self.federation.clock.boot_ns + 300 * S
        self.outbox[next(self.numbers)] = (message, until)
        self.federation.push()

    def crash(self):
        self.up = False

    def due(self):
        while self.up and self.timers and self.timers[0][0] <= self.federation.clock.boot_ns:
            self.tell(heapq.heappop(self.timers)[2])


def msgspec_replace(action, epoch):
    return type(action)(
        action.action_id, action.enforcement_point, action.verb, action.target,
        action.incident_id, action.lease_ns, epoch, action.approvals,
    )  # fmt: skip


class Federation:
    """Four members, and the network between them."""

    def __init__(self, folder, *, shared, twice=False):
        self.clock = TurnedClock()
        self.count = itertools.count()
        self.twice = twice
        self.islands = (frozenset(NAMES),)
        self.changed_ns = self.clock.boot_ns
        self.queue = []
        worlds = [World(self.clock, folder / name) for name in (NAMES[:1] if shared else NAMES)]
        self.worlds = worlds
        self.members = {}
        for number, name in enumerate(NAMES):
            self.members[name] = Member(self, name, worlds[0 if shared else number])
        self.wait(2)

    # --- the network ---------------------------------------------------------------------------

    def linked(self, one, other):
        return any(one in island and other in island for island in self.islands)

    def send(self, sender, to, message):
        for _ in range(1 + self.twice):
            heapq.heappush(self.queue, (self.clock.boot_ns, next(self.count), sender, to, message))

    def push(self):
        """Send each peer what it does not hold, as an outbox does at every new link."""
        for sender in self.members.values():
            if not sender.up:
                continue
            for peer in NAMES:
                if peer == sender.name or not self.members[peer].up:
                    continue
                if not self.linked(sender.name, peer):
                    continue
                for number, (message, until) in sender.outbox.items():
                    if number > sender.held[peer] and until > self.clock.boot_ns:
                        self.send(sender.name, peer, message)
                        sender.held[peer] = number

    def deliver(self):
        while self.queue:
            _, _, sender, to, message = heapq.heappop(self.queue)
            if self.linked(sender, to) and self.members[to].up:
                self.members[to].tell(message)
            elif isinstance(message, Bulletin):
                # It was not acknowledged: the outbox begins again from before it.
                numbers = [n for n, (one, _) in self.members[sender].outbox.items()
                           if one == message]  # fmt: skip
                held = self.members[sender].held
                held[to] = min([held[to], *(n - 1 for n in numbers)])

    # --- time and accidents --------------------------------------------------------------------

    def wait(self, seconds):
        until = self.clock.boot_ns + int(seconds * S)
        while True:
            self.settle()
            at = self.next_due()
            if at is None or at > until:
                break
            self.clock.boot_ns = max(self.clock.boot_ns, at)
        self.clock.boot_ns = until
        self.settle()
        self.check()

    def settle(self):
        """Do all that is due now: expiries, timers, what the membership noticed, messages."""
        for world in self.worlds:
            for outcome in world.expire():
                for member in self.members.values():
                    if member.world is world:
                        member.tell(outcome)
        self.notice()
        for member in self.members.values():
            member.due()
        self.push()
        self.deliver()

    def next_due(self):
        now = self.clock.boot_ns
        due = [one.timers[0][0] for one in self.members.values() if one.up and one.timers]
        due += [at for world in self.worlds if (at := world.enforcer.next_expiry_ns()) is not None]
        if self.changed_ns + NOTICED_S * S > now:
            due.append(self.changed_ns + NOTICED_S * S)
        later = [at for at in due if at > now]
        return min(later, default=None)

    def notice(self):
        """Give each node its view, once the membership has had its time."""
        if self.clock.boot_ns < self.changed_ns + NOTICED_S * S:
            return
        for name, member in self.members.items():
            if not member.up:
                continue
            others = tuple(
                sorted(
                    one for one in NAMES
                    if one != name and self.members[one].up and self.linked(one, name)
                )
            )  # fmt: skip
            view = Members(
                others, {one: DUTIES[one] for one in (*others, name)}, dict.fromkeys(NAMES, ROLES)
            )
            if view != member.view:
                member.view = view
                member.tell(view)

    def part(self, cut):
        sides = [frozenset(n for n, one in zip(NAMES, cut, strict=True) if one is side)
                 for side in (True, False)]  # fmt: skip
        self.islands = tuple(side for side in sides if side)
        self.changed_ns = self.clock.boot_ns

    def heal(self):
        self.islands = (frozenset(NAMES),)
        self.changed_ns = self.clock.boot_ns

    def crash(self, name):
        self.members[name].crash()
        self.changed_ns = self.clock.boot_ns

    def restart(self, name):
        if not self.members[name].up:
            self.members[name].begin()
            for sender in self.members.values():
                sender.held[name] = 0  # it may have lost what it had not stored
            self.changed_ns = self.clock.boot_ns

    def attack(self, name, attacker):
        number = next(self.count)
        self.members[name].tell(finding(number, attacker=attacker))

    # --- what must always hold -----------------------------------------------------------------

    def check(self):
        for world in self.worlds:
            targets = {action.target.value for action in world.effects.values()}
            assert PROTECTED not in targets
            held = {one.plan.action.action_id for one in world.book.leases.values()
                    if one.expires_boot_ns > self.clock.boot_ns and one.applied}  # fmt: skip
            assert held <= world.effects.keys(), "a lease runs, and its effect is gone"
        self.check_budgets()

    def check_confirmed(self, member, confirm):
        """Say that whoever is counted in a confirmation has the bulletin in its ledger."""
        name = f"{confirm.incident_id}-isolated"
        holders = {
            one.name
            for one in self.members.values()
            if any(
                isinstance(n.body, Bulletin) and n.body.bulletin_id == name for n, _ in one.ledger
            )
        }
        others = set(member.view.instances) if member.view else set()
        answered = others - set(confirm.silent)
        assert confirm.view in (0, len(answered) + 1)
        assert not confirm.view or answered <= holders, "confirmed by one who does not hold it"

    def check_budgets(self):
        """No node starts more than its part in a minute, nor all together more than the whole."""
        started = sorted(one for world in self.worlds for one in world.started)
        for at, _, _ in started:
            minute = [one for one in started if at <= one[0] < at + 60 * S]
            spent = Counter(node for _, node, _ in minute)
            # A bucket that was full at the minute's beginning fills again within it.
            assert max(spent.values()) <= 2 * BUDGET // 4
            assert len(minute) <= 2 * BUDGET

    def check_converged(self):
        """Say that all who live agree: on the view, on duties, on what was told, on effects."""
        alive = {name: one for name, one in self.members.items() if one.up}
        for name, member in alive.items():
            assert set(member.view.instances) == set(alive) - {name}
        for role in ROLES:
            holders = {name for name, one in alive.items() if role in one.kernel.duties.held}
            homes = {name for name in alive if role in DUTIES[name]}
            assert holders == homes or (not homes and len(holders) == 1), (role, holders)
        for member in alive.values():
            self.check_told(member, alive)

    def check_told(self, member, alive):
        now = self.clock.boot_ns
        known = {
            name: {n.body.bulletin_id for n, _ in one.ledger if isinstance(n.body, Bulletin)}
            for name, one in alive.items()
        }
        released = {one.incident_id for one, _ in member.outbox.values()
                    if one.kind is BulletinKind.RELEASED}  # fmt: skip
        for message, until in member.outbox.values():
            if until <= now:
                continue
            for name, other in alive.items():
                assert message.bulletin_id in known[name], (message.bulletin_id, name)
                # Who floods, or names what is protected, is heard less, and that is on record.
                blamed = any(isinstance(note.body, Reproach) and note.body.peer == member.name
                             for note, _ in other.ledger)  # fmt: skip
                fresh = message.kind is BulletinKind.ISOLATED
                if fresh and not blamed and message.incident_id not in released:
                    assert self.denied(other, message.actor), (message.actor, name)

    def denied(self, member, actor):
        """Say whether a node keeps someone out, or is asked about it for want of budget."""
        if any(one.target == actor for one in member.world.effects.values()):
            return True
        mine = [one for one in member.kernel.cases.open.values() if one.actor == actor]
        return any(one.state in ("waiting", "observed", "failed") for one in mine)


ATTACKERS = st.integers(1, 12).map(lambda n: f"192.0.2.{n}")
STEPS = st.one_of(
    st.tuples(st.just("attack"), st.sampled_from(NAMES), ATTACKERS),
    st.tuples(st.just("attack"), st.sampled_from(NAMES), st.just(PROTECTED)),
    st.tuples(st.just("flood"), st.sampled_from(NAMES), st.integers(5, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 2, 30, 110]), st.none()),
    st.tuples(st.just("part"), st.tuples(*[st.booleans()] * 4), st.none()),
    st.tuples(st.just("heal"), st.none(), st.none()),
    st.tuples(st.just("crash"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("restart"), st.sampled_from(NAMES), st.none()),
)


def happen(federation, what, whom, more):
    match what:
        case "attack":
            federation.attack(whom, more)
        case "flood":
            for number in range(more):
                federation.attack(whom, f"203.0.113.{number + 1}")
        case "wait":
            federation.wait(whom)
        case "part":
            federation.part(whom)
        case "heal":
            federation.heal()
        case "crash":
            federation.crash(whom)
        case _:
            federation.restart(whom)
    federation.settle()
    federation.check()


@settings(max_examples=60)
@given(st.booleans(), st.booleans(), st.lists(STEPS, max_size=14), st.sets(st.sampled_from(NAMES)))
def test_effects_never_conflict_and_both_sides_come_together(shared, twice, steps, back):
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(pathlib.Path(folder), shared=shared, twice=twice)
        for what, whom, more in steps:
            happen(federation, what, whom, more)
        for name in back:
            federation.restart(name)
        federation.heal()
        federation.wait(NOTICED_S + 1)  # noticed within one second, together within another

        federation.check_converged()


def test_an_isolation_is_confirmed_by_all_four_and_by_each_side_of_a_partition_alone():
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(pathlib.Path(folder), shared=False)
        federation.attack("north", "192.0.2.1")
        federation.wait(0.1)
        federation.part((True, True, False, False))
        federation.wait(2)
        federation.attack("north", "192.0.2.2")
        federation.attack("west", "192.0.2.2")
        federation.attack("south", "192.0.2.3")
        federation.wait(2)
        federation.crash("north")
        federation.crash("east")
        federation.crash("south")
        federation.wait(2)
        federation.attack("west", "192.0.2.4")
        federation.wait(0.1)

        views = {name: list(one.confirmed.values()) for name, one in federation.members.items()}
        assert views["north"][:1] == [4]
        assert 2 in views["north"]
        assert views["west"][-1] == 1
        assert federation.members["west"].kernel.duties.held == frozenset(ROLES)


def test_what_a_person_releases_ends_there_and_runs_out_elsewhere():
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(pathlib.Path(folder), shared=False)
        federation.attack("north", "192.0.2.1")
        federation.wait(1)
        target = Entity(EntityKind.ADDRESS, "192.0.2.1")
        north, west = federation.members["north"], federation.members["west"]
        (incident,) = north.kernel.cases.open.values()
        north.tell(Release(incident.incident_id, "ann"))
        federation.wait(1)
        assert target not in [one.target for one in north.world.effects.values()]
        assert target in [one.target for one in west.world.effects.values()]
        federation.wait(301)

        assert target not in [one.target for one in west.world.effects.values()]
