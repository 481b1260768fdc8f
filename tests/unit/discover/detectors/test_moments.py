"""Times near the capture, in every form; none where numbers merely look like one."""

import msgspec
import numpy as np
import pytest
from tests.unit.discover.detectors.noise import few_sizes, random_bytes, shuffled

from cronos.discover.detectors.moments import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.synthetic_fields import Bcd, Draft, Moment, Talk

AT = 1_700_000_000.0


def timed(element, count=60):
    rng = np.random.default_rng(1)
    talk = Talk(rng, AT)
    out = []
    for _ in range(count):
        talk.ts += float(rng.uniform(1, 30))
        draft = Draft()
        element.write(draft, talk)
        out.append(Message(rng.bytes(3) + bytes(draft.data) + rng.bytes(5), "1", "c2s", talk.ts))
    return out


@pytest.mark.parametrize("order", ["be", "le"])
@pytest.mark.parametrize(
    ("drawn", "said"),
    [("unix32", "unix32"), ("unix64ms", "unix-ms"), ("unix64us", "unix-us"), ("ntp", "ntp"),
     ("filetime", "filetime"), ("double", "double")],
)  # fmt: skip
def test_a_time_is_found_in_every_form(drawn, said, order):
    found = claims(timed(Moment("t", order, drawn)))

    assert [(c.sem, c.spans[0][0], c.terms["form"]) for c in found] == [(Sem.TIMESTAMP, 3, said)]
    assert found[0].alarm < 1e-4


def test_decimal_digits_are_read_as_a_date():
    found = claims(timed(Bcd("t", 6, clock=True)))

    assert [(c.kind, c.spans[0]) for c in found] == [("timestamp.bcd", (3, 6))]


def test_dates_in_text_are_found_where_they_stand():
    given = [Message(b"x" * n + b" 20231114T2213Z 20231114221320Z at 2023-11-14T22:13:20Z", ts=AT)
             for n in range(5)]  # fmt: skip

    found = claims(given)

    assert {c.terms["form"] for c in found} == {"compact", "iso"}
    assert found[0].spans[2][0] == 2 + 16


def test_without_the_time_of_capture_nothing_is_said():
    given = timed(Moment("t", "be", "unix32"))

    assert claims([Message(m.payload, m.flow, m.direction) for m in given]) == []


def test_nothing_is_found_in_noise():
    wrong = []
    for make in (random_bytes, few_sizes, shuffled):
        for seed in range(900, 906):
            # What was a time before the shuffle still is one: the capture is moved by years.
            moved = [msgspec.structs.replace(m, ts=m.ts + 2.5e8) for m in make(seed)]
            wrong += [(make.__name__, seed, c.kind) for c in claims(moved) if "text" not in c.kind]
    assert wrong == []
