"""Whole captures through the sensor."""

import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from bench.capture_generator import HEADER, generate, tcp

from cronos.errors import InputError
from cronos.ports import Reading
from cronos.sense.files import FileConfig, FileSource, expand
from cronos.sense.pcap import PcapConfig, PcapSensor
from cronos.types import Defect, EntityKind, Now, Observation, Provenance

_CAPTURES = Path(__file__).parents[4] / "shared" / "data" / "captures"
A, B = bytes((192, 0, 2, 7)), bytes((198, 51, 100, 2))
WRITE = struct.pack(">HHHBBHHB2H", 1, 0, 11, 17, 16, 40, 2, 4, 7, 65_535)


class Bytes:
    """A source in memory that gives `step` bytes at a time, and None before each."""

    def __init__(
        self, data: bytes, step: int = 1 << 16, provenance: Provenance = Provenance.AUTHENTICATED
    ) -> None:
        self.name, self.provenance, self.first = "wire", provenance, 1
        self._data, self._step, self._at, self._idle = data, step, 0, False

    def read(self, size: int) -> bytes | None:
        self._idle = not self._idle
        if self._idle:
            return None
        size = min(size, self._step)
        self._at += size
        return self._data[self._at - size : self._at]

    def acknowledge(self, seq: int) -> None: ...

    def close(self) -> None: ...


def capture(packets: Sequence[bytes], *, nth_ms: int = 1) -> bytes:
    out = HEADER
    for number, packet in enumerate(packets):
        frame = b"\x02" * 12 + b"\x08\0" + packet
        seconds, ms = divmod(number * nth_ms, 1000)
        out += struct.pack("<IIII", 1_700_000_000 + seconds, ms * 1000, len(frame), len(frame))
        out += frame
    return out


def conversation(port: int = 502, data: bytes = WRITE) -> list[bytes]:
    there, back = (A, B, 40_312, port), (B, A, port, 40_312)
    packet = bytearray(tcp(there, (101, 501, 0x18), len(data)))
    packet[40:] = data
    return [
        tcp(there, (100, 0, 0x02), 0),
        tcp(back, (500, 101, 0x12), 0),
        tcp(there, (101, 501, 0x10), 0),
        bytes(packet),
    ]


def read(source: Bytes | FileSource, sensor: PcapSensor | None = None) -> list[Reading]:
    batches = (sensor or PcapSensor(PcapConfig())).read(source)
    return [reading for batch in batches for reading in batch]


def test_a_write_to_a_plc_is_told_with_its_flow_its_values_and_who_acted() -> None:
    opened, wrote = read(Bytes(capture(conversation())))
    assert isinstance(opened, Observation)
    assert opened.fields["status"] == "open"
    assert opened.fields["app_protocol"] == "modbus"
    assert isinstance(wrote, Observation)
    assert (wrote.source, wrote.seq, wrote.position, wrote.activity) == ("wire", 2, 4, "modbus")
    assert wrote.provenance is Provenance.BIDIRECTIONAL
    assert wrote.time_ns == 1_700_000_000_003_000_000
    assert wrote.actor
    assert wrote.target
    assert (wrote.actor.kind, wrote.actor.value) == (EntityKind.ADDRESS, "192.0.2.7")
    assert wrote.target.value == "198.51.100.2"
    assert wrote.fields == {
        "metadata.product": "ot",
        "src_endpoint.ip": "192.0.2.7",
        "src_endpoint.port": 40_312,
        "dst_endpoint.ip": "198.51.100.2",
        "dst_endpoint.port": 502,
        "connection_info.protocol_name": "tcp",
        "modbus.transaction_id": 1,
        "modbus.unit_id": 17,
        "modbus.function_code": 16,
        "modbus.direction": "request",
        "modbus.address": 40,
        "modbus.quantity": 2,
        "modbus.value": 7,
        "modbus.min_value": 7,
        "modbus.max_value": 65_535,
    }


def test_http_and_dns_are_told_as_their_own_activities() -> None:
    request = b"GET /admin HTTP/1.1\r\nHost: plant\r\n\r\n"
    question = struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"\5plant\0" + struct.pack(">HH", 1, 1)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(question), 1, 0, 64, 17, 0)
    datagram = struct.pack("!HHHH", 5353, 53, 8 + len(question), 0) + question
    packets = [*conversation(80, request), head + A + B + datagram]
    told = {r.activity: r for r in read(Bytes(capture(packets))) if isinstance(r, Observation)}
    assert told["http_activity"].fields["http_request.url.path"] == "/admin"
    assert told["dns_activity"].fields["query.hostname"] == "plant"
    assert told["dns_activity"].provenance is Provenance.SPOOFABLE


def test_the_sensor_never_claims_more_than_its_source_vouches_for() -> None:
    for reading in read(Bytes(capture(conversation()), provenance=Provenance.SPOOFABLE)):
        assert isinstance(reading, Observation)
        assert reading.provenance is Provenance.SPOOFABLE


@pytest.mark.parametrize("step", [1, 100])
def test_however_the_bytes_are_cut_the_readings_are_the_same(step: int) -> None:
    wire = capture(conversation())[:-3]
    assert read(Bytes(wire, step)) == read(Bytes(wire))


def test_a_truncated_capture_yields_the_good_packets_and_one_defect() -> None:
    wire = capture(conversation())
    *good, defect = read(Bytes(wire[:-3]))
    assert len(good) == 1
    assert isinstance(defect, Defect)
    assert defect.position == 4
    assert f"Packet 4 at byte {24 + 3 * 70} cannot be read: the file ends" in defect.reason
    assert defect.remedy


def test_garbage_after_good_packets_is_one_defect() -> None:
    *good, defect = read(Bytes(capture(conversation()) + b"\xff" * 500))
    assert len(good) == 2
    assert isinstance(defect, Defect)
    assert "Packet 5" in defect.reason


@pytest.mark.parametrize("wire", [b"", b"\xd4\xc3", HEADER[:20], b"no capture at all"])
def test_what_is_no_capture_is_refused_with_a_sentence(wire: bytes) -> None:
    with pytest.raises(InputError, match="wire cannot be read as a capture at byte"):
        read(Bytes(wire))


def test_a_capture_without_packets_is_no_error() -> None:
    assert read(Bytes(HEADER)) == []


def test_a_broken_compressed_capture_gives_what_it_has_before_it_raises(tmp_path: Path) -> None:
    import gzip  # noqa: PLC0415 - used by this story alone

    generate(tmp_path / "whole.pcap", 200_000)
    packed = gzip.compress((tmp_path / "whole.pcap").read_bytes())
    (tmp_path / "cut.pcap.gz").write_bytes(packed[: len(packed) // 2])
    readings: list[Reading] = []
    source = FileSource(FileConfig(path=str(tmp_path / "cut.pcap.gz")))
    batches = PcapSensor(PcapConfig()).read(source)
    with pytest.raises(InputError, match="ends within a gzip member"):
        readings.extend(reading for batch in batches for reading in batch)
    source.close()
    assert readings


def test_a_clock_stamps_what_was_sensed() -> None:
    class Noon:
        def now(self) -> Now:
            return Now(12, 34)

        def boot_id(self) -> str:
            return "boot"

    for reading in read(Bytes(capture(conversation())), PcapSensor(PcapConfig(), Noon())):
        assert isinstance(reading, Observation)
        assert reading.sensed_boot_ns == 12


def test_formats_are_recognised_by_their_magic_numbers() -> None:
    assert PcapSensor.recognise(HEADER) == 1.0
    assert PcapSensor.recognise(b"\x0a\x0d\x0d\x0a") == 1.0
    assert PcapSensor.recognise(b'{"a": 1}') == 0.0
    assert PcapSensor.recognise(b"") == 0.0


def test_the_generated_capture_is_the_same_every_time_and_all_its_flows_are_told(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        generate(tmp_path / name, 300_000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    told = read(FileSource(FileConfig(path=str(tmp_path / "a"))))
    counts = Counter(r.fields["status"] for r in told if isinstance(r, Observation))
    assert counts["open"] == counts["closed"] > 5
    assert counts["datagram"] == counts["open"]


@pytest.mark.skipif(not _CAPTURES.is_dir(), reason="the folder of real captures is absent")
def test_every_real_capture_is_read_without_an_error_and_reading_again_gives_the_same() -> None:
    counts: Counter[str] = Counter()
    for path in expand(str(_CAPTURES)):
        source = FileSource(FileConfig(path=str(path)))
        if not PcapSensor.recognise(source.read(64) or b""):
            continue
        source.close()
        readings = read(FileSource(FileConfig(path=str(path))))
        assert read(Bytes(path.read_bytes(), step=777)) == [
            msgspec.structs.replace(reading, source="wire") for reading in readings
        ]
        seqs = [r.seq for r in readings if isinstance(r, Observation)]
        assert seqs == list(range(1, len(seqs) + 1))
        counts.update(r.activity if isinstance(r, Observation) else "defect" for r in readings)
        counts["captures"] += 1
    assert counts["captures"] >= 100
    assert counts["modbus"] > 6000
    assert counts["dns_activity"] > 2000
    assert counts["defect"] < 10


@pytest.mark.parametrize("step", [7, 64, 1 << 16])
def test_packets_are_handed_on_as_they_are_read(step: int) -> None:
    handed: list[bytes] = []

    def hear(packets: Sequence[tuple[int, int, int, int]], buffer: bytes) -> None:
        handed.extend(buffer[start:end] for _, _, start, end in packets)

    sensor = PcapSensor(PcapConfig(), packets=hear)
    told = read(Bytes(capture(conversation()), step), sensor)
    assert told == read(Bytes(capture(conversation()), step))
    assert handed == [b"\x02" * 12 + b"\x08\0" + packet for packet in conversation()]
