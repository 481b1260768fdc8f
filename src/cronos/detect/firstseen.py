"""First seen: a client, a server's port or a function code that was never there before.

Plants repeat themselves: after a learning period nearly every new conversation is a change.
Statistical, because most changes are legitimate. Only completed exchanges are learnt or judged,
so forged packets can neither poison the baseline nor flood it with novelties.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from cronos.config import Positive, Section
from cronos.detect import claims
from cronos.detect.windows import SECOND_NS, Recent, pack, unpack
from cronos.types import (
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Manifest,
    Observation,
    Provenance,
)

# Priors, not measured calibration: most novelties are maintenance; a new function code from a
# known client is rarer than a new conversation.
_PAIR_PRIOR: Final = 0.40
_CODE_PRIOR: Final = 0.55

# Modbus functions that change the server: writes, file writes, mask write, read/write.
_WRITES: Final = frozenset({5, 6, 15, 16, 21, 22, 23})
# A silence longer than this teaches nothing about what is normal.
_MAX_GAP_NS: Final = 600 * SECOND_NS
_MAX_SOURCES: Final = 1024

Key = tuple[str, str, int, int]  # client, server, port, function code or -1


class FirstSeenConfig(Section, frozen=True):
    """How long to learn: until both the count and the observed time are reached."""

    learning_observations: Positive = 5_000
    learning_s: Positive = 3_600
    max_entries: Positive = 50_000


class Clockwork(msgspec.Struct, array_like=True):
    """How much time one source has shown, by its own clock, gaps and jumps left out."""

    last_ns: int
    observed_ns: int = 0

    def advance(self, time_ns: int) -> int:
        """Move to `time_ns` and give the observed time so far."""
        self.observed_ns += min(max(time_ns - self.last_ns, 0), _MAX_GAP_NS)
        self.last_ns = time_ns
        return self.observed_ns


class _State(msgspec.Struct, array_like=True):
    known: list[tuple[Key, int]]
    clocks: list[tuple[str, Clockwork]]
    count: int
    learnt: bool
    overflowed: bool


class FirstSeenDetector:
    """Learns who speaks with whom, then reports what is new; see `Detector`."""

    manifest = Manifest(
        name="first-seen",
        summary="Conversations and Modbus function codes never seen in the learning period",
        capabilities=("novelty",),
        limits={"max_entries": 50_000},
    )
    config_type: ClassVar[type[Section]] = FirstSeenConfig

    def __init__(self, config: FirstSeenConfig) -> None:
        self._config = config
        self._known: Recent[Key, int] = Recent(config.max_entries)
        self._clocks: Recent[str, Clockwork] = Recent(_MAX_SOURCES)
        self._count = 0
        self._learnt = False
        # A baseline that had to forget cannot tell new from forgotten: it stays silent.
        self._overflowed = False

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Learn, or give one finding for each novelty, which is known from then on."""
        findings: list[Finding] = []
        for observation in observations:
            key = _conversation(observation)
            if key is None:
                continue
            fresh = self._known.get(key) is None
            pair_known = key[3] < 0 or self._known.get((*key[:3], -1)) is not None
            self._learn(key, observation)
            if fresh and self._learnt and not self._overflowed:
                findings.append(_novelty(observation, key, pair_known))
            self._advance(observation)
        return findings

    def snapshot(self) -> bytes:
        """Give the baseline and how far learning has come."""
        return pack(
            _State(
                self._known.items(),
                self._clocks.items(),
                self._count,
                self._learnt,
                self._overflowed,
            )
        )

    def restore(self, state: bytes) -> None:
        """Go back to a baseline that `snapshot` gave."""
        saved = unpack(state, _State)
        self._known.fill(saved.known)
        self._clocks.fill(saved.clocks)
        self._count, self._learnt = saved.count, saved.learnt
        self._overflowed = saved.overflowed

    def _learn(self, key: Key, observation: Observation) -> None:
        if len(self._known) >= self._config.max_entries and self._known.get(key) is None:
            self._overflowed = True
        self._known.put(key, observation.time_ns)
        if key[3] >= 0:
            self._known.put((*key[:3], -1), observation.time_ns)

    def _advance(self, observation: Observation) -> None:
        if self._learnt:
            return
        clock = self._clocks.touch(
            observation.source, lambda: Clockwork(last_ns=observation.time_ns)
        )
        observed_ns = clock.advance(observation.time_ns)
        self._count += 1
        config = self._config
        enough = self._count >= config.learning_observations
        self._learnt = enough and observed_ns >= config.learning_s * SECOND_NS


def _conversation(observation: Observation) -> Key | None:
    if observation.provenance is Provenance.SPOOFABLE:
        return None
    code = -1
    if observation.activity == "modbus":
        code = claims.number(observation, "modbus.function_code") or 0
        if observation.fields.get("modbus.direction") != "request":
            return None
    elif not _completed(observation):
        return None
    client, server = claims.client(observation), claims.server(observation)
    port = claims.number(observation, "dst_endpoint.port")
    if not client or not server or port is None:
        return None
    return (client, server, port, code)


def _completed(observation: Observation) -> bool:
    status = observation.fields.get("status")
    return observation.activity == "network_activity" and status in ("open", "closed")


def _novelty(observation: Observation, key: Key, pair_known: bool) -> Finding:
    client, server, port, code = key
    new_code = code >= 0 and pair_known
    writes = code in _WRITES
    what = (
        f"used Modbus function {code} on {server}:{port}"
        if code >= 0
        else f"spoke with {server}:{port}"
    )
    normal = (
        f"it always used other functions there{' and this one writes' if writes else ''}"
        if new_code
        else "no such conversation was seen in the learning period"
    )
    return Finding(
        finding_id=claims.finding_id("first-seen", observation),
        detector="first-seen",
        title="New Modbus function" if code >= 0 else "New conversation",
        explanation=f"{client} {what} for the first time; {normal}.",
        evidence=EvidenceClass.STATISTICAL,
        provenance=observation.provenance,
        confidence=_CODE_PRIOR if new_code else _PAIR_PRIOR,
        severity=3 if writes else 2,
        time_ns=observation.time_ns,
        techniques=("T0855",) if writes else (),
        actor=Entity(EntityKind.ADDRESS, client),
        target=Entity(EntityKind.ADDRESS, server),
        flow=claims.flow(observation),
        observations=(claims.mark(observation),),
        sensed_boot_ns=observation.sensed_boot_ns,
    )
