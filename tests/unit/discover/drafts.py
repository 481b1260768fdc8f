"""Small protocols with their fields, as discovery would find them; and the open ones."""

import functools
import gzip
import json
import random
import struct
from pathlib import Path

import pytest

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


def discovery_of(samples):
    """Give the discovery that would have found exactly these fields."""
    return Discovery(
        tuple(Message(one.data, "1", one.direction) for one in samples),
        tuple(one.type for one in samples),
        tuple(tuple(Field(*field, 1.0) for field in one.fields) for one in samples),
        (),
    )


@functools.cache
def labelled(protocol, most=10_000):
    """Give an open protocol's messages with their true fields; skips where the data is not."""
    file = OPEN / f"{protocol}.jsonl.gz"
    if not file.is_file():
        pytest.skip("the open protocols (../shared/data/discovery) are not here")
    numbers, out = {}, []
    with gzip.open(file) as lines:
        for text in lines:
            row = json.loads(text)
            kind = numbers.setdefault(row["message_type"], len(numbers))
            fields = tuple(
                (f["offset"], f["length"], SEMS.get(f["sem"], Sem.VALUE)) for f in row["fields"]
            )
            out.append(Sample(bytes.fromhex(row["payload_hex"]), fields, kind, row["direction"]))
    return out[:most]
