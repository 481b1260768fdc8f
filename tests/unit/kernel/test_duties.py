"""What nobody else does is taken over, by one, and handed back."""

import itertools

from cronos.config import Config, Mesh, Workload
from cronos.kernel.duties import ROLES, Duties
from cronos.testing.story import Story
from cronos.types import (
    Action,
    Bulletin,
    BulletinKind,
    Do,
    Entity,
    EntityKind,
    Members,
    Note,
    Operation,
    Roles,
    Verb,
    action_id,
)

HOMES = {"north": ("defense",), "east": ("operations",), "south": ("audit",),
         "west": ("communication",)}  # fmt: skip


def view(duties, alive, me, allowed=None):
    others = tuple(sorted(set(alive) - {me}))
    roles = {name: HOMES[name] for name in alive}
    return duties.on_members(Members(others, roles, allowed or dict.fromkeys(HOMES, ROLES)))


def holding(alive, allowed=None):
    held = {}
    for me in alive:
        duties = Duties(me, HOMES[me])
        view(duties, alive, me, allowed)
        held[me] = duties.held
    return held


def test_in_every_view_each_role_is_held_by_exactly_one_of_those_who_share_it():
    for size in range(1, 5):
        for alive in itertools.combinations(HOMES, size):
            every = sorted(itertools.chain(*holding(alive).values()))
            assert every == sorted(ROLES), alive


def test_whoever_has_a_role_by_itself_keeps_it_whatever_the_others_do():
    for size in range(1, 5):
        for alive in itertools.combinations(HOMES, size):
            held = holding(alive)
            assert all(set(HOMES[name]) <= held[name] for name in alive)


def test_a_lone_node_is_a_complete_cronos():
    assert Duties("west", ("communication",)).held == frozenset(ROLES)


def test_a_role_is_handed_back_when_its_own_node_returns():
    duties = Duties("west", HOMES["west"])
    assert duties.assumed == frozenset(ROLES) - {"communication"}

    assert view(duties, tuple(HOMES), "west")
    assert duties.assumed == frozenset()
    assert not view(duties, tuple(HOMES), "west")


def test_nobody_takes_over_what_its_certificate_does_not_allow():
    allowed = {**dict.fromkeys(HOMES, ("audit",)), "east": ROLES}
    held = holding(("east", "south", "west"), allowed)

    assert "defense" in held["east"]
    assert "defense" not in held["south"] | held["west"]
    assert "defense" not in set().union(*holding(("south", "west"), allowed).values())


WORKLOAD = Workload("press", ("198.51.100.2",))


def isolated(kind=BulletinKind.ISOLATED):
    target = Entity(EntityKind.ADDRESS, "198.51.100.2")
    named = action_id("recording", Verb.CONTAIN, target)
    action = Action(named, "recording", Verb.CONTAIN, target, "north-1-1", 300)
    return Bulletin(
        f"north-1-1-{kind.value}", kind, "north", "north-1-1", (1 << 32) + 1, None, target, (),
        0.97, action, 300,
    )  # fmt: skip


def adjustments(story):
    return [
        (one.operation, one.action.target.value)
        for one in story.said(Do)
        if one.action.enforcement_point == "workflow"
    ]


def test_whoever_takes_operations_over_adjusts_what_was_left_and_later_restores_it():
    config = Config(mesh=Mesh(roles=("communication",)), workload=(WORKLOAD,))
    story = Story(config)
    homes = {**HOMES, "local": ("communication",)}
    story.tell(Members(tuple(HOMES), homes, dict.fromkeys(homes, ROLES)))
    story.tell(isolated())
    assert adjustments(story) == []

    story.tell(Members((), {}, {"local": ROLES}))
    assert adjustments(story) == [(Operation.APPLY, "press")]
    story.tell(isolated(BulletinKind.RELEASED))
    assert adjustments(story)[1:] == [(Operation.UNDO, "press")]


def test_a_takeover_is_noted_and_begins_another_epoch():
    story = Story(Config(mesh=Mesh(roles=("communication",))))
    before = story.kernel.defense.epoch
    story.tell(Members(tuple(HOMES), HOMES, dict.fromkeys(HOMES, ROLES)))
    story.tell(Members((), {}, {}))

    noted = [one.body for one in story.said(Note) if isinstance(one.body, Roles)]
    assert [one.held for one in noted] == [("communication",), tuple(sorted(ROLES))]
    assert noted[1].assumed == ("audit", "defense", "operations")
    assert story.kernel.defense.epoch == noted[1].epoch == before + 2
