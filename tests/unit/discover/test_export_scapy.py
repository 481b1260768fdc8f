"""The exported packets in Scapy: they dissect as we do, and give the same bytes back."""

import keyword

import pytest
from tests.unit.discover.drafts import attested, labelled, requests, stations
from tests.unit.discover.exported import damaged, material, module, ours

from cronos.discover import export_scapy, ir
from cronos.discover.grammar import infer
from cronos.discover.ir import Grammar, MessageType, Number, Seq

pytest.importorskip("scapy", reason="Scapy is not installed")


def walk(packet):
    for field in packet.fields_desc:
        value = packet.getfieldval(field.name)
        if type(field).__name__ == "Blocks":
            yield from pieces(field, value[0])
        elif type(field).__name__ == "Part":
            for inner in value:
                yield from walk(inner)
        else:
            yield field.name, field.addfield(packet, b"", value)


def pieces(field, packet):
    """Give the fields of data in blocks as they lie in the message, checksums without a name."""
    at, sums = 0, list(packet.sums)
    for name, raw in walk(packet):
        begin = 0
        while True:
            piece = raw[begin : begin + field.block - at % field.block]
            yield name, piece
            at, begin = at + len(piece), begin + len(piece)
            if piece and at % field.block == 0:
                yield "", sums.pop(0)
            if begin >= len(raw):
                break
    yield from [("", one) for one in sums]


def unnamed(grammar, name):
    """Give the name of a field, none for the checksums of blocks: Scapy's packets have none."""
    nodes = [node for kind in grammar.types for node in ir.walk(kind.body)]
    sums = {node.checksum.name for node in nodes if isinstance(node, ir.Blocks)}
    return "" if name in sums else name


def agree(grammar, messages, folder, directions=None):
    loaded = module(export_scapy.render(grammar), folder / "gen_scapy.py")
    for message, direction in zip(messages, directions or [""] * len(messages), strict=True):
        mine, packet = ours(grammar, message, direction), loaded.dissect(message, direction)
        if mine is None:
            assert packet is None, message.hex()
        else:
            wanted = [(unnamed(grammar, n), message[o : o + k]) for n, o, k in mine]
            assert list(walk(packet)) == wanted
            packet.clear_cache()  # else Scapy gives back what it was given
            assert bytes(packet) == message


@pytest.mark.filterwarnings("ignore")  # Scapy's own, at import
@pytest.mark.parametrize("seed", range(12))
def test_drawn_grammars_are_dissected_alike_and_built_again(seed, tmp_path):
    grammar, messages = material(seed)
    agree(grammar, messages, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_learnt_grammar_is_dissected_alike_damaged_messages_too(tmp_path):
    agree(infer(requests(), "plant"), damaged([one.data for one in requests()]), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_data_in_blocks_is_dissected_alike_and_built_again(tmp_path):
    agree(infer(stations(), "station"), damaged([one.data for one in stations()]), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("protocol", ["modbus", "snmp", "dnp3"])
def test_open_protocols_are_dissected_alike(protocol, tmp_path):
    samples = attested(labelled(protocol)[:150])
    grammar = infer(samples, protocol)
    agree(grammar, [s.data for s in samples], tmp_path, [s.direction for s in samples])


@pytest.mark.filterwarnings("ignore")
def test_names_that_python_or_scapy_keep_for_themselves_are_changed(tmp_path):
    leaves = tuple(Number(name, 1) for name in ("class", "xclass", "_pkt", "payload"))
    loaded = module(
        export_scapy.render(Grammar("g", (MessageType("a", Seq(leaves)),))), tmp_path / "gen.py"
    )
    names = [name for name, _ in walk(loaded.dissect(b"\1\2\3\4"))]

    assert names == ["xxclass", "xclass", "x_pkt", "payload"]
    assert not any(map(keyword.iskeyword, names))
