"""The result of a discovery."""

import msgspec
from msgspec.structs import replace

from cronos.discover.learned import Learned, Phase, Told, Validation, Verdict, sound
from cronos.discover.messages import Message
from cronos.discover.model import Discovery, Field, Sem
from cronos.discover.statistics import summarise


def test_a_result_survives_its_encoding():
    found = Discovery((Message(b"a"),), (0,), ((),), ())
    learned = Learned(
        "tcp/1", Verdict.UNKNOWN, summarise(found.messages), discovery=found, sample=(0,),
        grammar=b"{}", validation=Validation(3, 0.6, 0.6, 1.0, ("no type",)),
        seconds={"statistics": 0.1},
    )  # fmt: skip

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(learned), type=Learned) == learned
    told = Told(Phase.GRAMMAR, 0.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Told) == told


def test_the_phases_stand_in_their_order():
    assert [phase.value for phase in Phase] == [
        "statistics",
        "classification",
        "message types",
        "boundaries and meaning",
        "grammar",
        "parser",
        "validation",
    ]


def test_a_parser_passes_that_takes_gives_back_and_refuses_nearly_everything():
    assert Validation(100, 0.99, 0.99, 1.0).passed
    assert not Validation(100, 0.98, 0.98, 1.0).passed
    assert not Validation(100, 1.0, 0.9, 1.0).passed
    assert not Validation(100, 1.0, 1.0, 0.5).passed


def test_a_result_whose_parts_do_not_fit_together_is_not_sound():
    messages = (Message(b"ab", direction="c2s"),)
    fields = ((Field(0, 1, Sem.VALUE, 0.5), Field(1, 1, Sem.VALUE, 0.5)),)
    found = Discovery(messages, (0,), fields, ())
    good = Learned("x", Verdict.UNKNOWN, summarise(messages), discovery=found, sample=(0,))
    bad = [
        replace(found, types=()),
        replace(found, fields=()),
        replace(found, fields=((Field(-1, 1, Sem.VALUE, 0.5),),)),
        replace(found, fields=((Field(1, 2, Sem.VALUE, 0.5),),)),
        replace(found, fields=((Field(0, 0, Sem.VALUE, 0.5),),)),
        replace(found, messages=(Message(b"ab", direction="<b>"),)),
    ]

    assert sound(good)
    assert sound(replace(good, discovery=None, sample=()))
    assert not sound(replace(good, discovery=None))
    assert not sound(replace(good, sample=(0, 1)))
    assert not any(sound(replace(good, discovery=one)) for one in bad)
