"""What a grammar may look like; everything else is refused before it runs."""

import json

import msgspec
import pytest
from tests.unit.discover.grammars import drawn

from cronos.discover import ir
from cronos.discover.ir import (
    Call,
    Case,
    Checksum,
    Data,
    Grammar,
    Maybe,
    MessageType,
    Number,
    Repeat,
    Seq,
    Size,
    Sized,
    Switch,
    Until,
    Varint,
)  # fmt: skip
from cronos.discover.model import Sem
from cronos.errors import InputError

LENGTH = Number("length_2", 2, Sem.LENGTH)
KIND = Number("kind_0", 1, Sem.ENUM_FLAGS)


def grammar(*items, rules=None):
    return Grammar("plant", (MessageType("a", Seq(items)),), rules or {})


GOOD = grammar(
    KIND,
    LENGTH,
    Sized(Size("field", -1, "length_2"), Seq((Switch("kind_0", (Case((1, 2), Call("tlv")),)),))),
    Checksum("sum_9", "crc16-modbus", "le"),
    rules={"tlv": Seq((Varint("tag_0", "ber"), Data("value_1", Size("field", 0, "tag_0"))))},
)


def test_a_grammar_survives_its_json_and_equal_grammars_are_equal_bytes():
    assert ir.decode(ir.encode(GOOD)) == GOOD
    assert ir.encode(ir.decode(ir.encode(GOOD))) == ir.encode(GOOD)


@pytest.mark.parametrize("seed", range(10))
def test_drawn_grammars_survive_their_json(seed):
    one, _ = drawn(seed)

    assert ir.decode(ir.encode(one)) == one


def nested(depth):
    node = KIND
    for _ in range(depth):
        node = Seq((node,))
    return node


BAD = {
    "no message type": Grammar("plant", ()),
    "a name of an other alphabet": grammar(Number("Länge", 2)),
    "a name that is code": grammar(Number("a;os.system('x')", 2)),
    "a name with a newline": grammar(Number("a\n", 2)),
    "a long name": grammar(Number("a" * 65, 2)),
    "a protocol's name that is a path": Grammar("../x", GOOD.types, GOOD.rules),
    "two fields of one name": grammar(KIND, KIND),
    "a number of no width": grammar(Number("n_0", 0)),
    "a number of nine bytes": grammar(Number("n_0", 9)),
    "a float of two bytes": grammar(Number("n_0", 2, Sem.FLOAT)),
    "a known value that does not fit": grammar(Number("n_0", 1, known=((256, 1.0),))),
    "a share of more than all": grammar(Number("n_0", 1, known=((1, 1e308),))),
    "a share of less than nothing": grammar(
        Data("d_0", Size("fixed", 1), known=((b"a", -1e308), (b"b", -1e308)))
    ),
    "strict without values": grammar(Number("n_0", 1, strict=True)),
    "a size that refers forward": grammar(Data("d_0", Size("field", 0, "length_2")), LENGTH),
    "a size that refers to bytes": grammar(
        Data("d_0", Size("fixed", 2)), Data("d_1", Size("field", 0, "d_0"))
    ),
    "a size that refers into another part": grammar(
        Sized(Size("fixed", 2), Seq((LENGTH,))), Data("d_1", Size("field", 0, "length_2"))
    ),
    "a negative size": grammar(Data("d_0", Size("fixed", -1))),
    "a huge size": grammar(Data("d_0", Size("fixed", 1 << 40))),
    "no scale": grammar(LENGTH, Data("d_0", Size("field", 0, "length_2", scale=0))),
    "a union of nothing": grammar(KIND, Switch("kind_0", ())),
    "a union with a value twice": grammar(
        KIND, Switch("kind_0", (Case((1,), Seq(())), Case((1,), Seq(()))))
    ),
    "a union without a tag": grammar(Switch("kind_0", (Case((1,), Seq(())),))),
    "a call of nobody": grammar(Call("nobody")),
    "a reference across a rule": grammar(
        LENGTH, Call("r"), rules={"r": Data("d_0", Size("field", 0, "length_2"))}
    ),
    "a repeat of the rest": grammar(Repeat(KIND, Size("rest"))),
    "no delimiter": grammar(Until("u_0", b"")),
    "an unknown checksum": grammar(Checksum("c_0", "md5")),
    "a deep tree": grammar(nested(ir.MAX_DEPTH + 1)),
    "too many nodes": grammar(*[Seq(()) for _ in range(ir.MAX_NODES)]),
    "one name of two kinds": Grammar(
        "plant",
        (
            MessageType("a", Seq((Number("n_0", 1),))),
            MessageType("b", Seq((Number("n_0", 2),))),
        ),
    ),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_a_grammar_that_may_not_run_is_refused(what):
    with pytest.raises(InputError) as refused:
        ir.check(BAD[what])
    assert refused.value.code == "discover.grammar_refused"
    with pytest.raises(InputError):
        ir.decode(ir.encode(BAD[what]))


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff", b'{"name":"x"}', b"[" * 100_000, b'{"name":"x","types":[],"z":1}'],
)
def test_what_is_no_grammar_is_refused(text):
    with pytest.raises(InputError):
        ir.decode(text)


def test_a_deep_document_ends_in_a_sentence():
    node = json.dumps({"type": "seq", "items": ["@"]})
    text = '"@"'
    for _ in range(3_000):
        text = node.replace('"@"', text, 1)
    with pytest.raises(InputError):
        ir.decode(f'{{"name":"x","types":[{{"name":"a","body":{text}}}]}}'.encode())


def test_too_large_a_document_is_refused_unread():
    with pytest.raises(InputError, match="more than"):
        ir.decode(b" " * (ir.MAX_BYTES + 1))


def test_fields_can_be_renamed_and_references_follow():
    new = ir.renamed(GOOD, {"length_2": "payload_length", "kind_0": "function", "tag_0": "size"})

    assert "payload_length" in ir.leaves(new)
    assert "function" in msgspec.json.encode(new).decode()
    assert (
        ir.renamed(new, {"payload_length": "length_2", "function": "kind_0", "size": "tag_0"})
        == GOOD
    )


def test_a_new_name_that_clashes_or_is_none_is_refused():
    for name in ("kind_0", "not a name", ""):
        with pytest.raises(InputError):
            ir.renamed(GOOD, {"length_2": name})


def test_leaves_are_given_in_order_with_their_widths():
    assert list(ir.leaves(GOOD)) == ["kind_0", "length_2", "sum_9", "tag_0", "value_1"]
    assert [ir.width_of(leaf) for leaf in ir.leaves(GOOD).values()] == [1, 2, 2, 0, 0]
    assert ir.width_of(Data("d_0", Size("fixed", 7))) == 7
    assert ir.shift_of(0x0FF0) == 4
    assert list(ir.walk(Maybe(KIND))) == [Maybe(KIND), KIND]


SUM = ir.Checksum("sum_0", "sum8")


@pytest.mark.parametrize(
    "node",
    [
        ir.Blocks(0, SUM, ir.Data("a_0", ir.Size("rest"))),
        ir.Blocks(4, ir.Checksum("sum_0", "sum8", start=1), ir.Data("a_0", ir.Size("rest"))),
        ir.Blocks(4, SUM, ir.Blocks(4, ir.Checksum("sum_1", "sum8"), ir.Number("a_0", 1))),
        ir.Blocks(4, SUM, ir.Number("sum_0", 1)),
    ],
)
def test_blocks_have_a_size_and_hold_no_others(node):
    with pytest.raises(InputError):
        ir.check(ir.Grammar("g", (ir.MessageType("a", ir.Seq((node,))),)))


def test_no_rule_has_blocks_and_names_within_are_renamed():
    blocks = ir.Blocks(4, SUM, ir.Seq((ir.Number("a_0", 1), ir.Data("b_0", ir.Size("rest")))))
    whole = ir.Grammar("g", (ir.MessageType("a", blocks),))
    with pytest.raises(InputError):
        ir.check(ir.Grammar("g", (ir.MessageType("a", ir.Call("r")),), {"r": blocks}))

    new = ir.renamed(whole, {"sum_0": "crc", "a_0": "code"})
    assert list(ir.leaves(new)) == ["code", "b_0", "crc"]
    assert ir.decode(ir.encode(new)) == new
