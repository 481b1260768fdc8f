"""`protocol.md`."""

import re

from msgspec.structs import replace
from tests.unit.discover.pump import GRAMMAR
from tests.unit.discover.test_pictures import FOUND, LEARNED, MESSAGES

from cronos.discover import document as document_module
from cronos.discover.document import document
from cronos.discover.learned import Validation, Verdict
from cronos.discover.messages import Message, Service
from cronos.discover.model import Field, Sem
from cronos.discover.names import propose
from cronos.discover.order import Follows, Foresight, Order
from cronos.discover.pictures import pictures
from cronos.discover.sequences import Surprise

SERVICE = Service("tcp/7000", MESSAGES, rule="a length of 2 at offset 1, plus 4")
PROOF = Validation(13, 1.0, 0.992, 1.0, ("no type fits",))


def written(learned=LEARNED, service=SERVICE):
    return document("pump", service, learned, pictures(learned), propose(GRAMMAR, MESSAGES))


def test_it_tells_what_was_seen_found_and_proved():
    text = written(replace(LEARNED, validation=PROOF))

    assert text.startswith("# Protocol `pump`\n")
    assert "| messages | 40 (1 of unknown direction, 30 c2s, 9 s2c)" in text
    assert "a length of 2 at offset 1, plus 4" in text
    assert "| parsed | 100.0% |" in text
    assert "| may be used | yes |" in text
    assert "## reading" in text
    assert "| 0 | 1 | `kind` |" in text
    assert "0000 |01|00 0c" in text
    assert "| enum_flags of 1" in text
    assert "| keyword | enum_flags | 100% | 1.0e-07 |" in text


def test_a_parser_that_did_not_pass_is_said_not_to_be_used():
    assert "| may be used | no" in written(replace(LEARNED, validation=replace(PROOF, exact=0.5)))


def test_what_is_encrypted_or_was_stopped_is_said():
    text = written(
        replace(LEARNED, verdict=Verdict.ENCRYPTED, why="Random.", discovery=None, grammar=b"")
    )
    assert "**Encrypted or compressed.** Random." in text
    assert "Stopped before its end.** The time was up." in written(
        replace(LEARNED, stopped="The time was up.")
    )


def test_nothing_that_a_stranger_sent_means_anything_in_it():
    evil = b"\x02`|<script>alert(1)</script>[x](http://e)\n# h\x1b[2J\xe2\x80\xae"
    messages = tuple(Message(evil) for _ in range(9))
    fields = ((Field(0, 1, Sem.ENUM_FLAGS, 0.9), Field(1, len(evil) - 1, Sem.TEXT, 0.9)),) * 9
    found = replace(FOUND, messages=messages, types=(0,) * 9, fields=fields, claims=(),
                    remarks=("<b>|`",))  # fmt: skip
    service = Service("a|b`<x>\n# y", messages)
    text = written(replace(LEARNED, discovery=found, grammar=b""), service)

    assert not re.search(r"[<>\x1b\u202e]", text)
    assert "](" not in text
    assert text.count("```") == 2 * text.count("```text")
    assert "# y" not in text.splitlines()


def test_what_follows_what_is_told_where_it_is_known():
    ways = [Surprise(3.0, 0.3), Surprise(2.0, 0.5), Surprise(2.5, 0.5), Surprise(1.5, 0.75)]
    order = Order(40, Foresight(*ways), (Follows("reading", "note|", 7, 0.35),))
    text = document("pump", SERVICE, LEARNED, pictures(LEARNED), (), order)

    assert "| all three, mixed | 1.50 | 75% |" in text
    assert "| reading | note? | 7 | 35% |" in text
    assert "What follows what" not in written()


def test_addresses_in_what_a_stranger_sent_are_no_links():
    evil = b"see http://evil.example/x or HTTPS://evil.example, www.evil.example, root@evil.example"
    messages = tuple(Message(evil) for _ in range(9))
    fields = ((Field(0, len(evil), Sem.TEXT, 0.9),),) * 9
    found = replace(FOUND, messages=messages, types=(0,) * 9, fields=fields, claims=(),
                    remarks=(evil.decode(),))  # fmt: skip
    text = written(replace(LEARNED, discovery=found, grammar=b""), Service("x", messages))
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)

    assert "evil" in outside
    assert not re.search(r"[a-z]+://|www\.|@", outside, re.IGNORECASE)


def test_names_are_shown_as_they_are_and_marks_are_not():
    assert document_module._text("enum_flags of type_2") == "enum_flags of type_2"
    assert document_module._text("_a_ __b__ c_ _d e__f") == "?a? ??b?? c? ?d e??f"
