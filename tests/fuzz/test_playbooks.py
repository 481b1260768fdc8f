"""Files that are no playbooks, or nearly: refused with a sentence, or followed in bounded time."""

import json

from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.respond.playbooks import ABILITIES, EXAMPLES, incident

from cronos.errors import InputError
from cronos.respond.cacao import ABOUT, EXTENSION, read_playbook
from cronos.respond.cacao_condition import holds, parse, render
from cronos.respond.cacao_export import write_playbook
from cronos.respond.cacao_openc2 import TARGETS, read_command, write_command
from cronos.respond.cacao_place import Place
from cronos.respond.playbook import PlaybookPlanner, PlaybooksConfig, entities
from cronos.respond.playbook_steps import Act, Playbook
from cronos.respond.playbook_walk import MAX_DUE

SHIPPED = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.json"))]
KEYS = [
    *ABOUT, "type", "id", "name", "workflow", "workflow_start", "agent_definitions", "commands",
    "agent", "on_completion", "on_success", "on_failure", "on_true", "on_false", "condition",
    "next_steps", "playbook_extensions", EXTENSION, "techniques", "max_iterations",
]  # fmt: skip
WORDS = ["playbook", "cacao-2.0", "start", "end", "action", "parallel", "manual", "openc2-http"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


def follow(data):
    """Read, and where it is a playbook write it and plan with it; every refusal is a sentence."""
    playbook = refusal = None
    try:
        playbook = read_playbook(data, "fuzz.json")
    except InputError as error:
        refusal = error
    if playbook is None:
        assert refusal.code == "respond.playbook_refused"
        assert refusal.remedy
        return None
    assert read_playbook(write_playbook(playbook), "fuzz.json") == playbook
    made = PlaybookPlanner(PlaybooksConfig(), ABILITIES)
    made.use([playbook])
    case = incident(techniques=playbook.applies.techniques)
    due = made.plan(case, [])
    literals = {
        one.kind.wanted.literal for one in playbook.steps.values() if isinstance(one.kind, Act)
    }
    assert {one.target for one in due} <= {*entities(case).values(), *literals}
    assert len(due) <= MAX_DUE
    return playbook


@given(VALUES)
def test_any_json_is_refused_or_followed(value):
    follow(json.dumps(value).encode())


@given(st.binary(max_size=300))
@example(b"[" * 900_000)
@example(b'{"workflow":' * 80_000)
@example(b'{"a":"' + b"\\u0000" * 100_000 + b'"}')
@example(b"9" * 1_000_000)
@example(b"1e999999999")
def test_any_bytes_are_refused_or_followed(data):
    follow(data)


def paths(value, above=()):
    """List the places of a document, and what stands there."""
    yield above
    if isinstance(value, dict | list):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in members:
            yield from paths(inner, (*above, key))


@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_playbook_with_any_part_changed_is_refused_or_followed(data, draw):
    whole = json.loads(data)
    place = draw.draw(st.sampled_from([one for one in paths(whole) if one]))
    part = whole
    for key in place[:-1]:
        part = part[key]
    others = list(paths(whole))
    kind = draw.draw(st.sampled_from(["value", "drop", "copy"]))
    if kind == "drop":
        del part[place[-1]]
    elif kind == "value":
        part[place[-1]] = draw.draw(VALUES)
    else:
        # Move another part here: right in itself, in the wrong place.
        other = json.loads(data)
        for key in draw.draw(st.sampled_from(others)):
            other = other[key]
        part[place[-1]] = other
    follow(json.dumps(whole).encode())


@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_playbook_with_any_bytes_changed_is_refused_or_followed(data, draw):
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, min(len(data), start + 40)))
    follow(data[:start] + draw.draw(st.binary(max_size=10)) + data[end:])


def test_a_hundred_thousand_steps_and_a_ring_of_them_are_refused_at_once():
    def step(n):
        return f"action--{n:08x}-0000-4000-8000-000000000000"

    whole = json.loads(SHIPPED[0])
    (act,) = [one for one in whole["workflow"].values() if one.get("name") == "Close the port"]
    for count in (100_000, 256, 250):
        steps = {step(n): {**act, "on_completion": step((n + 1) % count)} for n in range(count)}
        steps[whole["workflow_start"]] = {"type": "start", "on_completion": step(0)}
        assert follow(json.dumps({**whole, "workflow": steps}).encode()) is None


@given(st.text(max_size=200) | st.lists(st.sampled_from(
    ["__severity__", "__techniques__", ":value", "=", ">=", "IN", "NOT", "(", ")", "AND", "OR",
     "'T1110'", "4", ",", "__outcome_x__", "'ok'"]), max_size=60).map(" ".join))  # fmt: skip
@example("(" * 1_999)
@example("NOT " * 499)
@example("__" * 900)
def test_any_condition_is_refused_or_holds_or_not(text):
    try:
        condition = parse(Place("fuzz.json", "condition", text))
    except InputError:
        return
    facts = {"severity": 4.0, "techniques": frozenset({"T1110"})}
    assert holds(condition, facts) in (True, False)
    assert parse(Place("", "", render(condition))) == condition


@given(
    st.sampled_from(["deny", "stop", "scan"]),
    st.sampled_from([*TARGETS, "uri"]),
    VALUES | st.text(max_size=40) | st.from_regex(r"[0-9a-f.:/]{1,20}", fullmatch=True),
)
def test_any_command_is_refused_or_read_as_what_is_written_back(action, target, value):
    content = json.dumps({"action": action, "target": {target: value}})
    try:
        wanted = read_command(Place("fuzz.json", "content", content))
    except InputError:
        return
    assert read_command(Place("", "", json.dumps(write_command(wanted)))) == wanted
    assert wanted.literal is None or wanted.literal.kind in wanted.kinds


def test_shipped_playbooks_are_followed():
    assert all(isinstance(follow(data), Playbook) for data in SHIPPED)
