"""The first answer of a discovery."""

from cronos.discover.claimed import REMARK, claimed
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

MESSAGES = [Message(b"abcdefgh", direction="c2s"), Message(b"abc", direction="c2s"), Message(b"")]


def claim(sem, *spans, alarm=1e-9):
    return Claim(sem.value, sem, spans, 1.0, alarm)


def cut(*claims):
    found = claimed(MESSAGES, claims)
    return found, [[(f.offset, f.length, f.sem, f.claim) for f in of] for of in found.fields]


def test_fields_are_what_is_claimed_and_what_lies_between():
    found, fields = cut(claim(Sem.LENGTH, (2, 2), (0, 1), None))

    assert fields == [
        [(0, 2, Sem.BYTES, -1), (2, 2, Sem.LENGTH, 0), (4, 4, Sem.BYTES, -1)],
        [(0, 1, Sem.LENGTH, 0), (1, 2, Sem.BYTES, -1)],
        [],
    ]
    assert found.remarks == (REMARK,)


def test_of_claims_that_overlap_the_less_likely_by_chance_stays():
    weak, strong = claim(Sem.COUNT, (0, 4), None, None, alarm=1e-3), claim(Sem.LENGTH, (3, 2), None)
    _, fields = cut(weak, strong)

    assert [one for one in fields[0] if one[2] is not Sem.BYTES] == [(3, 2, Sem.LENGTH, 1)]


def test_a_claim_beyond_the_message_or_too_short_is_left_out():
    _, fields = cut(claim(Sem.COUNT, (6, 9), (0, 0)), claim(Sem.VALUE, (-1, 2)))

    assert fields[0] == [(0, 8, Sem.BYTES, -1)]
    assert fields[1] == [(0, 3, Sem.BYTES, -1)]


def test_types_follow_the_direction_and_what_holds():
    found, _ = cut(claim(Sem.LENGTH, (0, 1), None, None))

    assert len(set(found.types)) == 3
