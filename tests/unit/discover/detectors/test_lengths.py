"""Lengths: found where they are, in every form, and nowhere else."""

import numpy as np
import pytest
from tests.unit.discover.detectors.noise import alarms, messages, random_bytes

from cronos.discover.detectors.lengths import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.synthetic import samples
from cronos.discover.synthetic_draw import draw
from cronos.discover.synthetic_fields import ber_length, varint


def sized(write, count=60, seed=1):
    """Give messages of random bytes before and behind a length that `write` makes of the body."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        body = rng.bytes(int(rng.integers(5, 250)))
        out.append(Message(rng.bytes(3) + write(body, rng) + body))
    return out


FORMS = {
    "rest": lambda body, rng: len(body).to_bytes(2, "big"),
    "whole": lambda body, rng: (len(body) + 5).to_bytes(2, "little"),
    "plus": lambda body, rng: (len(body) - 4).to_bytes(1, "big"),
    "masked": lambda body, rng: (
        (len(body) + 512) | int(rng.integers(4)) << 14
    ).to_bytes(2, "big"),
    "ber": lambda body, rng: ber_length(len(body)),
    "varint": lambda body, rng: varint(len(body)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_length_is_found_in_every_form(form):
    given = sized(FORMS[form])
    if form == "masked":
        given = [Message(m.payload + bytes(512)) for m in given]

    found = [c for c in claims(given) if c.terms.get("choice", 0) == 0]

    first = found[0]
    assert first.sem is Sem.LENGTH
    assert first.support == 1.0
    assert first.alarm < 1e-6
    assert all(span[0] == 3 for span in first.spans)
    if form in ("ber", "varint"):
        assert first.terms["form"] == form
        assert {span[1] for span in first.spans} == {1, 2}


def test_words_instead_of_bytes_are_a_unit():
    rng = np.random.default_rng(2)
    bodies = [rng.bytes(4 * int(rng.integers(1, 60))) for _ in range(50)]

    found = claims([Message(bytes([len(b) // 4, 9]) + b) for b in bodies])[0]

    assert found.terms["unit"] == 4
    assert found.terms["plus"] == 2


def test_two_strings_behind_one_another_are_two_inner_lengths():
    rng = np.random.default_rng(3)
    given = []
    for _ in range(60):
        one, two = (rng.bytes(int(rng.integers(1, 40))) for _ in range(2))
        given.append(Message(b"\x07\x01" + bytes([len(one)]) + one + bytes([len(two)]) + two))

    inner = [c for c in claims(given) if c.kind == "length.inner"]

    assert [span[0] for span in inner[0].spans] == [2] * 60
    assert [s[0] for s in inner[1].spans] == [3 + m.payload[2] for m in given]


def test_an_ambiguous_width_is_said_as_choices():
    rng = np.random.default_rng(4)
    bodies = [rng.bytes(int(rng.integers(5, 90))) for _ in range(60)]

    found = claims([Message(b"\x01\x00\x00\x00" + bytes([len(b)]) + b) for b in bodies])

    assert [(c.spans[0], c.terms["choice"]) for c in found if c.kind == "length.rest"] == [
        ((1, 4), 0), ((3, 2), 1), ((4, 1), 2), ((2, 3), 3),
    ]  # fmt: skip


def test_a_type_code_that_goes_with_the_size_is_no_length():
    rng = np.random.default_rng(5)
    given = [Message(b"\x05" + rng.bytes(11)) for _ in range(90)]
    given += [Message(b"\x0d" + rng.bytes(19)) for _ in range(90)]

    assert claims(given) == []


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(100, 104)) == []


def test_drawn_protocols_lose_few_of_their_lengths_and_get_no_wrong_place():
    found, there, wrong = 0, 0, 0
    for seed in range(300, 330):
        plan = draw(seed)
        if plan.scope is None or plan.blocks:
            continue
        got = samples(seed, 120)
        if len({len(s.payload) for s in got}) < 8:
            continue
        there += 1
        truth = [next(f for f in s.fields if f.name == "length") for s in got]
        mains = [c for c in claims(messages(got)) if c.terms.get("choice", 0) == 0]
        right = any(
            all(span and f.offset <= span[0] + span[1] - 1 and span[0] < f.offset + f.length
                for span, f in zip(c.spans, truth, strict=True))
            for c in mains
        )  # fmt: skip
        found += right
        sems = {
            f.sem for c in mains for span, s in zip(c.spans, got, strict=True) if span
            for f in s.fields if f.offset < span[0] + span[1] <= f.offset + f.length
        }  # fmt: skip
        wrong += bool(sems - {"length", "count"})

    assert there >= 10
    assert found >= 0.85 * there
    assert wrong <= 0.1 * there


def test_one_message_and_equal_sizes_prove_nothing():
    assert claims([]) == []
    assert claims(random_bytes(1)[:1]) == []
    assert claims([Message(bytes([0, 9]) + bytes(9))] * 50) == []
