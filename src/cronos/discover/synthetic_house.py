"""Draw a grammar in a house style: what one protocol's fields have in common, drawn once for it.

Real protocols are not drawn field by field. Their numbers mostly have one or two widths, lie on a
grid or where a compiler would put them, and are zero as often as anything else; strings all have
one form; and a carrier with a byte order of its own may come before all of it.
"""

from typing import Final

import msgspec
import numpy as np

from cronos.discover.synthetic_draw import Exchange, Plan
from cronos.discover.synthetic_fields import (
    Blob,
    Check,
    Draft,
    Element,
    Moment,
    Number,
    Options,
    Own,
    Real,
    Repeat,
    Scope,
    Talk,
    Words,
    about,
    pick,
    word,
)  # fmt: skip
from cronos.discover.synthetic_lines import document, lines

WIDTHS: Final[dict[str, tuple[float, ...]]] = {
    "bytes": (0.72, 0.18, 0.02, 0.08, 0.0),
    "pairs": (0.06, 0.84, 0.0, 0.10, 0.0),
    "quads": (0.05, 0.08, 0.0, 0.80, 0.07),
    "mixed": (0.30, 0.32, 0.04, 0.26, 0.08),
    "aligned": (0.25, 0.30, 0.0, 0.33, 0.12),
}
"""Shares of numbers of 1, 2, 3, 4 and 8 bytes."""
SIZES: Final = (1, 2, 3, 4, 8)
HOWS: Final = (
    "constant", "small", "choice", "walk", "random", "counter", "session", "echo", "station",
    "subject",
)  # fmt: skip
FORMS: Final = ("fixed", "nul", "prefixed", "prefixed", "utf16", "labels")
TEXTS: Final = 0.16
"""Share of protocols that are text."""
CARRYING: Final = 0.1
"""Share of the other ones' bodies that end with a text."""


class Labels(msgspec.Struct, frozen=True):
    """A name of a few labels, each behind its length; a zero ends it. It is one field."""

    name: str
    most: int = 4

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the name of what the turn is about."""
        rng = about(self.name, talk)
        out = bytearray()
        for _ in range(int(rng.integers(1, self.most + 1))):
            label = word(rng).encode("ascii")
            out += bytes([len(label)]) + label
        draft.add(bytes(out) + b"\0", self.name, "text", kind="string")


class About(msgspec.Struct, frozen=True):
    """An element that says the same of the same thing; `inner` draws from the talk."""

    name: str
    inner: Element

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append what it says of what the turn is about."""
        kept, talk.rng = talk.rng, about(self.name, talk)
        self.inner.write(draft, talk)
        talk.rng = kept


class Still(msgspec.Struct, frozen=True):
    """Bytes that are the same in every message, as one field."""

    name: str
    data: bytes

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append them."""
        del talk
        draft.add(self.data, self.name, "bytes")


class Aligned(msgspec.Struct, frozen=True):
    """An element that begins where its width divides the offset; zeros fill what is before it."""

    inner: Element
    width: int

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the filling, as a field, and the element."""
        draft.add(bytes(-len(draft.data) % self.width), "filling", "bytes")
        self.inner.write(draft, talk)


class Frame(msgspec.Struct, frozen=True):
    """A header before what it carries, with a length of the rest somewhere in it, or without."""

    before: tuple[Element, ...]
    scope: Scope | None
    behind: tuple[Element, ...]

    def around(self, inner: tuple[Element, ...]) -> tuple[Element, ...]:
        """Put the header before some elements."""
        if self.scope is None:
            return (*self.before, *self.behind, *inner)
        return (*self.before, msgspec.structs.replace(self.scope, inner=(*self.behind, *inner)))


def house(seed: int) -> Plan:
    """Draw the protocol of this seed: the same seed gives the same protocol."""
    if np.random.default_rng([0x7E87, seed]).random() < TEXTS:
        return lines(seed)
    rng = np.random.default_rng([0x0405E, seed])
    order = "be" if rng.random() < 0.55 else "le"
    style = _Style(rng, order)
    header = style.frame(0.7, 5)
    # What carries a protocol need not count in its byte order.
    kept = style.kind if rng.random() < 0.6 else ""  # mostly it keeps to the same grid
    other = _Style(rng, "be" if rng.random() < 0.6 else "le", kept)
    carrier = other.frame(0.8, 4) if rng.random() < 0.5 else Frame((), None, ())
    shared = style.numbers(int(rng.integers(0, 7)))
    grid = style.packed and style.kind in ("pairs", "quads")
    code_width = style.width() if grid or rng.random() < 0.6 else 1
    base = int(rng.integers(0, 60))
    rarer = float(rng.choice((0.9, 0.5, 0.2, 0.05)))  # mostly one kind of message is the usual one
    exchanges: list[Exchange] = []
    for index in range(int(rng.integers(1, 7))):
        code = base + index
        answer = code + pick(rng, (0, 0, 0, 1, 128))
        common = shared if rng.random() < 0.5 else ()
        request, response = (
            carrier.around(header.around((*style.coded(value, code_width), *common, *style.body())))
            for value in (code, answer)
        )
        answered = bool(rng.random() < 0.85)
        exchanges.append(Exchange(code, request, response, rarer**index, answered, answer))
    return Plan(
        seed=seed, order=order, text=False, exchanges=tuple(exchanges), before=(), scope=None,
        named={}, code_width=code_width, direction_bit=False, trailer=style.trailer(),
    )  # fmt: skip


class _Style:
    """The conventions of one protocol, and elements that keep them."""

    def __init__(self, rng: np.random.Generator, order: str, kind: str = "") -> None:
        self.rng, self.order = rng, order
        self.serial = 0
        self.kind = kind or pick(rng, tuple(WIDTHS))
        self.form = pick(rng, FORMS)
        self.packed = bool(rng.random() < 0.7)
        """Whether nothing narrow moves numbers off the grid."""
        self.prefix = pick(rng, (1, 1, 2, 2, 4))
        self.pad = pick(rng, (b"\0", b"\0", b" "))
        self.long = pick(rng, (8, 16, 32, 64))
        still = float(rng.uniform(0.1, 0.6))
        rest = rng.dirichlet(np.full(len(HOWS), 0.7)) * (1 - still)
        self.hows = np.concatenate(([still], rest))
        """Shares of numbers that are always zero, and of those that go by each of `HOWS`."""
        self.follows = tuple(int(v) for v in rng.integers(0, 4, 12)) if rng.random() < 0.4 else None
        self.follower, self.ahead = self.width(), bool(rng.random() < 0.3)
        self.topical = float(rng.choice((0.0, 0.5, 0.9)))
        """Share of texts that name what is spoken about."""
        self.unusual = float(rng.choice((0.15, 0.4, 0.6)))
        """Share of what is no number."""

    def name(self, kind: str) -> str:
        self.serial += 1
        return f"{kind}{self.serial}"

    def width(self) -> int:
        return int(self.rng.choice(SIZES, p=WIDTHS[self.kind]))

    def number(self, width: int = 0) -> Element:
        """Draw a number, of one of the protocol's widths where none is given."""
        rng, width = self.rng, width or self.width()
        how = ("zero", *HOWS)[int(rng.choice(len(self.hows), p=self.hows))]
        top = 1 << min(8 * width, 32)
        values = tuple(
            int(rng.integers(top)) if rng.random() < 0.25 else int(rng.integers(6))
            for _ in range(5)
        )
        sem = {"choice": "enum_flags", "counter": "id_seq", "session": "id_seq", "echo": "id_seq"}
        if how in ("counter", "station"):
            values = (int(rng.integers(1, 3)) if how == "counter" else int(rng.integers(2)),)
        meaning = "address" if how == "station" else sem.get(how, "value")
        out = Number(self.name("value"), width, self.order, how, meaning, values)
        return Aligned(out, width) if self.kind == "aligned" and width > 1 else out

    def numbers(self, count: int) -> tuple[Element, ...]:
        """Draw numbers; on a grid narrow ones come as many as fill a place of it."""
        out: list[Element] = []
        while len(out) < count:
            width = self.width()
            unit = {"pairs": 2, "quads": 4}.get(self.kind, width) if self.packed else width
            out += [self.number(width) for _ in range(max(1, unit // width))]
        return tuple(out)

    def coded(self, value: int, width: int) -> tuple[Element, ...]:
        """Give the number that tells what a message is, and a number that follows from it."""
        code = Number("code", width, self.order, "constant", "enum_flags", (value,))
        if self.follows is None:
            return (code,)
        told = (self.follows[value % len(self.follows)],)
        other = Number("class", self.follower, self.order, "constant", "value", told)
        return (other, code) if self.ahead else (code, other)

    def frame(self, counted: float, most: int) -> Frame:
        """Draw a header; `counted` is how likely it has a length."""
        rng = self.rng
        scope = None
        before = self.numbers(int(rng.integers(0, most)))
        if rng.random() < 0.3:
            mark = rng.bytes(2 if self.kind in ("bytes", "pairs") else 4)
            before = (Still("magic", mark), *before)
        if rng.random() < counted:
            usual = {"pairs": (2,), "quads": (4, 4, 2)}.get(self.kind, (1, 2, 2, 4, 4, 3))
            width = pick(rng, usual)
            plus = pick(rng, (0, 0, 0, 2, 4, -1))
            scope = Scope("length", (), width, self.order, "fixed", plus, rng.random() < 0.35)
        return Frame(before, scope, self.numbers(int(rng.integers(0, most))))

    def trailer(self) -> tuple[Element, ...]:
        rng = self.rng
        if rng.random() >= 0.15:
            return ()
        kinds = ("sum8", "xor8", "internet", "crc16-modbus", "crc16-ccitt", "crc32")
        return (Check("checksum", pick(rng, kinds), self.order),)

    def body(self) -> tuple[Element, ...]:
        """Draw runs of numbers with what is no number between them."""
        rng = self.rng
        out: list[Element] = list(self.numbers(int(rng.integers(0, 9))))
        while rng.random() < self.unusual:
            out.append(self.other())
            out += self.numbers(int(rng.integers(0, 5)))
        if rng.random() < CARRYING:
            out.append(document(rng))
        return tuple(out)

    def other(self) -> Element:
        draws = (*[self.text] * 5, self.unused, self.opaque, self.opaque, self.moment,
                 self.options, self.records, self.records)  # fmt: skip
        return pick(self.rng, draws)()

    def unused(self) -> Element:
        return Still(self.name("unused"), bytes(pick(self.rng, (3, 6, 8, 12, 16, self.long))))

    def opaque(self) -> Element:
        name = self.name("bytes")
        if self.rng.random() < 0.3:
            return self.pattern(name)
        if self.rng.random() < 0.5:
            return Blob(name, self.long // 2, self.long // 2)
        return Blob(name, 0, self.long, self.prefix, self.order)

    def pattern(self, name: str) -> Element:
        """Draw what fills a message: steps of one, or a few bytes again and again."""
        size = pick(self.rng, (8, 16, 32, 48, self.long))
        if self.rng.random() < 0.6:
            first = int(self.rng.integers(128))
            return Still(name, bytes((first + k) % 256 for k in range(size)))
        unit = self.rng.bytes(int(self.rng.integers(1, 5)))
        return Still(name, (unit * size)[:size])

    def text(self) -> Element:
        name = self.name("text")
        if self.form == "labels":
            return Labels(name)
        if self.form == "fixed":
            out = Words(name, "fixed", self.long, pad=self.pad)
        else:
            out = Words(name, self.form, self.prefix, self.order)
        return About(name, out) if self.rng.random() < self.topical else out

    def moment(self) -> Element:
        name = self.name("time")
        match int(self.rng.integers(4)):
            case 0:
                return Own(name)
            case 1:
                return Real(name, pick(self.rng, (4, 8)), self.order)
            case _:
                form = pick(self.rng, ("unix32", "unix64ms", "filetime", "ntp", "double"))
                return Moment(name, self.order, form)

    def options(self) -> Element:
        tags = tuple(int(tag) for tag in self.rng.permutation(40)[: int(self.rng.integers(2, 6))])
        values = tuple(
            self.text() if self.rng.random() < 0.3 else self.number() for _ in range(len(tags))
        )
        width = 4 if self.kind == "quads" else 2 if self.kind in ("pairs", "aligned") else 1
        align = pick(self.rng, (1, width))
        return Options(self.name("option"), tags, values, width, width, self.order, align)

    def records(self) -> Element:
        """Draw a count and records of a few fields, some of them with a name."""
        record = self.numbers(int(self.rng.integers(1, 6)))
        if self.rng.random() < 0.3:
            record = (self.text(), *record)
        width = min(4, self.width())
        most = pick(self.rng, (2, 4, 8))
        return Repeat(self.name("records"), width, self.order, record, most)
