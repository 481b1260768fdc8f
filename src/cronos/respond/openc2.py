"""Actions as OpenC2 commands, and back: how another party's orchestrator would say the same.

The command says in OpenC2's own words as much as these can hold: the action, the target, how long
(`duration`, in milliseconds: our lease). What is ours alone stands under `x-cronos` in the
arguments, as the specification has it for extensions, so that nothing is lost on the way back.
OpenC2 knows neither `limit` nor `pause`, and allows no further actions; the nearest of its own
stands for them, and the verb itself beside it.

Source: OASIS, Open Command and Control (OpenC2) Language Specification 1.0, section 3.3.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from cronos.errors import InputError
from cronos.link.openc2target import target_form
from cronos.types import Ability, Action, Entity, EntityKind, Verb, action_id

_MS_NS: Final = 1_000_000
_MAX_BYTES: Final = 1 << 16
_MAX_APPROVALS: Final = 16
_MAX_CHARS: Final = 1024

# OpenC2's actions, section 3.3.1.1; the verbs it lacks become the nearest one.
_ACTIONS: Final = {Verb.LIMIT: "set", Verb.PAUSE: "stop"}

Abilities = Iterable[Ability]


class _Ours(msgspec.Struct, frozen=True, omit_defaults=True):
    """What OpenC2 has no words for."""

    verb: Verb
    point: str
    incident: str
    kind: EntityKind
    target: str
    lease_ns: int
    epoch: int = 1
    approvals: tuple[str, ...] = ()


class _Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments that are understood; one that is not refuses the command."""

    ours: _Ours = msgspec.field(name="x-cronos")
    duration: int = 1
    response_requested: str = "complete"


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: str
    target: dict[str, Any]
    args: _Args
    command_id: str = ""


def to_command(action: Action, abilities: Abilities) -> bytes:
    """Give the command that stands for an action, as JSON.

    Raises:
        InputError: none of the abilities does this to such a target.
    """
    able = _able(action.verb, action.target.kind, abilities)
    ours = _Ours(
        action.verb,
        action.enforcement_point,
        action.incident_id,
        action.target.kind,
        action.target.value,
        action.lease_ns,
        action.epoch,
        tuple(base64.b64encode(one).decode() for one in action.approvals),
    )
    duration = max(1, action.lease_ns // _MS_NS)
    command = _Command(
        _ACTIONS.get(action.verb, "" + action.verb),
        target_form(able.openc2, action.target.value),
        _Args(ours, duration),
        action.action_id,
    )
    return msgspec.json.encode(command)


def from_command(command: bytes, abilities: Abilities) -> Action:
    """Give the action that a command stands for.

    Its two halves have to agree: what OpenC2's own words say and what stands under `x-cronos`.

    Raises:
        InputError: it is no such command, contradicts itself, or nobody here is able to do it.
    """
    if len(command) > _MAX_BYTES:
        raise _refused(f"it has {len(command)} bytes, more than {_MAX_BYTES}")
    try:
        read = msgspec.json.decode(command, type=_Command)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise _refused(str(error)[:200]) from error
    ours = read.args.ours
    target = Entity(ours.kind, ours.target)
    able = _able(ours.verb, ours.kind, abilities)
    named = action_id(ours.point, ours.verb, target)
    action = Action(
        named,
        ours.point,
        ours.verb,
        target,
        ours.incident,
        ours.lease_ns,
        ours.epoch,
        _approvals(ours.approvals),
    )
    agrees = (
        read.action == _ACTIONS.get(ours.verb, "" + ours.verb)
        and read.target == target_form(able.openc2, target.value)
        and read.args.duration == max(1, ours.lease_ns // _MS_NS)
        and read.command_id in ("", named)
        and len(ours.target) <= _MAX_CHARS
    )
    if not agrees:
        raise _refused("what it says in OpenC2's words is not what it says under x-cronos")
    return action


def _able(verb: Verb, kind: EntityKind, abilities: Abilities) -> Ability:
    for one in abilities:
        if (one.verb, one.kind) == (verb, kind):
            return one
    raise _refused(f"no executor is able to {verb} a {kind}")


def _approvals(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    if len(texts) > _MAX_APPROVALS:
        raise _refused(f"it has more than {_MAX_APPROVALS} approvals")
    try:
        return tuple(base64.b64decode(text, validate=True) for text in texts)
    except (binascii.Error, ValueError) as error:
        raise _refused("an approval is not base64") from error


def _refused(what: str) -> InputError:
    return InputError(
        "respond.openc2_refused",
        f"This OpenC2 command is not understood: {what}.",
        "Send a command as docs/formats.md describes it.",
    )
