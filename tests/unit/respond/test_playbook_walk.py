"""Stories: a playbook, what has happened so far, what is due."""

import pytest
from tests.unit.respond.playbooks import (
    ABILITIES,
    answer,
    document,
    incident,
    manual,
    openc2,
    outcome,
    read,
    shown,
)

from cronos.respond.playbook import PlaybookPlanner, PlaybooksConfig
from cronos.respond.playbook_walk import MAX_DUE, MAX_VISITS
from cronos.types import Dial, Operation

END = ("end", {})
BLOCK = openc2()
NETWORK = openc2(value="203.0.113.0/24")
OTHER = openc2(value="203.0.113.9")


def planner(steps, **more):
    """Give a planner with one playbook that begins with the step `a`."""
    made = PlaybookPlanner(PlaybooksConfig(), ABILITIES)
    start = ("start", {"on_completion": "a"})
    made.use([read(document({"start": start, **steps, "end": END}, **more))])
    return made


def act(command, then="end", **more):
    return ("action", {**command, "on_completion": then, **more})


def either(command, on_success="end", **more):
    return ("action", {**command, "on_success": on_success, **more})


def test_a_step_is_due_until_it_is_done_and_the_next_one_after():
    made = planner({"a": act(BLOCK, "b"), "b": act(NETWORK)})

    (first,) = made.plan(incident(), [])
    assert shown([first]) == [("packets", "deny", "192.0.2.66")]
    (second,) = made.plan(incident(), [outcome(first)])
    assert shown([second]) == [("packets", "deny", "203.0.113.0/24")]
    assert made.plan(incident(), [outcome(first), outcome(second)]) == ()


def test_renewals_and_undoing_say_nothing_of_a_step():
    made = planner({"a": act(BLOCK, "b"), "b": act(NETWORK)})
    (first,) = made.plan(incident(), [])

    assert made.plan(incident(), [outcome(first, operation=Operation.RENEW)]) == (first,)
    assert made.plan(incident(), [outcome(first, operation=Operation.UNDO)]) == (first,)


def test_what_became_of_another_incident_says_nothing():
    made = planner({"a": act(BLOCK, "b"), "b": act(NETWORK)})
    (first,) = made.plan(incident(), [])

    assert made.plan(incident(), [outcome(first, case="local-1-2")]) == (first,)


def test_success_and_failure_lead_to_different_steps():
    made = planner({"a": either(BLOCK, "b", on_failure="c"), "b": act(NETWORK), "c": act(OTHER)})
    (first,) = made.plan(incident(), [])

    assert shown(made.plan(incident(), [outcome(first)]))[0][2] == "203.0.113.0/24"
    assert shown(made.plan(incident(), [outcome(first, ok=False)]))[0][2] == "203.0.113.9"


def test_a_failure_that_leads_nowhere_ends_the_branch():
    made = planner({"a": either(BLOCK, "b"), "b": act(NETWORK)})
    (first,) = made.plan(incident(), [])

    assert made.plan(incident(), [outcome(first, ok=False)]) == ()


def test_what_the_incident_does_not_hold_or_nobody_can_do_has_failed():
    absent = openc2("contain", "x-cronos:pod", "__pod__:value")
    unable = openc2("redirect", "ipv4_net", "__actor__:value")
    for command in (absent, unable):
        made = planner({"a": either(command, on_failure="b"), "b": act(BLOCK)})

        assert shown(made.plan(incident(), [])) == [("packets", "deny", "192.0.2.66")]


def test_a_person_who_says_no_to_an_action_fails_it():
    made = planner({"a": either(BLOCK, "b", on_failure="c"), "b": act(NETWORK), "c": act(OTHER)})
    (first,) = made.plan(incident(), [])

    assert shown(made.plan(incident(), [answer(first, granted=False)]))[0][2] == "203.0.113.9"
    # Granted, and on its way: neither due again nor done.
    assert made.plan(incident(), [answer(first, granted=True)]) == ()
    done = [answer(first, granted=True), outcome(first)]
    assert shown(made.plan(incident(), done))[0][2] == "203.0.113.0/24"


def test_a_condition_takes_one_branch_and_goes_on_after_it():
    given = {"condition": "__severity__:value >= 4", "on_true": "b", "on_false": "c"}
    made = planner(
        {
            "a": ("if-condition", {**given, "on_completion": "d"}),
            "b": act(BLOCK),
            "c": act(OTHER),
            "d": act(NETWORK),
        }
    )
    (grave,) = made.plan(incident(severity=4), [])
    (mild,) = made.plan(incident(severity=3), [])

    assert (grave.target.value, mild.target.value) == ("192.0.2.66", "203.0.113.9")
    assert shown(made.plan(incident(), [outcome(grave)]))[0][2] == "203.0.113.0/24"


def test_branches_side_by_side_are_all_due_and_waited_for():
    made = planner(
        {
            "a": ("parallel", {"next_steps": ["b", "c"], "on_completion": "d"}),
            "b": act(BLOCK),
            "c": act(OTHER),
            "d": act(NETWORK),
        }
    )
    first, second = made.plan(incident(), [])

    assert made.plan(incident(), [outcome(first)]) == (second,)
    (after,) = made.plan(incident(), [outcome(second), outcome(first, ok=False)])
    assert after.target.value == "203.0.113.0/24"


def loop(most=3):
    from cronos.respond.cacao import EXTENSION  # noqa: PLC0415

    given = {"condition": "<b>:value != 'ok'", "on_true": "b", "on_completion": "c"}
    bound = {"step_extensions": {EXTENSION: {"max_iterations": most}}}
    return planner(
        {
            "a": ("while-condition", {**given, **bound}),
            "b": act(BLOCK, "tried"),
            "tried": END,
            "c": act(NETWORK),
        }
    )


def test_a_loop_waits_for_another_outcome_each_time_and_ends_with_its_condition():
    made = loop()
    (first,) = made.plan(incident(), [])
    failed = outcome(first, ok=False)

    assert made.plan(incident(), [failed]) == (first,)
    assert made.plan(incident(), [failed, failed]) == (first,)
    after = made.plan(incident(), [failed, outcome(first)])
    assert [one.target.value for one in after] == ["203.0.113.0/24"]


def test_a_loop_ends_after_its_number_whatever_its_condition_says():
    made = loop(most=3)
    (first,) = made.plan(incident(), [])
    (after,) = made.plan(incident(), [outcome(first, ok=False)] * 3)

    assert after.target.value == "203.0.113.0/24"


def asking():
    return planner(
        {
            "a": ("action", {**manual("Cut it off?"), "on_success": "b"}),
            "b": act(BLOCK, "c"),
            "c": act(NETWORK),
        }
    )


def test_a_question_asks_about_the_action_that_follows():
    made = asking()
    (asked,) = made.plan(incident(), [])

    assert asked.dial is Dial.ASK
    assert shown([asked]) == [("packets", "deny", "192.0.2.66")]
    (question,) = made.questions(incident(), [])
    assert (question.playbook, question.text) == ("Playbook 1", "Cut it off?")
    assert question.option == asked


def test_a_granted_question_is_carried_out_once_and_goes_on():
    made = asking()
    (asked,) = made.plan(incident(), [])
    granted = answer(asked, granted=True)

    assert asked.risk >= 0.9
    assert made.plan(incident(), [granted]) == ()
    (after,) = made.plan(incident(), [granted, outcome(asked)])
    assert (after.target.value, after.dial) == ("203.0.113.0/24", Dial.ACT)


def test_silence_and_no_end_the_whole_playbook():
    """Not only the branch: nothing may be done because nobody answered."""
    made = planner(
        {
            "a": ("parallel", {"next_steps": ["ask", "side"], "on_completion": "after"}),
            "ask": ("action", {**manual(), "on_success": "b"}),
            "b": act(BLOCK),
            "side": act(OTHER, "more"),
            "more": act(openc2(value="203.0.113.10")),
            "after": act(NETWORK),
        }
    )
    asked, side = made.plan(incident(), [])
    denied = answer(asked, granted=False)

    assert asked.dial is Dial.ASK
    assert side.target.value == "203.0.113.9"
    for history in ([denied], [denied, outcome(side)], [outcome(side), denied]):
        assert made.plan(incident(), history) == ()
        assert made.questions(incident(), history) == ()


def test_a_question_about_what_cannot_be_done_ends_it_as_well():
    made = planner(
        {
            "a": ("action", {**manual(), "on_success": "b"}),
            "b": act(openc2("contain", "x-cronos:pod", "__pod__:value"), "c"),
            "c": act(NETWORK),
        }
    )

    assert made.plan(incident(), []) == ()


def test_the_order_between_answers_and_outcomes_counts_for_nothing():
    """The node keeps them apart: all outcomes are told before all answers."""
    made = asking()
    (asked,) = made.plan(incident(), [])
    (after,) = made.plan(incident(), [outcome(asked), answer(asked, granted=True)])

    assert after.target.value == "203.0.113.0/24"
    assert made.plan(incident(), [outcome(asked), answer(asked, granted=False)]) == ()


def test_what_was_carried_out_unasked_elsewhere_answers_no_question():
    made = asking()
    (asked,) = made.plan(incident(), [])

    assert made.plan(incident(), [outcome(asked)]) == (asked,)


def test_what_one_branch_asks_about_another_does_not_do_unasked():
    made = planner(
        {
            "a": ("parallel", {"next_steps": ["b", "ask"], "on_completion": "end"}),
            "b": act(BLOCK),
            "ask": ("action", {**manual(), "on_success": "c"}),
            "c": act(BLOCK),
        }
    )

    assert [one.dial for one in made.plan(incident(), [])] == [Dial.ASK]


def fan(levels):
    """Write parallel steps whose branches all lead to the next: 2 ** levels ways through."""
    steps = {"a": ("parallel", {"next_steps": ["x0", "y0"], "on_completion": "end"})}
    for n in range(levels):
        below = {"next_steps": [f"x{n + 1}", f"y{n + 1}"], "on_completion": "end"}
        last = n == levels - 1
        for side in "xy":
            # Each acts in both ways, so that both lead on.
            steps[f"{side}{n}"] = act(OTHER) if last else ("parallel", below)
    return steps


@pytest.mark.parametrize("levels", [2, 7])
def test_ways_that_multiply_are_cut_at_a_number_of_visits(levels):
    made = planner(fan(levels))
    ((_, walk),) = made._walks(incident(), [])

    assert walk._visits <= MAX_VISITS * 17
    assert len(walk.due) <= MAX_DUE


def test_no_more_than_so_many_steps_are_due_at_once():
    names = [f"b{n}" for n in range(16)]
    steps = {"a": ("parallel", {"next_steps": ["p", "q", "r"], "on_completion": "end"})}
    for number, group in enumerate("pqr"):
        inner = [f"{group}{one}" for one in names]
        steps[group] = ("parallel", {"next_steps": inner, "on_completion": "end"})
        for place, name in enumerate(inner):
            steps[name] = act(openc2(value=f"203.0.113.{number * 16 + place}"))

    assert len(planner(steps).plan(incident(), [])) == MAX_DUE
