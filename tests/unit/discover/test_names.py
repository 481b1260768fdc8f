"""Names by rules: what they say, and that they move no boundary."""

import struct

import pytest
from tests.unit.discover.pump import GRAMMAR, note, reading

from cronos.discover import ir
from cronos.discover.interpreter import Interpreter
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.names import applied, propose

START = 1_700_000_000


def grammar_of(*leaves):
    return ir.Grammar("p", (ir.MessageType("m", ir.Seq(leaves)),))


def proposed(leaf, payloads, **given):
    """Give what is proposed for a grammar of one leaf."""
    messages = [
        Message(one, **{key: value[n % len(value)] for key, value in given.items()})
        for n, one in enumerate(payloads)
    ]
    said = propose(grammar_of(leaf), messages)
    return said[0].proposed if said else ""


def number(sem, width=2):
    return ir.Number("x", width, sem)


def big(*numbers, width=2):
    return [n.to_bytes(width, "big") for n in numbers]


WHEN = {"ts": (START + 3.0,)}
TALK = {"flow": ("1",), "direction": ("c2s", "s2c")}


@pytest.mark.parametrize(
    ("leaf", "payloads", "given", "name"),
    [
        (number(Sem.VALUE), big(*[0] * 9), {}, "reserved"),
        (number(Sem.VALUE), big(*[0xCAFE] * 9), {}, "magic"),
        (number(Sem.VALUE, 1), big(*[2] * 9, width=1), {}, "version"),
        (number(Sem.ID_SEQ), big(7, 7, 19, 19, 4, 4, 88, 88, 3, 3), TALK, "transaction_id"),
        (number(Sem.ID_SEQ), big(*range(40, 60)), {"flow": ("1",)}, "sequence_number"),
        (number(Sem.ID_SEQ), big(1, 5, 9, 30, 31, 90), {"flow": ("1",)}, "counter"),
        (number(Sem.ID_SEQ), big(5, 9, 5, 9, 5, 9), {"flow": ("1", "2")}, "session_id"),
        (number(Sem.ID_SEQ), big(50, 9, 400, 2, 77), {"flow": ("1",)}, "identifier"),
        (number(Sem.ENUM_FLAGS), big(3, 3, 4, 4, 3, 3, 16, 16, 4, 4), TALK, "function_code"),
        (number(Sem.ENUM_FLAGS), big(1, 2, 3, 4, 5, 6, 7, 0), {}, "flags"),
        (number(Sem.ENUM_FLAGS), big(*range(200)), {}, "value"),
        (number(Sem.ENUM_FLAGS), big(*[n // 2 for n in range(200)]), TALK, "transaction_id"),
        (number(Sem.LENGTH), big(900, 3, 70, 5, 8, 1, 44, 9), {}, "maybe_length"),
        (number(Sem.ENUM_FLAGS), big(0, 0, 0, 0, 0, 9), {"direction": ("s2c",)}, "status"),
        (number(Sem.ENUM_FLAGS), big(7, 21, 35), {}, "kind"),
        (number(Sem.LENGTH), [b"\0\2", b"\0\2", b"\0\2"], {}, "message_length"),
        (number(Sem.COUNT), big(1, 2, 3), {}, "item_count"),
        (number(Sem.VALUE), big(0, 0, 0, 0, 0, 0, 9, *[0] * 30), {}, "mostly_zero"),
        (number(Sem.VALUE), big(10, 11, 12, 17, 13), {}, "value"),
        (number(Sem.FLOAT, 4), [struct.pack(">f", n) for n in range(6)], {}, "measurement"),
        (number(Sem.TIMESTAMP, 4), big(START, START + 9, width=4), WHEN, "sent_at"),
        (number(Sem.TIMESTAMP, 4), big(5, 7, width=4), WHEN, "timestamp"),
        (
            ir.Data("x", ir.Size("rest"), Sem.ADDRESS),
            [bytes((10, 0, 0, 7))] * 3 + [bytes((10, 0, 0, 7))],
            {"source": ("10.0.0.7",)},
            "source_address",
        ),
        (
            ir.Data("x", ir.Size("rest"), Sem.ADDRESS),
            [bytes((10, 0, 0, n)) for n in range(9)],
            {"destination": ("10.0.0.99",)},
            "address",
        ),
    ],
)  # fmt: skip
def test_a_rule_names_a_field_by_what_it_does(leaf, payloads, given, name):
    assert proposed(leaf, payloads, **given) == name


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["10.0.0.1", "192.168.7.250:80"], "ip_text"),
        (["2024-05-01T10:11:12Z", "20240501"], "date_text"),
        (["ops@plant.example"], "mail_address"),
        (["17", "-3.5", "+1,0"], "number_text"),
        (["/etc/hosts", "\\\\srv\\share"], "path"),
        (["pump-1.plant.example"], "host_name"),
        (["START", "STOP_ALL"], "token"),
        (["hello world"], "text"),
    ],
)
def test_text_is_named_by_how_it_looks(texts, name):
    leaf = ir.Data("x", ir.Size("rest"), Sem.TEXT)

    assert proposed(leaf, [text.encode() for text in texts]) == name


def test_the_grammar_itself_says_what_a_number_is_used_for():
    said = {one.name: one.proposed for one in propose(GRAMMAR, [Message(reading(2.0))] * 9)}

    assert said["size"] == "length"
    assert said["sum"] == "checksum_sum8"
    tlv = ir.Grammar("p", (ir.MessageType("m", ir.Seq((
        ir.Number("t", 1, Sem.ENUM_FLAGS), ir.Number("n", 1),
        ir.Data("v", ir.Size("field", ref="n")),
        ir.Number("k", 1, Sem.COUNT), ir.Repeat(ir.Number("i", 1), ir.Size("field", ref="k")),
        ir.Switch("t", (ir.Case((1,), ir.Seq(())), ir.Case((2,), ir.Seq(())))),
    ))),))  # fmt: skip
    said = {
        one.name: one.proposed
        for one in propose(tlv, [Message(bytes((k, 1, 9, 1, k))) for k in (1, 2) * 5])
    }
    assert (said["t"], said["n"], said["k"]) == ("message_kind", "v_length", "item_count")


def test_a_proposal_never_moves_a_boundary():
    messages = [Message(reading(float(n)), "1", "c2s", float(n)) for n in range(20)]
    messages += [Message(note(bytes((n,)) * n)) for n in range(1, 20)]
    proposals = propose(GRAMMAR, messages)
    renamed = applied(GRAMMAR, proposals)
    before, after = Interpreter(GRAMMAR), Interpreter(renamed)

    assert proposals
    assert set(ir.leaves(renamed)) != set(ir.leaves(GRAMMAR))
    for message in messages:
        old, new = before.parse(message.payload), after.parse(message.payload)
        assert [(f.offset, f.length, f.value) for f in old.fields] == [
            (f.offset, f.length, f.value) for f in new.fields
        ]


def test_names_are_unique_and_what_exports_can_write():
    leaves = [ir.Number(f"t{n}", 2, Sem.VALUE) for n in range(5)]
    grammar = grammar_of(*leaves)
    proposals = propose(grammar, [Message(bytes(range(n, n + 10))) for n in range(9)])

    names = [one.proposed for one in proposals]
    assert names == ["value", "value_2", "value_3", "value_4", "value_5"]
    assert all(ir.NAME.fullmatch(name) for name in names)
    assert set(ir.leaves(applied(grammar, proposals))) == set(names)


def test_a_name_that_is_taken_by_what_keeps_its_own_is_not_given_again():
    grammar = grammar_of(ir.Data("value", ir.Size("fixed", 2)), ir.Number("t", 2, Sem.VALUE))
    messages = [Message(b"ab" + bytes((0, n + 1))) for n in range(9)]
    proposals = [one for one in propose(grammar, messages) if one.name == "t"]

    assert set(ir.leaves(applied(grammar, proposals))) == {"value", "value_2"}


def test_of_what_was_not_seen_nothing_is_said():
    assert propose(GRAMMAR, []) == ()
    assert propose(GRAMMAR, [Message(b"\x09")]) == ()
