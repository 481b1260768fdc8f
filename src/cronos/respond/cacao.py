"""CACAO 2.0 playbooks: read into steps, refused with place and remedy where they ask for more.

Only what is understood whole is taken, so that nothing is carried out half; `docs/playbooks.md`
has the subset. Commands of a playbook are never run: an OpenC2 command becomes a proposal that
the matrix decides about, a manual one a question to a person, everything else is refused.
Source: OASIS CACAO Security Playbooks Version 2.0, sections 3, 4, 5, 7 and 10.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from cronos.respond.cacao_condition import parse
from cronos.respond.cacao_graph import check
from cronos.respond.cacao_openc2 import VARIABLES, read_command
from cronos.respond.cacao_place import Place, read_json
from cronos.respond.playbook_steps import (
    DEFAULT_ITERATIONS,
    MAX_BRANCHES,
    MAX_ITERATIONS,
    MAX_STEPS,
    Act,
    Agent,
    Applies,
    End,
    If,
    Kind,
    Manual,
    Parallel,
    Playbook,
    Start,
    Step,
    Wanted,
    While,
)
from cronos.types import EntityKind

EXTENSION: Final = "extension-definition--7d8f2c1a-5b3e-4c6d-9a0f-2e1b4d6c8a90"
OURSELVES: Final = "cronos"
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_LIKE: Final = "--0a1b2c3d-0001-4000-8000-000000000001"
_TIME: Final = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9](:[0-5][0-9]){2}(\.[0-9]+)?Z")
_MOST_SHOWN: Final = 64
_NAME: Final = re.compile(r"(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,120}")
_POINT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TECHNIQUE: Final = re.compile(r"T[0-9]{4}(\.[0-9]{3})?")
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_STEP: Final = re.compile(f"[a-z]+(?:-[a-z]+)?--{_UUID}")
_VARIABLE: Final = re.compile(r"__([a-z]{1,32})__")
_START_LINE: Final = re.compile(r"POST [\x21-\x7e]{1,200}( HTTP/1\.1)?")

# Said of a playbook to people; kept and written out again, and nothing follows from it.
ABOUT: Final = (
    "description", "playbook_types", "playbook_activities", "created_by", "created", "modified",
    "derived_from", "related_to", "severity", "impact", "industry_sectors", "labels",
    "external_references",
)  # fmt: skip
_MEMBERS: Final = frozenset(
    {
        *ABOUT, "type", "spec_version", "id", "name", "priority", "revoked", "playbook_variables",
        "workflow_start", "workflow", "agent_definitions", "extension_definitions",
        "playbook_extensions",
    }
)  # fmt: skip
_REQUIRED: Final = (
    "type", "spec_version", "id", "name", "created_by", "created", "modified", "workflow_start",
    "workflow", "agent_definitions", "playbook_extensions",
)  # fmt: skip
_REMEDIES: Final[Mapping[str, str]] = {
    "workflow_exception": "Give each step the `on_failure` it needs.",
    "valid_from": "Put the file into the folder when it becomes valid.",
    "valid_until": "Remove the file from the folder when it ends.",
    "signatures": "Verify the signature, then remove it: files count by owner and mode.",
    "markings": "Remove it; who may read the playbook is for the folder's mode to say.",
    "data_marking_definitions": "Remove it, together with `markings`.",
    "authentication_info_definitions": "Remove it: a playbook holds no credentials.",
    "target_definitions": "Name the target in the OpenC2 command.",
    "playbook_processing_summary": "Remove it: it is read from the steps themselves.",
}
_STEP_REMEDIES: Final[Mapping[str, str]] = {
    "delay": "Remove it: a step is due as soon as the one before it has ended.",
    "timeout": "Remove it: [policy] says how long a person has, [deadlines] how long the rest.",
    "owner": "Remove it.",
    "step_variables": "Remove it: variables name entities of the incident only.",
    "in_args": "Remove it: variables name entities of the incident only.",
    "out_args": "Remove it; ask for __outcome_STEP__ in a condition.",
    "targets": "Name the target in the OpenC2 command.",
    "on_completion": "Use `on_success`: a question that was not granted leads nowhere.",
    "on_failure": "Remove it: a question that was not granted, or not answered, leads nowhere.",
    "on_success": "Use `on_completion`.",
}
_LEADS: Final = "Say what comes next; a branch ends with an `end` step."


def read_playbook(data: bytes, origin: str) -> Playbook:
    """Read a playbook from its bytes; `origin` names them in errors.

    Raises:
        InputError: it is no CACAO 2.0 playbook, or asks for more than the subset.
    """
    whole = read_json(data, origin)
    given = whole.keyed(_MEMBERS, _REQUIRED, _REMEDIES)
    whole.at("type").one_of(("playbook",), "type that is read here")
    whole.at("spec_version").one_of(("cacao-2.0",), "version that is understood")
    if given.get("revoked", False) is not False:
        raise whole.at("revoked").refuse(
            "the playbook was revoked", "Use the one that replaced it."
        )
    _check_about(whole)
    _check_variables(whole)
    agents = _agents(whole.at("agent_definitions"))
    playbook = Playbook(
        _id(whole.at("id"), "playbook"),
        whole.at("name").text(_NAME, "Rotate a stolen credential"),
        _id(whole.at("workflow_start"), "start"),
        _steps(whole.at("workflow"), agents),
        tuple(agents[agent_id] for agent_id in sorted(agents)),
        _applies(whole),
        json.dumps({key: given[key] for key in ABOUT if key in given}, sort_keys=True),
        whole.at("priority").whole(0, 100) if "priority" in given else 0,
    )
    check(playbook, whole.at("workflow"))
    return playbook


def _id(place: Place, kind: str) -> str:
    return place.text(re.compile(f"{kind}--{_UUID}"), kind + _LIKE)


def _check_about(whole: Place) -> None:
    """Require what is only shown to be of its kind: it is written out again as it is."""
    for key in ("created", "modified"):
        whole.at(key).text(_TIME, "2026-01-31T12:00:00.000Z")
    _id(whole.at("created_by"), "identity")
    for key in ABOUT:
        place = whole.at(key)
        if key not in whole.members() or key in ("created", "modified", "created_by"):
            continue
        if key == "description":
            place.text()
        elif key in ("severity", "impact"):
            place.whole(0, 100)
        elif key == "external_references":
            for one in place.items(_MOST_SHOWN):
                one.at("name").text()
        else:
            place.texts(_MOST_SHOWN, _NAME, "a short text")


def _check_variables(whole: Place) -> None:
    """Require that declared variables are ours, and filled from outside: by the incident."""
    place = whole.at("playbook_variables")
    for name in place.members() if place.value is not None else ():
        one = place.at(name)
        match = _VARIABLE.fullmatch(name)
        if match is None or match[1] not in VARIABLES:
            known = ", ".join(f"__{known}__" for known in VARIABLES)
            raise one.refuse("no such variable is known", f"Use {known}, or write a literal.")
        one.keyed(frozenset({"type", "description", "external"}), ("type", "external"), {})
        if one.at("external").value is not True:
            raise one.at("external").refuse("only the incident fills it", "Write true.")


def _agents(place: Place) -> dict[str, Agent]:
    agents: dict[str, Agent] = {}
    given = place.members()
    if len(given) > MAX_STEPS:
        raise place.refuse("it has too many agents", f"Keep to {MAX_STEPS}.")
    for agent_id in given:
        one = place.at(agent_id)
        known = frozenset({"type", "name", "description", "category"})
        one.keyed(known - {"description"}, ("type", "name"), {})
        kind = one.at("type").one_of(("security-category", "individual", "group"), "agent we ask")
        Place(one.origin, one.path, agent_id).text(re.compile(f"{kind}--{_UUID}"), kind + _LIKE)
        category: tuple[str, ...] = ()
        machine = kind == "security-category"
        if machine or one.at("category").value is not None:
            category = one.at("category").texts(MAX_BRANCHES, _WORD, "orchestrator")
            if not category:
                raise one.at("category").refuse("it names none", 'Write ["orchestrator"].')
        name = one.at("name").text(_POINT if machine else _NAME, OURSELVES)
        agents[agent_id] = Agent(agent_id, kind, name, category)
    return agents


def _applies(whole: Place) -> Applies:
    """Read our extension: it says which incidents the playbook is for."""
    place = whole.at("playbook_extensions")
    place.keyed(frozenset({EXTENSION}), (EXTENSION,), {})
    definitions = whole.at("extension_definitions")
    if definitions.value is not None and set(definitions.members()) != {EXTENSION}:
        raise definitions.refuse("it defines other extensions", "Remove them.")
    one = place.at(EXTENSION)
    given = one.keyed(frozenset(Applies.__struct_fields__), ("techniques",), {})
    kinds = tuple(kind.value for kind in EntityKind)
    found = Applies(
        one.at("techniques").texts(64, _TECHNIQUE, "T1110 or T1021.004"),
        _words(one.at("labels")),
        one.at("min_severity").whole(1, 5) if "min_severity" in given else 1,
        one.at("min_confidence").number(0, 1) if "min_confidence" in given else 0.0,
        _words(one.at("actor_kinds")),
        _words(one.at("target_kinds")),
        _words(one.at("assets")),
    )
    if not found.techniques:
        raise one.at("techniques").refuse("it names none", "Name the techniques it answers.")
    for kind in (*found.actor_kinds, *found.target_kinds):
        Place(one.origin, one.path, kind).one_of(kinds, "kind of entity")
    return found


def _words(place: Place) -> tuple[str, ...]:
    return () if place.value is None else place.texts(64, _WORD, "personal")


# --- steps ---------------------------------------------------------------------------------------


def _steps(place: Place, agents: Mapping[str, Agent]) -> dict[str, Step]:
    given = place.members()
    if len(given) > MAX_STEPS:
        raise place.refuse(f"it has {len(given)} steps", f"Keep to {MAX_STEPS}.")
    steps: dict[str, Step] = {}
    for step_id in given:
        one = place.at(step_id)
        one.members()
        kind = one.at("type").one_of(_READERS, "step of this subset")
        _id(Place(one.origin, one.path, step_id), kind)
        said = [
            one.at(key).text() if one.at(key).value is not None else ""
            for key in ("name", "description")
        ]
        steps[step_id] = Step(step_id, _READERS[kind](one, agents), said[0], said[1])
    return steps


def _next(place: Place) -> str:
    return place.text(_STEP, "action" + _LIKE)


def _keys(*own: str) -> frozenset[str]:
    return frozenset({"type", "name", "description", *own})


def _start(step: Place, _: Mapping[str, Agent]) -> Kind:
    step.keyed(_keys("on_completion"), ("on_completion",), _STEP_REMEDIES)
    return Start(_next(step.at("on_completion")))


def _end(step: Place, _: Mapping[str, Agent]) -> Kind:
    step.keyed(_keys(), (), {**_STEP_REMEDIES, "on_completion": "Remove it: here it ends."})
    return End()


def _if(step: Place, _: Mapping[str, Agent]) -> Kind:
    known = _keys("condition", "on_true", "on_false", "on_completion")
    given = step.keyed(known, ("condition", "on_true", "on_completion"), _STEP_REMEDIES)
    on_false = _next(step.at("on_false")) if "on_false" in given else ""
    then = _next(step.at("on_completion"))
    return If(parse(step.at("condition")), _next(step.at("on_true")), on_false, then)


def _while(step: Place, _: Mapping[str, Agent]) -> Kind:
    known = _keys("condition", "on_true", "on_completion", "step_extensions")
    given = step.keyed(known, ("condition", "on_true", "on_completion"), _STEP_REMEDIES)
    most = DEFAULT_ITERATIONS
    if "step_extensions" in given:
        own = step.at("step_extensions")
        own.keyed(frozenset({EXTENSION}), (EXTENSION,), {})
        own.at(EXTENSION).keyed(frozenset({"max_iterations"}), ("max_iterations",), {})
        most = own.at(EXTENSION).at("max_iterations").whole(1, MAX_ITERATIONS)
    then = _next(step.at("on_completion"))
    return While(parse(step.at("condition")), _next(step.at("on_true")), most, then)


def _parallel(step: Place, _: Mapping[str, Agent]) -> Kind:
    step.keyed(
        _keys("next_steps", "on_completion"), ("next_steps", "on_completion"), _STEP_REMEDIES
    )
    branches = tuple(_next(one) for one in step.at("next_steps").items(MAX_BRANCHES))
    if len(branches) < 2 or len(set(branches)) != len(branches):
        raise step.at("next_steps").refuse("it names no two branches", "Name each branch once.")
    return Parallel(branches, _next(step.at("on_completion")))


def _action(step: Place, agents: Mapping[str, Agent]) -> Kind:
    """Read a step that proposes, or one that asks; what its command is says which."""
    commands = step.at("commands")
    if len(commands.items(MAX_BRANCHES)) != 1:
        raise commands.refuse("a step has one command", "Write a step for each command.")
    command = commands.items(1)[0]
    command.members()
    kind = command.at("type").text()
    if kind == "manual":
        return _manual(step, command, agents)
    if kind not in _COMMANDS:
        raise command.at("type").refuse(
            f"a command of the type {kind!r:.40} is never carried out here",
            "Write what it does as an OpenC2 command (openc2-http), or ask for it with `manual`.",
        )
    known = _keys("commands", "agent", "on_completion", "on_success", "on_failure")
    given = step.keyed(known, ("commands", "agent"), _STEP_REMEDIES)
    agent = _agent(step.at("agent"), agents, ("security-category",))
    if ("on_completion" in given) is ("on_success" in given) or (
        "on_completion" in given and "on_failure" in given
    ):
        raise step.refuse("it leads nowhere, or in two ways at once", _LEADS)
    wanted = _COMMANDS[kind](command)
    if agent.name != OURSELVES:
        wanted = replace(wanted, point=agent.name)
    if "on_completion" in given:
        then = _next(step.at("on_completion"))
        return Act(wanted, agent.agent_id, then, then)
    on_failure = _next(step.at("on_failure")) if "on_failure" in given else ""
    return Act(wanted, agent.agent_id, _next(step.at("on_success")), on_failure)


def _manual(step: Place, command: Place, agents: Mapping[str, Agent]) -> Kind:
    known = _keys("commands", "agent", "on_success")
    step.keyed(known, ("commands", "agent", "on_success"), _STEP_REMEDIES)
    command.keyed(frozenset({"type", "command"}), ("type", "command"), {})
    agent = _agent(step.at("agent"), agents, ("individual", "group"))
    question = command.at("command").text(_NAME, "May the credential be replaced?")
    return Manual(question, agent.agent_id, _next(step.at("on_success")))


def _agent(place: Place, agents: Mapping[str, Agent], kinds: tuple[str, ...]) -> Agent:
    found = agents.get(place.text())
    if found is None or found.type not in kinds:
        raise place.refuse(
            f"it names no agent of the type {' or '.join(kinds)}",
            "Define it under `agent_definitions`: cronos, an enforcement point, or people.",
        )
    return found


def _openc2_http(command: Place) -> Wanted:
    """Read an OpenC2 command out of its HTTP form; the request itself is never sent."""
    known = frozenset({"type", "command", "content", "content_b64"})
    remedies = {"headers": "Remove them: no request is sent."}
    given = command.keyed(known, ("type", "command"), remedies)
    command.at("command").text(_START_LINE, "POST /.well-known/openc2 HTTP/1.1")
    if ("content" in given) is ("content_b64" in given):
        raise command.refuse("it has no single content", "Give `content_b64`.")
    if "content" in given:
        return read_command(command.at("content"))
    place = command.at("content_b64")
    try:
        content = base64.b64decode(place.text(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise place.refuse("it is no Base64 of a text", "Encode the JSON again.") from error
    return read_command(Place(place.origin, place.path, content))


def _openc2_json(command: Place) -> Wanted:
    command.keyed(frozenset({"type", "command"}), ("type", "command"), {})
    return read_command(command.at("command"))


_COMMANDS: Final[Mapping[str, Callable[[Place], Wanted]]] = {
    "openc2-http": _openc2_http,
    "openc2-json": _openc2_json,
}
_READERS: Final[Mapping[str, Callable[[Place, Mapping[str, Agent]], Kind]]] = {
    "start": _start,
    "end": _end,
    "action": _action,
    "if-condition": _if,
    "while-condition": _while,
    "parallel": _parallel,
}
