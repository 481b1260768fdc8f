"""No case is ever stuck: whatever is lost, late, refused or crashes, each ends, and nothing stays.

A plant in virtual time: one kernel, a simulated enforcer with leases of its own, a ledger whose
last records a crash may lose, and people. A crash is a new kernel that is told what the ledger
holds (`Recalled`, by the same kinds of record that the ledger's reader uses) and what the
enforcer holds (`Restart`); a reboot sets the boot clock back and takes every effect away.
"""

import heapq
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.config import Config, Policy
from cronos.kernel.node import Kernel
from cronos.testing.story import POINTS, finding
from cronos.types import (
    After,
    Answer,
    Ask,
    Do,
    Entity,
    EntityKind,
    Incident,
    Kill,
    Lease,
    Note,
    Now,
    Operation,
    Option,
    Outcome,
    Plan,
    Propose,
    Provenance,
    Recalled,
    Release,
    Restart,
    State,
    Verb,
    Verdict,
    decode,
    encode,
)

S = 1_000_000_000
WALL_NS = 1_700_000_000 * S
RECALLED_KINDS = ("state", "closed", "evicted")
# What may become of an order: done; done and its answer lost; done late; lost; refused.
FATES = ("done", "mute", "late", "very late", "lost", "refused")
LATE_S = {"late": 7, "very late": 400}
# Longer than any chain of deadlines: three audiences, a lease of an hour, a failure, a watch.
LONG_S = 4 * 3600


class Plant:
    """Everything around the kernel; `fates` decide in turn what becomes of each order."""

    def __init__(self, fates=("done",), config=None):
        self.config = config or Config()
        self.fates = itertools.cycle(fates)
        self.boot_ns = 1_000 * S
        self.wall_ns = WALL_NS
        self.incarnation = 0
        self.held = {}  # (action id, incident id) -> (action, expires)
        self.ledger = []  # (note, wall, boot)
        self.asked = []
        self.timers = []
        self.world = []  # what the enforcer does later: a restart of the kernel does not end it
        self.count = itertools.count()
        self.kernel = None
        self.begin()

    def begin(self):
        self.incarnation += 1
        self.kernel = Kernel(self.config, self.incarnation, POINTS)
        self.timers = []

    @property
    def now(self):
        return Now(self.boot_ns, self.wall_ns)

    def tell(self, event):
        for effect in self.kernel.step(event, self.now):
            match effect:
                case After(delay_ns, later):
                    due = (self.boot_ns + delay_ns, next(self.count), later)
                    heapq.heappush(self.timers, due)
                case Do(operation, action):
                    self.order(operation, action)
                case Note():
                    kept = decode(encode(effect.body))
                    self.ledger.append(
                        (Note(effect.kind, effect.incident_id, kept), self.wall_ns, self.boot_ns)
                    )
                case Ask(question):
                    self.asked.append(question)
                case _:
                    pass

    # --- the enforcer -------------------------------------------------------------------------

    def order(self, operation, action):
        fate = next(self.fates)
        if fate in LATE_S:
            due = self.boot_ns + LATE_S[fate] * S
            heapq.heappush(self.world, (due, next(self.count), operation, action))
        elif fate == "refused":
            self.answer(operation, action, ok=False)
        elif fate != "lost":
            ok = self.carry_out(operation, action)
            if fate == "done":
                self.answer(operation, action, ok)

    def carry_out(self, operation, action):
        key = (action.action_id, action.incident_id)
        if operation is Operation.UNDO:
            self.held.pop(key, None)
            return True
        if operation is Operation.RENEW and key not in self.held:
            return False
        self.held[key] = (action, self.boot_ns + action.lease_ns)
        return True

    def answer(self, operation, action, ok):
        self.tell(
            Outcome(
                action.action_id, action.incident_id, operation, ok, ok, "", at_boot_ns=self.boot_ns
            )
        )

    def expire(self):
        for key, (action, until) in list(self.held.items()):
            if until <= self.boot_ns:
                del self.held[key]
                if next(self.fates) not in ("lost", "mute"):
                    self.answer(Operation.UNDO, action, ok=True)

    # --- time and accidents -------------------------------------------------------------------

    def wait(self, seconds):
        until = self.boot_ns + int(seconds * S)
        while True:
            due = [queue[0][0] for queue in (self.timers, self.world) if queue]
            due += [expires for _, expires in self.held.values()]
            at = min(due, default=until + 1)
            if at > until:
                break
            self.pass_to(max(at, self.boot_ns))
            self.expire()
            if self.timers and self.timers[0][0] <= self.boot_ns:
                self.tell(heapq.heappop(self.timers)[2])
            elif self.world and self.world[0][0] <= self.boot_ns:
                _, _, operation, action = heapq.heappop(self.world)
                self.answer(operation, action, self.carry_out(operation, action))
        self.pass_to(until)
        self.check()

    def pass_to(self, boot_ns):
        self.wall_ns += boot_ns - self.boot_ns
        self.boot_ns = boot_ns

    def crash(self, lost=0, down_s=1, reboot=False):
        """End the kernel, lose the last records, and start another one from what there is."""
        if lost:
            del self.ledger[-lost:]
        if reboot:
            self.held.clear()
            self.world.clear()
            self.boot_ns = 10 * S
            self.wall_ns += down_s * S
        else:
            self.pass_to(self.boot_ns + down_s * S)
        self.begin()
        self.expire_silently()
        standing = {}
        for note, wall, boot in self.ledger:
            if note.kind in RECALLED_KINDS and isinstance(note.body, Incident):
                standing.pop(note.incident_id, None)
                standing[note.incident_id] = (note.body, wall, boot, note.kind)
        self.tell(
            Recalled(
                1,
                tuple(one for one, *_ in standing.values()),
                tuple(wall for _, wall, *_ in standing.values()),
            )
        )
        self.check_deadlines_carried_over(standing)
        leases = [
            Lease(Plan(action, b"{}", "deny", "allow"), "boot", 0, expires, applied=True)
            for action, expires in self.held.values()
        ]
        self.tell(Restart(tuple(leases)))
        self.check()

    def expire_silently(self):
        for key, (_, until) in list(self.held.items()):
            if until <= self.boot_ns:
                del self.held[key]

    # --- what must hold -----------------------------------------------------------------------

    def check(self):
        """Say that no open case is in a state for longer than its deadline."""
        cases = self.kernel.cases
        for incident in cases.open.values():
            assert incident.state is not State.CLOSED
            assert incident.deadline_boot_ns >= self.boot_ns or self.due(incident), incident
        under_way = {State.ISOLATING, State.RELEASING}
        assert cases.active == sum(one.state in under_way for one in cases.open.values())

    def due(self, incident):
        """Say whether the deadline's timer falls due in this very moment."""
        return any(
            at <= self.boot_ns and getattr(event, "incident_id", "") == incident.incident_id
            for at, _, event in self.timers
        )

    def check_deadlines_carried_over(self, standing):
        """Say that a crash gives no case more time than it had."""
        for noted, wall, boot, kind in standing.values():
            taken_up = self.kernel.cases.open.get(noted.incident_id)
            if kind == "evicted":
                continue  # it was let go; that it is taken up again is more than was promised
            if noted.state is State.CLOSED or taken_up is None or taken_up.asked != noted.asked:
                continue
            had_until_wall = wall + noted.deadline_boot_ns - boot
            has_until_wall = self.wall_ns + taken_up.deadline_boot_ns - self.boot_ns
            assert has_until_wall <= max(had_until_wall, self.wall_ns), (noted, taken_up)

    def end(self):
        """Let everything run out: every case is closed and the world is as it was before."""
        self.wait(LONG_S)
        assert not self.kernel.cases.open, list(self.kernel.cases.open.values())
        assert not self.held
        assert self.kernel.cases.active == 0


CHANGES = st.one_of(
    st.tuples(st.just("finding"), st.integers(0, 5), st.sampled_from([0.3, 0.6, 0.86, 0.97])),
    st.tuples(st.just("forged"), st.integers(0, 5), st.just(0.97)),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 6, 61, 299, 301, 1000, 3600]), st.none()),
    st.tuples(st.just("crash"), st.integers(0, 3), st.sampled_from([1, 20, 400])),
    st.tuples(st.just("reboot"), st.integers(0, 3), st.sampled_from([1, 90])),
    st.tuples(st.just("answer"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("release"), st.integers(0, 9), st.none()),
    st.tuples(st.just("verdict"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("propose"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("kill"), st.integers(0, 1), st.booleans()),
)
CONFIGS = st.sampled_from(
    [
        Config(),
        Config(policy=Policy(dial={"deny:address": "ask"})),
        Config(policy=Policy(autonomy="ask")),
        Config(policy=Policy(actions_per_minute=1, max_open_incidents=2)),
    ]
)


def change(plant, number, what, given_value, more):
    """Let one thing happen to the plant."""
    cases = list(plant.kernel.cases.open.values())
    case = cases[given_value % len(cases)] if cases else None
    if what in ("finding", "forged"):
        provenance = Provenance.SPOOFABLE if what == "forged" else Provenance.BIDIRECTIONAL
        attacker = f"192.0.2.{given_value + 1}"
        plant.tell(finding(number, attacker=attacker, confidence=more, provenance=provenance))
    elif what == "wait":
        plant.wait(given_value)
    elif what in ("crash", "reboot"):
        plant.crash(given_value, more, reboot=what == "reboot")
    elif what == "kill":
        plant.tell(Kill(number, bool(given_value), more, "ann"))
    elif what == "answer" and plant.asked:
        one = plant.asked[-1 - given_value % len(plant.asked)]
        named = (one.question_id, one.incident_id, one.action.action_id)
        plant.tell(Answer(*named, more, "ann", one.digest))
    elif what in ABOUT and case:
        plant.tell(ABOUT[what](case, number, more))


def proposal(case, number, wide):
    verb, kind = (Verb.CONTAIN, EntityKind.HOST) if wide else (Verb.DENY, EntityKind.ADDRESS)
    step = Option("recording", verb, Entity(kind, f"192.0.2.{200 + number}"), 0.0, 1.0)
    return Propose(case.incident_id, (step,), "playbook")


# What may be told of an incident, by name.
ABOUT = {
    "release": lambda case, _number, _more: Release(case.incident_id, "ann"),
    "verdict": lambda case, _number, malicious: Verdict(case.incident_id, "ann", malicious),
    "propose": proposal,
}


@settings(max_examples=400)
@given(
    CONFIGS,
    st.lists(st.sampled_from([*FATES, "done", "done", "done"]), min_size=1, max_size=9),
    st.lists(CHANGES, max_size=25),
)
def test_no_incident_outlives_its_deadline_whatever_is_lost_late_refused_or_crashes(
    config, fates, changes
):
    plant = Plant(fates, config)
    for number, (what, given_value, more) in enumerate(changes, 1):
        change(plant, number, what, given_value, more)
        plant.check()
    plant.end()


@settings(max_examples=200)
@given(st.lists(st.integers(1, 299), min_size=1, max_size=8), st.booleans())
def test_crashing_again_and_again_gives_a_case_no_more_time(pauses, reboot):
    """A case that waits for a person is watched at the latest when its first deadline has come."""
    plant = Plant(config=Config(policy=Policy(autonomy="ask")))
    plant.tell(finding())
    opened_ns = plant.wall_ns
    for pause_s in pauses:
        plant.wait(pause_s)
        plant.crash(reboot=reboot)
    asked_s = 300 + 900 * 3 + 300
    left_s = opened_ns / S + asked_s + len(pauses) - plant.wall_ns / S
    plant.wait(max(0.0, left_s) + 1)
    assert not plant.kernel.cases.open


# --- what a person ends has ended, also after a crash --------------------------------------------


def test_what_was_approved_just_before_a_crash_can_be_released_after_it():
    """The record of the isolation is lost with the crash: the ledger says that the case waits."""
    plant = Plant(("mute",), Config(policy=Policy(autonomy="ask")))
    plant.tell(finding())
    question = plant.asked[0]
    named = (question.question_id, question.incident_id, question.action.action_id)
    plant.tell(Answer(*named, True, "ann", question.digest))
    assert plant.held
    plant.crash()
    plant.fates = itertools.cycle(["done"])
    plant.tell(Release(question.incident_id, "ann"))

    assert not plant.held


def test_what_was_done_besides_before_a_crash_can_be_released_after_it():
    plant = Plant()
    plant.tell(finding())
    (incident,) = plant.kernel.cases.open.values()
    step = Option("recording", Verb.DENY, Entity(EntityKind.ADDRESS, "192.0.2.77"), 0.0, 1.0)
    plant.tell(Propose(incident.incident_id, (step,), "playbook"))
    assert len(plant.held) == 2
    plant.crash()
    plant.tell(Release(incident.incident_id, "ann"))

    assert not plant.held


def test_an_isolation_goes_on_being_renewed_after_a_crash():
    """Or else the attacker is back after one lease, while the case says that he is held."""
    plant = Plant()
    plant.tell(finding())
    plant.wait(50)
    plant.crash()
    plant.wait(900)
    (incident,) = plant.kernel.cases.open.values()

    assert incident.state is State.CONFIRMED
    assert plant.held


def test_a_release_that_a_crash_swallowed_is_not_undone_by_recovery():
    """The order was given and is on record; the enforcer never saw it."""
    plant = Plant(("done",))
    plant.tell(finding())
    (incident,) = plant.kernel.cases.open.values()
    plant.fates = itertools.cycle(["lost"])
    plant.tell(Release(incident.incident_id, "ann"))
    plant.crash()
    plant.fates = itertools.cycle(["done"])
    plant.wait(10)

    assert not plant.held


@pytest.mark.parametrize("state", ["observed", "waiting"])
def test_what_is_only_watched_or_waits_comes_back_as_it_was(state):
    confidence = 0.6 if state == "waiting" else 0.97
    plant = Plant()
    plant.tell(
        finding(
            confidence=confidence,
            provenance=Provenance.BIDIRECTIONAL if state == "waiting" else Provenance.SPOOFABLE,
        )
    )
    plant.crash()
    (incident,) = plant.kernel.cases.open.values()
    assert incident.state.value == state
    plant.end()
