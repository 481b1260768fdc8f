"""Messages taken apart, a row for each."""

import json
import math

import msgspec
from tests.unit.discover.pump import PROFILE, note, reading
from tests.unit.discover.wires import CLIENT, SERVER, pcap, udp

from cronos.discover.messages import Message
from cronos.discover.model import Limits
from cronos.discover.parsing import Parser, rows
from cronos.testing.clock import VirtualClock


def lines(*payloads):
    return b"".join(
        json.dumps({"payload_hex": one.hex(), "flow": "f", "direction": "c2s", "ts": 2.5}).encode()
        + b"\n"
        for one in payloads
    )


def test_each_field_has_its_name_place_and_value():
    row = Parser(PROFILE).row(7, Message(reading(1.5), "f", "c2s", 2.5))

    assert (row.i, row.ts, row.flow, row.direction, row.type) == (7, 2.5, "f", "c2s", "reading")
    assert [(f.name, f.offset, f.length, f.value) for f in row.fields] == [
        ("kind", 0, 1, 1),
        ("size", 1, 2, 12),
        ("level", 3, 4, 1.5),
        ("tag", 7, 4, "P-01"),
        ("sample", 11, 2, 1),
        ("sample", 13, 2, 2),
        ("sum", 15, 1, sum(reading(1.5)[:-1]) % 256),
    ]


def test_bytes_are_hexadecimal_and_a_float_that_is_no_number_is_none():
    parser = Parser(PROFILE)

    assert parser.row(0, Message(note())).fields[1].value == "cafe"
    assert parser.row(0, Message(reading(math.inf))).fields[2].value is None
    assert parser.row(0, Message(reading(1.0, tag=b"\xff\x1bX!"))).fields[3].value == "\ufffd\x1bX!"


def test_a_wrong_checksum_is_told_and_not_refused():
    data = reading(1.5)[:-1] + b"\x00"
    row = Parser(PROFILE).row(0, Message(data))

    assert row.type == "reading"
    assert row.bad_checksums == ("sum",)


def test_what_does_not_fit_is_refused_with_a_reason_and_a_place():
    row = Parser(PROFILE).row(0, Message(b"\x09\x00"))

    assert (row.type, row.fields) == ("", ())
    assert row.refused
    assert row.at >= 0


def test_lines_are_parsed_as_they_come(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(reading(1.0)) + b"broken\n" + lines(note()))
    found = list(rows(PROFILE, str(path)))

    assert [(row.i, row.type) for row in found] == [(0, "reading"), (1, ""), (2, "note")]
    assert "Line 2" in found[1].refused


def test_of_a_capture_the_services_of_the_profile_are_meant(tmp_path):
    path = tmp_path / "c.pcap"
    frames = [udp(CLIENT, 5_000, SERVER, 7_000, reading(1.0)), udp(CLIENT, 5_000, SERVER, 53, b"q")]
    path.write_bytes(pcap(frames))
    named = msgspec.structs.replace(PROFILE, services=("udp/7000",))

    assert [row.i for row in rows(named, str(path))] == [0]
    assert [row.type for row in rows(PROFILE, str(path))] == ["reading", ""]
    assert [row.i for row in rows(PROFILE, str(path), "port 53")] == [0]


def test_a_capture_is_parsed_within_its_time_and_what_is_left_out_is_told(tmp_path):
    path = tmp_path / "c.pcap"
    frames = [udp(CLIENT, 5_000, SERVER, 7_000, reading(float(n))) for n in range(300)]
    path.write_bytes(pcap(frames))
    clock, told = VirtualClock(), []
    given = Limits(max_seconds=5.0), clock, told.append
    found = []
    for row in rows(PROFILE, str(path), "", given):
        found.append(row.type)
        clock.advance(50_000_000)

    assert 64 <= len(found) < 300
    assert told == [f"The time was up: only {len(found)} of 300 messages were parsed."]
    assert [row.type for row in rows(PROFILE, str(path), "", given)] == ["reading"] * 300


def test_of_a_capture_no_more_is_kept_than_memory_allows(tmp_path):
    path = tmp_path / "c.pcap"
    frames = [udp(CLIENT, 5_000, SERVER, 7_000, reading(float(n))) for n in range(1_000)]
    path.write_bytes(pcap(frames))
    told = []
    found = list(
        rows(PROFILE, str(path), "", (Limits(max_memory_mb=1), VirtualClock(), told.append))
    )

    assert 0 < len(found) < 1_000
    assert told
    assert "were read" in told[0] or "are told" in told[0]
