"""Signals workflows of Temporal to pause, to go elsewhere, and to go on.

What a signal does is the workflow's own affair, so it is asked afterwards by a query, where it
has one; without it the effect stays unconfirmed, and the sentence says so.

Source: Temporal HTTP API (``/api/v1/namespaces/{namespace}/workflows/{id}/signal/{name}`` and
``/query/{type}``; payloads in JSON).
"""

import base64
import binascii
from typing import Any, ClassVar, Final

import msgspec

from cronos.config import Name, Section
from cronos.errors import CronosError, InputError
from cronos.link.rest import ForeignConfig, RestClient, json_body, path, private_text
from cronos.ports import Egress
from cronos.types import Manifest

_TABLE: Final = "temporal"
_JSON: Final = {"Content-Type": "application/json"}
_STATES: Final = {"pause": "paused", "reroute": "rerouted", "restore": "running"}
_UNKNOWN: Final = "running"


class Signals(Section, frozen=True):
    """A workflow, its signals for each step, and the query that gives its state.

    The query answers with ``paused``, ``rerouted`` or ``running``.
    """

    workflow_id: str
    pause: str = "pause"
    reroute: str = ""
    restore: str = "resume"
    query: str = ""


class TemporalConfig(ForeignConfig, frozen=True):
    """Where Temporal's HTTP interface is, its key, and the workflow of each workload."""

    namespace: str = "default"
    # Sent as a bearer token; empty where the server wants none.
    token_file: str = ""
    workload: dict[Name, Signals] = msgspec.field(default_factory=dict[Name, Signals])


class _Payload(msgspec.Struct, frozen=True):
    data: str = ""


class _Payloads(msgspec.Struct, frozen=True):
    payloads: tuple[_Payload, ...] = ()


class _Queried(msgspec.Struct, frozen=True, rename="camel"):
    """A result: payloads in the wire's own form, or short, as plain JSON."""

    query_result: _Payloads | tuple[Any, ...] | None = None


class TemporalWorkflow:
    """Signals the workflow of a workload.

    Raises:
        InputError: the address or the token's file cannot be used.
        DeniedError: others may read the token.
    """

    manifest = Manifest(
        "temporal",
        "Signals the workflow of a workload in Temporal",
        ("pause", "reroute", "restore"),
    )
    config_type: ClassVar[type[Section]] = TemporalConfig

    def __init__(self, config: TemporalConfig, egress: Egress) -> None:
        self._config = config
        self._rest = RestClient(config, egress, _TABLE)
        if config.token_file:
            private_text(config.token_file, "token_file", _TABLE)

    def adjust(self, workload: str, verb: str) -> str:
        """Send the signal of a step, and ask for the state after; see `Workflow.adjust`."""
        signals = self._signals(workload, verb)
        self._post(signals, "signal", getattr(signals, verb), {"identity": "cronos"})
        if not signals.query:
            return f"{workload}: {verb} was signalled, its effect not confirmed."
        state = self._state(signals)
        if state != _STATES[verb]:
            raise CronosError(
                "respond.hook_failed",
                f"The workflow of {workload} was signalled and says that it is {state!r:.40}.",
                "Look at the workflow in Temporal; it may be busy with a long task.",
                "peer",
            )
        return f"{workload} is {state}, says its workflow."

    def former(self, workload: str, verb: str) -> str:
        """Give the workflow's state now; see `Watching.former`. Empty where it cannot be asked."""
        signals = self._signals(workload, verb)
        self._signals(workload, "restore")
        state = (self._state(signals) or _UNKNOWN) if signals.query else ""
        if state == _STATES[verb]:
            raise InputError(
                "respond.hook_held",
                f"{workload} is {state} already, and not by this.",
                "Nothing is held; whoever did it decides when it goes on.",
            )
        return state

    def put_back(self, workload: str, former: str) -> str:
        """Signal the opposite of the step, to what was before; see `Watching.put_back`."""
        verb = next((one for one, state in _STATES.items() if state == former), "restore")
        signals = self._signals(workload, verb)
        if self._state(signals) == former:
            return f"{workload} is {former} already."
        return self.adjust(workload, verb)

    def sees(self, workload: str, verb: str) -> bool:
        """Say whether the workflow says that it is so; see `Watching.sees`."""
        signals = self._signals(workload, verb)
        return self._state(signals) == _STATES[verb]

    def _signals(self, workload: str, verb: str) -> Signals:
        signals = self._config.workload.get(workload)
        if signals is None or verb not in _STATES or not getattr(signals, verb):
            raise InputError(
                "respond.hook_missing",
                f"No signal is configured to {verb} the workload {workload!r:.100}.",
                f"Add it to [plugin.temporal.workload.{workload:.63}].",
            )
        return signals

    def _state(self, signals: Signals) -> str:
        """Ask for the state: a JSON payload, as text or in the wire's own form (base64)."""
        answer = self._post(signals, "query", signals.query, {})
        result = self._rest.decoded(answer, _Queried).query_result
        if isinstance(result, _Payloads):
            first: Any = _unwrapped(result.payloads[0].data) if result.payloads else None
        else:
            first = result[0] if result else None
        return first if isinstance(first, str) else ""

    def _post(self, signals: Signals, what: str, name: str, body: dict[str, Any]) -> Any:
        headers = dict(_JSON)
        if self._config.token_file:
            token = private_text(self._config.token_file, "token_file", _TABLE)
            headers["Authorization"] = f"Bearer {token}"
        where = path(
            "api", "v1", "namespaces", self._config.namespace, "workflows", signals.workflow_id,
            what, name,
        )  # fmt: skip
        answer = self._rest.call("POST", where, headers, json_body(body))
        self._rest.raise_for(answer)
        return answer


def _unwrapped(data: str) -> Any:
    try:
        return msgspec.json.decode(base64.b64decode(data, validate=True))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
