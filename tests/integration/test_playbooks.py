"""A playbook in the running product: its step is decided, carried out, and tried again later."""

import json

from tests.integration.product import cronos, modbus_capture, policy_file
from tests.unit.respond.playbooks import document, manual, openc2

from cronos.config import parse
from cronos.front.policy_cases import read_cases
from cronos.front.settings import read_table
from cronos.types import Operation, Outcome, Verb, action_id

EXECUTED, ASKED = "203.0.113.9", "203.0.113.10"


def test_a_step_is_carried_out_by_the_matrix_and_a_question_by_nobody(tmp_path):
    books, state, settings = tmp_path / "books", tmp_path / "state", tmp_path / "cronos.toml"
    books.mkdir(mode=0o755)
    steps = {
        "start": ("start", {"on_completion": "block"}),
        "block": ("action", {**openc2(value=EXECUTED), "on_success": "ask"}),
        "ask": ("action", {**manual("That one too?"), "on_success": "more"}),
        "more": ("action", {**openc2(value=ASKED), "on_completion": "end"}),
        "end": ("end", {}),
    }
    (books / "one.json").write_text(json.dumps(document(steps, applies={"techniques": ["T0855"]})))
    settings.write_text(
        f'planners = ["playbooks"]\n[plugin.playbooks]\nfolder = "{books}"\n'
        f'[plugin.modbus-policy]\npolicy_file = "{policy_file(tmp_path)}"\n'
    )
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.66"])

    done = cronos("run", "--state", state, "--json", "--config", settings, capture)
    assert done.code == 1, done.err
    case_id = done.incident("192.0.2.66")["incident_id"]

    case = read_cases(parse(read_table(settings), "test"), state).by_id[case_id]
    decided = {one.decision.action.target.value: one.decision for one in case.judged if one.step}
    assert decided[EXECUTED].disposition == "auto_approve"
    assert decided[ASKED].disposition == "ask_analyst"
    assert decided[ASKED].risk >= 0.7
    applied = {
        one.action_id
        for one in case.history
        if isinstance(one, Outcome) and one.operation is Operation.APPLY and one.ok
    }
    names = {
        value: action_id("recording", Verb.DENY, decided[value].action.target)
        for value in (EXECUTED, ASKED)
    }
    assert names[EXECUTED] in applied
    assert names[ASKED] not in applied

    again = cronos(
        "policy",
        "test",
        "--state",
        state,
        "--config",
        settings,
        "--policy-file",
        settings,
        "--json",
    )
    assert again.code == 0, again.out
    assert again.document["reproduced"] == again.document["decisions"] >= 3
    held = tmp_path / "held.toml"
    held.write_text(settings.read_text() + '[policy]\nprotected = ["203.0.113.0/24"]\n')
    changed = cronos(
        "policy", "test", "--state", state, "--config", settings, "--policy-file", held, "--json"
    )
    assert changed.code == 1
    assert {one["new"]["disposition"] for one in changed.document["changes"]} == {"refused"}
