"""Workloads follow the isolation of the assets they depend on."""

from cronos.config import Config, LeaseTerms, Workload
from cronos.testing.story import Story, finding, obedient
from cronos.types import Do, Lease, Note, Operation, Plan, Release, Restart, Verb

CONFIG = Config(
    workload=(
        Workload("historian", ("192.0.2.66",)),
        Workload("reports", ("192.0.2.66", "192.0.2.67"), on_isolated="reroute"),
        Workload("other", ("192.0.2.99",)),
    ),
    lease=LeaseTerms(default_s=3, max_s=3),
)


def adjustments(story):
    return [
        (do.operation, do.action.verb, do.action.target.value)
        for do in story.said(Do)
        if do.action.enforcement_point == "workflow"
    ]


def test_the_workloads_of_an_isolated_asset_are_adjusted_and_restored():
    story = Story(CONFIG)

    story.tell(finding())
    assert adjustments(story) == [
        (Operation.APPLY, Verb.PAUSE, "historian"),
        (Operation.APPLY, Verb.REDIRECT, "reports"),
    ]
    story.wait(4)

    assert adjustments(story)[2:] == [
        (Operation.UNDO, Verb.PAUSE, "historian"),
        (Operation.UNDO, Verb.REDIRECT, "reports"),
    ]


def test_a_workload_comes_back_when_the_last_of_its_assets_does():
    story = Story(CONFIG)
    story.tell(finding(1, attacker="192.0.2.66"))
    story.tell(finding(2, attacker="192.0.2.67"))
    first, second = story.kernel.cases.open

    story.tell(Release(first, "eve"))
    assert (Operation.UNDO, Verb.REDIRECT, "reports") not in adjustments(story)
    story.tell(Release(second, "eve"))

    assert adjustments(story)[-1] == (Operation.UNDO, Verb.REDIRECT, "reports")
    assert adjustments(story).count((Operation.APPLY, Verb.REDIRECT, "reports")) == 1


def test_what_became_of_an_adjustment_is_noted():
    story = Story(CONFIG)

    story.tell(finding())

    assert len([note for note in story.said(Note) if note.kind == "workflow"]) == 2


def test_a_workload_held_before_a_restart_comes_back_when_its_isolation_ends():
    before = Story(CONFIG)
    before.tell(finding())
    leases = tuple(
        Lease(
            Plan(do.action, b"{}", "held", "undo"),
            "boot",
            before.boot_ns,
            before.boot_ns + 2_000_000_000,
            applied=True,
        )
        for do in before.said(Do)
        if do.operation is Operation.APPLY
    )
    after = Story(CONFIG)

    after.tell(Restart(tuple(reversed(leases))))
    assert len(after.kernel.cases.open) == 1
    after.wait(3)

    assert adjustments(after) == [
        (Operation.UNDO, Verb.PAUSE, "historian"),
        (Operation.UNDO, Verb.REDIRECT, "reports"),
    ]


def test_without_workloads_nothing_is_adjusted():
    story = Story(world=obedient)

    story.tell(finding())

    assert adjustments(story) == []


def test_a_workload_is_restored_under_the_case_that_the_enforcer_holds_it_for():
    story = Story(CONFIG)
    story.tell(finding(1, attacker="192.0.2.66"))
    story.tell(finding(2, attacker="192.0.2.67"))
    first, second = story.kernel.cases.open
    story.tell(Release(first, "eve"))
    story.tell(Release(second, "eve"))

    ordered = [do for do in story.said(Do) if do.action.target.value == "reports"]
    assert [(do.operation, do.action.incident_id) for do in ordered] == [
        (Operation.APPLY, first),
        (Operation.UNDO, first),
    ]


def mute_at_undo(operation, action):
    return obedient(operation, action) if operation is Operation.APPLY else None


def test_a_workload_that_came_back_by_itself_is_adjusted_again_by_the_next_isolation():
    """The first case ended without a word of its undo: it must not hold the workload for good."""
    story = Story(CONFIG, world=mute_at_undo)
    story.tell(finding(1, attacker="192.0.2.66"))
    adjusted = next(do.action for do in story.said(Do) if do.action.target.value == "historian")
    story.wait(400)
    story.tell(obedient(Operation.UNDO, adjusted))  # its lease ended, at the enforcer
    story.tell(finding(2, attacker="192.0.2.66"))

    applied = (Operation.APPLY, Verb.PAUSE, "historian")
    assert adjustments(story).count(applied) == 2
