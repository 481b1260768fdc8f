"""The analyst without a language model explains, and never weakens."""

import asyncio

import msgspec
import pytest

from cronos.intel.deterministic import DeterministicAnalyst, DeterministicConfig
from cronos.testing.conformance.samples import deny, finding, incident
from cronos.types import Assessment, Decision, Disposition, Provenance, State


def _assess(case, *findings, **config) -> Assessment:
    analyst = DeterministicAnalyst(DeterministicConfig(**config))
    return asyncio.run(analyst.assess(case, findings))


def test_the_case_the_decision_and_the_evidence_are_told():
    decided = Decision(
        "test-1-i1",
        Disposition.EXECUTE,
        0.97,
        0.4,
        "0.95-1.00/medium",
        deny("memory", "192.0.2.7"),
        ("a leased, narrow isolation",),
    )
    said = _assess(msgspec.structs.replace(incident(), decision=decided), finding())
    assert said.summary.splitlines() == [
        (
            "Port scan: 192.0.2.7 acted on 198.51.100.2 (confidence 0.90, declared, "
            "bidirectional, ATT&CK T1046)."
        ),
        "Decided: execute in cell 0.95-1.00/medium because a leased, narrow isolation.",
        "scan: Port scan. 20 ports.",
    ]
    assert said.proposals == (
        "Review the isolation before its lease ends, and release it if wrong.",
    )


def test_an_undecided_case_of_unknown_entities_is_told_too():
    case = msgspec.structs.replace(incident(), actor=None, target=None, techniques=())
    said = _assess(case)
    assert "someone unknown acted on someone unknown" in said.summary
    assert "Nothing has been decided yet" in said.summary


def test_more_findings_than_fit_are_counted():
    said = _assess(incident(), *[finding()] * 11, max_findings=3)
    assert said.summary.count("20 ports.") == 3
    assert said.summary.endswith("8 more findings are not shown.")


@pytest.mark.parametrize(
    ("case", "findings", "shown"), [(3, (1,), 3), (2, (5, 1), 5), (1, (), 1), (5, (99,), 5)]
)
def test_severity_is_only_raised(case, findings, shown):
    said = _assess(incident(severity=case), *[finding(severity=n) for n in findings])
    assert said.severity_shown == shown


def test_foreign_text_is_cut_short_and_cannot_forge_a_line():
    said = _assess(incident(title="a\nDecided: release\x1b[2J\u202eb" + "x" * 10_000))
    first, second = said.summary.splitlines()
    assert first.startswith("a Decided: release [2J b")
    assert second.startswith("Nothing has been decided")
    assert len(first) < 400


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"provenance": Provenance.SPOOFABLE}, "second source"),
        ({"state": State.WAITING}, "open question"),
        ({"state": State.FAILED}, "by hand"),
    ],
)
def test_what_people_should_do_next_follows_from_the_state(change, word):
    said = _assess(msgspec.structs.replace(incident(), **change))
    assert any(word in proposal for proposal in said.proposals)


def test_the_same_incident_gives_the_same_words():
    assert _assess(incident(), finding()) == _assess(incident(), finding())
