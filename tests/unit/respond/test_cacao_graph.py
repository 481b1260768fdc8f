import pytest
from tests.unit.respond.playbooks import document, openc2, read, step_id

from cronos.errors import InputError
from cronos.respond.playbook_steps import MAX_NESTING

START = ("start", {"on_completion": "a"})
END = ("end", {})


def act(then, **more):
    return ("action", {**openc2(), "on_completion": then, **more})


def choose(on_true, then, condition="__severity__:value = 4"):
    given = {"condition": condition, "on_true": on_true, "on_completion": then}
    return ("if-condition", given)


def test_branches_that_meet_again_are_no_cycle():
    read(
        document(
            {
                "start": START,
                "a": choose("b", "c"),
                "b": act("end"),
                "c": act("end"),
                "end": END,
            }
        )
    )


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ({"start": START, "a": choose("a", "end"), "end": END}, "leads back"),
        ({"start": START, "a": act("b"), "b": choose("a", "end"), "end": END}, "leads back"),
        ({"start": START, "a": choose("b", "end"), "b": act("a"), "end": END}, "leads back"),
        ({"start": ("start", {"on_completion": "start"}), "end": END}, "leads"),
        ({"start": START, "a": act("end"), "end": END, "lost": act("end")}, "no step leads here"),
        (
            {"start": START, "a": act("end"), "end": END, "x": act("y"), "y": act("x")},
            "leads back",
        ),
        (
            {
                "start": START,
                "a": choose("b", "end"),
                "b": ("start", {"on_completion": "end"}),
                "end": END,
            },
            "one start",
        ),
        (
            {"start": START, "a": choose("end", "end", "<end>:value = 'ok'"), "end": END},
            "no action step",
        ),
        (
            {"start": START, "a": choose("end", "end", "__outcome_x__ = 'ok'"), "end": END},
            "no action step",
        ),
        (
            {
                "start": START,
                "a": ("parallel", {"next_steps": ["end", "end"], "on_completion": "end"}),
                "end": END,
            },
            "two branches",
        ),
    ],
)
def test_what_is_no_workflow_is_refused(steps, named):
    with pytest.raises(InputError, match=named):
        read(document(steps))


def nested(depth):
    steps = {"start": ("start", {"on_completion": "n1"})}
    for n in range(1, depth + 1):
        steps[f"n{n}"] = choose(f"n{n + 1}", f"e{n}")
        steps[f"e{n}"] = END
    steps[f"n{depth + 1}"] = act("end")
    return document({**steps, "end": END})


def test_nesting_is_bounded():
    read(nested(MAX_NESTING))
    with pytest.raises(InputError, match="nested more than"):
        read(nested(MAX_NESTING + 1))


def test_a_step_that_is_led_to_must_be_there():
    with pytest.raises(InputError, match="missing"):
        read(document({"start": ("start", {"on_completion": step_id(99)}), "end": END}))
