"""Modbus commands that a declared policy forbids.

Declared evidence: the operator stated the rule, so a violation may be acted on from the first
day. Without a policy file the detector is silent; `advice` then says what is missed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from cronos.config import Positive, Section
from cronos.detect import claims
from cronos.detect.modbus_policy import (
    Client,
    ModbusPolicy,
    Request,
    Rulebook,
    Violation,
    load,
)
from cronos.detect.windows import SECOND_NS, Recent, pack, unpack
from cronos.types import Entity, EntityKind, EvidenceClass, Finding, Manifest, Observation

# That the rule was broken is certain once the request is parsed; the remaining 3 % stand for a
# policy that is out of date. A stated prior: not measured on any site.
CONFIDENCE: Final = 0.97

_TITLES: Final = {
    "client": "Modbus request from an unlisted client",
    "connection": "Modbus connection from an unlisted client",
    "unit": "Modbus request to an undeclared unit",
    "function": "Forbidden Modbus function",
    "address": "Modbus request outside the declared addresses",
    "value": "Modbus write outside the declared values",
    "rate": "Modbus requests above the declared rate",
}

# Kind, client, server, function code, and who vouches: a forgery silences only forgeries.
Key = tuple[str, str, str, int, str]


class ModbusPolicyConfig(Section, frozen=True):
    """Where the policy is: in a file, or inline under [plugin.modbus-policy.policy]."""

    policy_file: str = ""
    policy: ModbusPolicy = ModbusPolicy()
    # The same violation again is told again after this long: an expired lease needs it.
    repeat_s: Positive = 10
    max_keys: Positive = 8192


class Second(msgspec.Struct, array_like=True):
    """Requests of one client to one server within one second of event time."""

    number: int
    count: int = 0


class _State(msgspec.Struct, array_like=True):
    told: list[tuple[Key, int]]
    rates: list[tuple[tuple[str, str, str], Second]]


class ModbusPolicyDetector:
    """Holds Modbus requests to the declared policy; see `Detector`."""

    manifest = Manifest(
        name="modbus-policy",
        summary="Modbus clients, functions, addresses, values and rates against a stated policy",
        capabilities=("T0855", "T0836", "T0861", "T0888", "T0814"),
        limits={"max_policy_bytes": 1 << 20},
    )
    config_type: ClassVar[type[Section]] = ModbusPolicyConfig

    def __init__(self, config: ModbusPolicyConfig) -> None:
        """Read the policy.

        Raises:
            InputError: the policy file cannot be read or is not one.
        """
        self._config = config
        if config.policy_file:
            policy, origin = load(Path(config.policy_file)), config.policy_file
        else:
            policy, origin = config.policy, "[plugin.modbus-policy.policy]"
        self._rulebook = Rulebook(policy, origin) if policy.server else None
        self._origin = Path(origin).name
        self._told: Recent[Key, int] = Recent(config.max_keys)
        self._rates: Recent[tuple[str, str, str], Second] = Recent(config.max_keys)

    @property
    def advice(self) -> str:
        """Say what a person should do, empty where nothing is missing."""
        if self._rulebook is not None:
            return ""
        return (
            "No Modbus policy is declared, so no Modbus command can be called forbidden. "
            "Set `policy_file` under [plugin.modbus-policy]; begin with "
            "examples/modbus-policy.toml."
        )

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Give a finding for each violation, the same one again only after `repeat_s`."""
        rulebook = self._rulebook
        if rulebook is None:
            return []
        findings: list[Finding] = []
        for observation in observations:
            if observation.activity == "modbus":
                self._request(rulebook, observation, findings)
            elif observation.activity == "network_activity":
                self._connection(rulebook, observation, findings)
        return findings

    def snapshot(self) -> bytes:
        """Give what was told when, and the rates."""
        return pack(_State(self._told.items(), self._rates.items()))

    def restore(self, state: bytes) -> None:
        """Go back to a state that `snapshot` gave."""
        saved = unpack(state, _State)
        self._told.fill(saved.told)
        self._rates.fill(saved.rates)

    def _request(
        self, rulebook: Rulebook, observation: Observation, findings: list[Finding]
    ) -> None:
        if observation.fields.get("modbus.direction") != "request":
            return
        request = _request(observation)
        if request is None:
            return
        violation = rulebook.judge(request) or self._too_fast(rulebook, request, observation)
        if violation is not None:
            self._tell(observation, violation, request.code, findings)

    def _connection(
        self, rulebook: Rulebook, observation: Observation, findings: list[Finding]
    ) -> None:
        # Only a completed handshake: a SYN alone may carry anyone's address.
        if observation.fields.get("status") != "open":
            return
        port = claims.number(observation, "dst_endpoint.port")
        client, server = claims.client(observation), claims.server(observation)
        if port is None or rulebook.client(client, server, port) != "unlisted":
            return
        violation = Violation(
            "connection",
            f"opened a connection to port {port}",
            "the policy does not list it as a client",
            3,
            ("T0846",),
        )
        self._tell(observation, violation, 0, findings)

    def _too_fast(
        self, rulebook: Rulebook, request: Request, observation: Observation
    ) -> Violation | None:
        rules = rulebook.client(request.client, request.server, request.port)
        if not isinstance(rules, Client) or rules.max_requests_per_s is None:
            return None
        number = observation.time_ns // SECOND_NS
        # Counted apart: forged requests must not make up a rate that one genuine request exceeds.
        key = (request.client, request.server, str(observation.provenance))
        second = self._rates.touch(key, lambda: Second(number))
        if second.number != number:
            second.number, second.count = number, 0
        second.count += 1
        if second.count != rules.max_requests_per_s + 1:
            return None
        return Violation(
            "rate",
            f"sent more than {rules.max_requests_per_s} requests within one second",
            f"the policy allows it {rules.max_requests_per_s}",
            3,
            ("T0814",),
        )

    def _tell(
        self, observation: Observation, violation: Violation, code: int, findings: list[Finding]
    ) -> None:
        client, server = claims.client(observation), claims.server(observation)
        key = (violation.kind, client, server, code, str(observation.provenance))
        told_ns = self._told.get(key)
        # A clock that was set back must not silence the detector.
        since_ns = observation.time_ns - told_ns if told_ns is not None else -1
        if 0 <= since_ns < self._config.repeat_s * SECOND_NS:
            return
        self._told.put(key, observation.time_ns)
        findings.append(_finding(observation, violation, self._origin))


def _request(observation: Observation) -> Request | None:
    client, server = claims.client(observation), claims.server(observation)
    code = claims.number(observation, "modbus.function_code")
    if not client or not server or code is None:
        return None

    def get(name: str) -> int | None:
        return claims.number(observation, name)

    return Request(
        client=client,
        server=server,
        port=get("dst_endpoint.port") or 502,
        unit=get("modbus.unit_id") or 0,
        code=code,
        address=get("modbus.address"),
        quantity=get("modbus.quantity"),
        read_address=get("modbus.read_address"),
        read_quantity=get("modbus.read_quantity"),
        least=get("modbus.min_value"),
        greatest=get("modbus.max_value"),
    )


def _finding(observation: Observation, violation: Violation, origin: str) -> Finding:
    client, server = claims.client(observation), claims.server(observation)
    unit = claims.number(observation, "modbus.unit_id")
    place = server if unit is None else f"{server} unit {unit}"
    return Finding(
        finding_id=claims.finding_id("modbus-policy", observation, violation.kind),
        detector="modbus-policy",
        title=_TITLES[violation.kind],
        explanation=f"{client} {violation.what} on {place}; {violation.allowed} ({origin}).",
        evidence=EvidenceClass.DECLARED,
        provenance=observation.provenance,
        confidence=CONFIDENCE,
        severity=violation.severity,
        time_ns=observation.time_ns,
        techniques=violation.techniques,
        actor=Entity(EntityKind.ADDRESS, client),
        target=Entity(EntityKind.ADDRESS, server),
        flow=claims.flow(observation),
        observations=(claims.mark(observation),),
        references=(f"policy: {origin}",),
        sensed_boot_ns=observation.sensed_boot_ns,
    )
