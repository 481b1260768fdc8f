"""Names that say what and where, one kind of field for one name."""

from cronos.discover import ir
from cronos.discover.ir import Call, Data, Grammar, MessageType, Number, Seq, Size
from cronos.discover.model import Sem
from cronos.discover.namer import Names, ber_rule, named


def test_names_say_meaning_and_place():
    names = Names()
    first = Seq(
        (
            names.put(Number("", 2), Sem.LENGTH, 0),
            names.put(Number("", 2), Sem.ENUM_FLAGS, 2),
            names.put(Data("", Size("rest")), Sem.TEXT, -1),
        )
    )
    second = Seq(
        (names.put(Number("", 4), Sem.LENGTH, 0), names.put(Number("", 2), Sem.ENUM_FLAGS, 2))
    )
    bodies = named([first, second], names.places)

    assert [leaf.name for leaf in bodies[0].items] == ["length_0", "kind_2", "text_x1"]
    assert [leaf.name for leaf in bodies[1].items] == ["length_0_2", "kind_2"]
    ir.check(Grammar("g", (MessageType("a", bodies[0]), MessageType("b", bodies[1]))))


def test_references_follow():
    names = Names()
    length = names.put(Number("", 1), Sem.LENGTH, 0)
    data = names.put(Data("", Size("field", 0, length.name)), Sem.BYTES, 1)
    body = named([Seq((length, data))], names.places)[0]

    assert body.items[1].size.ref == "length_0"


def test_the_rule_of_ber_may_run():
    ir.check(Grammar("g", (MessageType("a", Call("ber")),), {"ber": ber_rule()}))
