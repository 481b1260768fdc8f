"""Records: TLV and LV in every form, nested, counted; and no walk through noise."""

import collections

import numpy as np
import pytest
from tests.unit.discover.detectors.noise import alarms, messages

from cronos.discover.detectors.records import Form, claims, walk
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.synthetic import samples
from cronos.discover.synthetic_fields import ber_length


def made(write, count=60, seed=1, head=b"\x01\x02\x03"):
    """Give messages of a head and some records, as `write(tag, value, rng)` writes them."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        parts = [
            write(int(rng.integers(1, 6)), rng.bytes(int(rng.integers(1, 30))), rng)
            for _ in range(int(rng.integers(2, 6)))
        ]
        out.append(Message(head + b"".join(parts)))
    return out


def padded(data, unit):
    return data + bytes(-len(data) % unit)


FORMS = {
    "tlv": lambda t, v, r: bytes([t, len(v)]) + v,
    "wide": lambda t, v, r: t.to_bytes(2, "big") + len(v).to_bytes(2, "big") + v,
    "little": lambda t, v, r: t.to_bytes(2, "little") + len(v).to_bytes(2, "little") + v,
    "whole": lambda t, v, r: bytes([t]) + (len(v) + 3).to_bytes(2, "big") + v,
    "lv": lambda t, v, r: len(v).to_bytes(2, "big") + v,
}


@pytest.mark.parametrize("form", FORMS)
def test_records_of_every_form_are_found_where_they_are(form):
    given = made(FORMS[form])

    found = claims(given)

    kinds = {c.kind for c in found}
    assert kinds == (
        {"lv.length", "lv.value"} if form == "lv" else {"tlv.tag", "tlv.length", "tlv.value"}
    )
    assert found[0].terms["start"] == 3
    first = next(c for c in found if c.sem is Sem.LENGTH)
    assert first.alarm < 1e-6
    ends = [span for c in found if c.kind.endswith("value") for span in [c.spans[0]] if span]
    assert max(at + size for at, size in ends) == len(given[0].payload)


def test_records_are_aligned_and_closed_by_an_end_tag():
    aligned = claims(made(lambda t, v, r: padded(bytes([0, t, 0, len(v)]) + v, 4), head=bytes(4)))
    closed = made(lambda t, v, r: bytes([t, len(v)]) + v)
    closed = claims([Message(m.payload + b"\xff" + bytes(n % 4)) for n, m in enumerate(closed)])

    assert aligned[0].terms["align"] == 4
    assert closed[0].terms["stop"] == 255


def test_ber_is_read_into_its_depths():
    def tagged(tag, body):
        return bytes([tag]) + ber_length(len(body)) + body

    rng = np.random.default_rng(3)
    given = []
    for number in range(60):
        inner = b"".join(tagged(4, rng.bytes(int(rng.integers(1, 90)))) for _ in range(3))
        body = tagged(2, number.to_bytes(2, "big")) + tagged(0x30, inner)
        given.append(Message(tagged(0x30, body)))

    found = claims(given)

    assert {c.terms["path"] for c in found} >= {"", "/30", "/30/30"}
    assert found[0].terms["form"] == "ber"


def test_a_count_of_records_is_told():
    rng = np.random.default_rng(4)
    given = []
    for _ in range(80):
        values = [rng.bytes(int(rng.integers(1, 20))) for _ in range(int(rng.integers(1, 7)))]
        body = b"".join(bytes([7, len(v)]) + v for v in values)
        given.append(Message(bytes([9, len(values)]) + body))

    counts = [c for c in claims(given) if c.sem is Sem.COUNT]

    assert [c.spans[0] for c in counts if c.terms["width"] == 1] == [(1, 1)]


def test_a_length_of_all_that_follows_is_no_row_of_records():
    rng = np.random.default_rng(5)
    bodies = [rng.bytes(int(rng.integers(1, 90))) for _ in range(80)]

    assert claims([Message(bytes([3, 0, 0, 0, 0, len(b)]) + b) for b in bodies]) == []


def test_a_walk_never_reads_beyond_its_piece():
    form = Form(1, 2, "be")

    assert walk(b"\x01\x00\x02ab", form, 0)
    assert walk(b"\x01\x00\x03ab", form, 0) is None
    assert walk(b"\x01\x00", form, 0) is None
    assert walk(b"\x01\x84\xff\xff\xff\xff", Form(1, 0), 0) is None
    assert walk(b"\x01\xff\xff\xff\xff", Form(1, -1), 0) is None


def test_drawn_protocols_give_records_only_at_true_places():
    places = right = 0
    for seed in range(500, 540):
        got = samples(seed, 60)
        common = collections.Counter(s.message_type for s in got).most_common(1)[0][0]
        got = [s for s in got if s.message_type == common]
        for claim in claims(messages(got)):
            for span, sample in zip(claim.spans, got, strict=True):
                if span:
                    edges = {f.offset for f in sample.fields} | {len(sample.payload)}
                    places += 1
                    right += span[0] in edges
    assert places > 300
    assert right >= 0.8 * places


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(700, 703)) == []
    assert claims([]) == []
