"""Password guessing: many failures against one target, or one source trying many users.

Statistical: an expired service password fails just as often. A success that follows the failures
is the worse sign, and is reported apart.
"""

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import msgspec

from cronos.config import Positive, Section
from cronos.detect import claims
from cronos.detect.windows import MAX_MEMBERS, SECOND_NS, Member, Recent, Window, pack, unpack
from cronos.types import Entity, EntityKind, EvidenceClass, Finding, Manifest, Observation

# Priors, not measured calibration. Failures alone are often a stale password in a script; many
# users from one place seldom have an innocent cause; a success after failures may be the owner.
_GUESSING_PRIOR: Final = (0.0, 0.60, 0.75, 0.85)
_SPRAY_PRIOR: Final = (0.0, 0.75, 0.85, 0.90)
_SUCCESS_PRIOR: Final = 0.80
_REFERENCE: Final = "https://attack.mitre.org/techniques/T1110/"

Key = tuple[str, str, str, str]  # source, shape, who, target


class BruteForceConfig(Section, frozen=True):
    """How many failures in how long are too many."""

    failures: Positive = 10
    window_s: Positive = 120
    # Spraying is slow on purpose: few tries per user, many users.
    users: Positive = 8
    spray_window_s: Positive = 900
    quiet_s: Positive = 1800
    max_keys: Positive = 4096


class _State(msgspec.Struct, array_like=True):
    windows: list[tuple[Key, Window]]


class BruteForceDetector:
    """Counts failed authentications per source and target; see `Detector`."""

    manifest = Manifest(
        name="brute-force",
        summary="Password guessing, password spraying, and a success that follows",
        capabilities=("T1110.001", "T1110.003"),
        limits={"members_per_key": MAX_MEMBERS},
    )
    config_type: ClassVar[type[Section]] = BruteForceConfig

    def __init__(self, config: BruteForceConfig) -> None:
        self._config = config
        self._windows: Recent[Key, Window] = Recent(config.max_keys)

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Count failures; give a finding per level reached, and one for a success after."""
        findings: list[Finding] = []
        for observation in observations:
            if observation.activity != "authentication":
                continue
            status = observation.fields.get("status")
            if status == "failure":
                findings += self._failure(observation)
            elif status == "success":
                findings += self._success(observation)
        return findings

    def snapshot(self) -> bytes:
        """Give every window."""
        return pack(_State(self._windows.items()))

    def restore(self, state: bytes) -> None:
        """Go back to windows that `snapshot` gave."""
        self._windows.fill(unpack(state, _State).windows)

    def _failure(self, observation: Observation) -> list[Finding]:
        who, target = _who(observation), _target(observation)
        if who is None:
            return []
        seen = Member(
            observation.time_ns,
            failed=True,
            strength=claims.strength(observation.provenance),
            mark=claims.mark(observation),
        )
        config = self._config
        findings: list[Finding] = []
        guessing = self._windows.touch(_guessing_key(observation, who, target), Window)
        guessing.add(seen.mark, seen, config.window_s * SECOND_NS, config.quiet_s * SECOND_NS)
        if level := guessing.reached(_levels(config.failures)):
            findings.append(_guessed(observation, guessing, level, config.failures))
        user = claims.text(observation, "user.name").lower()
        # An actor that is itself a user cannot spray over users.
        if user and who.kind is EntityKind.ADDRESS:
            spray = self._windows.touch((observation.source, "spray", who.value, ""), Window)
            spray.add(user, seen, config.spray_window_s * SECOND_NS, config.quiet_s * SECOND_NS)
            if level := spray.reached(_levels(config.users)):
                findings.append(_sprayed(observation, spray, level, config.users))
        return findings

    def _success(self, observation: Observation) -> list[Finding]:
        who = _who(observation)
        if who is None:
            return []
        window = self._windows.get(_guessing_key(observation, who, _target(observation)))
        if window is None:
            return []
        # The window prunes only when something is added: what is stale counts for nothing here.
        earliest = observation.time_ns - self._config.window_s * SECOND_NS
        fresh = [m for m in window.members.values() if earliest <= m.time_ns]
        if len(fresh) < self._config.failures or observation.time_ns < fresh[0].time_ns:
            return []
        finding = _succeeded(observation, window, len(fresh), self._config.failures)
        # One success ends the guessing; the owner's next logins are not suspicious again.
        # A forged one ends only what was forged.
        window.forget(claims.strength(observation.provenance))
        return [finding]


def _levels(base: int) -> tuple[int, ...]:
    return tuple(min(base * step, MAX_MEMBERS) for step in (1, 4, 10))


def _who(observation: Observation) -> Entity | None:
    address = claims.client(observation)
    if address:
        return Entity(EntityKind.ADDRESS, address)
    return observation.actor


def _target(observation: Observation) -> Entity | None:
    if observation.target is not None:
        return observation.target
    host = claims.text(observation, "device.hostname")
    return Entity(EntityKind.HOST, host.lower()) if host else None


def _guessing_key(observation: Observation, who: Entity, target: Entity | None) -> Key:
    return (observation.source, "guess", who.value, target.value if target else "")


def _named(target: Entity | None) -> str:
    return target.value if target else "an unnamed target"


class _Claim(NamedTuple):
    failures: int  # of how many failures it speaks at least
    detail: str
    title: str
    explanation: str
    confidence: float
    severity: int
    techniques: tuple[str, ...]


def _finding(observation: Observation, window: Window, claim: _Claim) -> Finding:
    weakest = claims.needed((m.strength for m in window.members.values()), claim.failures)
    if claim.detail == "success" and claims.strength(observation.provenance) < claims.strength(
        weakest
    ):
        weakest = observation.provenance
    return Finding(
        finding_id=claims.finding_id("brute-force", observation, claim.detail),
        detector="brute-force",
        title=claim.title,
        explanation=claim.explanation,
        evidence=EvidenceClass.STATISTICAL,
        provenance=weakest,
        confidence=claim.confidence,
        severity=claim.severity,
        time_ns=observation.time_ns,
        techniques=claim.techniques,
        actor=_who(observation),
        target=None if claim.detail == "spray" else _target(observation),
        flow=claims.flow(observation),
        observations=window.marks(claims.MAX_MARKS),
        references=(_REFERENCE,),
        sensed_boot_ns=observation.sensed_boot_ns,
    )


def _guessed(observation: Observation, window: Window, level: int, base: int) -> Finding:
    who, count = _who(observation), len(window.members)
    return _finding(
        observation,
        window,
        _Claim(
            _levels(base)[level - 1],
            "guess",
            "Password guessing",
            f"{_named(who)} failed {count} times to authenticate to "
            f"{_named(_target(observation))} within {claims.span(window.span_ns())}. "
            f"A person who mistypes stays below {base}.",
            _GUESSING_PRIOR[level],
            min(2 + level, 4),
            ("T1110.001",),
        ),
    )


def _sprayed(observation: Observation, window: Window, level: int, base: int) -> Finding:
    who, count = _who(observation), len(window.members)
    return _finding(
        observation,
        window,
        _Claim(
            _levels(base)[level - 1],
            "spray",
            "Password spraying",
            f"{_named(who)} failed to authenticate as {count} different users within "
            f"{claims.span(window.span_ns())}. One place normally serves fewer than {base} users "
            "who fail in that time.",
            _SPRAY_PRIOR[level],
            min(2 + level, 4),
            ("T1110.003",),
        ),
    )


def _succeeded(observation: Observation, window: Window, count: int, base: int) -> Finding:
    user = claims.text(observation, "user.name") or "a user"
    return _finding(
        observation,
        window,
        _Claim(
            base,
            "success",
            "Success after password guessing",
            f"{_named(_who(observation))} authenticated to {_named(_target(observation))} "
            f"as {user} right after {count} failures. "
            f"An owner who mistypes succeeds after fewer than {base}.",
            _SUCCESS_PRIOR,
            5,
            ("T1110.001", "T1078"),
        ),
    )
