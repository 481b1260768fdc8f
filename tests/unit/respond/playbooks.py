"""Playbooks for tests: written step by step under short names, and what they are tried with."""

import json
import pathlib

from cronos.respond.cacao import EXTENSION, read_playbook
from cronos.types import (
    Ability,
    Answer,
    Blast,
    Entity,
    EntityKind,
    EvidenceClass,
    Incident,
    Operation,
    Outcome,
    Provenance,
    Reversal,
    State,
    Verb,
    action_id,
)

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples" / "playbooks"
MAKER = "identity--4f1c7d52-93ab-4e0b-8c55-6a2f0d9be731"
CRONOS = "security-category--0a1b2c3d-0100-4000-8000-000000000001"
PEOPLE = "group--0a1b2c3d-0101-4000-8000-000000000001"
ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.66")
SERVER = Entity(EntityKind.ADDRESS, "198.51.100.2")
_LEADS = ("on_completion", "on_success", "on_failure", "on_true", "on_false")


def step_id(number, kind="action"):
    return f"{kind}--0a1b2c3d-{number:04x}-4000-8000-000000000001"


def openc2(action="deny", target="ipv4_net", value="__actor__:value"):
    """Give the properties of a step that proposes an action."""
    written = {"action": action, "target": {target: value}}
    if action == "pause":
        written |= {"action": "stop", "args": {"x-cronos": {"verb": "pause"}}}
    content = json.dumps(written)
    command = {"type": "openc2-http", "command": "POST /openc2 HTTP/1.1", "content": content}
    return {"agent": CRONOS, "commands": [command]}


def manual(text="May it be done?"):
    """Give the properties of a step that asks."""
    return {"agent": PEOPLE, "commands": [{"type": "manual", "command": text}]}


def document(steps, *, number=1, applies=None, **more):
    """Write a CACAO document; steps are named in short: name -> (type, properties)."""
    ids = {name: step_id(n, one[0]) for n, (name, one) in enumerate(steps.items(), 1)}
    workflow = {}
    for name, (kind, given) in steps.items():
        step = {"type": kind, **given}
        for key in _LEADS:
            if key in step:
                step[key] = ids.get(step[key], step[key])
        if "next_steps" in step:
            step["next_steps"] = [ids.get(one, one) for one in step["next_steps"]]
        if "condition" in step:
            for short, whole in ids.items():
                step["condition"] = step["condition"].replace(f"<{short}>", f"__outcome_{whole}__")
        workflow[ids[name]] = step
    return {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": f"playbook--0a1b2c3d-{number:04x}-4000-8000-000000000001",
        "name": f"Playbook {number}",
        "created_by": MAKER,
        "created": "2026-01-31T12:00:00.000Z",
        "modified": "2026-01-31T12:00:00.000Z",
        "workflow_start": ids.get("start", step_id(0, "start")),
        "workflow": workflow,
        "agent_definitions": {
            CRONOS: {"type": "security-category", "name": "cronos", "category": ["orchestrator"]},
            PEOPLE: {"type": "group", "name": "Analysts"},
        },
        "playbook_extensions": {EXTENSION: {"techniques": ["T1110"], **(applies or {})}},
        **more,
    }


def simple(action="deny", target="ipv4_net", value="__actor__:value", **more):
    """Write a document with one action."""
    return document(
        {
            "start": ("start", {"on_completion": "act"}),
            "act": ("action", {**openc2(action, target, value), "on_completion": "end"}),
            "end": ("end", {}),
        },
        **more,
    )


def read(written):
    return read_playbook(json.dumps(written).encode(), "test.json")


def incident(**changes):
    """Give an incident: a brute force from one address, surely."""
    given = {
        "incident_id": "local-1-1",
        "state": State.ISOLATED,
        "actor": ATTACKER,
        "target": SERVER,
        "title": "Brute force",
        "confidence": 0.97,
        "severity": 4,
        "evidence": EvidenceClass.DECLARED,
        "provenance": Provenance.AUTHENTICATED,
        "techniques": ("T1110.001",),
        "findings": ("f1",),
        "finding_count": 1,
        "opened_wall_ns": 0,
        "deadline_boot_ns": 0,
        "version": 1,
        **changes,
    }
    return Incident(**given)


def ability(verb, kind, blast=Blast.NARROW, reversal=Reversal.LEASED):
    return Ability(verb, kind, "", "", reversal, blast, 50)


# What enforcement points can do to what, a double of those of a whole site.
ABILITIES = {
    "packets": (
        ability(Verb.DENY, EntityKind.ADDRESS, reversal=Reversal.KERNEL),
        ability(Verb.DENY, EntityKind.NETWORK, Blast.FLEET),
        ability(Verb.DENY, EntityKind.FLOW),
        ability(Verb.DENY, EntityKind.SERVICE, Blast.SERVICE),
    ),
    "accounts": (
        ability(Verb.DENY, EntityKind.CREDENTIAL, Blast.IDENTITY),
        ability(Verb.UPDATE, EntityKind.CREDENTIAL, Blast.IDENTITY),
        ability(Verb.CONTAIN, EntityKind.USER, Blast.IDENTITY),
    ),
    "cluster": (
        ability(Verb.CONTAIN, EntityKind.POD),
        ability(Verb.DELETE, EntityKind.POD, reversal=Reversal.NONE),
        ability(Verb.PAUSE, EntityKind.WORKLOAD, Blast.SERVICE),
        ability(Verb.RESTORE, EntityKind.WORKLOAD, Blast.SERVICE),
    ),
}


def _name(option):
    return action_id(option.enforcement_point, option.verb, option.target)


def outcome(option, *, ok=True, operation=Operation.APPLY, case="local-1-1"):
    """Say what became of an option."""
    return Outcome(_name(option), case, operation, ok, ok, "")


def answer(option, *, granted, case="local-1-1"):
    """Say what a person answered; silence is `granted=False` as well."""
    return Answer("q1", case, _name(option), granted, "alice" if granted else "")


def shown(options):
    return [(one.enforcement_point, one.verb.value, one.target.value) for one in options]
