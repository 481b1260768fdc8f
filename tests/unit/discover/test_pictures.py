"""What people are shown of a protocol."""

from msgspec.structs import replace
from tests.unit.discover.pump import GRAMMAR, note, reading

from cronos.discover import ir
from cronos.discover.learned import Learned, Verdict
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Discovery, Field, Sem
from cronos.discover.pictures import pictures
from cronos.discover.statistics import summarise

MESSAGES = tuple(
    [Message(reading(float(n % 3)), direction="c2s") for n in range(30)]
    + [Message(note(bytes((n,)) * n), direction="s2c") for n in range(1, 10)]
    + [Message(b"\x09?")]
)
FIELDS = tuple((Field(0, 1, Sem.ENUM_FLAGS, 0.9, 0), Field(1, len(m.payload) - 1, Sem.BYTES, 0.3))
               for m in MESSAGES)  # fmt: skip
CLAIM = Claim("keyword", Sem.ENUM_FLAGS, ((0, 1),) * len(MESSAGES), 1.0, 1e-7)
FOUND = Discovery(MESSAGES, tuple(m.payload[0] for m in MESSAGES), FIELDS, (CLAIM,))
LEARNED = Learned("tcp/1", Verdict.UNKNOWN, summarise(MESSAGES), discovery=FOUND,
                  grammar=ir.encode(GRAMMAR))  # fmt: skip


def test_each_type_of_the_grammar_is_drawn_and_what_none_takes_comes_last():
    views = pictures(LEARNED)

    assert [(v.name, v.messages, v.direction) for v in views] == [
        ("reading", 30, "c2s"), ("note", 9, "s2c"), ("taken by no type", 1, ""),
    ]  # fmt: skip
    assert views[0].sizes == "16"
    assert views[1].sizes == "2 to 10"


def test_a_field_has_its_place_values_confidence_and_what_vouches_for_it():
    kind, size, level = pictures(LEARNED)[0].fields[:3]

    assert (kind.name, kind.offset, kind.length, kind.sem) == ("kind", 0, 1, Sem.ENUM_FLAGS)
    assert kind.values == ("1 (100%)",)
    assert kind.confidence == 0.9
    assert kind.vouched == "keyword, by chance at most 1e-07"
    assert size.form == "length of 2 bytes, be"
    assert level.values == ("0.0 (33%)", "1.0 (33%)", "2.0 (33%)")


def test_entropy_runs_along_the_offsets():
    entropy = pictures(LEARNED)[0].entropy

    assert len(entropy) == 16
    assert entropy[0] == 0
    assert 1 < entropy[3] < 2


def test_without_a_grammar_the_clusters_are_drawn():
    views = pictures(replace(LEARNED, grammar=b""))

    assert [v.name for v in views] == ["type 1", "type 2", "type 9"]
    assert [f.name for f in views[0].fields] == ["enum_flags_0", "bytes_1"]


def test_without_fields_there_is_nothing_to_draw():
    assert pictures(replace(LEARNED, discovery=None)) == ()


def test_long_messages_are_cut_in_the_picture():
    long = Message(b"\x02" + bytes(70_000))
    found = replace(FOUND, messages=(long,), types=(2,), fields=(FIELDS[0],))
    (view,) = pictures(replace(LEARNED, discovery=found))

    assert len(view.examples[0].data) == 256
    assert view.examples[0].size == 70_001
    assert len(view.entropy) == 256
