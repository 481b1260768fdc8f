"""Hands actions to a receiver of the site's own, as OpenC2 commands over a signed POST.

The receiver is told what to do and for how long, is asked what is in force, and is told to cancel.
What it accepted is believed when its own state says so. Each request carries
``X-Cronos-Signature: sha256=…``, the HMAC-SHA-256 of method, path and body with a shared secret;
the body, or the query, holds the time, so that an old request can be told from a new one.

Source: OpenC2 Language Specification 1.0 (actions, targets, duration, `cancel` of a `command`).
"""

import hashlib
import hmac
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec

from cronos.config import Section
from cronos.errors import UnreachableError
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.link.openc2target import target_form, target_name
from cronos.link.rest import Answer, ForeignConfig, RestClient, json_body, private_text
from cronos.ports import Clock, Egress
from cronos.types import (
    Ability,
    Action,
    Blast,
    EntityKind,
    Manifest,
    Plan,
    Reversal,
    Verb,
)

_TABLE: Final = "webhook-action"
_JSON: Final = {"Content-Type": "application/json"}
_MS_NS: Final = 1_000_000
_MAX_IN_FORCE: Final = 10_000
_ID_CHARS: Final = 32
_DIGITS: Final = frozenset("0123456789abcdef")
_CAN: Final = (
    (Verb.DENY, EntityKind.ADDRESS, "D3-NTF", Blast.NARROW),
    (Verb.DENY, EntityKind.NETWORK, "D3-NTF", Blast.FLEET),
    (Verb.CONTAIN, EntityKind.HOST, "D3-NI", Blast.HOST),
    (Verb.CONTAIN, EntityKind.USER, "D3-AL", Blast.IDENTITY),
    (Verb.DENY, EntityKind.CREDENTIAL, "D3-CR", Blast.IDENTITY),
)


class WebhookActionConfig(ForeignConfig, frozen=True):
    """Where the receiver is, the secret that is shared with it, and what it can do."""

    secret_file: str = ""
    # Of what the manifest offers; "deny:address" for instance. Empty means nothing.
    accepts: tuple[str, ...] = ()


class Held(msgspec.Struct, frozen=True):
    """What is cancelled: the command's id."""

    command: str


class _State(msgspec.Struct, frozen=True):
    in_force: tuple[str, ...]


class WebhookActionExecutor(ForeignExecutor):
    """Acts through one receiver.

    Raises:
        InputError: the address or a file cannot be used, or something accepted does not exist.
        DeniedError: others may read the secret.
    """

    manifest = Manifest(
        _TABLE,
        "Hands actions to a receiver of the site's own, as signed OpenC2 commands",
        abilities=tuple(
            Ability(verb, kind, target_name(kind), d3fend, Reversal.LEASED, blast, 5_000)
            for verb, kind, d3fend, blast in _CAN
        ),
    )
    config_type: ClassVar[type[Section]] = WebhookActionConfig

    def __init__(self, config: WebhookActionConfig, clock: Clock, egress: Egress) -> None:
        super().__init__(config.at_once)
        self._config = config
        self._clock = clock
        self._rest = RestClient(config, egress, _TABLE)
        offered = {f"{verb}:{kind}" for verb, kind, *_ in _CAN}
        for name in config.accepts:
            if name not in offered:
                raise refusal(
                    f"[plugin.{_TABLE}] accepts {name!r:.60}, which it does not have.",
                    f"Choose from: {', '.join(sorted(offered))}.",
                )
        self._secret()

    def prepare(self, action: Action) -> Prepared:
        """See `ForeignExecutor.prepare`."""
        if f"{action.verb}:{action.target.kind}" not in self._config.accepts:
            raise refusal(
                f"The receiver does not {action.verb} a {action.target.kind}.",
                f"If it can, add it to `accepts` under [plugin.{_TABLE}].",
            )
        self._in_force()
        what = f"{action.verb} {action.target.value}"
        return Prepared(
            Held(action.action_id),
            f"have the receiver {what}",
            f"have the receiver cancel {what}",
        )

    def put(self, plan: Plan) -> str:
        """See `ForeignExecutor.put`; the same command id twice is one command."""
        recipe_of(plan, Held)
        action = plan.action
        command = {
            "action": str(action.verb),
            "target": target_form(target_name(action.target.kind), action.target.value),
            "args": {"duration": max(1, action.lease_ns // _MS_NS)},
            "command_id": action.action_id,
        }
        self._post(command, action.action_id, in_force=True)
        return f"The receiver says that it does {action.verb} {action.target.value}."

    def keep(self, plan: Plan) -> str:
        """See `ForeignExecutor.keep`; the receiver ends it by itself unless told the new lease."""
        return self.put(plan)

    def sees(self, plan: Plan) -> bool:
        """See `ForeignExecutor.sees`."""
        return recipe_of(plan, Held).command in self._in_force()

    def take_back(self, plan: Plan) -> str:
        """See `ForeignExecutor.take_back`."""
        command = recipe_of(plan, Held).command
        if command not in self._in_force():
            return "The receiver says that it is not in force."
        cancel = {"action": "cancel", "target": {"command": command}}
        self._post(cancel, command, in_force=False)
        return f"The receiver has cancelled {plan.action.verb} {plan.action.target.value}."

    def observe(self) -> frozenset[str]:
        """Give the commands that the receiver says are in force."""
        return frozenset(self._in_force())

    def _in_force(self) -> set[str]:
        query = urlencode({"time_ns": str(self._clock.now().wall_ns)})
        answer = self._call("GET", f"/?{query}", b"")
        names = self._rest.decoded(answer, _State).in_force[:_MAX_IN_FORCE]
        return {name for name in names if len(name) == _ID_CHARS and set(name) <= _DIGITS}

    def _post(self, command: dict[str, Any], command_id: str, *, in_force: bool) -> None:
        """Send a command and ask what came of it: the answer to a POST is only a promise."""
        self._call("POST", "/", json_body({**command, "time_ns": self._clock.now().wall_ns}))
        if (command_id in self._in_force()) is not in_force:
            raise UnreachableError(
                "respond.webhook_undone",
                f"The receiver accepted it and does not say that it is "
                f"{'in force' if in_force else 'over'}.",
                "Look at the receiver; it must answer a GET with what is in force.",
            )

    def _call(self, method: str, where: str, body: bytes) -> Answer:
        signed = f"{method} {self._rest.place.prefix}{where}\n".encode() + body
        mac = hmac.new(self._secret(), signed, hashlib.sha256).hexdigest()
        headers = {**_JSON, "X-Cronos-Signature": f"sha256={mac}"}
        answer = self._rest.call(method, where, headers, body or None)
        self._rest.raise_for(answer)
        return answer

    def _secret(self) -> bytes:
        return private_text(self._config.secret_file, "secret_file", _TABLE).encode()
