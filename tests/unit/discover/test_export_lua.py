"""The exported dissector in Wireshark itself: its fields are ours."""

import pytest
from tests.unit.discover.drafts import attested, labelled, requests, stations
from tests.unit.discover.exported import PORT, damaged, material, ours, tshark

from cronos.discover import export_lua, ir
from cronos.discover.builder import build
from cronos.discover.grammar import infer
from cronos.discover.interpreter import Occurrence, Parsed
from cronos.discover.ir import Grammar, MessageType, Number, Seq, Until, Varint
from cronos.discover.model import Sem


def agree(grammar, messages, directions, folder):
    seen = tshark(export_lua.render(grammar, PORT), grammar.name, messages, directions, folder)
    for message, direction, fields in zip(messages, directions, seen, strict=True):
        mine = ours(grammar, message, direction or "c2s")
        if mine is not None:
            mine = [(n, o, k, message[o : o + k].hex()) for n, o, k in mine if k]
        assert fields == mine, message.hex()


@pytest.mark.parametrize("seed", range(3))
def test_drawn_grammars_are_dissected_alike(seed, tmp_path):
    grammar, messages = material(seed)
    agree(grammar, messages, [""] * len(messages), tmp_path)


def test_a_learnt_grammar_is_dissected_alike_damaged_messages_too(tmp_path):
    messages = damaged([one.data for one in requests()])
    agree(infer(requests(), "plant"), messages, [""] * len(messages), tmp_path)


def test_data_in_blocks_is_dissected_alike_cut_numbers_too(tmp_path):
    messages = damaged([one.data for one in stations()])
    agree(infer(stations(), "station"), messages, [""] * len(messages), tmp_path)


def test_a_float_that_a_checksum_cuts_is_dissected_alike(tmp_path):
    body = Seq((Number("a_0", 4, Sem.FLOAT), Number("b_0", 8, Sem.FLOAT, "le"), Number("c_0", 8)))
    blocks = ir.Blocks(3, ir.Checksum("sum_0", "sum8"), body)
    grammar = Grammar("g", (MessageType("a", Seq((blocks,))),))
    values = [Occurrence(n, 0, k, 2**62 + 1) for n, k in (("a_0", 4), ("b_0", 8), ("c_0", 8))]
    values[0] = Occurrence("a_0", 0, 4, 0x40490FDB)
    message = build(grammar, Parsed(0, tuple(values)))
    agree(grammar, [message], [""], tmp_path)


@pytest.mark.parametrize("protocol", ["modbus", "snmp", "dnp3"])
def test_open_protocols_are_dissected_alike_in_both_directions(protocol, tmp_path):
    samples = attested(labelled(protocol)[:200])
    grammar = infer(samples, protocol)
    agree(grammar, [s.data for s in samples], [s.direction for s in samples], tmp_path)


def test_without_a_port_it_offers_itself_for_decode_as():
    assert "local PORT = 0" in export_lua.render(infer(requests(), "plant"))


def test_bytes_are_escapes_and_names_are_quoted():
    grammar = Grammar(
        "g", (MessageType("a", Seq((Until("end", b'"]]'), Varint("v_0", "leb128"),
                                    Number("n_0", 1, known=((10, 1.0),), strict=True)))),)
    )  # fmt: skip
    source = export_lua.render(grammar)

    assert r'"\034\093\093"' in source
    assert 'F["end"]' in source
    ir.check(grammar)
