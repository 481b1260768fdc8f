"""How two versions of a grammar differ."""

from msgspec.structs import replace
from tests.unit.discover.pump import GRAMMAR

from cronos.discover import ir
from cronos.discover.diffs import describe, differences
from cronos.discover.model import Sem


def with_type(number, **changes):
    types = list(GRAMMAR.types)
    types[number] = replace(types[number], **changes)
    return replace(GRAMMAR, types=tuple(types))


def test_grammars_that_parse_alike_do_not_differ():
    assert differences(GRAMMAR, GRAMMAR) == ()
    assert differences(GRAMMAR, with_type(0, probability=0.1, count=3)) == ()


def test_what_was_added_removed_and_changed_is_said():
    body = ir.Seq((ir.Number("kind", 2, Sem.ENUM_FLAGS), ir.Data("rest", ir.Size("rest"))))
    lines = differences(GRAMMAR, with_type(1, body=body))

    assert "removed: type note, field blob: bytes of what is left" in lines
    assert "added: type note, field rest: bytes of what is left" in lines
    assert any(
        line.startswith("changed: type note, field kind: enum_flags of 1 byte, one value ->")
        for line in lines
    )


def test_a_type_that_is_gone_takes_its_fields_along():
    lines = differences(GRAMMAR, replace(GRAMMAR, types=GRAMMAR.types[:1]))

    assert [line.split(":")[1] for line in lines] == [
        " type note", " type note, field kind", " type note, field blob",
    ]  # fmt: skip


def test_each_kind_of_field_is_described():
    told = [describe(leaf) for leaf in ir.leaves(GRAMMAR).values()]

    assert "length of 2 bytes, be" in told
    assert "checksum sum8, be, from 0" in told
    assert describe(ir.Until("line", b"\r\n")) == "text up to 0d0a"
    assert describe(ir.Varint("v", "ber", Sem.LENGTH)) == "length as ber"
    assert describe(ir.Data("d", ir.Size("field", 2, "n", scale=4))) == "bytes of n x 4+2"
