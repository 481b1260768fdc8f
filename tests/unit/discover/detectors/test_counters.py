"""Counters go up, ids are echoed; nothing of it is found where order means nothing."""

import numpy as np
from tests.unit.discover.detectors.noise import alarms

from cronos.discover.detectors.counters import claims, pairs
from cronos.discover.detectors.table import Table
from cronos.discover.messages import Message
from cronos.discover.model import Sem


def talk(write, count=80, flows=3, seed=1):
    """Give questions and answers of some flows, as `write(number, answer, flow, rng)` says."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        flow = number % flows
        for answer in (False, True):
            side = "s2c" if answer else "c2s"
            at = 1.7e9 + number + (0.01 if answer else 0)
            out.append(Message(write(number, answer, flow, rng), str(flow), side, at))
    return out


def mains(given):
    return [c for c in claims(given) if c.terms.get("choice", 0) == 0]


def test_a_transaction_number_that_is_counted_and_echoed_is_an_id():
    given = talk(lambda n, a, f, rng: (700 + n).to_bytes(2, "big") + bytes([3, a]) + rng.bytes(5))

    found = mains(given)[0]

    assert (found.kind, found.sem, found.spans[0]) == ("id.echo", Sem.ID_SEQ, (0, 2))
    assert found.alarm < 1e-6


def test_a_random_transaction_number_is_an_id_by_its_echo_alone():
    ids = [np.random.default_rng(n).bytes(4) for n in range(200)]
    given = talk(lambda n, a, f, rng: bytes([9, a]) + ids[n] + rng.bytes(4))

    assert mains(given)[0].spans[0] == (2, 4)


def test_a_counter_of_each_direction_is_found_with_its_step():
    def write(number, answer, flow, rng):
        value = 2 * (number // 3) + 100 * flow + 5000 * answer
        return bytes([7]) + value.to_bytes(2, "little") + rng.bytes(6)

    found = next(c for c in mains(talk(write, 120)) if c.kind == "counter")

    assert found.spans[0][0] == 1
    assert found.terms["step"] == 2


def test_a_counter_with_gaps_still_rises():
    rng = np.random.default_rng(5)
    values = np.cumsum(rng.integers(1, 90, 200))
    given = [
        Message(b"\x01" + int(v).to_bytes(2, "big") + rng.bytes(5), "1", "c2s", 1.7e9 + n)
        for n, v in enumerate(values)
    ]

    found = mains(given)

    assert [(c.kind, c.spans[0]) for c in found] == [("counter.rising", (1, 2))]


def test_flows_that_repeat_one_script_prove_no_counter():
    rng = np.random.default_rng(6)
    given = []
    for flow in range(40):
        for step in range(5):
            payload = bytes([step + 1]) + rng.bytes(6)
            given.append(Message(payload, str(flow), "c2s", 1.7e9 + flow * 100 + step))

    assert mains(given) == []


def test_what_every_answer_repeats_but_no_question_varies_is_no_id():
    given = talk(lambda n, a, f, rng: bytes([17, n % 3]) + rng.bytes(6))

    assert mains(given) == []


def test_an_answer_is_paired_with_the_question_that_it_resembles():
    given = []
    for n in range(0, 40, 2):  # two questions open, answered in the other order
        for number, side, at in (
            (n, "c2s", 0),
            (n + 1, "c2s", 1),
            (n + 1, "s2c", 2),
            (n, "s2c", 3),
        ):
            given.append(Message(number.to_bytes(4, "big"), "1", side, 1.7e9 + 4 * n + at))
    table = Table(given)

    asked, answers = pairs(table)

    assert [given[i].payload for i in asked] == [given[i].payload for i in answers]


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(400, 405)) == []
