"""Captures become services."""

import gzip
import io
import json
import pathlib
from collections import Counter

import pytest
from tests.unit.discover.wires import CLIENT, SERVER, Talk, address, ether, ipv4, pcap, tcp, udp

from cronos.discover import captures
from cronos.discover.captures import Bounds, read_capture
from cronos.discover.filters import compile_filter
from cronos.errors import InputError

DATA = pathlib.Path(__file__).parents[4] / "shared" / "data"
# What is carried inside of something else, or over a link that is not read, has no service here.
INSIDE = ("20-fids", "mapi.pcap", "OSPFv3_", "ospf-gmpls")


def read(capture, wanted="", **bounds):
    return read_capture(io.BytesIO(capture), b"", compile_filter(wanted), Bounds(**bounds))


def request(number, size=4):
    return (
        number.to_bytes(2, "big") + b"\0\0" + (size + 1).to_bytes(2, "big") + b"\x01" + bytes(size)
    )


def talk(**given):
    talking = Talk(**given)
    for number in range(20):
        talking.c(request(number, 4 + number % 3)).s(request(number, 9 - number % 4))
    return talking


def test_a_stream_is_cut_into_messages_with_flow_direction_and_ends():
    (service,) = read(pcap(talk().frames))

    assert service.name == "tcp/502"
    assert service.rule == "a big-endian length of 4 at offset 2, plus 6"
    assert [message.direction for message in service.messages] == ["c2s", "s2c"] * 20
    first, second = service.messages[:2]
    assert first.payload == request(0, 4)
    assert (
        (first.source, first.destination) == (CLIENT, SERVER) == (second.destination, second.source)
    )
    assert first.flow == second.flow == "10.0.0.9:40000-10.0.0.1:502"
    assert service.numbers == tuple(range(40))


def test_order_and_repetition_on_the_wire_do_not_matter():
    frames = talk().frames
    shuffled = [*frames[:3]]
    for at in range(3, len(frames) - 1, 4):
        shuffled += [*reversed(frames[at : at + 4]), frames[at]]
    asked = [[m.payload for m in read(pcap(one))[0].messages if m.direction == "c2s"]
             for one in (frames, shuffled)]  # fmt: skip

    assert asked[0] == asked[1]


def test_half_a_capture_gives_the_messages_of_the_side_that_was_heard():
    one_way = [frame for frame in talk(handshake=False).frames if frame[26:30] == address(CLIENT)]
    (service,) = read(pcap(one_way))

    assert [message.payload for message in service.messages] == [
        request(number, 4 + number % 3) for number in range(20)
    ]
    assert service.name == "tcp/502"


def test_a_lost_packet_costs_its_own_message():
    frames = talk().frames
    (service,) = read(pcap(frames[:9] + frames[10:]))

    assert len(service.messages) == 39
    assert any("hole" in remark for remark in service.remarks)


def test_each_port_is_a_service_and_the_largest_comes_first():
    frames = talk().frames + Talk(sport=41_000, dport=102).c(b"hello").s(b"hi").frames
    frames += [udp(CLIENT, 5_000 + n, SERVER, 9_999, bytes((n,))) for n in range(3)]
    frames += [udp(SERVER, 9_999, CLIENT, 5_000, b"answer")]

    services = read(pcap(frames))
    assert [(one.name, len(one.messages)) for one in services] == [
        ("tcp/502", 40), ("udp/9999", 4), ("tcp/102", 2),
    ]  # fmt: skip
    assert [message.direction for message in services[1].messages] == ["c2s", "c2s", "c2s", "s2c"]


def test_a_filter_leaves_one_service():
    frames = [*talk().frames, udp(CLIENT, 5_000, SERVER, 53, b"q")]

    assert [one.name for one in read(pcap(frames), "udp")] == ["udp/53"]
    with pytest.raises(InputError, match="passes the filter"):
        read(pcap(frames), "port 9")


def test_what_has_no_ports_is_a_service_too():
    frames = [
        ether(0x88B8, b"goose"),
        MACS_SWAPPED + b"\x88\xb8" + b"answer",
        ipv4(89, SERVER, CLIENT, b"ospf"),
        ipv4(1, CLIENT, SERVER, b"\x08\0\0\0ping"),
        ether(0x8100, b"\0\x01\x88\xba" + b"tagged"),
        ether(3, b"llc and padding"),
    ]
    found = {one.name: [message.payload for message in one.messages] for one in read(pcap(frames))}

    assert found == {
        "ether/88b8": [b"goose", b"answer"],
        "ip/89": [b"ospf"],
        "icmp": [b"\x08\0\0\0ping"],
        "ether/88ba": [b"tagged"],
        "ether/0000": [b"llc"],
    }


MACS_SWAPPED = bytes.fromhex("020000000001020000000002")


def test_a_connection_between_the_same_ends_again_is_another_one():
    first, again = Talk(sport=40_000).c(b"one").s(b"two"), Talk(sport=40_000)
    again.seq = [77, 99]
    again.frames = []
    again._send(0, 2)
    again.c(b"three")
    (service,) = read(pcap(first.frames + again.frames))

    assert [message.payload for message in service.messages] == [b"one", b"two", b"three"]


def test_what_is_no_capture_is_refused_and_a_broken_one_gives_what_it_has():
    with pytest.raises(InputError, match="cannot be read as a capture"):
        read(b"nothing of the kind, not at all")
    whole = pcap(talk().frames)
    (service,) = read(whole[: len(whole) - 30])

    assert len(service.messages) == 39
    assert any("ends within a packet" in remark for remark in service.remarks)


def test_memory_is_bounded_and_what_is_left_out_is_said():
    frames = [udp(CLIENT, 5_000, SERVER, 53, bytes(500)) for _ in range(400)]
    (service,) = read(pcap(frames), max_bytes=50_000)

    assert 40 < len(service.messages) < 100
    assert any("too many" in remark for remark in service.remarks)
    assert len(read(pcap(frames), max_messages=7)[0].messages) == 7


def test_many_connections_push_out_the_oldest_but_lose_nothing():
    frames = []
    for number in range(30):
        frames += Talk(sport=30_000 + number).c(b"hello%d" % number).frames
    (service,) = read(pcap(frames), max_connections=5)

    assert len(service.messages) == 30


def test_packets_that_were_captured_in_part_are_counted():
    frame = udp(CLIENT, 5_000, SERVER, 53, bytes(100))
    (service,) = read(pcap([frame[:-40]]))

    assert any("only in part" in remark for remark in service.remarks)


@pytest.mark.skipif(not DATA.is_dir(), reason="the open captures are absent")
def test_open_captures_are_cut_where_their_dissectors_say():
    """Of what is carried directly over its transport nearly every message is met, byte for byte."""
    met = wanted = 0
    for folder in sorted((DATA / "captures").iterdir()):
        truth = truth_of(DATA / "discovery" / f"{folder.name}.jsonl.gz")
        for file in sorted(folder.iterdir()):
            expected = truth.get(file.name, Counter())
            if not expected or any(word in file.name for word in INSIDE):
                continue
            found = Counter(
                message.payload.hex()
                for service in read(file.read_bytes())
                for message in service.messages
            )
            met += sum((expected & found).values())
            wanted += sum(expected.values())

    assert wanted > 5_000
    assert met / wanted >= 0.985


def truth_of(path):
    truth = {}
    if path.is_file():
        for line in gzip.decompress(path.read_bytes()).splitlines():
            one = json.loads(line)
            truth.setdefault(one["src_file"], Counter())[one["payload_hex"]] += 1
    return truth


def test_hostile_packets_do_no_harm():
    frames = [
        b"",
        b"\0" * 13,
        ether(0x0800, b"\x45"),
        ether(0x0800, b"\x4f" + bytes(30)),
        ether(0x86DD, b"\x60"),
        ether(0x8100, b""),
        tcp((CLIENT, 1, SERVER, 2), 0, 0, 63, b""),
        udp(CLIENT, 0, SERVER, 0, b"zero"),
    ]
    assert "udp/0" in [one.name for one in read(pcap(frames))]


def opened(client, segments):
    ends = client, 4_000, SERVER, 80
    yield tcp(ends, 0, 0, 2)
    for number in range(segments):
        yield tcp(ends, 2_000 + number * 1_000, 0, 24, bytes(1_000))


def test_what_waits_behind_a_hole_counts_as_kept():
    """Connections whose first segment never comes, each as full as it may be."""
    frames = [frame for n in range(40) for frame in opened(f"10.1.0.{n}", 100)]
    services = read(pcap(frames), max_bytes=1_000_000)

    assert sum(len(message.payload) for one in services for message in one.messages) < 1_100_000
    assert any("more are too many" in remark for remark in services[0].remarks)


def test_connections_that_sent_nothing_are_not_kept_for_long():
    frames = [tcp((f"10.1.{n >> 8}.{n & 255}", 4_000, SERVER, 80), 7, 0, 2) for n in range(2_000)]
    frames += talk().frames
    bounds = Bounds(max_connections=10)
    collector = captures.Collector(compile_filter(""), bounds)
    reader = captures.CaptureReader()
    collector.packets(reader.feed(pcap(frames)), reader.buffer)

    assert not collector._ended
    assert [len(one.messages) for one in collector.services()] == [40]


def test_reading_stops_when_its_time_is_up_with_what_there_is():
    data = pcap(talk().frames * 200)
    taken = []

    class Slow(io.BytesIO):
        def read(self, size=-1):
            taken.append(size)
            return super().read(min(size, 4_096))

    services = read_capture(
        Slow(data), b"", compile_filter(""), Bounds(late=lambda share: len(taken) > 5 * share)
    )

    assert services[0].messages
    assert any("The time was up" in remark for remark in services[0].remarks)
    assert len(taken) < 5
