"""All families together: what is claimed of a conversation, in the order in which it counts."""

from tests.unit.discover.detectors.noise import alarms, messages

from cronos.discover.detectors.registry import FAMILIES, claims
from cronos.discover.synthetic import samples


def test_every_claim_has_a_span_or_none_for_every_message_and_a_bound():
    for seed in range(6):
        given = messages(samples(seed, 80))
        for claim in claims(given):
            assert len(claim.spans) == len(given)
            assert 0 <= claim.alarm <= 0.01
            for span, message in zip(claim.spans, given, strict=True):
                assert span is None or 0 <= span[0] < span[0] + span[1] <= len(message.payload)


def test_no_family_claims_anything_of_noise():
    # Random bytes do look sealed, and text stays text in whatever order.
    wrong = [
        kind
        for _, _, kinds in alarms(claims, range(600, 602))
        for kind in kinds
        if kind.split(".")[0] not in ("sealed", "text", "timestamp")
    ]

    assert len(FAMILIES) == 10
    assert wrong == []
