"""A decision, and a decision with its explanation: p50, p95 and p99 of each.

Usage: python bench/bench_decide.py [--json]

The cases differ in confidence, number of claims, options and guardrails, as incidents do; each is
decided and explained by itself. What is timed is what a person waits for: `decide`, then `explain`
(which asks `decide` again for every counterfactual) and its sentences. On a machine that others use
at the same time the wall clock also counts their turns, so that CPU time stands beside it.
"""

import time
from collections.abc import Callable

from report import Report, quantile

from cronos.intel.explain import explain, lines
from cronos.kernel.policy import decide
from cronos.types import (
    Entity,
    EntityKind,
    Evidence,
    EvidenceClass,
    Finding,
    Impact,
    Now,
    Option,
    Provenance,
    Snapshot,
    Verb,
)

ROUNDS = 5
CASES = 2_000
KINDS = (EvidenceClass.DECLARED, EvidenceClass.DECLARED, EvidenceClass.STATISTICAL)
VOICES = (Provenance.AUTHENTICATED, Provenance.BIDIRECTIONAL, Provenance.SPOOFABLE)
TECHNIQUES = ("T0855", "T0836", "T1486", "T1110.001", "T1046", "T9999")


def case(n: int) -> tuple[Snapshot, list[Finding]]:
    """Give the n-th case and its findings."""
    confidence = 0.30 + (n * 37 % 69) / 100
    attacker = Entity(EntityKind.ADDRESS, f"192.0.2.{n % 250 + 1}")
    options = tuple(
        Option("nftables", Verb.DENY, attacker, 0.2 + k * 0.1, 50.0 - k, 0.9, 10.0 + k)
        for k in range(1 + n % 8)
    )
    claims = tuple(
        Evidence(f"detector-{k}", confidence - k * 0.02, KINDS[(n + k) % 3], VOICES[k % 3])
        for k in range(1 + n % 6)
    )
    findings = [
        Finding(
            f"detector-{k % 6}:bench#{k}",
            f"detector-{k % 6}",
            f"Modbus write of register {k} by an unlisted client",
            "",
            EvidenceClass.DECLARED,
            Provenance.BIDIRECTIONAL,
            confidence,
            4,
            k,
            TECHNIQUES[k % 6 : k % 6 + 1],
            attacker,
        )
        for k in range(1 + n % 16)
    ]
    snapshot = Snapshot(
        Now(n, n),
        f"bench-1-{n}",
        confidence,
        4,
        EvidenceClass.DECLARED,
        Provenance.BIDIRECTIONAL,
        options,
        n % 11 == 0,
        ("act", "act", "ask", "observe")[n % 4],
        n % 13 == 0,
        n % 7,
        300_000_000_000,
        claims=claims,
        techniques=TECHNIQUES[: n % 6],
        impact=Impact("pump", 4, n % 2 == 0, n % 5 == 0, 3, ("personal", "essential"), 1e5, 2e5),
    )
    return snapshot, findings


def measure(report: Report, name: str, clock: Callable[[], float]) -> None:
    """Time every case in each round, by one clock."""
    cases = [case(n) for n in range(CASES)]
    alone: dict[float, list[float]] = {0.5: [], 0.95: [], 0.99: []}
    whole: dict[float, list[float]] = {0.5: [], 0.95: [], 0.99: []}
    for _ in range(ROUNDS):
        bare: list[float] = []
        told: list[float] = []
        for snapshot, findings in cases:
            begun = clock()
            decision = decide(snapshot)
            bare.append((clock() - begun) * 1e6)
            lines(explain(snapshot, decision, findings, decide))
            told.append((clock() - begun) * 1e3)
        for q, rounds in alone.items():
            rounds.append(quantile(bare, q))
        for q, rounds in whole.items():
            rounds.append(quantile(told, q))
    for q, rounds in alone.items():
        report.add(f"{name}: decide, p{q * 100:.0f}", rounds, "us", CASES, "<= 50")
    for (q, rounds), must in zip(whole.items(), ("<= 5", "<= 10", "<= 25"), strict=True):
        report.add(f"{name}: with explanation, p{q * 100:.0f}", rounds, "ms", CASES, must)


def main() -> None:
    """Time by the wall clock and by CPU time."""
    snapshot, findings = case(0)
    explain(snapshot, decide(snapshot), findings, decide)  # ATT&CK is read at the first one
    report = Report("decide")
    measure(report, "wall", time.perf_counter)
    measure(report, "CPU", time.thread_time)
    report.show()


if __name__ == "__main__":
    main()
