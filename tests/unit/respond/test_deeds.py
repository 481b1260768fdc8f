"""What cannot be taken back: two persons, one deed, whatever crashes in between."""

import hashlib

import msgspec
import pytest
from tests.unit.respond.stage import MS, S, Stage, WorldExecutor, apply, deny, undo

from cronos.link.killswitch import KillSwitch
from cronos.respond.deeds import Deeds, nobody
from cronos.respond.recording import RecordingExecutor
from cronos.testing.memory_govern import MemorySealer
from cronos.types import (
    Ability,
    Blast,
    EntityKind,
    Kill,
    Manifest,
    Operation,
    Plan,
    Reversal,
    Verb,
    digest_of,
)

ABILITY = Ability(
    Verb.STOP, EntityKind.PROCESS, "process", "D3-PT", Reversal.NONE, Blast.NARROW, 50
)


class Ending(WorldExecutor):
    """Ends processes: what it did stays done."""

    manifest = Manifest(
        "ending", "Ends processes", abilities=(*RecordingExecutor.manifest.abilities, ABILITY)
    )

    uid = "first"  # of whoever bears the name now

    def plan(self, actions):
        return [
            Plan(a, b"" if a.verb is Verb.STOP else b"{}", f"end {self.uid}", "") for a in actions
        ]


def two_persons(action):
    """Stand in for signatures: an approval is ``<who> <digest>``; its nonce is its hash."""
    found = []
    for packet in action.approvals:
        who, digest = packet.decode().split(" ")[:2]
        if digest != digest_of(action):
            return f"{who} approved something else"
        found.append((who, hashlib.sha256(packet).digest()[:16]))
    return found or "nobody approved it"


class Scene(Stage):
    """A stage whose enforcer has a book of deeds."""

    def start(self):
        super().start()
        self.executor = Ending(self.world)
        self.enforcer = type(self.enforcer)(
            self.enforcer.config, {"world": self.executor}, self.book, self.clock, dict
        )
        self.deeds = Deeds(self.folder / "deeds", MemorySealer(), self.clock, two_persons)
        self.switch = KillSwitch(self.folder / "KILL")
        self.enforcer.arm(self.switch, self.deeds)

    def crash_and_restart(self):
        self.deeds.close()
        super().crash_and_restart()


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.deeds.close()
    scene.book.close()


def stop(value="plc-9/4711", incident="inc-1", by=("eve", "mia"), salt="", **more):
    action = deny(value, incident, kind=EntityKind.PROCESS, verb=Verb.STOP, **more)
    approvals = tuple(f"{who} {digest_of(action)} {salt}".encode() for who in by)
    return msgspec.structs.replace(action, approvals=approvals)


def test_two_persons_do_it_once_without_a_lease(scene):
    outcome = scene.one(apply(stop()))
    assert (outcome.ok, outcome.verified, outcome.undo) == (True, True, "")
    assert scene.enforcer.held() == ()
    assert scene.enforcer.idle()
    assert scene.blocked() == {"plc-9/4711"}


def test_the_same_order_again_is_answered_and_not_carried_out(scene):
    first = scene.one(apply(stop()))
    assert scene.one(apply(stop())) == first
    scene.crash_and_restart()
    assert scene.one(apply(stop())) == first
    assert scene.executor.calls == []


@pytest.mark.parametrize(
    ("by", "why"), [((), "nobody approved"), (("eve",), "is one"), (("eve", "eve"), "is one")]
)
def test_fewer_than_two_are_refused(scene, by, why):
    refused = scene.one(apply(stop(by=by)))
    assert not refused.ok
    assert why in refused.detail
    assert not scene.executor.calls


def test_an_approval_of_something_else_is_refused(scene):
    longer = msgspec.structs.replace(stop(), lease_ns=400 * S)
    assert "something else" in scene.one(apply(longer)).detail
    other = msgspec.structs.replace(stop("plc-9/4712"), approvals=stop().approvals)
    assert "something else" in scene.one(apply(other)).detail


def test_an_approval_serves_once_also_after_a_restart(scene):
    assert scene.one(apply(stop())).ok
    scene.crash_and_restart()
    real = scene.deeds._approvals
    # However it came to be believed for another action: its number is known.
    scene.deeds._approvals = lambda _action: real(stop())
    refused = scene.one(apply(stop("plc-9/4712")))
    assert "has served already" in refused.detail


def test_what_is_done_is_not_done_again_on_new_approvals(scene):
    assert scene.one(apply(stop())).ok
    assert scene.one(apply(stop(salt="anew"))).ok  # the answer it had
    assert len(scene.executor.calls) == 1


def test_what_failed_is_answered_again_and_tried_again_on_new_approvals(scene):
    scene.executor.swallows_apply = True
    failed = scene.one(apply(stop()))
    assert not failed.ok
    scene.executor.swallows_apply = False
    assert scene.one(apply(stop())) == failed
    assert scene.one(apply(stop(salt="anew"))).ok


def test_what_failed_is_not_tried_again_on_the_same_approvals_in_another_order(scene):
    scene.executor.swallows_apply = True
    assert not scene.one(apply(stop())).ok
    scene.executor.swallows_apply = False
    eve, mia = stop().approvals
    (anew,) = stop(by=("mia",), salt="anew").approvals
    for approvals in ((mia, eve), (eve, mia, mia), (eve, anew)):
        again = msgspec.structs.replace(stop(), approvals=approvals)
        assert "served already, when it failed" in scene.one(apply(again)).detail
    assert not scene.world


def test_what_failed_twice_is_not_tried_again_on_the_first_approvals(scene):
    scene.executor.swallows_apply = True
    assert not scene.one(apply(stop())).ok
    assert not scene.one(apply(stop(salt="anew"))).ok
    for _ in range(2):
        scene.executor.swallows_apply = False
        assert "served already" in scene.one(apply(stop())).detail
        scene.crash_and_restart()
    assert scene.one(apply(stop(salt="once more"))).ok


class Crash(BaseException):
    pass


def crashed(scene):
    """Crash between the record of a deed and the deed."""

    def crash(_plans):
        raise Crash

    scene.executor.apply = crash
    with pytest.raises(Crash):
        scene.one(apply(stop()))
    scene.crash_and_restart()


def test_a_crash_before_the_deed_leaves_one_that_is_meant_and_done_on_the_same_approvals(scene):
    crashed(scene)
    assert scene.deeds.meant(stop()) is not None
    assert scene.one(apply(stop())).ok
    assert scene.blocked() == {"plc-9/4711"}


def test_after_a_crash_it_is_done_to_whom_it_was_planned_for_and_not_to_who_took_the_name(scene):
    crashed(scene)
    Ending.uid, asked = "second", []
    real = scene.executor.apply

    def seen(plans):
        asked.extend(plans)
        return real(plans)

    scene.executor.apply = seen
    try:
        assert scene.one(apply(stop())).ok
        assert [(one.summary, one.recipe) for one in asked] == [("end first", b"")]
        scene.crash_and_restart()
        assert scene.one(apply(stop())).ok  # the answer it had
    finally:
        Ending.uid = "first"


def test_what_proves_final_when_planned_is_held_to_the_lease_that_was_approved(scene, monkeypatch):
    monkeypatch.setattr(Ending, "plan", lambda _self, asked: [Plan(a, b"", "x", "") for a in asked])
    long = deny("192.0.2.7", lease_s=2 * scene.enforcer.config.max_lease_s)
    approvals = tuple(f"{who} {digest_of(long)}".encode() for who in ("eve", "mia"))
    asked = msgspec.structs.replace(long, approvals=approvals)
    assert scene.one(apply(asked)).ok
    assert scene.one(apply(asked)).ok
    assert scene.executor.calls == [("apply", ("192.0.2.7",))]


def test_a_recipe_that_a_final_plan_has_all_the_same_is_kept_for_after_a_crash(scene, monkeypatch):
    def plan(_self, actions):
        return [Plan(a, b'{"uid":1}', "end", "") for a in actions]

    monkeypatch.setattr(Ending, "plan", plan)
    crashed(scene)
    assert scene.deeds.meant(stop()).recipe == b'{"uid":1}'


def test_the_kill_switch_stops_it_between_its_record_and_its_effect(scene):
    write = scene.deeds.book.write

    def throw(records, *, durable):
        write(records, durable=durable)
        (scene.folder / "KILL").touch()

    scene.deeds.book.write = throw
    assert "kill switch" in scene.one(apply(stop())).detail
    assert not scene.world
    scene.deeds.book.write = write
    (scene.folder / "KILL").unlink()
    assert scene.one(apply(stop())).ok


def test_to_release_everything_takes_back_no_deed(scene):
    scene.one(apply(stop()))
    scene.enforcer.kill(Kill(1, engaged=True, release_all=True))
    assert scene.blocked() == {"plc-9/4711"}


def test_a_full_disk_refuses_it(scene, monkeypatch):
    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdatasync", full)
    assert "could not be recorded" in scene.one(apply(stop())).detail
    assert not scene.world


def test_to_undo_it_is_answered_with_the_truth(scene):
    scene.one(apply(stop()))
    answer = scene.one(undo(stop()))
    assert answer.operation is Operation.UNDO
    assert answer.detail == "Nothing is held: what was done cannot be taken back."
    assert scene.blocked() == {"plc-9/4711"}


def test_a_protected_process_is_refused_whoever_approves(scene):
    assert "first process" in scene.one(apply(stop("plc-9/1"))).detail


def test_it_counts_against_the_budgets_also_after_a_crash(tmp_path):
    scene = Scene(tmp_path, actions_per_minute=2)
    assert scene.one(apply(stop("a/2"))).ok
    scene.crash_and_restart()
    assert scene.one(apply(stop("a/3"))).ok
    assert "budget" in scene.one(apply(stop("a/4"))).detail
    scene.deeds.close()
    scene.book.close()


def test_after_an_hour_it_is_forgotten_but_not_because_a_clock_was_set(scene, monkeypatch):
    scene.one(apply(stop()))
    now = scene.clock.now
    later = 4000 * S
    ahead = lambda: msgspec.structs.replace(now(), wall_ns=now().wall_ns + later)  # noqa: E731
    monkeypatch.setattr(scene.clock, "now", ahead)
    scene.deeds.tidy()
    assert scene.deeds.answer(stop()) is not None
    monkeypatch.setattr(scene.clock, "now", now)
    scene.clock.boot_ns += later
    scene.enforcer.reconcile()
    assert scene.deeds.answer(stop()) is None
    assert not scene.deeds.book.leases
    scene.clock.boot_ns += MS


def test_a_clock_that_is_set_back_revives_no_approval_that_served(scene, monkeypatch):
    assert scene.one(apply(stop())).ok
    done_wall = scene.clock.now().wall_ns
    scene.clock.boot_ns += 4000 * S
    now = scene.clock.now
    scene.enforcer.reconcile()
    back = lambda: msgspec.structs.replace(now(), wall_ns=done_wall + 600 * S)  # noqa: E731
    monkeypatch.setattr(scene.clock, "now", back)
    assert "set back" in scene.one(apply(stop())).detail
    monkeypatch.setattr(scene.clock, "now", now)
    assert scene.one(apply(stop(salt="anew"))).ok


def test_an_enforcer_that_was_told_of_nobody_believes_nobody(tmp_path):
    deeds = Deeds(tmp_path / "deeds", None, Stage(tmp_path / "s").clock)
    assert isinstance(nobody(stop()), str)
    assert "told of nobody" in deeds.approved(stop())
    deeds.close()
