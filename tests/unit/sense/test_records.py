import pytest

from cronos.sense import records
from cronos.sense.records import RecordReader, decode, head_record
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_sense import MemorySource
from cronos.types import Defect, Observation, Provenance, encode


def build(record, number, sensed):
    if "foreign" in record:
        return None
    return Observation(
        "m", number, 0, "base_event", Provenance.SPOOFABLE, native=record, sensed_boot_ns=sensed
    )


def readings(data, clock=None, limit=1 << 20):
    reader = RecordReader(MemorySource(data), clock, limit)
    return [reading for batch in reader.read(build) for reading in batch]


@pytest.mark.parametrize(
    ("raw", "record"),
    [
        (b'{"a": 1}', {"a": 1}),
        (rb'{"cmd": "calc \ud800.exe"}', {"cmd": "calc ?.exe"}),
        (b'{"cmd": "a\tb\x01"}', {"cmd": "a\tb\x01"}),
        (b'{"n": 123456789012345678901234567890}', {"n": "123456789012345678901234567890"}),
        (b'{"n": 18446744073709551616}', {"n": "18446744073709551616"}),
        (b'{"n": 1e999}', {"n": "inf"}),
        (b'{"n": NaN}', {"n": "NaN"}),
    ],
)
def test_an_event_does_not_hide_behind_what_a_strict_parser_refuses(raw, record):
    assert decode(raw) == record
    assert encode(build(decode(raw), 1, 0))


@pytest.mark.parametrize(
    "raw", [b"", b"[1]", b'{"a":', b'{"a":1} x', b"null", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_object_is_none(raw):
    assert decode(raw) is None


def test_nesting_has_an_end():
    assert decode(b'{"a":' * 60 + b"1" + b"}" * 60) is not None
    assert decode(b'{"a":' * 70 + b"1" + b"}" * 70) is None
    assert decode(rb'{"s":"\ud800","a":' + b"[" * 70 + b"]" * 70 + b"}") is None
    flat = b'{"a":[' + b",".join([b"[]"] * 1000) + b"]}"
    assert decode(flat) is not None


def test_a_broken_line_costs_one_defect_and_its_neighbours_live():
    first, broken, foreign, last = readings(b'{"a":1}\n{"a":\n{"foreign":1}\n{"a":2}\n')
    assert (first.seq, last.seq) == (1, 4)
    assert (broken.position, foreign.position) == (2, 3)
    assert "not a JSON object" in broken.reason
    assert "not of this format" in foreign.reason


def test_a_record_that_would_burst_a_frame_is_a_defect():
    numbers = b",".join([b"1.5"] * 200_000)
    (reading,) = readings(b'{"a":[' + numbers + b"]}")
    assert isinstance(reading, Defect)
    assert "too large" in reading.reason


def test_a_line_above_the_limit_is_a_defect():
    (reading,) = readings(b'{"a":"' + b"x" * 200 + b'"}', limit=100)
    assert isinstance(reading, Defect)


def test_where_somebody_waits_the_boot_time_is_stamped():
    (reading,) = readings(b"{}\n", VirtualClock(boot_ns=77))
    assert reading.sensed_boot_ns == 77


def test_a_head_that_ends_within_its_first_record_still_gives_its_keys():
    head = b'{"EventID":1,"Channel":"Security","Message":"' + b"x" * 65_000
    assert set(head_record(head)) >= {"EventID", "Channel"}
    assert head_record(b"text") == {}


def test_taming_reaches_every_corner():
    assert records.tame({"a\ud800": ["\udfff", 1.0, None, True]}) == {"a?": ["?", 1.0, None, True]}
