"""The exported specification, compiled by Kaitai's own compiler: its fields are ours."""

import msgspec
import pytest
import yaml
from tests.unit.discover.drafts import labelled, requests, stations
from tests.unit.discover.exported import camel, damaged, kaitai, material, ours

from cronos.discover import export_ksy, ir
from cronos.discover.grammar import infer
from cronos.discover.ir import Data, Grammar, MessageType, Number, Repeat, Seq, Size
from cronos.errors import InputError


def alone(grammar, index):
    return ir.Grammar(grammar.name, (grammar.types[index],), grammar.rules)


def opaque(grammar):
    """Give what Kaitai knows of a grammar: of blocks that they are there."""

    def change(node):
        if not isinstance(node, ir.Blocks):
            return node
        data = Data(f"{node.checksum.name}_data_of_block", Size("rest"))
        return msgspec.structs.replace(node, body=data)

    types = [
        msgspec.structs.replace(kind, body=ir.rewrite(kind.body, change)) for kind in grammar.types
    ]
    return msgspec.structs.replace(grammar, types=tuple(types))


def named(name):
    return "dataOfBlock" if name.endswith("_data_of_block") else camel(name)


def agree(pairs, folder):
    """Compile every grammar in one run of the compiler; each message is read as each type."""
    documents = [yaml.safe_load(export_ksy.render(grammar)) for grammar, _ in pairs]
    lines, wanted = [], []
    for number, (grammar, messages) in enumerate(pairs):
        for message in messages:
            for index in range(len(grammar.types)):
                lines.append((number, index, message))
                mine = ours(opaque(alone(grammar, index)), message)
                wanted.append(mine and [(named(n), o, k) for n, o, k in mine if k])
    for line, mine, its in zip(lines, wanted, kaitai(documents, lines, folder), strict=True):
        fields = [tuple(one) for one in its["fields"] if one[2]] if "fields" in its else None
        assert fields == mine, (line, its)


def test_drawn_and_learnt_grammars_are_read_alike_damaged_messages_too(tmp_path):
    plant = infer(requests(), "plant"), damaged([one.data for one in requests(40)])
    station = infer(stations(), "station"), damaged([one.data for one in stations()])
    agree([*(material(seed) for seed in range(8)), plant, station], tmp_path)


def test_open_protocols_are_read_alike(tmp_path):
    pairs = []
    for protocol in ("modbus", "snmp", "dns"):
        samples = labelled(protocol)[:100]
        pairs.append((infer(samples, protocol), [one.data for one in samples]))
    agree(pairs, tmp_path)


def test_the_root_chooses_by_strict_values(tmp_path):
    types = tuple(
        MessageType(f"t_{value}", Seq((Number("n_0", 1, known=((value, 1.0),), strict=True),
                                       Data(f"d_{value}", Size("rest")))))
        for value in (5, 9)
    )  # fmt: skip
    document = export_ksy.document(Grammar("g", types))
    read = kaitai([document], [(0, "root", b"\x05ab"), (0, "root", b"\x09ab")], tmp_path)

    assert [one["kind"] for one in read] == [0, 1]


def test_it_is_yaml_whose_names_are_kaitais():
    grammar = Grammar("_g", (MessageType("a", Seq((Number("_a", 1), Number("x_a", 2)))),))
    document = yaml.safe_load(export_ksy.render(grammar))

    assert document["meta"]["id"] == "x_g"
    assert [one["id"] for one in document["types"]["type_0"]["seq"]][:2] == ["x_a", "x_a_"]


def test_of_blocks_it_says_that_their_fields_are_not_told():
    text = export_ksy.render(infer(stations(), "station"))

    assert "Kaitai cannot read" in text
    assert "data_of_block" in text


def test_items_that_may_be_empty_are_refused():
    number = Number("n_0", 1)
    empty = Data("d_0", Size("field", 0, "n_0"))
    grammar = Grammar("g", (MessageType("a", Seq((number, Repeat(empty)))),))
    with pytest.raises(InputError) as error:
        export_ksy.render(grammar)
    assert error.value.code == "discover.not_exportable"
