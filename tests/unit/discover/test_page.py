"""The page: what it shows, and that nothing in it can act."""

import base64
import hashlib
import html.parser
import re

from msgspec.structs import replace
from tests.unit.discover.pump import GRAMMAR
from tests.unit.discover.test_document import PROOF, SERVICE
from tests.unit.discover.test_pictures import FOUND, LEARNED, MESSAGES

from cronos.discover.messages import Message, Service
from cronos.discover.model import Field, Sem
from cronos.discover.names import propose
from cronos.discover.page import COLOURS, page
from cronos.discover.pictures import pictures


class Reader(html.parser.HTMLParser):
    """Counts elements and keeps the policy."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.policy = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]


def written(learned=LEARNED, service=SERVICE, name="pump"):
    return page(name, service, learned, pictures(learned), propose(GRAMMAR, MESSAGES))


def test_each_type_has_a_picture_an_entropy_strip_and_a_table():
    text = written(replace(LEARNED, validation=PROOF))

    assert text.count("<h2>") == 3
    assert text.count('aria-label="entropy by offset"') == 3
    assert text.count("<table>") == 2
    assert COLOURS[Sem.LENGTH] in text
    assert "<title>size (length)</title>" in text
    assert "99.2% come back byte by byte" in text


def test_every_meaning_has_a_colour_of_its_own():
    assert set(COLOURS) == set(Sem)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_the_policy_allows_the_style_sheet_by_its_hash_and_nothing_else():
    text = written()
    found = Reader(text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert found.policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(found.elements)
    assert not {"style", "src", "href"} & found.attributes
    assert not [name for name in found.attributes if name.startswith("on")]


def test_nothing_that_a_stranger_sent_becomes_an_element():
    evil = b'"><script>alert(1)</script><img src=x onerror=y>'
    messages = tuple(Message(evil) for _ in range(9))
    fields = ((Field(0, len(evil), Sem.TEXT, 0.9),),) * 9
    found = replace(FOUND, messages=messages, types=(0,) * 9, fields=fields, claims=())
    text = written(
        replace(LEARNED, discovery=found, grammar=b"", why="<script>"),
        Service("<script>", messages, rule="<script>"),
        "<script>",
    )

    assert "script" not in Reader(text).elements
    assert "img" not in Reader(text).elements


def test_a_page_of_many_long_messages_stays_small():
    messages = tuple(Message(bytes((n % 250,)) * 60_000) for n in range(1_000))
    fields = tuple(
        (Field(0, 1, Sem.VALUE, 0.5), Field(1, 59_999, Sem.BYTES, 0.5)) for _ in messages
    )
    found = replace(FOUND, messages=messages, types=tuple(n % 250 for n in range(1_000)),
                    fields=fields)  # fmt: skip

    assert len(written(replace(LEARNED, discovery=found, grammar=b""))) < 6 << 20
