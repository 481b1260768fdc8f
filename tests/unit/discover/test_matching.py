"""Known protocols first."""

import random

from tests.unit.discover.pump import GRAMMAR, note, reading

from cronos.discover import ir
from cronos.discover.matching import Matcher
from cronos.discover.messages import Message
from cronos.discover.model import Sem

LOOSE = ir.Grammar("loose", (ir.MessageType("m", ir.Data("all", ir.Size("rest"))),))
VALVE = ir.Grammar(
    "valve",
    (
        ir.MessageType(
            "m",
            ir.Seq(
                (
                    ir.Number("mark", 4, Sem.VALUE, known=((0xCAFEBABE, 1.0),), strict=True),
                    ir.Data("rest", ir.Size("rest")),
                )
            ),
        ),
    ),
)
MATCHER = Matcher({"pump": ir.encode(GRAMMAR), "loose": LOOSE, "valve": ir.encode(VALVE)})


def test_the_profile_that_explains_most_is_named():
    found = MATCHER.match([Message(reading(float(n))) for n in range(100)])

    assert found.name == "pump"
    assert found.share == 1.0
    assert found.bits > 12
    assert (
        MATCHER.match([Message(b"\xca\xfe\xba\xbe" + bytes(n)) for n in range(9)]).name == "valve"
    )


def test_a_grammar_that_takes_anything_takes_nobodys_messages_for_its_own():
    rng = random.Random(1)
    noise = [Message(rng.randbytes(rng.randint(1, 60))) for _ in range(200)]

    assert MATCHER.match(noise) is None


def test_what_fits_with_much_less_evidence_than_a_profiles_own_messages_is_anothers():
    own = [Message(reading(float(n))) for n in range(40)]
    bits = Matcher({"pump": GRAMMAR}).match(own).bits / len(own[0].payload)

    assert Matcher({"pump": GRAMMAR}, {"pump": bits}).match(own).name == "pump"
    assert Matcher({"pump": GRAMMAR}, {"pump": 2 * bits}).match(own) is None


def test_a_few_strangers_among_them_do_not_matter_but_many_do():
    own = [Message(reading(float(n))) for n in range(40)]
    strange = [Message(b"\x77" * 9)] * 40

    assert MATCHER.match(own + strange[:3]).name == "pump"
    assert MATCHER.match(own + strange) is None


def test_what_holds_no_byte_matches_nothing():
    assert MATCHER.match([]) is None
    assert MATCHER.match([Message(b"")]) is None
    assert Matcher({}).match([Message(note())]) is None
    assert MATCHER.names() == ("loose", "pump", "valve")


def test_a_grammar_that_knows_only_that_all_is_text_takes_its_own_service_alone():
    lines = ir.Grammar("lines", (ir.MessageType("m", ir.Data("all", ir.Size("rest"), Sem.TEXT)),))
    matcher = Matcher({"lines": lines}, {"lines": 1.3})
    flow = [Message(b"PUMP;%d;open;closed;\r\n" % n) for n in range(30)]

    assert matcher.match(flow) is None
    assert matcher.match(flow, own={"lines"}).name == "lines"
    assert matcher.match([Message(bytes(range(200, 240)))] * 30, own={"lines"}) is None


def test_what_only_the_last_type_takes_is_no_sign_of_the_protocol():
    header = ir.Number("mark", 4, Sem.VALUE, known=((0xCAFEBABE, 1.0),), strict=True)
    body = ir.Seq((header, ir.Data("rest", ir.Size("rest"))))
    last = ir.Grammar("valve", (ir.MessageType("other", body),))
    flow = [Message(b"\xca\xfe\xba\xbe" + bytes(n)) for n in range(9)]

    assert Matcher({"valve": last}).match(flow) is None
    assert Matcher({"valve": last}).match(flow, {"valve"}).name == "valve"
