"""`cronos discover` on what nobody can understand: it ends in time, and says what it saw."""

import itertools
import json
import random
import resource
import struct
import time

import pytest
from tests.unit.discover.wires import CLIENT, SERVER, Talk, address, pcap, udp

from cronos.front.cli import main

RNG = random.Random(20240501)


def datagrams(payloads):
    return pcap([udp(CLIENT, 40_000 + n % 3, SERVER, 999, one) for n, one in enumerate(payloads)])


def binary(n):
    body = RNG.randbytes(RNG.randint(2, 30))
    return struct.pack(">HBB", n, 1 + n % 3, len(body)) + body


def text(n):
    return b"SET pump%d %d\r\n" % (n % 7, RNG.randint(1, 999))


def tlv(n):
    parts = [bytes((tag, 4)) + RNG.randbytes(4) for tag in (1, 2, 5)[: 1 + n % 3]]
    return b"\xa0" + bytes((sum(map(len, parts)),)) + b"".join(parts)


def mixture():
    return datagrams([(binary, text, tlv)[n % 3](n) for n in range(240)])


def half():
    talk = Talk(handshake=False)
    for n in range(80):
        talk.c(binary(n)).s(binary(n))
    return pcap([frame for frame in talk.frames if frame[26:30] == address(CLIENT)])


def disordered():
    talk = Talk()
    for n in range(80):
        talk.c(binary(n)).s(binary(n))
    frames = [*talk.frames]
    for at in range(5, len(frames) - 4, 4):
        frames[at], frames[at + 2] = frames[at + 2], frames[at]
    again = [frame for frame in frames for _ in range(1 + (RNG.random() < 0.3))]
    return pcap(again)


def ciphertext(n):
    return b"\x17\x03\x03" + struct.pack(">H", 60) + RNG.randbytes(60 + n % 2)


def zeros_and_almost():
    """All alike but for a few bytes: alignment and pattern search have nothing to hold on to."""
    return [bytes(1_400 - n % 50) + bytes((n % 3,)) + bytes(n % 50) for n in range(400)]


INPUTS = {
    "one message": lambda: datagrams([b"hello"]),
    "one byte": lambda: datagrams([bytes((n % 5,)) for n in range(100)]),
    "identical messages": lambda: datagrams([b"\x01\x02\x00\x04same"] * 200),
    "64 KB messages": lambda: datagrams([RNG.randbytes(65_000) for _ in range(40)]),
    "three protocols on one port": mixture,
    "half a capture": half,
    "retransmitted and out of order": disordered,
    "random bytes": lambda: datagrams([RNG.randbytes(RNG.randint(1, 200)) for _ in range(300)]),
    "encrypted": lambda: datagrams([ciphertext(n) for n in range(300)]),
    "nothing to align by": lambda: datagrams(zeros_and_almost()),
    "runs of zeros": lambda: datagrams([bytes(RNG.randint(1, 1_400)) for _ in range(300)]),
    "lengths that point everywhere": lambda: datagrams(
        [bytes((n % 256,)) * (1 + n % 300) for n in range(600)]
    ),
    "empty and full": lambda: datagrams([b"", b"\xff" * 1_400] * 50),
}


@pytest.fixture
def discover(tmp_path, capsysbinary):
    def run(data, *words):
        path, out = tmp_path / "in", tmp_path / "out.jsonl"
        path.write_bytes(data)
        began = time.monotonic()
        code = main(
            ["discover", str(path), "--predictions", str(out), "--json", "--state"]  # noqa: RUF005
            + [str(tmp_path / "state"), *words]
        )
        seconds = time.monotonic() - began
        document = json.loads(capsysbinary.readouterr().out)
        rows = [json.loads(line) for line in out.read_bytes().splitlines()] if code == 0 else []
        return code, document, rows, seconds

    return run


@pytest.mark.parametrize("name", INPUTS)
def test_it_ends_with_a_line_for_every_message(name, discover):
    data = INPUTS[name]()
    code, document, rows, _ = discover(data, "--max-seconds", "20")

    assert code == 0
    seen = sum(one["messages"] for one in document["services"])
    assert [row["i"] for row in rows] == list(range(seen))
    for row in rows:
        ends = [(field["offset"], field["offset"] + field["length"]) for field in row["fields"]]
        assert all(begin < end for begin, end in ends)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))


def test_time_is_bounded_and_the_best_so_far_is_given(discover):
    data = datagrams([RNG.randbytes(1_400) for _ in range(1_200)])
    code, document, rows, seconds = discover(
        data, "--max-seconds", "1", "--max-messages", "1200", "--relearn"
    )

    assert code == 0
    assert len(rows) == 1_200
    assert document["services"][0]["messages"] == 1_200
    # A second, the grace of those who do not look at the time, and starting two processes.
    assert seconds < 15


def test_memory_is_bounded_and_the_best_so_far_is_given(discover):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    data = datagrams([RNG.randbytes(1_400) for _ in range(1_500)])
    code, document, rows, _ = discover(
        data, "--max-memory", "200", "--max-messages", "1500", "--max-seconds", "20"
    )

    assert code in (0, 2)
    if code == 0:
        assert len(rows) == document["services"][0]["messages"]
    else:
        assert document["code"] in ("discover.memory", "discover.stopped")
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert most <= max(before, (200 + 150) * 1024)


def test_a_capture_of_very_many_services_learns_only_some(discover):
    frames = [udp(CLIENT, 40_000, SERVER, 1 + n % 5_000, b"x%d" % n) for n in range(20_000)]
    code, document, rows, _ = discover(pcap(frames), "--max-seconds", "300", "--min-messages", "4")

    assert code == 0
    assert len(document["services"]) == 32
    assert len(document["left_out"]) > 4_000
    assert len(rows) == sum(one["messages"] for one in document["services"])
