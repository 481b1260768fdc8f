"""Draw text as parsers tell its parts apart: each value is a field, and so is what lies between.

A text is a tree. What a node says around its values (a header's name, a bracket, a comma) is a
field from one value to the next, and never runs on into another node. Some nodes are told as a
whole, whatever is in them.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from cronos.discover.synthetic_draw import Exchange, Plan
from cronos.discover.synthetic_fields import Draft, Element, Talk, pick, word
from cronos.discover.synthetic_text import Maybe, Token

DEEP: Final = 2
SEMS: Final = {
    "words": "text", "number": "value", "counter": "id_seq", "echo": "id_seq", "verb": "enum_flags",
    "address": "address", "date": "timestamp", "hex": "text",
}  # fmt: skip


class Around(msgspec.Struct, frozen=True):
    """A node: what it says itself, as bytes, and its values and nodes.

    With `whole` it is one field; with `tails` what stands behind a value belongs to it.
    """

    parts: tuple[bytes | Element, ...]
    whole: bool = False
    tails: bool = False

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the node's text with its fields."""
        inner = Draft()
        for part in self.parts:
            if not isinstance(part, bytes):
                part.write(inner, talk)
            elif self.tails and inner.fields:
                last = inner.fields[-1]
                inner.fields[-1] = msgspec.structs.replace(last, length=last.length + len(part))
                inner.data += part
            else:
                inner.add(part, "between", "text", kind="string")
        if self.whole:
            draft.add(bytes(inner.data), "line", "text", kind="string")
        else:
            draft.join(inner)


class Many(msgspec.Struct, frozen=True):
    """As many of an element as chance gives, with something between them."""

    inner: Element
    between: bytes
    most: int

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append them."""
        for index in range(int(talk.rng.integers(1, self.most + 1))):
            if index:
                draft.add(self.between, "between", "text", kind="string")
            self.inner.write(draft, talk)


class Script:
    """The conventions of one text protocol, and texts that keep them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.serial = 0
        self.end = pick(rng, (b"\r\n", b"\r\n", b"\r\n", b"\n"))
        self.colon = pick(rng, (b": ", b": ", b":", b"=", b" "))
        self.tails = bool(rng.random() < 0.15)
        self.quotes_count = bool(rng.random() < 0.7)
        self.told = float(rng.choice((0.2, 0.5, 0.9)))
        """Share of composed values whose parts are told apart."""
        self.named = bool(rng.random() < 0.25)
        """Whether names are fields of their own."""

    def word(self) -> bytes:
        """Give a name."""
        return word(self.rng).encode("ascii")

    def value(self) -> Token:
        """Draw a value that is one word, or some."""
        self.serial += 1
        how = pick(self.rng, tuple(SEMS))
        values = tuple(word(self.rng) for _ in range(4)) if how == "verb" else ()
        if how == "number" and self.rng.random() < 0.6:
            values = ("whole",)
        return Token(f"value{self.serial}", how, SEMS[how], values)

    def node(self, *parts: bytes | Element) -> Around:
        """Give a composed value, told apart or not."""
        return Around(parts, bool(self.rng.random() >= self.told), self.tails)

    def any(self, deep: int = DEEP) -> Element:
        """Draw a value, composed or not."""
        if deep == 0 or self.rng.random() < 0.45:
            return self.value()
        forms: tuple[Callable[[int], Element], ...] = (
            self.quoted, self.locator, self.listed, self.pairs, self.marked,
        )  # fmt: skip
        return pick(self.rng, forms)(deep - 1)

    def quoted(self, deep: int) -> Element:
        """Draw a value between quotes or brackets."""
        left, right = pick(self.rng, ((b'"', b'"'), (b'"', b'"'), (b"'", b"'"), (b"<", b">")))
        inner = self.value() if deep == 0 else self.any(deep)
        return Around((left, inner, right), self.quotes_count and left != b"<")

    def locator(self, deep: int) -> Element:
        """Draw an address of somebody or something."""
        del deep
        scheme = pick(self.rng, (self.word().lower() + b":", self.word().lower() + b"://", b""))
        parts: list[bytes | Element] = [scheme] if scheme else []
        if self.rng.random() < 0.5:
            parts += [self.value(), b"@"]
        parts.append(Token("host", "address", "address"))
        if self.rng.random() < 0.4:
            parts += [b":", Token("port", "number", "value", ("whole",))]
        if self.rng.random() < 0.4:
            parts += [b"/", self.value()]
        return self.node(*parts)

    def listed(self, deep: int) -> Element:
        """Draw several values with one mark between them."""
        mark = pick(self.rng, (b" ", b" ", b", ", b",", b";", b"/"))
        parts: list[bytes | Element] = [self.any(deep)]
        for _ in range(int(self.rng.integers(1, 5))):
            parts += [mark, self.any(deep)]
        return self.node(*parts)

    def pairs(self, deep: int) -> Element:
        """Draw a value with named ones behind it."""
        mark, says = (
            pick(self.rng, (b";", b";", b"; ", b",", b" ", b"&")),
            pick(self.rng, (b"=", b"=", b":")),
        )
        parts: list[bytes | Element] = [self.any(deep)]
        for _ in range(int(self.rng.integers(1, 4))):
            parts += [mark + self.word().lower() + says, self.any(deep)]
        return self.node(*parts)

    def marked(self, deep: int) -> Element:
        """Draw a tree of braces or of tags."""
        return self.braces(deep) if self.rng.random() < 0.7 else self.tag(deep)

    def braces(self, deep: int) -> Element:
        """Draw an object of quoted names and values."""
        comma, colon = pick(self.rng, ((b", ", b": "), (b",", b":"), (b", ", b": ")))
        parts: list[bytes | Element] = [b"{"]
        for _ in range(int(self.rng.integers(1, 7))):
            value: Element = self.value()
            if self.rng.random() < 0.6:
                value = Around((b'"', value, b'"'), self.quotes_count)
            elif deep and self.rng.random() < 0.3:
                value = self.braces(deep - 1)
            elif self.rng.random() < 0.1:
                value = Around((b"[", Many(self.value(), comma, 4), b"]"))
            name = Around((b'"', self.word().lower(), b'"'), whole=True)
            parts += [name, colon, value, comma]
        return Around((*parts[:-1], b"}"), bool(self.rng.random() >= self.told))

    def tag(self, deep: int) -> Element:
        """Draw a tag with what is inside it."""
        name = self.word().lower()
        inner: tuple[bytes | Element, ...] = (self.value(),)
        if deep:
            inner = tuple(self.tag(deep - 1) for _ in range(int(self.rng.integers(1, 4))))
        return Around((b"<" + name + b">", *inner, b"</" + name + b">"))

    def line(self, name: bytes) -> Element:
        """Draw a line that begins with a name."""
        if self.named:
            return self.node(Around((name,)), self.colon, self.any(), self.end)
        return self.node(name + self.colon, self.any(), self.end)

    def first(self, verb: str) -> Element:
        """Draw the first line of a kind of message."""
        parts: list[bytes | Element] = [Token("verb", "verb", "enum_flags", (verb,))]
        for _ in range(int(self.rng.integers(0, 4))):
            parts += [b" ", self.any(1)]
        return Around((*parts, self.end), tails=self.tails)

    def message(self, verb: str, names: tuple[bytes, ...]) -> tuple[Element, ...]:
        """Draw a kind of message: a line, lines with names, and a body."""
        out: list[Element] = [self.first(verb)]
        out += [
            Maybe(float(self.rng.uniform(0.5, 1.0)), (self.line(name),))
            for name in names
            if self.rng.random() < 0.7
        ]
        if names:
            out.append(Around((self.end,)))
        if self.rng.random() < 0.3:
            out.append(self.braces(1) if self.rng.random() < 0.6 else self.any())
        return tuple(out)


def lines(seed: int) -> Plan:
    """Draw the text protocol of this seed: the same seed gives the same protocol."""
    rng = np.random.default_rng([0x11E5, seed])
    script = Script(rng)
    count = int(rng.integers(0, 8)) if rng.random() < 0.8 else 0
    names = tuple(script.word().title() for _ in range(count))
    exchanges: list[Exchange] = []
    for index in range(int(rng.integers(1, 7))):
        ask = script.message(word(rng).upper(), names)
        answer = script.message(str(int(rng.integers(100, 600))), names)
        exchanges.append(Exchange(index, ask, answer, 1 / (1 + index), True, index))
    return Plan(
        seed=seed, order="be", text=True, exchanges=tuple(exchanges), before=(), scope=None,
        named={}, code_width=1, direction_bit=False,
    )  # fmt: skip


def document(rng: np.random.Generator) -> Element:
    """Draw a text that a binary message carries."""
    script = Script(rng)
    if rng.random() < 0.6:
        return script.braces(1)
    lines = tuple(script.line(script.word().title()) for _ in range(int(rng.integers(1, 5))))
    return Around(lines)
