"""Is the chosen action the right one? The kernel's response against labels, by situation.

`docs/decision-labels.md` states the rules by which a case is labelled; `label` below carries them
out and reads the truth and the situation only. What the kernel did is read off its effects: what
it ordered, whom it asked. Truth comes from the shared detection data; the calibrated detectors of
three strata are SIMULATED and wrong as often as they say, by a fixed seed.
"""

import gzip
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from msgspec.structs import replace
from report import Report

from cronos.config import Asset, Config, Policy
from cronos.detect.calibration import calibrated
from cronos.detect.modbus import ModbusPolicyConfig, ModbusPolicyDetector
from cronos.detect.sigma_rule import CONFIDENCE_BY_LEVEL
from cronos.govern.intervals import clopper_pearson
from cronos.kernel.node import Kernel
from cronos.respond.recording import RecordingExecutor
from cronos.types import (
    Ability,
    Ask,
    Decision,
    Disposition,
    Do,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Kill,
    Note,
    Now,
    Observation,
    Operation,
    Provenance,
    flow_entity,
)

ROOT = Path(__file__).parents[1]
_FOLDERS = [folder / "shared" / "data" / "detection" for folder in ROOT.parents]
DATA = next((folder for folder in _FOLDERS if folder.exists()), _FOLDERS[0])
RULES = ROOT / "src" / "cronos" / "detect" / "rules"
SEED = 20_261_129
SHARES = (0.60, 0.80, 0.90, 0.97)
LEVELS = {"Info": "informational", "Low": "low", "Medium": "medium", "High": "high"} | {
    "Critical": "critical"
}
SEVERITIES = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
SITUATIONS = ("protected", "forgeable", "statistical", "maintenance", "killed", "spent", "mixed")
NOT_ACTING = frozenset({"analyst", "manager", "observe"})
ADDRESS = re.compile(r'"(?:[^"]*[^\d."])?(\d{1,3}(?:\.\d{1,3}){3})"')
ATTACKED = Entity(EntityKind.ADDRESS, "198.51.100.2")
# What the dry run can do, and the node of the first run, which had no way to act on accounts.
SHIPPED = RecordingExecutor.manifest.abilities
FORMER = tuple(one for one in SHIPPED if one.kind is not EntityKind.USER)
NODES = {"without accounts": {"recording": FORMER}, "as shipped": {"recording": SHIPPED}}
NOW = Now(10**12, 1_700_000_000 * 10**9)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Case(NamedTuple):
    """A labelled incident: the truth and the situation, and the findings that tell of it.

    `share` is how often the evidence is right; `who` acts: an address, a host or an account.
    """

    stratum: str
    attack: bool
    share: float
    who: str
    findings: tuple[Finding, ...]
    situation: str = ""


def label(case: Case) -> frozenset[str]:
    """Give the right responses: docs/decision-labels.md, rule by rule."""
    weak, strong = case.share < 0.5, case.share >= 0.85
    rules = (
        (case.situation == "killed", {"observe"}),
        (case.situation in ("forgeable", "statistical"), {"observe"}),
        (case.situation == "protected", {"refuse"}),
        (not case.attack, NOT_ACTING),
        (case.situation == "maintenance" and not weak, {"analyst"}),
        (strong and case.who == "address" and case.situation == "spent", {"analyst"}),
        (strong and case.who == "address", {"act"}),
        (case.situation == "two at 0.80", {"act"}),
        (case.who in ("host", "account") and not weak, {"analyst"}),
        (not weak, {"analyst"}),
        (True, {"manager"}),
    )
    return frozenset(next(right for fits, right in rules if fits))


def response(case: Case, points: dict[str, tuple[Ability, ...]]) -> str:
    """Give the kernel the case and read what it does off its effects."""
    policy = Policy()
    asset: tuple[Asset, ...] = ()
    actor = case.findings[0].actor
    if case.situation == "protected" and actor is not None:
        policy = Policy(protected=(actor.value,))
    elif case.situation == "maintenance":
        always = tuple(f"{day} 00:00-00:00" for day in DAYS)
        asset = (Asset("press", (ATTACKED.value,), maintenance=always),)
    elif case.situation == "spent":
        policy = Policy(actions_per_minute=1)
    kernel = Kernel(Config(policy=policy, asset=asset), 1, points)
    if case.situation == "killed":
        kernel.step(Kill(1, engaged=True), NOW)
    elif case.situation == "spent":
        other = _finding("spends-it", "192.0.2.250", 0.97, 4)
        assert any(isinstance(one, Do) for one in kernel.step(other, NOW))
    effects = [effect for one in case.findings for effect in kernel.step(one, NOW)]
    if any(isinstance(one, Do) and one.operation is Operation.APPLY for one in effects):
        return "act"
    asked = [one.question.audience for one in effects if isinstance(one, Ask)]
    if asked:
        return asked[-1]
    decisions = [one.body for one in effects if isinstance(one, Note)]
    refused = [
        one
        for one in decisions
        if isinstance(one, Decision) and one.disposition is Disposition.REFUSED
    ]
    return "refuse" if refused else "observe"


# --- cases -------------------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    """Give all cases, the same ones each time."""
    with gzip.open(DATA / "cloud" / "events.jsonl.gz") as lines:
        cloud = [json.loads(line) for line in lines]
    yield from _imported(cloud)
    simulated = [
        (n, one, SHARES[n % 4]) for n, one in enumerate(r for r in cloud if r["malicious"])
    ]
    benign = [one for one in cloud if not one["malicious"]]
    yield from _calibrated(simulated, benign)
    yield from _recorded()
    yield from _modbus()
    yield from _guarded([(n, one) for n, one, share in simulated if share == 0.97])
    yield from _agreeing([(n, one) for n, one, share in simulated if share == 0.80])


def _imported(cloud: list[dict]) -> Iterator[Case]:
    for number, record in enumerate(cloud):
        level = LEVELS[record["severity"]]
        found = ADDRESS.search(json.dumps(record["event"]))
        who = found[1] if found else "someone@example.org"
        finding = _finding(
            f"imported#{number}", who, CONFIDENCE_BY_LEVEL[level], SEVERITIES[level],
            detector="sigma", record=record,
        )  # fmt: skip
        finding = calibrated(finding)
        kind = "address" if found else "account"
        # Loopback is protected by default.
        situation = "protected" if found and found[1].startswith("127.") else ""
        yield Case(
            "cloud-imported", record["malicious"], finding.confidence, kind, (finding,), situation
        )


def _calibrated(simulated: list, benign: list[dict]) -> Iterator[Case]:
    draw = random.Random(SEED)
    for number, record, share in simulated:
        made = _finding(f"sim#{number}", _given(number), share, 4, record=record)
        yield Case("cloud-calibrated", True, share, "address", (made,))
        if draw.random() < (1 - share) / share:
            other = draw.choice(benign)
            made = _finding(f"sim-b#{number}", _given(number), share, 4, record=other)
            yield Case("cloud-calibrated", False, share, "address", (made,))


def _recorded() -> Iterator[Case]:
    rules: dict[str, float] = {}
    for path in sorted(RULES.glob("*.yml")):
        rule = yaml.safe_load(path.read_text())
        for tag in rule["tags"]:
            if tag.startswith("attack.t"):
                name = tag.removeprefix("attack.").upper()
                rules[name] = max(rules.get(name, 0.0), rule.get("confidence", 0.3))
    labels = json.loads((DATA / "events" / "labels.json").read_text())["datasets"]
    for number, one in enumerate(labels):
        shares = [rules[name] for name in one["corrected"] if name in rules]
        share = max(shares, default=CONFIDENCE_BY_LEVEL["high"])
        host = Entity(EntityKind.HOST, f"workstation-{number}")
        made = replace(
            _finding(f"recorded#{number}", "", share, 4, detector="sigma"),
            title=one["title"],
            techniques=tuple(one["corrected"]),
            actor=host,
            target=host,
        )
        made = calibrated(made)
        yield Case("recorded", True, made.confidence, "host", (made,))


def _modbus() -> Iterator[Case]:
    path = ROOT / "examples" / "modbus-policy.toml"
    detector = ModbusPolicyDetector(ModbusPolicyConfig(policy_file=str(path)))
    server = re.search(r'address = "([\d.]+)"', path.read_text())
    assert server is not None
    for number in range(120):
        client = f"203.0.113.{number + 1}"
        fields = {
            "src_endpoint.ip": client,
            "src_endpoint.port": 40_000 + number,
            "dst_endpoint.ip": server[1],
            "dst_endpoint.port": 502,
            "modbus.direction": "request",
            "modbus.unit_id": 1,
            "modbus.function_code": (1, 3, 5, 6, 15, 16, 43, 8)[number % 8],
            "modbus.address": number,
            "modbus.quantity": 1,
        }
        seen = Observation(
            "modbus", number + 1, 10**18, "modbus", Provenance.BIDIRECTIONAL,
            Entity(EntityKind.ADDRESS, client), Entity(EntityKind.ADDRESS, server[1]), fields,
        )  # fmt: skip
        for finding in map(calibrated, detector.detect([seen])):
            yield Case("modbus", True, finding.confidence, "address", (finding,))


def _guarded(simulated: list) -> Iterator[Case]:
    for place, (number, record) in enumerate(simulated):
        situation = SITUATIONS[place % len(SITUATIONS)]
        strong = _finding(f"guarded#{number}", _given(number), 0.97, 4, record=record)
        forged = replace(
            strong,
            provenance=Provenance.SPOOFABLE,
            detector="simulated-c",
            finding_id=f"f#{number}",
        )
        findings: tuple[Finding, ...] = (strong,)
        if situation == "forgeable":
            findings = (forged,)
        elif situation == "statistical":
            findings = (replace(strong, evidence=EvidenceClass.STATISTICAL),)
        elif situation == "mixed":
            findings = (forged, strong)
        yield Case("guarded", True, 0.97, "address", findings, situation)


def _agreeing(simulated: list) -> Iterator[Case]:
    for place, (number, record) in enumerate(simulated):
        first = _finding(f"agreeing#{number}", _given(number), 0.80, 4, record=record)
        situation = ("two at 0.80", "repeated", "0.80 and 0.60")[place % 3]
        more: tuple[Finding, ...]
        if situation == "repeated":
            more = tuple(replace(first, finding_id=f"r{n}#{number}") for n in range(50))
        else:
            share = 0.80 if situation == "two at 0.80" else 0.60
            more = (
                replace(first, detector="simulated-b", finding_id=f"b#{number}", confidence=share),
            )
        yield Case("agreeing", True, 0.80, "address", (first, *more), situation)


def _given(number: int) -> str:
    return f"203.0.113.{number % 254 + 1}"


def _finding(
    name: str,
    who: str,
    confidence: float,
    severity: int,
    *,
    detector: str = "simulated-a",
    record: dict | None = None,
) -> Finding:
    told = record or {}
    address = who[:1].isdigit()
    actor = Entity(EntityKind.ADDRESS if address else EntityKind.USER, who)
    return Finding(
        f"{detector}:{name}",
        detector,
        str(told.get("behaviour", "A rule was broken"))[:120],
        str(told.get("test", ""))[:200],
        EvidenceClass.DECLARED,
        Provenance.AUTHENTICATED,
        confidence,
        severity,
        NOW.wall_ns,
        tuple(told.get("techniques", ())),
        actor,
        ATTACKED,
        flow_entity("tcp", who, 40_000, ATTACKED.value, 443) if address else None,
    )


# --- figures -----------------------------------------------------------------------------------


def main() -> None:
    report = Report("decision quality")
    if not DATA.exists():
        sys.exit(f"The labelled data is not at {DATA}.")
    told = [score(report, node, points) for node, points in NODES.items()]
    report.show()
    if "--json" not in sys.argv:
        print("\n".join(told))


def score(report: Report, node: str, points: dict[str, tuple[Ability, ...]]) -> str:
    """Score all cases on a node with these abilities; give what went wrong as text."""
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    strata: dict[str, list[bool]] = defaultdict(list)
    wrong: Counter[str] = Counter()
    for case in cases():
        right, given = label(case), response(case, points)
        strata[case.stratum].append(given in right)
        name = "any that does not act" if right == NOT_ACTING else next(iter(right))
        confusion[name][given] += 1
        if given not in right:
            told = "attack" if case.attack else "no attack"
            wrong[f"{case.stratum}, {told}, {case.share:.2f}, {case.situation or case.who}"] += 1
    by_stratum = [sum(ones) / len(ones) for ones in strata.values()]
    strata["all"] = [one for ones in strata.values() for one in ones]
    for name, ones in strata.items():
        low, high = clopper_pearson(sum(ones), len(ones))
        must = ">= 94" if name == "all" else ""
        report.add(f"{node}: {name}", [100 * sum(ones) / len(ones)], "%", len(ones), must)
        report.add("  95 % interval: low, high", [100 * low, 100 * high], "%", len(ones))
    mean = 100 * sum(by_stratum) / len(by_stratum)
    report.add(f"{node}: mean of the strata", [mean], "%", len(by_stratum))
    return "\n".join(_table(node, confusion, wrong))


def _table(node: str, confusion: dict[str, Counter[str]], wrong: Counter[str]) -> Iterator[str]:
    given = sorted({one for row in confusion.values() for one in row})
    yield f"\n  {node}; right, then given:"
    yield f"  {'':<24}" + "".join(f"{one:>10}" for one in given)
    for name, row in sorted(confusion.items()):
        yield f"  {name:<24}" + "".join(f"{row[one]:>10}" for one in given)
    yield "  what was wrong:"
    for name, count in wrong.most_common():
        yield f"  {count:>5}  {name}"


if __name__ == "__main__":
    main()
