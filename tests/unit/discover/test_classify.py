"""Encrypted and compressed traffic is told from what can be read, in both directions."""

import bz2
import gzip
import json
import lzma
import pathlib
import zlib

import numpy as np
import pytest

from cronos.discover.classify import excess_of, sealed
from cronos.discover.messages import Message
from cronos.discover.synthetic import samples

OPEN = pathlib.Path(__file__).parents[4] / "shared" / "data" / "discovery"
WORDS = [b"pump", b"valve", b'{"id":', b"status", b"ERROR", b" 12.5", b"</tag>", b"setpoint", b"\n"]


def text(rng, size):
    out = b""
    while len(out) < size:
        out += WORDS[int(rng.integers(len(WORDS)))] + str(int(rng.integers(1000))).encode()
    return out[:size]


def tls(rng):
    body = rng.bytes(int(rng.integers(24, 300)))
    return b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body


def esp(rng):
    return b"\x00\x00\x12\x34" + rng.bytes(4) + rng.bytes(int(rng.integers(32, 120)))


SEALED = {
    "random": lambda rng: rng.bytes(int(rng.integers(32, 200))),
    "tls": tls,
    "esp": esp,
    "zlib": lambda rng: zlib.compress(text(rng, int(rng.integers(300, 3000)))),
    "gzip": lambda rng: gzip.compress(text(rng, int(rng.integers(300, 3000)))),
    "bz2": lambda rng: bz2.compress(text(rng, int(rng.integers(300, 3000)))),
    "lzma": lambda rng: lzma.compress(text(rng, int(rng.integers(300, 3000)))),
}


@pytest.mark.parametrize("kind", SEALED)
def test_what_cannot_be_read_is_sealed_in_any_amount(kind):
    for count in (20, 100):
        for seed in range(2):
            rng = np.random.default_rng([seed, count])
            found = sealed([Message(SEALED[kind](rng)) for _ in range(count)])
            assert found.sealed, (kind, count, seed, found)


def test_drawn_protocols_are_readable():
    wrong = [s for s in range(40) if sealed([Message(x.payload) for x in samples(s, 60)]).sealed]

    assert wrong == []


@pytest.mark.skipif(not OPEN.is_dir(), reason="the open protocols are not beside the project")
def test_open_protocols_are_readable_whole_and_by_hundreds():
    wrong = []
    for path in sorted(OPEN.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            given = [Message(bytes.fromhex(json.loads(line)["payload_hex"])) for line in lines]
        parts = [given, *(given[i : i + 100] for i in range(0, len(given), 100))]
        wrong += [path.name for part in parts if len(part) >= 50 and sealed(part).sealed]
    assert wrong == []


def test_too_little_to_tell_is_taken_for_readable():
    rng = np.random.default_rng(1)

    assert not sealed([]).sealed
    assert not sealed([Message(b"")] * 5).sealed
    assert not sealed([Message(rng.bytes(40))] * 500).sealed
    assert not sealed([Message(rng.bytes(16)) for _ in range(500)]).sealed
    # A header before a few bytes that nobody can read is worth learning.
    head = [bytes([0, n % 250, n % 2, 0, 20]) + rng.bytes(20) for n in range(300)]
    assert not sealed([Message(one) for one in head]).sealed


def test_the_excess_is_none_for_even_bytes_and_full_for_equal_ones():
    assert abs(excess_of(np.random.default_rng(2).bytes(1 << 16))) < 0.01
    assert excess_of(bytes(500)) == pytest.approx(255.0)
