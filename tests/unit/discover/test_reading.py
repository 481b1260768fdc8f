"""An input is recognised by what it holds."""

import gzip
import io
import json

import pytest
from tests.unit.discover.wires import CLIENT, SERVER, pcap, udp

from cronos.discover.captures import Bounds
from cronos.discover.reading import read_input
from cronos.errors import InputError

LINES = b"".join(
    json.dumps({"payload_hex": f"{n:04x}", "flow": n % 2}).encode() + b"\n" for n in range(10)
)
CAPTURE = pcap([udp(CLIENT, 5_000, SERVER, 53, b"question")])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_and_captures_are_told_apart_packed_or_not(tmp_path, pack):
    lines, capture = tmp_path / "plant.jsonl.gz", tmp_path / "c"
    lines.write_bytes(pack(LINES))
    capture.write_bytes(pack(CAPTURE))

    (service,) = read_input(str(lines))
    assert (service.name, len(service.messages)) == ("plant", 10)
    assert read_input(str(capture))[0].name == "udp/53"


def test_standard_input_is_read_too(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CAPTURE)))

    assert read_input("-")[0].messages[0].payload == b"question"


def test_messages_keep_the_number_of_their_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"broken\n" * 8 + LINES[:40] + b"\n\nbroken\n" + LINES[:40])
    (service,) = read_input(str(path))

    assert service.numbers[0] == 8
    assert len(service.remarks) == 6
    assert "lines in all" in service.remarks[-1]


def test_only_packets_can_be_filtered(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)

    with pytest.raises(InputError, match="no capture"):
        read_input(str(path), "tcp")


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"{}\n", b"\x89PNG\r\n", gzip.compress(b"", mtime=0)]
)
def test_what_holds_no_message_is_refused(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)

    with pytest.raises(InputError):
        read_input(str(path))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_input(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot be read"):
        read_input(str(tmp_path))


def test_no_more_is_kept_than_the_bounds_say(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)
    (service,) = read_input(str(path), bounds=Bounds(max_messages=4))

    assert len(service.messages) == 4
    assert "too many" in service.remarks[0]


def test_reading_lines_stops_when_its_time_is_up_with_what_there_is(tmp_path):
    """Ten gigabytes of empty lines are ten megabytes, gzipped."""
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as packed:
        packed.write(b'{"payload_hex": "0001"}\n' * 5)
        for _ in range(100):
            packed.write(b"\n" * 1_000_000)
    asked = []

    def late(_share):
        asked.append(1)
        return len(asked) > 20

    (service,) = read_input(str(path), "", Bounds(late=late))

    assert len(service.messages) == 5
    assert any("The time was up" in remark for remark in service.remarks)
    assert len(asked) < 30


def test_the_names_of_flows_count_as_kept(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"payload_hex": "00", "flow": "%s"}\n' % (b"f" * 200) * 1_000)
    (service,) = read_input(str(path), "", Bounds(max_bytes=200_000))

    assert 100 < len(service.messages) < 200
