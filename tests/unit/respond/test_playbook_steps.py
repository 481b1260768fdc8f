from cronos.respond.cacao_condition import Compare
from cronos.respond.playbook_steps import (
    End,
    If,
    Manual,
    Parallel,
    Start,
    While,
    branches_of,
    following,
)

WHEN = Compare("severity", "=", (4.0,))


def test_every_step_says_where_it_leads_branches_first():
    ways = {
        Start("a"): ("a",),
        End(): (),
        Manual("Sure?", "people", "a"): ("a",),
        If(WHEN, "a", "b", "c"): ("a", "b", "c"),
        If(WHEN, "a", "", "c"): ("a", "c"),
        While(WHEN, "a", 4, "b"): ("a", "b"),
        Parallel(("a", "b"), "c"): ("a", "b", "c"),
    }

    assert {kind: following(kind) for kind in ways} == ways


def test_branches_are_those_that_come_back():
    assert branches_of(If(WHEN, "a", "", "c")) == ("a",)
    assert branches_of(While(WHEN, "a", 4, "b")) == ("a",)
    assert branches_of(Parallel(("a", "b"), "c")) == ("a", "b")
    assert branches_of(Start("a")) == ()
