"""Evidence: what several detectors' claims about one incident amount to.

Calibrated confidences are added as log-odds. Three rules keep repetition from becoming proof: a
detector counts once, with its strongest claim; all but the strongest count half, for detectors
that watch the same traffic are not independent; and only evidence that may act counts at all.
"""

import math
from collections.abc import Sequence
from typing import Final

from cronos.types import Evidence, EvidenceClass, Finding, Provenance

MOST_CLAIMS: Final = 16
_MOST: Final = 0.999  # no sum of claims is certain
_SHARED: Final = 0.5
_SPOOFABLE: Final = Provenance.SPOOFABLE
_STATISTICAL: Final = EvidenceClass.STATISTICAL


def acting(claim: Finding | Evidence) -> float:
    """Give the confidence that may act: none for forgeable or statistical evidence.

    Nor for what is no probability, as a scorer that was taken over may send.
    """
    if claim.evidence is _STATISTICAL or claim.provenance is _SPOOFABLE:
        return 0.0
    return claim.confidence if 0.0 <= claim.confidence <= 1.0 else 0.0


def fuse(claims: Sequence[Evidence]) -> float:
    """Give the confidence of all claims that may act; 0 when none may.

    One claim is itself; more evidence never lowers the sum. Rounded to six digits, so that no
    mathematical library's last digit decides anything.
    """
    if len(claims) == 1:
        return acting(claims[0])
    weights = sorted((weight for claim in claims if (weight := acting(claim)) > 0), reverse=True)
    if len(weights) < 2 or weights[1] <= 0.5 or weights[0] >= _MOST:
        return weights[0] if weights else 0.0
    odds = _logit(weights[0]) + _SHARED * sum(_logit(one) for one in weights[1:] if one > 0.5)
    return max(weights[0], min(_MOST, round(1 / (1 + math.exp(-odds)), 6)))


def add(claims: tuple[Evidence, ...], finding: Finding) -> tuple[Evidence, ...]:
    """Take a finding into the claims: a detector keeps its strongest, one that may act first."""
    claim = Evidence(finding.detector, finding.confidence, finding.evidence, finding.provenance)
    if not claims:
        return (claim,)
    for place, known in enumerate(claims):
        if known.detector == claim.detector:
            if _strength(claim) <= _strength(known):
                return claims
            return (*claims[:place], claim, *claims[place + 1 :])
    if len(claims) < MOST_CLAIMS:
        return (*claims, claim)
    weakest = min(range(MOST_CLAIMS), key=lambda place: _strength(claims[place]))
    if _strength(claim) <= _strength(claims[weakest]):
        return claims
    return (*claims[:weakest], *claims[weakest + 1 :], claim)


def strongest(claims: Sequence[Evidence]) -> Evidence:
    """Give the claim that tells what kind of evidence there is."""
    return max(claims, key=_strength) if len(claims) > 1 else claims[0]


def _strength(claim: Evidence) -> tuple[float, float]:
    return acting(claim), claim.confidence


def _logit(probability: float) -> float:
    probability = min(probability, _MOST)
    return math.log(probability / (1 - probability))
