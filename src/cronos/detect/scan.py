"""Scans: one client that tries many ports of a server, or one port of many servers.

Statistical: an inventory tool does the same, so a scan is shown until calibrated on this site.
Windows are kept per source, because each source has its own clock.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

import msgspec

from cronos.config import Positive, Ratio, Section
from cronos.detect import claims
from cronos.detect.windows import MAX_MEMBERS, SECOND_NS, Member, Recent, Window, pack, unpack
from cronos.types import (
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Manifest,
    Observation,
)

# Priors, not measured calibration: P(someone explores | level). Vulnerability scanners and asset
# inventories, the usual innocent causes, are few on a network, and seldom run unannounced.
PRIOR_BY_LEVEL: Final = (0.0, 0.75, 0.80, 0.85)

# A server that answered was found; one that refused or kept silent was guessed at.
_FAILED: Final = frozenset({"refused", "no_answer", "datagram"})
_CONTACT: Final = _FAILED | {"open", "closed"}

# TCP ports of plant protocols: S7 102, Modbus 502, IEC 104 2404, OPC UA 4840, DNP3 20000,
# EtherNet/IP 44818.
_PLANT_PORTS: Final = frozenset({102, 502, 2404, 4840, 20000, 44818})

Key = tuple[str, str, str, str, str]  # source, shape, protocol, client, server or port


class ScanConfig(Section, frozen=True):
    """How many distinct ports or servers in how long make a scan."""

    ports: Positive = 15
    hosts: Positive = 20
    # A sweep for plant equipment is rarer and worse.
    plant_hosts: Positive = 6
    # Traceroute reaches some ninety UDP ports of one host; nothing innocent reaches this many.
    udp_ports: Positive = 120
    window_s: Positive = 60
    quiet_s: Positive = 300
    # At least this share must have been refused or unanswered: a busy client's do not.
    min_failed: Ratio = 0.5
    max_keys: Positive = 4096


class _State(msgspec.Struct, array_like=True):
    windows: list[tuple[Key, Window]]


class ScanDetector:
    """Counts distinct ports and servers per client; see `Detector`."""

    manifest = Manifest(
        name="scan",
        summary="Port scans of a server and sweeps of a network for one port",
        capabilities=("T1046", "T0846"),
        limits={"members_per_key": MAX_MEMBERS},
    )
    config_type: ClassVar[type[Section]] = ScanConfig

    def __init__(self, config: ScanConfig) -> None:
        self._config = config
        self._windows: Recent[Key, Window] = Recent(config.max_keys)
        self._window_ns = config.window_s * SECOND_NS
        self._quiet_ns = config.quiet_s * SECOND_NS

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Count contacts and give a finding for each level a scan newly reaches."""
        findings: list[Finding] = []
        for observation in observations:
            if observation.activity == "network_activity":
                status = observation.fields.get("status")
                if status in _CONTACT:
                    self._contact(observation, status in _FAILED, findings)
        return findings

    def snapshot(self) -> bytes:
        """Give every window."""
        return pack(_State(self._windows.items()))

    def restore(self, state: bytes) -> None:
        """Go back to windows that `snapshot` gave."""
        self._windows.fill(unpack(state, _State).windows)

    def _contact(self, observation: Observation, failed: bool, findings: list[Finding]) -> None:
        actor, target = claims.client(observation), claims.server(observation)
        port = claims.number(observation, "dst_endpoint.port")
        if not actor or not target or port is None:
            return
        protocol = claims.text(observation, "connection_info.protocol_name")
        seen = Member(
            observation.time_ns,
            failed,
            claims.strength(observation.provenance),
            claims.mark(observation),
        )
        make = partial(_report, observation, actor)
        vertical = self._count((observation.source, "ports", protocol, actor, target), port, seen)
        base = self._config.udp_ports if protocol == "udp" else self._config.ports
        if level := self._judge(vertical, base):
            findings.append(make(vertical, level, base, f"ports of {target}"))
        # One datagram to each of many servers on one port is a normal resolver or NTP client.
        if protocol == "udp":
            return
        key = (observation.source, "hosts", protocol, actor, str(port))
        sweep = self._count(key, target, seen)
        base = self._config.plant_hosts if port in _PLANT_PORTS else self._config.hosts
        if level := self._judge(sweep, base):
            findings.append(make(sweep, level, base, f"servers on {protocol} port {port}"))

    def _count(self, key: Key, member: str | int, seen: Member) -> Window:
        window = self._windows.touch(key, Window)
        window.add(str(member), seen, self._window_ns, self._quiet_ns)
        return window

    def _judge(self, window: Window, base: int) -> int:
        # Cheap tests first: nearly every contact ends here.
        if len(window.members) < min(base, MAX_MEMBERS):
            return 0
        if window.failed < self._config.min_failed * len(window.members):
            return 0
        return window.reached(_levels(base))


def _levels(base: int) -> tuple[int, ...]:
    return tuple(min(base * step, MAX_MEMBERS) for step in (1, 4, 8))


def _report(
    observation: Observation, actor: str, window: Window, level: int, base: int, what: str
) -> Finding:
    count = len(window.members)
    vertical = what.startswith("ports")
    port = claims.number(observation, "dst_endpoint.port")
    plant = not vertical and port in _PLANT_PORTS
    target = claims.server(observation)
    return Finding(
        finding_id=claims.finding_id("scan", observation, "ports" if vertical else "hosts"),
        detector="scan",
        title="Port scan" if vertical else "Network sweep",
        explanation=(
            f"{actor} tried {count} {what} within {claims.span(window.span_ns())}; "
            f"{window.failed} refused or did not answer. "
            f"Normal clients stay below {base} in a window and are mostly answered."
        ),
        evidence=EvidenceClass.STATISTICAL,
        provenance=claims.needed(
            (m.strength for m in window.members.values()), _levels(base)[level - 1]
        ),
        confidence=PRIOR_BY_LEVEL[min(level, 3)],
        severity=min(2 + level + plant, 5),
        time_ns=observation.time_ns,
        techniques=("T0846",) if plant else ("T1046",),
        actor=Entity(EntityKind.ADDRESS, actor),
        # A sweep has many targets; naming the last one would make it look singled out.
        target=Entity(EntityKind.ADDRESS, target) if vertical else None,
        observations=window.marks(claims.MAX_MARKS),
        references=("https://attack.mitre.org/techniques/T1046/",),
        sensed_boot_ns=observation.sensed_boot_ns,
    )
