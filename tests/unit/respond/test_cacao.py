import base64
import json
import os
import pathlib

import pytest
from tests.unit.respond.playbooks import (
    CRONOS,
    EXAMPLES,
    PEOPLE,
    document,
    manual,
    openc2,
    read,
    simple,
    step_id,
)

from cronos.errors import InputError
from cronos.respond.cacao import EXTENSION, read_playbook
from cronos.respond.cacao_export import write_playbook
from cronos.respond.playbook_steps import Act, Applies, Manual, While
from cronos.types import Verb


def changed(path, value, written=None):
    """Give a document with one member set; `path` is split at blanks, None removes it."""
    whole = simple() if written is None else written
    *above, last = [int(key) if key.isdigit() else key for key in path.split()]
    part = whole
    for key in above:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return whole


ACT = f"workflow {step_id(2)}"
COMMAND = f"{ACT} commands 0"


def test_a_playbook_is_read_with_all_that_it_says():
    playbook = read(
        simple(
            applies={"min_severity": 3, "min_confidence": 0.5, "labels": ["legacy"]},
            priority=7,
            labels=["x"],
            description="Why",
        )
    )

    assert playbook.name == "Playbook 1"
    assert playbook.priority == 7
    assert playbook.applies == Applies(("T1110",), ("legacy",), 3, 0.5)
    assert json.loads(playbook.about)["description"] == "Why"
    (act,) = [one.kind for one in playbook.steps.values() if isinstance(one.kind, Act)]
    assert (act.wanted.verb, act.wanted.variable, act.wanted.point) == (Verb.DENY, "actor", "")


def test_an_agent_can_be_one_enforcement_point():
    written = changed(f"agent_definitions {CRONOS} name", "nftables")

    (act,) = [one.kind for one in read(written).steps.values() if isinstance(one.kind, Act)]
    assert act.wanted.point == "nftables"


def test_the_three_ways_to_write_a_command_mean_the_same():
    content = json.dumps({"action": "deny", "target": {"ipv4_net": "__actor__:value"}})
    line = "POST /.well-known/openc2 HTTP/1.1"
    encoded = base64.b64encode(content.encode()).decode()
    ways = [
        {"type": "openc2-http", "command": line, "content": content},
        {"type": "openc2-http", "command": line, "content_b64": encoded},
        {"type": "openc2-json", "command": content},
    ]

    assert len({write_playbook(read(changed(COMMAND, way))) for way in ways}) == 1


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("type", "report", "type"),
        ("spec_version", "cacao-1.1", "spec_version"),
        ("id", "playbook--1", "id"),
        ("id", None, "id: it is missing"),
        ("name", " ", "name"),
        ("name", "a\x1b[2Jb", "name"),
        ("created", "yesterday", "created"),
        ("created_by", "alice", "created_by"),
        ("revoked", True, "revoked"),
        ("valid_from", "2026-01-31T12:00:00Z", "valid_from"),
        ("valid_until", "2026-01-31T12:00:00Z", "valid_until"),
        ("signatures", [{}], "signatures"),
        ("markings", [], "markings"),
        ("workflow_exception", step_id(3, "end"), "workflow_exception"),
        ("authentication_info_definitions", {}, "authentication_info"),
        ("target_definitions", {}, "target_definitions"),
        ("x_unknown", 1, "x_unknown"),
        ("priority", 101, "priority"),
        ("workflow_start", step_id(9, "start"), "workflow"),
        ("workflow", [], "workflow"),
        ("workflow", {}, "workflow"),
        ("playbook_variables", {"__ip__": {"type": "string", "external": True}}, "__ip__"),
        ("playbook_variables", {"__actor__": {"type": "string", "external": False}}, "external"),
        (
            "playbook_variables",
            {"__actor__": {"type": "string", "external": True, "value": "192.0.2.1"}},
            "value",
        ),
        (f"playbook_extensions {EXTENSION} techniques", [], "techniques"),
        (f"playbook_extensions {EXTENSION} techniques", ["1110"], "techniques"),
        (f"playbook_extensions {EXTENSION} actor_kinds", ["robot"], "robot"),
        (f"playbook_extensions {EXTENSION} min_severity", 9, "min_severity"),
        (f"playbook_extensions {EXTENSION} other", 9, "other"),
        ("playbook_extensions", {step_id(1, "extension-definition"): {}}, "extension-definition"),
        ("extension_definitions", {step_id(1, "extension-definition"): {}}, "extension"),
        (f"agent_definitions {CRONOS} type", "ssh", "type"),
        (f"agent_definitions {CRONOS} authentication_info", "x", "authentication_info"),
        (f"{ACT} type", "playbook-action", "type"),
        (f"{ACT} type", "switch-condition", "type"),
        (f"{ACT} type", "end", step_id(2)),
        (f"{ACT} delay", 5, "delay"),
        (f"{ACT} timeout", 5, "timeout"),
        (f"{ACT} targets", [], "targets"),
        (f"{ACT} in_args", [], "in_args"),
        (f"{ACT} step_variables", {}, "step_variables"),
        (f"{ACT} agent", PEOPLE, "agent"),
        (f"{ACT} agent", "security-category--x", "agent"),
        (f"{ACT} on_completion", "", "on_completion"),
        (f"{ACT} on_completion", step_id(77, "end"), "missing"),
        (f"{ACT} on_completion", None, "nowhere"),
        (f"{ACT} on_failure", step_id(3, "end"), "two ways"),
        (f"{ACT} commands", [], "commands"),
        (f"{ACT} commands", [{"type": "manual", "command": "a"}] * 2, "commands"),
        (f"{COMMAND} headers", {}, "headers"),
        (f"{COMMAND} command", "GET / HTTP/1.1", "command"),
        (f"{COMMAND} content", "deny", "content"),
        (f"{COMMAND} content", None, "content"),
        (f"{COMMAND} content_b64", "AA==", "content"),
    ],
)
def test_what_is_outside_the_subset_is_refused_with_its_place_and_a_remedy(path, value, named):
    with pytest.raises(InputError) as caught:
        read(changed(path, value))

    assert caught.value.code == "respond.playbook_refused"
    assert caught.value.sentence.startswith("test.json")
    assert named in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "kind",
    ["bash", "http-api", "ssh", "powershell", "elastic", "jupyter", "kestrel", "sigma", "yara",
     "caldera-cmd", "x-new"],
)  # fmt: skip
def test_commands_that_would_run_something_are_never_carried_out(kind):
    with pytest.raises(InputError, match="never carried out") as caught:
        read(changed(f"{ACT} commands", [{"type": kind, "command": "rm -rf /"}]))

    assert "OpenC2" in caught.value.remedy


def asking(**leads):
    return document(
        {
            "start": ("start", {"on_completion": "ask"}),
            "ask": ("action", {**manual(), **leads}),
            "act": ("action", {**openc2(), "on_completion": "end"}),
            "end": ("end", {}),
        }
    )


def test_a_question_is_read_as_one():
    playbook = read(asking(on_success="act"))

    (ask,) = [one.kind for one in playbook.steps.values() if isinstance(one.kind, Manual)]
    assert ask == Manual("May it be done?", PEOPLE, step_id(3))


@pytest.mark.parametrize(
    "leads",
    [
        {"on_completion": "act"},
        {"on_success": "end"},
        {"on_success": "act", "on_failure": "act"},
        {"on_success": "act", "timeout": 5},
        {},
    ],
)
def test_a_question_leads_on_only_when_it_is_granted(leads):
    with pytest.raises(InputError):
        read(asking(**leads))


def test_a_question_is_put_to_people():
    written = asking(on_success="act")
    with pytest.raises(InputError, match="individual or group"):
        read(changed(f"workflow {step_id(2)} agent", CRONOS, written))


def repeated(extension):
    return document(
        {
            "start": ("start", {"on_completion": "again"}),
            "again": (
                "while-condition",
                {
                    "condition": "<act>:value != 'ok'",
                    "on_true": "act",
                    "on_completion": "end",
                    **extension,
                },
            ),
            "act": ("action", {**openc2(), "on_completion": "tried"}),
            "tried": ("end", {}),
            "end": ("end", {}),
        }
    )


def test_a_loop_is_bounded_whatever_it_says():
    def loop(extension):
        steps = read(repeated(extension)).steps.values()
        return next(one.kind.most for one in steps if isinstance(one.kind, While))

    assert loop({}) == 4
    assert loop({"step_extensions": {EXTENSION: {"max_iterations": 16}}}) == 16
    with pytest.raises(InputError, match="max_iterations"):
        loop({"step_extensions": {EXTENSION: {"max_iterations": 10**9}}})


def test_ten_thousand_steps_are_refused():
    many = {f"s{n}": ("end", {}) for n in range(9_000)}
    with pytest.raises(InputError, match="Keep to 256"):
        read(document({"start": ("start", {"on_completion": "s1"}), **many}))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_the_shipped_playbooks_are_read(path):
    playbook = read_playbook(path.read_bytes(), path.name)

    assert playbook.applies.techniques


def test_there_are_shipped_playbooks():
    assert len(list(EXAMPLES.glob("*.json"))) >= 4


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_what_is_written_keeps_to_the_published_schema(path):
    """Against the schemas of OASIS, from a checkout of cacao-json-schemas that is named.

    They say draft 07 and are read as that: the `unevaluatedProperties` in them, a word of a later
    draft, would refuse every command, since that of `command-data` knows only its own properties.
    So each command is held against the schema of its type as well.
    """
    folder = os.environ.get("CACAO_SCHEMAS", "")
    if not folder:
        pytest.skip("CACAO_SCHEMAS does not name a checkout of oasis-open/cacao-json-schemas")
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    referencing = pytest.importorskip("referencing", reason="jsonschema is not installed")
    files = (pathlib.Path(folder) / "schemas").rglob("*.json")
    schemas = {schema["$id"]: schema for schema in (json.loads(file.read_text()) for file in files)}
    registry = referencing.Registry().with_resources(
        (name, referencing.Resource.from_contents(one)) for name, one in schemas.items()
    )

    def validator(end):
        (schema,) = [one for name, one in schemas.items() if name.endswith(f"/schemas/{end}")]
        return jsonschema.Draft7Validator(schema, registry=registry)

    shipped = json.loads(path.read_text())
    again = json.loads(write_playbook(read_playbook(path.read_bytes(), path.name)))
    for written in (shipped, again):
        validator("playbook.json").validate(written)
        for step in written["workflow"].values():
            for command in step.get("commands", ()):
                validator(f"commands/{command['type']}.json").validate(command)
    assert not validator("playbook.json").is_valid(shipped | {"spec_version": "cacao-9"})
    assert not validator("playbook.json").is_valid(shipped | {"agent_definitions": {}})
