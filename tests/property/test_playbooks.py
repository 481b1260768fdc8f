"""Whatever a playbook holds: it names nobody else, it ends, and it waits for its answers."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.respond.playbooks import (
    ABILITIES,
    answer,
    document,
    incident,
    manual,
    openc2,
    outcome,
    read,
)

from cronos.respond.cacao import read_playbook
from cronos.respond.cacao_export import write_playbook
from cronos.respond.playbook import PlaybookPlanner, PlaybooksConfig, entities
from cronos.respond.playbook_steps import Act, Manual
from cronos.respond.playbook_walk import MAX_DUE, MAX_VISITS
from cronos.types import Answer, Dial, Entity, EntityKind, Operation

VARIABLES = ("actor", "target", "flow", "service", "user", "pod", "workload", "credential")
COMMANDS = st.one_of(
    st.builds(
        lambda name, value: openc2("deny", name, f"__{value}__:value"),
        st.sampled_from(["ipv4_net", "ipv4_connection", "x-cronos:credential"]),
        st.sampled_from(VARIABLES),
    ),
    st.builds(lambda n: openc2("deny", "ipv4_net", f"203.0.113.{n}"), st.integers(0, 255)),
    st.builds(
        lambda verb, value: openc2(verb, "x-cronos:workload", value),
        st.sampled_from(["pause", "restore", "redirect"]),
        st.sampled_from(["billing", "__workload__:value"]),
    ),
)
CONDITIONS = st.sampled_from(
    [
        "__severity__:value >= 3",
        "__techniques__:value = 'T1110'",
        "NOT (__actor_kind__:value IN ('address', 'user'))",
        "<s0>:value != 'ok'",
        "__confidence__:value < 0.5 OR __target_asset__:value = ''",
    ]
)
ENTITIES = st.one_of(
    st.none(),
    st.builds(
        Entity, st.just(EntityKind.ADDRESS), st.from_regex(r"192\.0\.2\.[0-9]", fullmatch=True)
    ),
    st.builds(
        Entity,
        st.sampled_from(
            [EntityKind.USER, EntityKind.POD, EntityKind.WORKLOAD, EntityKind.CREDENTIAL]
        ),
        st.text(min_size=1, max_size=8),
    ),
    st.just(Entity(EntityKind.FLOW, "tcp/192.0.2.66:4000>198.51.100.2:502")),
    st.builds(Entity, st.just(EntityKind.FLOW), st.text(max_size=12)),
)
INCIDENTS = st.builds(
    lambda actor, target, severity, confidence: incident(
        actor=actor, target=target, severity=severity, confidence=confidence
    ),
    ENTITIES,
    ENTITIES,
    st.integers(1, 5),
    st.floats(0, 1),
)


@st.composite
def _step(draw, kind, n, later, ask_always):
    """Write the step of a number, and where it is a question the action it asks about."""
    then = draw(later)
    if kind in ("if", "while"):
        given = {"condition": draw(CONDITIONS), "on_true": draw(later), "on_completion": then}
        return {f"s{n}": (f"{kind}-condition", given)}
    branches = draw(st.lists(later, min_size=1, max_size=4, unique=True))
    if kind == "parallel" and len(branches) > 1:
        return {f"s{n}": ("parallel", {"next_steps": branches, "on_completion": then})}
    act = {**draw(COMMANDS), "on_success": then}
    if draw(st.booleans()):
        act["on_failure"] = draw(later)
    if ask_always or draw(st.booleans()):
        ask = {**manual(), "on_success": f"act{n}"}
        return {f"s{n}": ("action", ask), f"act{n}": ("action", act)}
    return {f"s{n}": ("action", act)}


@st.composite
def workflows(draw, *, ask_always=False):
    """Write a workflow of steps that lead only forwards, so that it has no cycle."""
    count = draw(st.integers(1, 8))
    names = [f"s{n}" for n in range(count)] + ["end"]
    steps = {"start": ("start", {"on_completion": "s0"})}
    for n in range(count):
        kind = "action" if n == 0 else draw(st.sampled_from(["action", "if", "while", "parallel"]))
        steps |= draw(_step(kind, n, st.sampled_from(names[n + 1 :]), ask_always))
    if steps["s0"][1].get("commands", [{}])[0].get("type") == "manual":
        # Conditions ask for s0's outcome: let them ask for the action behind its question.
        for _, given in steps.values():
            if "condition" in given:
                given["condition"] = given["condition"].replace("<s0>", "<act0>")
    return _reached({**steps, "end": ("end", {})})


def _reached(steps):
    """Leave out what no step leads to."""
    found, ahead = set(), ["start"]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            given = steps[name][1]
            leads = ("on_completion", "on_success", "on_failure", "on_true", "on_false")
            ahead += [given[key] for key in leads if key in given] + given.get("next_steps", [])
    return document({name: one for name, one in steps.items() if name in found})


def planner(playbook):
    made = PlaybookPlanner(PlaybooksConfig(), ABILITIES)
    made.use([playbook])
    return made


def story(made, case, choices):
    """Let things happen to whatever is due, as `choices` say; give each plan and its history."""
    history = []
    for choice in [*choices, 0]:
        due = made.plan(case, tuple(history))
        yield due, tuple(history)
        if not due:
            return
        one = due[choice % len(due)]
        news = (
            outcome(one),
            outcome(one, ok=False),
            answer(one, granted=True),
            answer(one, granted=False),
            outcome(one, operation=Operation.UNDO),
        )
        history.append(news[(choice // 7) % len(news)])
        if choice % 2:
            # As the node keeps them: outcomes first, then answers.
            history.sort(key=lambda event: isinstance(event, Answer))


CHOICES = st.lists(st.integers(0, 1_000), max_size=24)


@given(workflows(), INCIDENTS, CHOICES)
def test_no_playbook_names_a_target_outside_its_incident_and_its_file(written, case, choices):
    playbook = read(written)
    literals = {
        step.kind.wanted.literal for step in playbook.steps.values() if isinstance(step.kind, Act)
    }
    allowed = {*entities(case).values(), *literals}

    for due, _ in story(planner(playbook), case, choices):
        assert {one.target for one in due} <= allowed


@given(workflows(), INCIDENTS, CHOICES)
def test_a_plan_is_pure_bounded_and_the_same_anywhere(written, case, choices):
    made = planner(read(written))
    for due, history in story(made, case, choices):
        ((_, walk),) = made._walks(case, history)

        assert planner(read(written)).plan(case, history) == due
        assert len(due) <= MAX_DUE
        assert walk._visits <= MAX_VISITS * 17


@given(workflows(ask_always=True), INCIDENTS, CHOICES)
def test_without_a_persons_yes_everything_behind_a_question_only_asks(written, case, choices):
    """No outcome, no denial and no silence turns a question into an action."""
    made = planner(read(written))
    never = [choice for choice in choices if (choice // 7) % 5 != 2]
    for due, _ in story(made, case, never):
        assert all(one.dial is Dial.ASK for one in due)


@given(workflows(), INCIDENTS)
def test_a_denied_question_leaves_nothing_due(written, case):
    made = planner(read(written))
    for one in made.questions(case, []):
        denied = made.plan(case, [answer(one.option, granted=False)])

        assert denied == ()


@given(workflows())
def test_what_is_written_is_read_back_as_the_same(written):
    playbook = read(written)

    assert read_playbook(write_playbook(playbook), "again.json") == playbook
    assert any(isinstance(step.kind, Act | Manual) for step in playbook.steps.values())
