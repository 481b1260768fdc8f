"""Whatever is asked of the enforcer, and wherever it crashes: its promises hold at each step."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.respond.stage import MS, S, Stage, apply, deny, renew, undo

from cronos.link.killswitch import KillSwitch
from cronos.types import Kill

ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1", "0.0.0.0/0"])
INCIDENTS = st.sampled_from(["inc-1", "inc-2", "inc-3"])
CAP_S = 60


class AnyStory(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stage = Stage(Path(self.folder.name), max_lease_s=CAP_S, actions_per_minute=20)
        self.first = {}  # (incident, address) -> when it was first isolated
        self.generation = 0
        self.since_kill = None  # what was blocked when the switch was thrown
        self.arm()

    def arm(self):
        folder = Path(self.folder.name)
        self.stage.enforcer.arm(KillSwitch(folder / "KILL", folder / "kill"), None)

    @rule(off=st.booleans(), release_all=st.booleans(), stale=st.booleans())
    def somebody_throws_the_switch(self, off, release_all, stale):
        self.generation += not stale
        was = self.since_kill is not None
        self.stage.enforcer.kill(Kill(self.generation, not off, release_all and not off))
        engaged = was if stale else not off
        if engaged and not stale:
            self.since_kill = set(self.stage.blocked())
            assert not (release_all and self.since_kill)
        elif not engaged:
            self.since_kill = None
            self.stage.enforcer.reconcile()

    @invariant()
    def nothing_new_happens_while_it_is_killed(self):
        if self.since_kill is not None:
            assert self.stage.blocked() <= self.since_kill
            self.since_kill = set(self.stage.blocked())

    def teardown(self):
        self.stage.book.close()
        self.folder.cleanup()

    @rule(
        address=ADDRESSES, incident=INCIDENTS, lease_s=st.integers(1, 100), epoch=st.integers(1, 3)
    )
    def isolate(self, address, incident, lease_s, epoch):
        outcome = self.stage.one(apply(deny(address, incident, lease_s=lease_s, epoch=epoch)))
        if outcome.ok:
            self.first.setdefault((incident, address), self.stage.clock.boot_ns)

    @rule(address=ADDRESSES, incident=INCIDENTS, lease_s=st.integers(1, 100))
    def prolong(self, address, incident, lease_s):
        self.stage.one(renew(deny(address, incident, lease_s=lease_s, epoch=3)))

    @rule(address=ADDRESSES, incident=INCIDENTS)
    def release(self, address, incident):
        assert self.stage.one(undo(deny(address, incident, epoch=3))).ok
        held = {le.plan.action.target.value for le in self.stage.enforcer.held()}
        assert self.stage.blocked() <= held

    @rule(ms=st.integers(1, 30_000))
    def time_passes(self, ms):
        self.stage.clock.boot_ns += ms * MS
        self.stage.enforcer.expire()

    @rule()
    def crash(self):
        self.stage.crash_and_restart()
        self.arm()
        self.stage.enforcer.recover()

    @rule()
    def reboot(self):
        self.stage.clock.boot += "x"
        self.stage.clock.boot_ns = 1000 * S
        self.first.clear()
        self.stage.crash_and_restart()
        self.arm()
        self.stage.enforcer.recover()
        assert not self.stage.world

    @rule()
    def someone_removes_an_effect(self):
        if self.stage.world:
            self.stage.world.popitem()
        self.stage.enforcer.reconcile()

    @invariant()
    def the_world_is_what_the_leases_say(self):
        held = {le.plan.action.target.value for le in self.stage.enforcer.held()}
        # While it is killed what has vanished is not put back, though its lease goes on.
        assert self.stage.blocked() == held or (self.killed() and self.stage.blocked() < held)

    def killed(self):
        return self.stage.enforcer.switched().engaged

    @invariant()
    def no_protected_address_is_ever_touched(self):
        assert not self.stage.blocked() & {"127.0.0.1", "0.0.0.0/0"}

    @invariant()
    def no_lease_goes_beyond_the_cap(self):
        for lease in self.stage.enforcer.held():
            action = lease.plan.action
            first = self.first[action.incident_id, action.target.value]
            assert lease.expires_boot_ns <= first + CAP_S * S


AnyStory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyStory = AnyStory.TestCase
