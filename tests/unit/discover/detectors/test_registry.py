"""All families together: what is claimed of a conversation, in the order in which it counts."""

from tests.unit.discover.detectors.noise import alarms, messages

from cronos.discover.detectors.registry import FAMILIES, ONCE, claims, claims_of_part
from cronos.discover.model import Claim, Sem
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


def test_of_a_part_those_that_take_long_are_not_asked_again():
    given = messages(samples(5, 300))
    known = claims(given)
    part = slice(100, 200)
    of_part = claims_of_part(given, part, known)

    slow = tuple(ONCE.values())
    assert any(claim.kind.startswith(slow) for claim in known)
    assert all(len(claim.spans) == 100 and any(claim.spans) for claim in of_part)
    told = [claim.spans for claim in of_part if claim.kind.startswith(slow)]
    assert told == [claim.spans[part] for claim in known if claim.kind.startswith(slow)]
    others = [claim for claim in of_part if not claim.kind.startswith(slow)]
    assert others == claims(given[part], FAMILIES.keys() - ONCE.keys())


def test_what_is_known_of_types_is_said_last_of_the_part_that_it_speaks_of():
    given = messages(samples(5, 60))
    spans = [(0, 1) if row < 20 else None for row in range(60)]
    typed = [Claim("count.items", Sem.COUNT, tuple(spans), 0.3, 1e-9)]

    of_part = claims_of_part(given, slice(10, 30), [], typed)
    assert of_part[-1].spans == tuple(spans[10:30])
    assert claims_of_part(given, slice(20, 40), [], typed) == claims_of_part(
        given, slice(20, 40), []
    )
