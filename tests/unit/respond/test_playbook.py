import contextlib
import json

import pytest
from tests.unit.respond.playbooks import (
    ABILITIES,
    ATTACKER,
    EXAMPLES,
    answer,
    incident,
    openc2,
    outcome,
    read,
    shown,
    simple,
    step_id,
)

from cronos.catalog import CATALOG
from cronos.config import Asset
from cronos.errors import ExtraMissingError, InputError
from cronos.front.plugins import load
from cronos.respond.cacao import read_playbook
from cronos.respond.playbook import (
    MAX_APPLIED,
    PlaybookPlanner,
    PlaybooksConfig,
    applies,
    entities,
)
from cronos.respond.playbook_steps import Act, Applies
from cronos.types import (
    Action,
    Decision,
    Dial,
    Disposition,
    Entity,
    EntityKind,
    Reversal,
    State,
    flow_entity,
)

FLOW = flow_entity("tcp", "192.0.2.66", 40_000, "198.51.100.2", 502)


def planner(*playbooks, assets=()):
    made = PlaybookPlanner(PlaybooksConfig(), ABILITIES, assets)
    made.use(playbooks)
    return made


def decided(target):
    """Give a decision about a target."""
    action = Action("id", "packets", "deny", target, "local-1-1", 1)
    return Decision("local-1-1", Disposition.EXECUTE, 1.0, 0.3, "", action, ())


@pytest.mark.parametrize(
    ("terms", "meets"),
    [
        ({}, True),
        ({"techniques": ("T1110.001",)}, True),
        ({"techniques": ("T1110.002",)}, False),
        ({"techniques": ("T111",)}, False),
        ({"min_severity": 4}, True),
        ({"min_severity": 5}, False),
        ({"min_confidence": 0.98}, False),
        ({"actor_kinds": ("address", "user")}, True),
        ({"actor_kinds": ("user",)}, False),
        ({"target_kinds": ("host",)}, False),
        ({"assets": ("historian",)}, True),
        ({"assets": ("gateway",)}, False),
        ({"labels": ("legacy", "card")}, True),
        ({"labels": ("card",)}, False),
    ],
)
def test_a_playbook_is_for_an_incident_that_meets_all_its_terms(terms, meets):
    historian = Asset("historian", ("198.51.100.2",), legacy=True, data=("health",))
    given = Applies(**{"techniques": ("T1110",), **terms})

    assert applies(given, incident(), historian) is meets


def test_an_asset_that_nobody_knows_meets_no_term_about_assets():
    assert not applies(Applies(("T1110",), labels=("legacy",)), incident(), None)
    assert not applies(Applies(("T1110",), assets=("historian",)), incident(), None)


def test_the_entities_of_an_incident_are_named_by_role_and_by_kind():
    user = Entity(EntityKind.USER, "alice")
    pool = entities(incident(actor=user, target=ATTACKER, decision=decided(FLOW)))

    assert pool["actor"] == pool["user"] == user
    assert pool["target"] == pool["address"] == ATTACKER
    assert pool["flow"] == FLOW
    assert pool["service"] == Entity(EntityKind.SERVICE, "tcp/198.51.100.2:502")
    assert "pod" not in pool


def test_a_variable_that_names_another_kind_than_the_target_is_not_filled():
    made = planner(read(simple("deny", "ipv4_connection", "__actor__:value")))

    assert made.plan(incident(), []) == ()


def test_an_enforcement_point_that_is_named_is_the_only_one():
    written = simple()
    (agent,) = [one for one in written["agent_definitions"].values() if one["name"] == "cronos"]
    agent["name"] = "cluster"

    assert planner(read(written)).plan(incident(), []) == ()
    agent["name"] = "packets"
    assert len(planner(read(written)).plan(incident(), [])) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"state": State.CLOSED},
        {"state": State.RELEASING},
        {"verdict": "benign"},
        {"techniques": ()},
        {"techniques": ("T1486",)},
    ],
)
def test_nothing_is_due_for_what_is_over_a_false_alarm_or_another_technique(changes):
    assert planner(read(simple())).plan(incident(**changes), []) == ()


def test_of_several_playbooks_the_one_of_the_highest_priority_comes_first():
    made = planner(
        read(simple(value="203.0.113.1", number=1)),
        read(simple(value="203.0.113.2", number=2, priority=50)),
        read(simple(value="203.0.113.3", number=3, priority=1)),
    )

    values = [one.target.value for one in made.plan(incident(), [])]
    assert values == ["203.0.113.3", "203.0.113.2", "203.0.113.1"]


def test_so_many_playbooks_and_no_more_apply_to_one_incident():
    made = planner(*(read(simple(value=f"203.0.113.{n}", number=n)) for n in range(1, 20)))

    assert len(made.plan(incident(), [])) == MAX_APPLIED


def test_two_playbooks_that_want_the_same_want_it_once_and_the_careful_one_wins():
    from tests.unit.respond.playbooks import document, manual  # noqa: PLC0415

    asking = document(
        {
            "start": ("start", {"on_completion": "ask"}),
            "ask": ("action", {**manual(), "on_success": "act"}),
            "act": ("action", {**openc2(), "on_completion": "end"}),
            "end": ("end", {}),
        },
        number=2,
    )
    (one,) = planner(read(simple(number=1)), read(asking)).plan(incident(), [])

    assert one.dial is Dial.ASK


# --- the folder -----------------------------------------------------------------------------------


def put(folder, name, written):
    (folder / name).write_text(json.dumps(written))
    (folder / name).chmod(0o644)


def test_the_folder_is_read_at_the_start_and_at_each_poll(tmp_path):
    tmp_path.chmod(0o755)
    put(tmp_path, "one.json", simple())
    made = PlaybookPlanner(PlaybooksConfig(folder=str(tmp_path)), ABILITIES)

    assert len(made.plan(incident(), [])) == 1
    put(tmp_path, "one.json", simple(value="203.0.113.9"))
    assert made.plan(incident(), [])[0].target == ATTACKER  # not before it is told to look
    assert made.poll()
    assert made.plan(incident(), [])[0].target.value == "203.0.113.9"
    put(tmp_path, "one.json", {})
    assert not made.poll()
    assert made.plan(incident(), [])[0].target.value == "203.0.113.9"
    assert len(made.remarks) == 1


def test_without_a_folder_there_is_nothing_to_poll_and_nothing_due():
    made = PlaybookPlanner(PlaybooksConfig(), ABILITIES)

    assert not made.poll()
    assert made.plan(incident(), []) == ()
    assert made.remarks == ()


def test_a_folder_is_named_by_its_whole_path():
    with pytest.raises(InputError, match="absolute"):
        PlaybookPlanner(PlaybooksConfig(folder="playbooks"), ABILITIES)


# --- the shipped playbooks ------------------------------------------------------------------------


def shipped(name):
    return read_playbook((EXAMPLES / name).read_bytes(), name)


def test_rotate_credential_refuses_the_credential_and_asks_for_a_new_one():
    key = Entity(EntityKind.CREDENTIAL, "AKIAEXAMPLE")
    case = incident(actor=key, techniques=("T1552.005",))
    made = planner(shipped("rotate-credential.json"))

    (refuse,) = made.plan(case, [])
    assert shown([refuse]) == [("accounts", "deny", "AKIAEXAMPLE")]
    assert refuse.dial is Dial.ACT
    (replace,) = made.plan(case, [outcome(refuse)])
    assert shown([replace]) == [("accounts", "update", "AKIAEXAMPLE")]
    assert replace.dial is Dial.ASK
    done = [outcome(refuse), answer(replace, granted=True), outcome(replace)]
    assert made.plan(case, done) == ()


def test_restore_workload_pauses_it_and_tries_three_times():
    billing = Entity(EntityKind.WORKLOAD, "billing")
    case = incident(target=billing, techniques=("T1486",))
    made = planner(shipped("restore-workload.json"))

    (pause,) = made.plan(case, [])
    assert pause.verb == "pause"
    history = [outcome(pause)]
    for _ in range(3):
        (restore,) = made.plan(case, history)
        assert shown([restore]) == [("cluster", "restore", "billing")]
        history.append(outcome(restore, ok=False))
    assert made.plan(case, history) == ()


def test_close_port_ends_the_flow_and_where_it_is_grave_denies_the_service():
    case = incident(techniques=("T0855",), decision=decided(FLOW))
    made = planner(shipped("close-port.json"))

    assert shown(made.plan(case, [])) == [
        ("packets", "deny", FLOW.value),
        ("packets", "deny", "tcp/198.51.100.2:502"),
    ]
    mild = incident(techniques=("T0855",), decision=decided(FLOW), severity=3)
    assert shown(made.plan(mild, [])) == [("packets", "deny", FLOW.value)]
    critical = planner(
        shipped("close-port.json"), assets=[Asset("plc", ("198.51.100.2",), criticality=5)]
    )
    assert len(critical.plan(mild, [])) == 2


def test_quarantine_pod_asks_before_it_deletes_what_could_not_be_cut_off():
    pod = Entity(EntityKind.POD, "plant/historian-0")
    case = incident(target=pod, techniques=("T1611",))
    made = planner(shipped("quarantine-pod.json"))

    (contain,) = made.plan(case, [])
    assert shown([contain]) == [("cluster", "contain", "plant/historian-0")]
    assert made.plan(case, [outcome(contain)]) == ()
    (delete,) = made.plan(case, [outcome(contain, ok=False)])
    assert (delete.verb, delete.dial, delete.reversal) == ("delete", Dial.ASK, Reversal.NONE)
    silent = [outcome(contain, ok=False), answer(delete, granted=False)]
    assert made.plan(case, silent) == ()


def test_the_helper_names_steps_as_the_standard_does():
    assert step_id(1, "end").startswith("end--")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_each_step_of_a_shipped_playbook_is_within_the_power_of_an_executor(path):
    able = set()
    for name in CATALOG["executor"]:
        with contextlib.suppress(ExtraMissingError):
            able |= {(one.verb, one.kind) for one in load("executor", name).manifest.abilities}
    steps = read_playbook(path.read_bytes(), path.name).steps.values()
    wanted = [one.kind.wanted for one in steps if isinstance(one.kind, Act)]
    assert wanted
    for one in wanted:
        assert able & {(one.verb, kind) for kind in one.kinds}, (one.verb, one.openc2)
