"""What a random grammar is made of: elements that write bytes and say where each field lies.

Three words to know: an `Element` writes itself into a `Draft`, and what it must remember of the
conversation (counters, addresses, the last reading of a sensor) lies in its `Talk`. Lengths are
written when their scope is known, checksums when the whole message is.
"""

import datetime as dt
import struct
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, TypeVar

import msgspec
import numpy as np

from cronos.discover.sums import SUMS

T = TypeVar("T")
WORDS: Final = (
    "pump", "valve", "tank", "motor", "alarm", "status", "setpoint", "level", "flow", "pressure",
    "user", "account", "branch", "ward", "patient", "order", "batch", "recipe", "line", "unit",
    "north", "south", "main", "spare", "temp", "reset", "report", "config",
)  # fmt: skip


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Draw one of the choices."""
    return choices[int(rng.integers(len(choices)))]


def word(rng: np.random.Generator) -> str:
    """Draw a short name as plants and offices use them."""
    text = pick(rng, WORDS)
    if rng.random() < 0.5:
        text += str(int(rng.integers(1, 200)))
    return text.upper() if rng.random() < 0.3 else text


def sentence(rng: np.random.Generator, words: int) -> str:
    """Draw some words with blanks between them."""
    return " ".join(word(rng) for _ in range(max(1, words)))


class TrueField(msgspec.Struct, frozen=True):
    """Where a field lies and what it means; `sem` as in the open data."""

    offset: int
    length: int
    name: str
    type: str
    sem: str
    endian: str = ""


class Talk:
    """One flow: both ends' addresses, its clock, and what elements remember under their name."""

    def __init__(self, rng: np.random.Generator, started: float) -> None:
        """Begin a conversation at `started` seconds of Unix time."""
        self.rng = rng
        self.ts = self.started = started
        self.direction = "c2s"
        self.transaction = int(rng.integers(1 << 31))
        self.memory: dict[str, int] = {}
        self.addresses = (
            bytes([10, 0, int(rng.integers(4)), int(rng.integers(1, 255))]),
            bytes([10, 0, int(rng.integers(4)), int(rng.integers(1, 255))]),
        )

    def recall(self, name: str, first: Callable[[], int]) -> int:
        """Give what was kept under this name, or keep `first()`."""
        if name not in self.memory:
            self.memory[name] = first()
        return self.memory[name]


class Draft:
    """A message being written: bytes, the fields so far, and what waits for the whole."""

    def __init__(self) -> None:
        """Begin an empty message."""
        self.data = bytearray()
        self.fields: list[TrueField] = []
        self.waiting: list[tuple[int, Callable[[bytearray, int], None]]] = []

    def add(
        self, data: bytes, name: str, sem: str, *, kind: str = "bytes", endian: str = ""
    ) -> int:
        """Append a field and give its offset; nothing is written for no bytes."""
        offset = len(self.data)
        if data:
            self.fields.append(TrueField(offset, len(data), name, kind, sem, endian))
            self.data += data
        return offset

    def number(self, value: int, width: int, order: str, name: str, sem: str) -> int:
        """Append an unsigned number, cut to its width."""
        data = (value & ((1 << 8 * width) - 1)).to_bytes(
            width, "big" if order == "be" else "little"
        )
        return self.add(data, name, sem, kind=f"uint{8 * width}", endian=order if width > 1 else "")

    def join(self, other: "Draft") -> None:
        """Append another draft with its fields and what waits."""
        base = len(self.data)
        self.data += other.data
        for field in other.fields:
            self.fields.append(msgspec.structs.replace(field, offset=field.offset + base))
        self.waiting += [(offset + base, then) for offset, then in other.waiting]

    def finish(self) -> None:
        """Write what waited for the whole message, in the order of its offsets."""
        for offset, then in sorted(self.waiting, key=lambda entry: entry[0]):
            then(self.data, offset)
        self.waiting = []


class Element(Protocol):
    """Something that a message is made of."""

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append to the draft."""


class Number(msgspec.Struct, frozen=True):
    """A number; `how` is a key of `HOWS` and says what it does from message to message."""

    name: str
    width: int
    order: str
    how: str
    sem: str = "value"
    values: tuple[int, ...] = (0,)

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append this turn's value."""
        draft.number(HOWS[self.how](self, talk), self.width, self.order, self.name, self.sem)


def _choice(number: Number, talk: Talk) -> int:
    return number.values[min(int(talk.rng.geometric(0.5)) - 1, len(number.values) - 1)]


def _walk(number: Number, talk: Talk) -> int:
    top = min(1 << (8 * number.width), 1 << 14)
    here = talk.recall(number.name, lambda: int(talk.rng.integers(top)))
    talk.memory[number.name] = max(0, here + int(talk.rng.integers(-9, 10)))
    return here


def _random(number: Number, talk: Talk) -> int:
    return int.from_bytes(talk.rng.bytes(number.width), "big")


def _counter(number: Number, talk: Talk) -> int:
    key, top = f"{number.name}/{talk.direction}", min(1 << (8 * number.width), 1 << 16)
    here = talk.recall(key, lambda: int(talk.rng.integers(top)))
    talk.memory[key] = here + number.values[0]
    return here


def _station(number: Number, talk: Talk) -> int:
    mine = f"{number.name}/{(talk.direction == 'c2s') == (number.values[0] == 0)}"
    top = min(1 << (8 * number.width), 250)
    return talk.recall(mine, lambda: int(talk.rng.integers(1, top)))


def subject(talk: Talk) -> int:
    """Give what this turn's question and answer are about: one of a few things of the talk."""
    things = talk.recall("things", lambda: int(talk.rng.integers(2, 12)))
    return int(np.random.default_rng([talk.transaction, 31]).integers(things))


def about(name: str, talk: Talk) -> np.random.Generator:
    """Give the chances of a field that says the same of the same thing, in every message of it."""
    place = int.from_bytes(name.encode()[-6:], "big")
    return np.random.default_rng([place, subject(talk), int(talk.started * 1000)])


def _subject(number: Number, talk: Talk) -> int:
    return int(about(number.name, talk).integers(min(1 << 8 * number.width, 1 << 32)))


HOWS: Final[dict[str, Callable[[Number, Talk], int]]] = {
    "constant": lambda number, _: number.values[0],
    "zero": lambda _, __: 0,
    "small": lambda _, talk: int(talk.rng.geometric(0.2)) - 1,
    "choice": _choice,
    "walk": _walk,
    "random": _random,
    "counter": _counter,  # one step a message of the flow's direction
    "echo": lambda _, talk: talk.transaction,  # the answer repeats the question's
    "station": _station,
    "subject": _subject,
    "session": lambda number, talk: talk.recall(number.name, lambda: _random(number, talk)),
}


class Moment(msgspec.Struct, frozen=True):
    """A time near the message's own: unix32, unix64ms, unix64us, ntp, filetime or double."""

    name: str
    order: str
    form: str

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the time in this form."""
        at = talk.ts - float(talk.rng.random()) * 0.2
        match self.form:
            case "unix32":
                value, width = int(at), 4
            case "unix64ms":
                value, width = int(at * 1e3), 8
            case "unix64us":
                value, width = int(at * 1e6), 8
            case "ntp":
                value, width = int((at + 2208988800) * (1 << 32)), 8
            case "filetime":
                value, width = int((at + 11644473600) * 1e7), 8
            case _:
                value = int.from_bytes(struct.pack(">d", at), "big")
                width = 8
        draft.number(value, width, self.order, self.name, "timestamp")


class Real(msgspec.Struct, frozen=True):
    """A float of 4 or 8 bytes that moves as a reading does, in steps of 1 / `parts`."""

    name: str
    width: int
    order: str
    parts: int = 97

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the reading."""
        here = talk.recall(self.name, lambda: int(talk.rng.integers(200, 90000)))
        talk.memory[self.name] = here + int(talk.rng.integers(-40, 41))
        code = (">" if self.order == "be" else "<") + ("f" if self.width == 4 else "d")
        draft.add(
            struct.pack(code, here / self.parts),
            self.name,
            "float",
            kind="float",
            endian=self.order,
        )


class Own(msgspec.Struct, frozen=True):
    """The flow's own address: the sender's, or the other end's."""

    name: str
    sender: bool = True

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append four bytes of address."""
        client = (talk.direction == "c2s") == self.sender
        draft.add(talk.addresses[0 if client else 1], self.name, "address", kind="ipv4")


class Words(msgspec.Struct, frozen=True):
    """Text: fixed (padded), nul (ended by a zero), prefixed (by its length), utf16 (likewise)."""

    name: str
    form: str
    width: int = 1
    order: str = "be"
    pad: bytes = b"\0"
    most: int = 3
    including: bool = False

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the text, with its length where it has one."""
        text = sentence(talk.rng, int(talk.rng.integers(1, self.most + 1)))
        data = text.encode("utf-16-le" if self.form == "utf16" else "ascii")
        if self.form == "fixed":
            draft.add(data[: self.width].ljust(self.width, self.pad), self.name, "text")
            return
        if self.form == "nul":
            draft.add(data + b"\0", self.name, "text", kind="stringz")
            return
        data = data[: 120 if self.width == 1 else 2000]
        size = len(data) + (self.width if self.including else 0)
        draft.number(size, self.width, self.order, f"{self.name}_len", "length")
        draft.add(data, self.name, "text", kind="string")


class Blob(msgspec.Struct, frozen=True):
    """Random bytes: `least` to `most` of them, behind their length when `width` is not 0."""

    name: str
    least: int
    most: int
    width: int = 0
    order: str = "be"

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the bytes."""
        size = int(talk.rng.integers(self.least, self.most + 1))
        if self.width:
            draft.number(size, self.width, self.order, f"{self.name}_len", "length")
        draft.add(talk.rng.bytes(size), self.name, "bytes")


class Bcd(msgspec.Struct, frozen=True):
    """Decimal digits, two a byte: a number, or the time as YYMMDDhhmmss."""

    name: str
    width: int
    clock: bool

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the digits."""
        if self.clock:
            day, rest = divmod(int(talk.ts), 86400)
            date = dt.date.fromordinal(719163 + day).isoformat()
            digits = date[2:4] + date[5:7] + date[8:10]
            digits += f"{rest // 3600:02d}{rest // 60 % 60:02d}{rest % 60:02d}"
            draft.add(bytes.fromhex(digits), self.name, "timestamp", kind="bcd")
            return
        digits = "".join(str(digit) for digit in talk.rng.integers(0, 10, 2 * self.width))
        draft.add(bytes.fromhex(digits), self.name, "value", kind="bcd")


class Repeat(msgspec.Struct, frozen=True):
    """A count and as many records; with `unit` it is the bytes they take instead."""

    name: str
    width: int
    order: str
    record: tuple[Element, ...]
    most: int
    unit: int = 0

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the count, then the records."""
        number = int(talk.rng.integers(self.most + 1))
        inner = Draft()
        for _ in range(number):
            for element in self.record:
                element.write(inner, talk)
        if self.unit:
            draft.number(len(inner.data), self.width, self.order, f"{self.name}_bytes", "length")
        else:
            draft.number(number, self.width, self.order, f"{self.name}_count", "count")
        draft.join(inner)


class Options(msgspec.Struct, frozen=True):
    """Tagged values: tag, length, value, again and again; each tag has its own element.

    `tag_width` and `width` 1 to 4; width 0 is a varint length. `align` pads each value with zeros;
    `whole` counts tag and length in; `end` is a last tag without length, or -1.
    """

    name: str
    tags: tuple[int, ...]
    values: tuple[Element, ...]
    tag_width: int = 1
    width: int = 1
    order: str = "be"
    align: int = 1
    whole: bool = False
    end: int = -1

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append some of the options, mostly in the order of their tags."""
        for tag, element in zip(self.tags, self.values, strict=True):
            if talk.rng.random() < 0.4:
                continue
            inner = Draft()
            element.write(inner, talk)
            draft.number(tag, self.tag_width, self.order, f"{self.name}_tag", "enum_flags")
            size = len(inner.data)
            if self.width:
                size += (self.tag_width + self.width) if self.whole else 0
                draft.number(size, self.width, self.order, f"{self.name}_len", "length")
            else:
                draft.add(varint(size), f"{self.name}_len", "length", kind="varint")
            draft.join(inner)
            gap = -len(inner.data) % self.align
            draft.add(bytes(gap), f"{self.name}_pad", "bytes")
        if self.end >= 0:
            draft.number(self.end, 1, "be", f"{self.name}_end", "enum_flags")


class Tagged(msgspec.Struct, frozen=True):
    """A BER value: tag, length (short, or long form from 128 on), and what is inside."""

    name: str
    tag: int
    inner: tuple[Element, ...]

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append tag, length and content."""
        inside = Draft()
        for element in self.inner:
            element.write(inside, talk)
        draft.number(self.tag, 1, "be", f"{self.name}_tag", "enum_flags")
        draft.add(ber_length(len(inside.data)), f"{self.name}_len", "length", kind="ber")
        draft.join(inside)


class Scope(msgspec.Struct, frozen=True):
    """A length over what follows it, with a constant added; `high` bits above it are flags.

    `form` is fixed, varint or ber; `whole` counts everything written before it in as well.
    """

    name: str
    inner: tuple[Element, ...]
    width: int = 2
    order: str = "be"
    form: str = "fixed"
    plus: int = 0
    whole: bool = False
    high: int = 0

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the length and its scope."""
        inside = Draft()
        for element in self.inner:
            element.write(inside, talk)
        size = len(inside.data)
        if self.form == "varint":
            draft.add(varint(size), self.name, "length", kind="varint")
        elif self.form == "ber":
            draft.add(ber_length(size), self.name, "length", kind="ber")
        else:
            size += self.plus + (len(draft.data) + self.width if self.whole else 0)
            if self.high and size < 1 << (8 * self.width - self.high):
                flags = int(talk.rng.integers(1 << self.high))
                size |= flags << (8 * self.width - self.high)
            draft.number(size, self.width, self.order, self.name, "length")
        draft.join(inside)


class Check(msgspec.Struct, frozen=True):
    """A checksum over all before it, or over the whole message with itself as zero."""

    name: str
    kind: str
    order: str
    whole: bool = False

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append zeros, to be filled when the message is complete."""
        del talk
        width = SUMS[self.kind].width
        offset = draft.number(0, width, self.order, self.name, "checksum")
        draft.waiting.append((offset, self._fill))

    def _fill(self, data: bytearray, offset: int) -> None:
        algorithm = SUMS[self.kind]
        value = algorithm.of(bytes(data) if self.whole else bytes(data[:offset]))
        order: Literal["big", "little"] = "big" if self.order == "be" else "little"
        data[offset : offset + algorithm.width] = value.to_bytes(algorithm.width, order)


def varint(value: int) -> bytes:
    """Write a number in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def ber_length(value: int) -> bytes:
    """Write a BER length: one byte below 128, else a count of bytes and the bytes."""
    if value < 128:
        return bytes([value])
    body = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([128 | len(body)]) + body
