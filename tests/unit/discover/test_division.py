"""Types: as few as describe the messages, and none that takes another's messages."""

import random

import msgspec
from tests.unit.discover.drafts import draft, requests

from cronos.discover import ir
from cronos.discover.division import divided, with_others
from cronos.discover.interpreter import Interpreter, Parsed

WORK = 100_000


def test_what_shares_a_header_is_one_type():
    grammar = divided(requests(), "plant", WORK)

    assert [kind.members for kind in grammar.types] == [(1, 2, 3)]


def two_formats(count=60):
    source = random.Random(8)
    out = []
    for _ in range(count):
        out.append(
            draft(
                (b"\x01", "enum_flags"), *[(source.randbytes(1), "value") for _ in range(9)], kind=0
            )
        )
        text = b"GET /" + bytes(source.choices(b"abcdef", k=4))
        out.append(draft((text[:4], "text"), (text[4:], "text"), kind=1))
    return out


def test_formats_with_nothing_in_common_are_told_apart_by_what_they_begin_with():
    samples = two_formats()
    run = Interpreter(divided(samples, "mixed", WORK))
    found = [run.parse(one.data, floor=float("-inf")) for one in samples]

    assert all(isinstance(one, Parsed) for one in found)
    for one, parsed in zip(samples, found, strict=True):
        assert {f.offset for f in parsed.fields} == {offset for offset, _, _ in one.fields}


def test_a_last_type_takes_the_header_of_what_is_new():
    grammar = divided(requests(), "plant", WORK)
    wider = with_others(grammar, requests(), WORK)
    new = b"\xc0\xde\x00\x01\x00\x0d\x03" + b"\xff" * 12

    assert not isinstance(Interpreter(grammar).parse(new, floor=-100), Parsed)
    parsed = Interpreter(wider).parse(new, floor=-100)
    assert wider.types[parsed.type].name == "other"
    assert [f.length for f in parsed.fields] == [2, 2, 2, 1, 12]
    assert set(ir.leaves(grammar)) < set(ir.leaves(wider))


def test_each_direction_may_have_a_last_type_of_its_own():
    samples = [
        msgspec.structs.replace(one, direction="s2c" if one.type else "c2s")
        for one in two_formats()
    ]
    wider = with_others(divided(samples, "mixed", WORK), samples, WORK, ("c2s", "s2c"))
    last = [kind for kind in wider.types if kind.name.startswith("other")]

    assert [kind.direction for kind in last] == ["c2s", "s2c"]
    assert all(kind.name == f"other_{kind.direction}" for kind in last)
    ir.check(wider)
