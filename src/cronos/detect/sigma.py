"""Sigma rules: ours, which are certified, and those of folders that the operator names.

Declared evidence: a rule says what is bad. Imported rules carry the precision that was measured
for their level, which lets none of them act alone; ours state a confidence with its reason.

What a third party can make the actor emit, a request by a link on a page, text on the command
line of a browser, proves nothing against the actor: a rule of ours on such content states less
than 0.85, or an attacker could have anyone isolated.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal, NamedTuple

import msgspec

from cronos.config import Positive, Section
from cronos.detect import claims
from cronos.detect.sigma_event import Event
from cronos.detect.sigma_index import Index
from cronos.detect.sigma_modifiers import Refused
from cronos.detect.sigma_rule import LEVELS, MAX_RULE_BYTES, Rule, clean, read_rule
from cronos.detect.windows import SECOND_NS, Recent, pack, unpack
from cronos.errors import InputError
from cronos.types import Defect, Entity, EntityKind, EvidenceClass, Finding, Manifest, Observation

BUILTIN: Final = Path(__file__).parent / "rules"
_SUFFIXES: Final = frozenset({".yml", ".yaml"})
_SHOWN_FIELDS: Final = 3
_SHOWN_CHARS: Final = 120

# Rule, actor, target, and who vouches: a forgery silences only forgeries.
Key = tuple[str, str, str, str]


class SigmaConfig(Section, frozen=True):
    """Which rules run, and how often one may repeat itself."""

    rules: tuple[str, ...] = ()  # folders, read with their subfolders
    builtin: bool = True
    min_level: Literal["informational", "low", "medium", "high", "critical"] = "medium"
    max_rules: Positive = 20_000
    # The same rule on the same actor and target is told once in this time; 0 tells each.
    repeat_s: int = 60
    max_keys: Positive = 16_384


class RefusedRule(NamedTuple):
    """A rule that does not run, and why."""

    path: str
    reason: str


class _State(msgspec.Struct, array_like=True):
    told: list[tuple[Key, int]]


class SigmaDetector:
    """Matches observations against Sigma rules; see `Detector`."""

    manifest = Manifest(
        name="sigma",
        summary="Sigma rules on Windows, Linux, Zeek, Suricata and cloud logs",
        capabilities=("sigma",),
        limits={"max_rule_bytes": MAX_RULE_BYTES},
    )
    config_type: ClassVar[type[Section]] = SigmaConfig

    def __init__(self, config: SigmaConfig) -> None:
        """Load and compile the rules.

        Raises:
            InputError: a rule folder is not there, or holds more than `max_rules`.
        """
        self._config = config
        self._told: Recent[Key, int] = Recent(config.max_keys)
        rules, self.refused = load_rules(config)
        self.rules = tuple(rules)
        self._index = Index(rules)

    @property
    def remarks(self) -> Sequence[Defect]:
        """Name each rule that does not run, and why; see `Detector`."""
        remedy = "Leave it out, or replace what this version does not understand."
        return [
            Defect(one.path, 0, f"This rule is not run: {one.reason}", remedy)
            for one in self.refused
        ]

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Give a finding for each rule that matches."""
        findings: list[Finding] = []
        for observation in observations:
            event = Event(observation)
            for rule in self._index.bucket(observation).match(event):
                finding = _finding(observation, event, rule)
                if self._fresh(rule, finding):
                    findings.append(finding)
        return findings

    def matching(self, observation: Observation) -> list[Rule]:
        """Give the rules that match, repeated or not."""
        return self._index.bucket(observation).match(Event(observation))

    def matching_naively(self, observation: Observation) -> list[Rule]:
        """Give the same without anchors: what `matching` must equal."""
        return self._index.bucket(observation).match_naively(Event(observation))

    def snapshot(self) -> bytes:
        """Give what was told when."""
        return pack(_State(self._told.items()))

    def restore(self, state: bytes) -> None:
        """Go back to a state that `snapshot` gave."""
        self._told.fill(unpack(state, _State).told)

    def _fresh(self, rule: Rule, finding: Finding) -> bool:
        actor = finding.actor.value if finding.actor else ""
        target = finding.target.value if finding.target else ""
        key = (rule.rule_id, actor, target, str(finding.provenance))
        told_ns = self._told.get(key)
        # A clock that was set back must not silence a rule.
        since_ns = finding.time_ns - told_ns if told_ns is not None else -1
        if 0 <= since_ns < self._config.repeat_s * SECOND_NS:
            return False
        self._told.put(key, finding.time_ns)
        return True


def load_rules(config: SigmaConfig) -> tuple[list[Rule], tuple[RefusedRule, ...]]:
    """Read all rules of a configuration in a fixed order; ours first.

    Raises:
        InputError: a folder is not there, or there are more than `max_rules`.
    """
    rules: dict[str, Rule] = {}
    refused: list[RefusedRule] = []
    least = LEVELS.index(config.min_level)
    for path, certified in _files(config):
        try:
            rule = read_rule(_read(path), path.stem, certified)
        except Refused as error:
            refused.append(RefusedRule(str(path), f"It has {error}."))
            continue
        if rule.rule_id in rules:
            refused.append(RefusedRule(str(path), f"Another rule has the id {rule.rule_id}."))
        elif LEVELS.index(rule.level) >= least:
            rules[rule.rule_id] = rule
    return list(rules.values()), tuple(refused)


def _files(config: SigmaConfig) -> Iterator[tuple[Path, bool]]:
    folders = [(BUILTIN, True)] if config.builtin else []
    folders += [(Path(name), False) for name in config.rules]
    count = 0
    for folder, certified in folders:
        if not folder.is_dir():
            raise InputError(
                "detect.no_rules",
                f"The rule folder {folder} is not there.",
                "Correct `rules` under [plugin.sigma].",
            )
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _SUFFIXES and p.is_file()):
            count += 1
            if count > config.max_rules:
                raise InputError(
                    "detect.too_many_rules",
                    f"{folder} brings the rules above {config.max_rules}.",
                    "Raise `max_rules` under [plugin.sigma], or name fewer folders.",
                )
            yield path, certified


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_RULE_BYTES + 1)
    except OSError as error:
        message = f"an unreadable file: {error.strerror or error}"
        raise Refused(message) from error


def _finding(observation: Observation, event: Event, rule: Rule) -> Finding:
    actor, target = _actor(observation, event), _target(observation, event)
    shown = "; ".join(_shown(event, rule))
    innocent = ", ".join(one for one in rule.innocent if one.lower() != "unknown")
    return Finding(
        finding_id=claims.finding_id("sigma", observation, rule.rule_id),
        detector="sigma",
        title=rule.title,
        explanation=(
            f"{_who(actor, event)} on {target.value if target else 'a system'} "
            f"matched the {rule.level} rule “{rule.title}”{f': {shown}' if shown else ''}. "
            f"Innocent causes: {innocent or 'none is known'}."
        ),
        evidence=EvidenceClass.DECLARED,
        provenance=observation.provenance,
        confidence=rule.confidence,
        severity=rule.severity,
        time_ns=observation.time_ns,
        techniques=rule.techniques,
        actor=actor,
        target=target,
        flow=claims.flow(observation),
        observations=(claims.mark(observation),),
        references=rule.references,
        sensed_boot_ns=observation.sensed_boot_ns,
    )


def _shown(event: Event, rule: Rule) -> Iterator[str]:
    """Quote the first fields that the rule reads, as the source wrote them, cut short."""
    count = 0
    for field in rule.node.fields:
        value = event.raw(field)
        if isinstance(value, str | int) and value != "" and count < _SHOWN_FIELDS:
            text = clean(str(value))
            cut = f"{text[:_SHOWN_CHARS]}…" if len(text) > _SHOWN_CHARS else text
            yield f"{field} = {cut}"
            count += 1


def _who(actor: Entity | None, event: Event) -> str:
    if actor is not None:
        return clean(actor.value)
    program = event.raw("SourceImage") or event.raw("Image")
    return f"The program {clean(program)}" if isinstance(program, str) else "Someone"


def _actor(observation: Observation, event: Event) -> Entity | None:
    if observation.actor is not None:
        return observation.actor
    name = event.raw("User") or event.raw("SubjectUserName")
    named = isinstance(name, str) and name not in ("", "-")
    return Entity(EntityKind.USER, name) if named else None


def _target(observation: Observation, event: Event) -> Entity | None:
    if observation.target is not None:
        return observation.target
    host = event.raw("Computer")
    return Entity(EntityKind.HOST, host.lower()) if isinstance(host, str) and host else None
