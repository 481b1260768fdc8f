"""Small protocols with their fields, as discovery would find them; and the open ones."""

import functools
import gzip
import json
import random
import struct
from pathlib import Path

import msgspec
import pytest

from cronos.discover.attested import said_of
from cronos.discover.checksums import ALGORITHMS, function_of
from cronos.discover.detectors import registry
from cronos.discover.grammar import Sample
from cronos.discover.messages import Message
from cronos.discover.model import Discovery, Field, Sem

OPEN = Path(__file__).parents[3] / ".." / "shared" / "data" / "discovery"
SEMS = {one.value: one for one in Sem}


def draft(*parts, kind=0, direction=""):
    """Make a sample of (bytes, meaning) pairs."""
    fields, data = [], b""
    for raw, sem in parts:
        if raw:
            fields.append((len(data), len(raw), Sem(sem)))
        data += raw
    return Sample(data, tuple(fields), kind, direction)


def requests(count=120, seed=1):
    """Give a plant protocol: a magic, a length, a code that decides, a text or registers."""
    source = random.Random(seed)
    out = []
    for index in range(count):
        code = source.choice((1, 1, 2, 3))
        if code == 1:
            body = [(source.randbytes(2), "value"), (source.randbytes(2), "value")]
        elif code == 2:
            text = source.choice((b"pump", b"valve-17", b"level", b"x")) + b"\0"
            body = [(text, "text"), (source.randbytes(4), "value")]
        else:
            many = source.randint(0, 5)
            body = [
                (bytes([many]), "count"),
                *[(source.randbytes(2), "value") for _ in range(many)],
            ]
        rest = b"".join(raw for raw, _ in body)
        size = struct.pack(">H", len(rest) + 1)
        head = [(b"\xc0\xde", "enum_flags"), (struct.pack(">H", index), "id_seq")]
        head += [(size, "length"), (bytes([code]), "enum_flags")]
        out.append(draft(*head, *body, kind=code))
    return out


def blocked(data, size=16, algorithm="crc16-dnp"):
    """Give data in blocks, each with its checksum behind."""
    leaf = ALGORITHMS[algorithm]
    out = b""
    for begin in range(0, len(data), size):
        block = data[begin : begin + size]
        out += block + function_of(algorithm)(block).to_bytes(leaf.width, "little")
    return out


@functools.cache
def stations(count=90, seed=2):
    """Give a station protocol: a header with its checksum, then data in blocks with theirs.

    Fields of the data are cut in two where a checksum falls into them.
    """
    source = random.Random(seed)
    plain = []
    for index in range(count):
        many = source.choice((0, 1, 3, 6, 8, 9, 12))
        body = [(bytes([192 | index % 16]), "id_seq"), (bytes([many]), "count")]
        body += [(source.randrange(60_000).to_bytes(4, "little"), "value") for _ in range(many)]
        body = body if index % 9 else []
        rest = b"".join(raw for raw, _ in body)
        head = [(b"\x05\x64", "enum_flags"), (bytes([5 + len(rest)]), "length")]
        head += [(source.randbytes(2), "value"), (source.choice((b"\1", b"\4")), "enum_flags")]
        first = b"".join(raw for raw, _ in head)
        total = function_of("crc16-dnp")(first).to_bytes(2, "little")
        fields, at = [(len(first), 2, Sem.CHECKSUM)], 0
        for raw, sem in head:
            fields.append((at, len(raw), Sem(sem)))
            at += len(raw)
        at = 0
        for raw, sem in body:
            left = len(raw)
            while left:
                length = min(left, 16 - at % 16)
                fields.append((len(first) + 2 + at + at // 16 * 2, length, Sem(sem)))
                at, left = at + length, left - length
        message, at = first + total + blocked(rest), len(first) + 2
        while at < len(message):
            stop = min(at + 16, len(message) - 2)
            fields.append((stop, 2, Sem.CHECKSUM))
            at = stop + 2
        plain.append(Sample(message, tuple(sorted(fields)), 0, ""))
    return attested(plain)


def attested(samples):
    """Give the samples with what the detectors claim of them."""
    claims = registry.claims([Message(one.data, "", one.direction) for one in samples])
    said = said_of(claims, len(samples))
    return [msgspec.structs.replace(one, said=of) for one, of in zip(samples, said, strict=True)]


def discovery_of(samples):
    """Give the discovery that would have found exactly these fields."""
    return Discovery(
        tuple(Message(one.data, "1", one.direction) for one in samples),
        tuple(one.type for one in samples),
        tuple(tuple(Field(*field, 1.0) for field in one.fields) for one in samples),
        (),
    )


@functools.cache
def rows_of(protocol):
    """Give the rows of an open protocol; skips where the data is not."""
    file = OPEN / f"{protocol}.jsonl.gz"
    if not file.is_file():
        pytest.skip("the open protocols (../shared/data/discovery) are not here")
    with gzip.open(file) as lines:
        return [json.loads(text) for text in lines]


def messages_of(protocol):
    """Give an open protocol's messages as they were heard."""
    return [
        Message(bytes.fromhex(r["payload_hex"]), str(r["flow"]), r["direction"], r["ts"])
        for r in rows_of(protocol)
    ]


def labelled(protocol, most=10_000):
    """Give an open protocol's messages with their true fields; skips where the data is not."""
    numbers, out = {}, []
    for row in rows_of(protocol)[:most]:
        kind = numbers.setdefault(row["message_type"], len(numbers))
        fields = tuple(
            (f["offset"], f["length"], SEMS.get(f["sem"], Sem.VALUE)) for f in row["fields"]
        )
        out.append(Sample(bytes.fromhex(row["payload_hex"]), fields, kind, row["direction"]))
    return out
