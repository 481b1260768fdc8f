"""Playbooks written as CACAO 2.0: what `read_playbook` reads back as just the same."""

import base64
import json
from typing import Any, Final

from cronos.respond.cacao import EXTENSION
from cronos.respond.cacao_condition import render
from cronos.respond.cacao_openc2 import write_command
from cronos.respond.cacao_place import Object
from cronos.respond.playbook_steps import (
    ROLES,
    Act,
    Agent,
    Applies,
    End,
    If,
    Manual,
    Parallel,
    Playbook,
    Start,
    Step,
    Wanted,
    While,
)

_MAKER: Final = "identity--4f1c7d52-93ab-4e0b-8c55-6a2f0d9be731"
_START_LINE: Final = "POST /.well-known/openc2 HTTP/1.1"
_KINDS: Final[dict[type, str]] = {
    Start: "start",
    End: "end",
    Act: "action",
    Manual: "action",
    If: "if-condition",
    While: "while-condition",
    Parallel: "parallel",
}
_DEFINITION: Final[Object] = {
    "type": "extension-definition",
    "name": "Cronos",
    "description": "Which incidents a playbook is for, and how often a loop repeats.",
    "created_by": _MAKER,
    "schema": "docs/playbooks.md",
    "version": "1.0.0",
}


def write_playbook(playbook: Playbook) -> bytes:
    """Give a playbook as CACAO 2.0 JSON, indented, with its keys sorted."""
    written: Object = {
        **json.loads(playbook.about),
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": playbook.playbook_id,
        "name": playbook.name,
        "workflow_start": playbook.start,
        "workflow": {step_id: _step(step) for step_id, step in playbook.steps.items()},
        "agent_definitions": {agent.agent_id: _agent(agent) for agent in playbook.agents},
        "extension_definitions": {EXTENSION: _DEFINITION},
        "playbook_extensions": {EXTENSION: _applies(playbook.applies)},
    }
    if playbook.priority:
        written["priority"] = playbook.priority
    named = sorted(
        {
            step.kind.wanted.variable
            for step in playbook.steps.values()
            if isinstance(step.kind, Act) and step.kind.wanted.variable
        }
    )
    if named:
        written["playbook_variables"] = {
            f"__{name}__": {"type": "string", "description": _meaning(name), "external": True}
            for name in named
        }
    return json.dumps(written, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _meaning(name: str) -> str:
    role = {"actor": "who acts", "target": "what is attacked"}
    return f"Of the incident: {role[name] if name in ROLES else f'its first {name}'}."


def _agent(agent: Agent) -> Object:
    written: Object = {"type": agent.type, "name": agent.name}
    if agent.category:
        written["category"] = list(agent.category)
    return written


def _applies(applies: Applies) -> Object:
    """Write what differs from the defaults."""
    defaults = Applies(applies.techniques)
    written: Object = {"techniques": list(applies.techniques)}
    for name in Applies.__struct_fields__:
        value: Any = getattr(applies, name)
        if value != getattr(defaults, name):
            written[name] = value  # JSON has no tuples: a list is written
    return written


def _step(step: Step) -> Object:
    said = {"name": step.name, "description": step.description}
    written: Object = {key: text for key, text in said.items() if text}
    return {"type": _KINDS[type(step.kind)], **written, **_own(step)}


def _own(step: Step) -> Object:
    """Write what a step of its kind says; an empty text stands for what is left out."""
    written: Object
    match step.kind:
        case Start(then):
            written = {"on_completion": then}
        case End():
            written = {}
        case Act():
            written = _act(step.kind)
        case Manual(question, agent, then):
            command = {"type": "manual", "command": question}
            written = {"commands": [command], "agent": agent, "on_success": then}
        case If(condition, on_true, on_false, then):
            written = {"on_true": on_true, "on_false": on_false, "on_completion": then}
            written["condition"] = render(condition)
        case While(condition, on_true, most, then):
            written = {"on_true": on_true, "on_completion": then}
            written["condition"] = render(condition)
            written["step_extensions"] = {EXTENSION: {"max_iterations": most}}
        case Parallel(branches, then):
            written = {"next_steps": list(branches), "on_completion": then}
    return {key: value for key, value in written.items() if value != ""}


def _act(kind: Act) -> Object:
    leads: Object = {"on_success": kind.on_success, "on_failure": kind.on_failure}
    if kind.on_success == kind.on_failure:
        leads = {"on_completion": kind.on_success}
    return {"commands": [_command(kind.wanted)], "agent": kind.agent, **leads}


def _command(wanted: Wanted) -> Object:
    content = json.dumps(write_command(wanted), sort_keys=True, ensure_ascii=False)
    encoded = base64.b64encode(content.encode()).decode()
    return {"type": "openc2-http", "command": _START_LINE, "content_b64": encoded}
