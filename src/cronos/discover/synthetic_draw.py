"""Draw a random grammar: header, message types, framing and checksum, all from one seed.

What is drawn is what binary protocols of plants, offices and machines are made of; no choice
follows a named protocol. Most fields of real messages hardly change, so most numbers drawn here
are constant, zero or small.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from cronos.discover.sums import SUMS
from cronos.discover.synthetic_fields import (
    Bcd,
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
    Tagged,
    Talk,
    Words,
    pick,
    sentence,
    word,
)  # fmt: skip
from cronos.discover.synthetic_text import delimited, headers


class Exchange(msgspec.Struct, frozen=True):
    """A kind of conversation: what is asked, what is answered, how often it happens."""

    code: int
    request: tuple[Element, ...]
    response: tuple[Element, ...]
    weight: float
    answered: bool
    answer_code: int


class Interleaved(msgspec.Struct, frozen=True):
    """Checksums after the first `first` bytes and after each `block` of what follows."""

    first: int
    block: int
    kind: str
    order: str


class Plan(msgspec.Struct, frozen=True):
    """A drawn protocol. `head(code)` elements come first, `trailer` last."""

    seed: int
    order: str
    text: bool
    exchanges: tuple[Exchange, ...]
    before: tuple[str, ...]
    scope: Scope | None
    named: dict[str, Element]
    code_width: int
    direction_bit: bool
    trailer: tuple[Element, ...] = ()
    blocks: Interleaved | None = None


def draw(seed: int) -> Plan:
    """Draw the protocol of this seed: the same seed gives the same protocol."""
    rng = np.random.default_rng([0x0C105, seed])
    if rng.random() < 0.15:
        return _text(rng, seed)
    order = "be" if rng.random() < 0.6 else "le"
    ber = rng.random() < 0.14
    code_width = 1 if rng.random() < 0.75 else 2
    bodies = _Bodies(rng, order, ber)
    exchanges = _exchanges(rng, bodies.draw, code_width)
    named = _header(rng, order)
    before, scope, trailer, blocks = _framing(rng, order, ber)
    return Plan(
        seed=seed, order=order, text=False, exchanges=exchanges, before=before, scope=scope,
        named=named, code_width=code_width, direction_bit=bool(rng.random() < 0.4),
        trailer=trailer, blocks=blocks,
    )  # fmt: skip


def _exchanges(
    rng: np.random.Generator, body: Callable[[], tuple[Element, ...]], code_width: int
) -> tuple[Exchange, ...]:
    base = int(rng.integers(1, 100))
    out: list[Exchange] = []
    for index in range(int(rng.integers(1, 8))):
        code = base + index * pick(rng, (1, 1, 1, 2, 5))
        answer = code + pick(rng, (0, 0, 1, 128 if code_width == 1 else 0x8000))
        answered = bool(rng.random() < 0.85)
        request = body() if rng.random() < 0.9 else ()
        out.append(Exchange(code, request, body(), 1 / (1 + index), answered, answer & 0xFFFF))
    return tuple(out)


def _header(rng: np.random.Generator, order: str) -> dict[str, Element]:
    """Draw the parts that a header may have; which are used is the framing's choice."""
    wide = pick(rng, (2, 2, 4, 4, 8, 1))
    start = pick(rng, ("unix32", "unix64ms", "unix64us", "ntp", "filetime", "double"))
    magic = int.from_bytes(rng.bytes(2), "big")
    return {
        "magic": Number("magic", 2, "be", "constant", "value", (magic,)),
        "version": Number("version", 1, "be", "constant", "enum_flags", (int(rng.integers(1, 6)),)),
        "flags": Number("flags", pick(rng, (1, 1, 2)), order, "choice", "enum_flags", _flags(rng)),
        "echo": Number("transaction", wide, order, "echo", "id_seq"),
        "counter": Number("sequence", pick(rng, (1, 2, 2, 4)), order, "counter", "id_seq", (1,)),
        "session": Number("session", pick(rng, (2, 4, 4, 8)), order, "session", "id_seq"),
        "moment": Moment("time", order, start),
        "status": Number(
            "status", pick(rng, (1, 2, 4)), order, "choice", "enum_flags", (0, 0, 0, 5)
        ),
        "reserved": Number("reserved", pick(rng, (1, 2, 4)), order, "zero"),
        "own": Own("sender"),
        "check": Check("checksum", _check(rng), order, whole=True),
        "station": Number("target", pick(rng, (1, 1, 2)), order, "station", "address", (0,)),
        "station2": Number("source", 1, order, "station", "address", (1,)),
    }


def _flags(rng: np.random.Generator) -> tuple[int, ...]:
    return (0, *(1 << int(rng.integers(8)) for _ in range(3)))


def _check(rng: np.random.Generator) -> str:
    common = ("sum8", "xor8", "internet", "crc16-modbus", "crc16-ccitt", "crc16-dnp", "crc32")
    return pick(rng, common) if rng.random() < 0.7 else pick(rng, tuple(SUMS))


_SHARES: Final = {
    "magic": 0.35, "version": 0.35, "flags": 0.4, "echo": 0.5, "counter": 0.4, "session": 0.2,
    "moment": 0.15, "status": 0.25, "reserved": 0.4, "own": 0.08, "check": 0.1, "station": 0.35,
}  # fmt: skip


def _framing(
    rng: np.random.Generator, order: str, ber: bool
) -> tuple[tuple[str, ...], Scope | None, tuple[Element, ...], Interleaved | None]:
    """Choose the order of the header, where its length stands, and how a message ends."""
    if ber:
        return ("code", "echo"), None, (), None
    parts = [name for name, share in _SHARES.items() if rng.random() < share]
    rng.shuffle(parts)
    if "station" in parts and rng.random() < 0.6:
        parts.insert(parts.index("station") + 1, "station2")
    if "magic" in parts:
        parts.remove("magic")
        parts.insert(0, "magic")
    parts.insert(int(rng.integers(len(parts) + 1)), "code")
    trailer: tuple[Element, ...] = ()
    if "check" not in parts and rng.random() < 0.3:
        trailer = (Check("checksum", _check(rng), pick(rng, (order, "be", "le"))),)
    scope, blocks = None, None
    if rng.random() < 0.8:
        parts.insert(int(rng.integers(min(4, len(parts)) + 1)), "length")
        form = pick(rng, ("fixed", "fixed", "fixed", "fixed", "fixed", "varint", "ber"))
        width = pick(rng, (1, 2, 2, 2, 4, 3)) if form == "fixed" else 1
        high = pick(rng, (0, 0, 0, 0, 1, 2, 4)) if form == "fixed" and width == 2 else 0
        plus = pick(rng, (0, 0, 0, 1, 2, 4, -1))
        scope = Scope(
            "length", (), width, order, form, plus, form == "fixed" and rng.random() < 0.35, high
        )
    if not trailer and "check" not in parts and rng.random() < 0.06:
        blocks = Interleaved(8, 16, pick(rng, ("crc16-dnp", "crc16-modbus", "crc8")), order)
    return tuple(parts), scope, trailer, blocks


class _Bodies:
    """Draws the bodies of one protocol, so that its conventions are the same in all of them."""

    def __init__(self, rng: np.random.Generator, order: str, ber: bool) -> None:
        self.rng, self.order, self.ber = rng, order, ber
        self.serial = 0
        self.prefix = pick(rng, (1, 1, 2, 2, 4))
        self.style = pick(rng, ("fixed", "nul", "prefixed", "prefixed", "utf16"))
        self.including = bool(rng.random() < 0.1)
        self.pad = pick(rng, (b"\0", b" "))
        tags = int(rng.integers(3, 8))
        first = int(rng.integers(1, 60))
        self.tagging: dict[str, int] = {
            "tag_width": pick(rng, (1, 1, 2)), "width": pick(rng, (1, 1, 2, 2, 0)),
            "align": pick(rng, (1, 1, 1, 2, 4)), "end": pick(rng, (-1, -1, -1, 255, 0)),
        }  # fmt: skip
        self.whole = bool(rng.random() < 0.2)
        self.tags = tuple(first + index * pick(rng, (1, 1, 3)) for index in range(tags))

    def name(self, kind: str) -> str:
        self.serial += 1
        return f"{kind}{self.serial}"

    def draw(self) -> tuple[Element, ...]:
        if self.ber:
            return tuple(self.tagged(2) for _ in range(int(self.rng.integers(1, 4))))
        fields = [self.scalar() for _ in range(int(self.rng.integers(0, 9)))]
        fields += [self.compound() for _ in range(int(self.rng.integers(0, 3)))]
        if self.rng.random() < 0.5:
            fields += [self.scalar() for _ in range(int(self.rng.integers(1, 4)))]
        if self.rng.random() < 0.05:
            fields.append(Blob(self.name("sealed"), 24, 96))
        return tuple(fields)

    def number(self) -> Number:
        rng = self.rng
        width = pick(rng, (1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 3))
        how = pick(
            rng,
            ("constant", "constant", "zero", "zero", "small", "choice", "walk", "walk", "random"),
        )
        top = min(1 << (8 * width), 1 << 16)
        values = tuple(
            int(rng.integers(top)) if rng.random() < 0.3 else int(rng.integers(8)) for _ in range(5)
        )
        sem = "enum_flags" if how == "choice" else "value"
        return Number(self.name("value"), width, self.order, how, sem, values)

    def scalar(self) -> Element:
        rng = self.rng
        if rng.random() < 0.62:
            return self.number()
        draws = (self.real, self.real, self.text, self.text, self.text, self.moment, self.own,
                 self.blob, self.digits, self.sequence)  # fmt: skip
        return pick(rng, draws)()

    def real(self) -> Element:
        width = 4 if self.rng.random() < 0.75 else 8
        name = self.name("reading")
        return Real(name, width, self.order, (10, 100, 97)[self.serial % 3])

    def moment(self) -> Element:
        form = pick(self.rng, ("unix32", "unix32", "unix64ms", "filetime", "double"))
        return Moment(self.name("time"), self.order, form)

    def own(self) -> Element:
        return Own(self.name("address"), bool(self.rng.random() < 0.5))

    def digits(self) -> Element:
        clock = bool(self.rng.random() < 0.4)
        return Bcd(self.name("digits"), 6 if clock else int(self.rng.integers(2, 8)), clock)

    def sequence(self) -> Element:
        return Number(self.name("sequence"), 2, self.order, "counter", "id_seq", (1,))

    def blob(self) -> Element:
        size = pick(self.rng, (4, 6, 8, 16, 20))
        return Blob(self.name("bytes"), size, size)

    def text(self) -> Element:
        name = self.name("text")
        if self.style == "fixed":
            return Words(name, "fixed", pick(self.rng, (4, 8, 12, 16, 32)), pad=self.pad)
        return Words(name, self.style, self.prefix, self.order, including=self.including)

    def compound(self) -> Element:
        rng = self.rng
        match pick(rng, ("records", "records", "array", "array", "options", "options", "blob")):
            case "records":
                record = tuple(self.scalar() for _ in range(int(rng.integers(1, 4))))
                return Repeat(self.name("records"), pick(rng, (1, 1, 2, 4)), self.order, record, 6)
            case "array":
                unit = pick(rng, (1, 2, 2, 4))
                value = Number(self.name("item"), unit, self.order, "walk")
                bytes_not_items = int(rng.random() < 0.5)
                width = pick(rng, (1, 1, 2))
                return Repeat(self.name("array"), width, self.order, (value,), 12, bytes_not_items)
            case "options":
                return self.options(1)
            case _:
                return Blob(self.name("bytes"), 0, 40, self.prefix, self.order)

    def options(self, deeper: int) -> Element:
        rng = self.rng
        values: list[Element] = []
        for _ in self.tags:
            if deeper and rng.random() < 0.15:
                values.append(self.options(deeper - 1))
            elif rng.random() < 0.4:
                values.append(Words(self.name("text"), "fixed", 0))
            else:
                values.append(self.scalar())
        loose = tuple(
            _Loose(self.name("text")) if isinstance(v, Words) and not v.width else v for v in values
        )
        return Options(
            self.name("option"),
            self.tags,
            loose,
            order=self.order,
            whole=self.whole,
            **self.tagging,
        )

    def tagged(self, depth: int) -> Element:
        """Draw a BER value: a sequence of values, or a number or text."""
        rng = self.rng
        if depth and rng.random() < 0.6:
            inner = tuple(self.tagged(depth - 1) for _ in range(int(rng.integers(1, 5))))
            return Tagged(self.name("set"), pick(rng, (0x30, 0x30, 0xA0, 0xA1)), inner)
        if rng.random() < 0.5:
            number = self.number()
            return Tagged(self.name("integer"), 2, (msgspec.structs.replace(number, order="be"),))
        return Tagged(self.name("string"), pick(rng, (4, 12)), (_Loose(self.name("text")),))


class _Loose(msgspec.Struct, frozen=True):
    """Text without a frame of its own: the length before it says where it ends."""

    name: str

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append one to three words."""
        text = sentence(talk.rng, int(talk.rng.integers(1, 4)))
        draft.add(text.encode("ascii"), self.name, "text", kind="string")


def _text(rng: np.random.Generator, seed: int) -> Plan:
    own = bool(rng.random() < 0.5)
    form = headers if rng.random() < 0.5 else delimited
    exchanges: list[Exchange] = []
    for index in range(int(rng.integers(1, 6))):
        ask = form(rng, (word(rng).upper(),), own)
        answer = form(rng, (str(int(rng.integers(100, 600))),), own)
        exchanges.append(Exchange(index, ask, answer, 1 / (1 + index), True, index))
    return Plan(
        seed=seed, order="be", text=True, exchanges=tuple(exchanges), before=(), scope=None,
        named={}, code_width=1, direction_bit=False,
    )  # fmt: skip
