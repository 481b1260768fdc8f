"""Messages of an input, taken apart by a profile: a row for each, as it comes."""

import math
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

import msgspec

from cronos.discover import ir
from cronos.discover.captures import bounds_of
from cronos.discover.interpreter import Interpreter, Occurrence, Refused, whole
from cronos.discover.jsonl import read_lines
from cronos.discover.messages import Message
from cronos.discover.model import Limits, Sem
from cronos.discover.profile import Profile
from cronos.discover.reading import opened, services_of
from cronos.ports import Clock

_FLOATS: Final = {4: ">f", 8: ">d"}
_LOOK_EVERY: Final = 64

Shown: TypeAlias = int | float | str | None


class FieldRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field: a number, text, or bytes as hexadecimal; None is a float that is no number.

    Of what a checksum between blocks cuts in two, `more` bytes stand further on.
    """

    name: str
    offset: int
    length: int
    value: Shown
    more: int = 0


class Row(msgspec.Struct, frozen=True):
    """One message; `refused` says why it is none of the profile's, and `at` where."""

    i: int
    ts: float
    flow: str
    direction: str
    type: str
    fields: tuple[FieldRow, ...] = ()
    refused: str = ""
    at: int = -1
    bad_checksums: tuple[str, ...] = ()


class Parser:
    """A profile made ready to take messages apart."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.leaves = ir.leaves(profile.grammar)
        self._interpreter = Interpreter(profile.grammar)
        self._types = tuple([kind.name for kind in profile.grammar.types])

    def row(self, number: int, message: Message) -> Row:
        """Take one message apart; a wrong checksum is told and not refused."""
        parsed = self._interpreter.parse(message.payload, message.direction, checksums=False)
        head = number, message.ts, message.flow, message.direction
        if isinstance(parsed, Refused):
            return Row(*head, "", refused=parsed.reason, at=parsed.offset)
        fields = tuple([self._field(one) for one in whole(parsed.fields)])
        kind = self._types[parsed.type]
        return Row(*head, kind, fields, bad_checksums=parsed.bad_checksums)

    def _field(self, one: Occurrence) -> FieldRow:
        leaf = self.leaves[one.name]
        value = shown(leaf, one)
        return FieldRow(one.name, one.offset, one.length, value, one.more)


def shown(leaf: ir.Leaf, one: Occurrence) -> Shown:
    """Give a field's value as JSON and people have it."""
    if isinstance(one.value, bytes):
        text = not isinstance(leaf, ir.Checksum) and leaf.sem is Sem.TEXT
        return one.value.decode("utf-8", "replace") if text else one.value.hex()
    if isinstance(leaf, ir.Number) and leaf.sem is Sem.FLOAT and leaf.width in _FLOATS:
        raw = one.value.to_bytes(leaf.width, "big")
        number = float(struct.unpack(_FLOATS[leaf.width], raw)[0])
        return number if math.isfinite(number) else None
    return one.value


class Reader(NamedTuple):
    """How much of a capture is read, by whose clock, and who hears what was left out."""

    limits: Limits
    clock: Clock
    told: Callable[[str], None]


def rows(
    profile: Profile,
    given: str,
    filter_text: str = "",
    reading: tuple[Limits, Clock, Callable[[str], None]] | None = None,
) -> Iterator[Row]:
    """Take an input apart, in its order.

    JSON lines are parsed as they come, however many there are. A capture is read to its end
    first, or to its limits: only all of a service says how its streams are cut. Of a capture
    those services are meant that the profile names, or all if none of them is there.

    Args:
        profile: what takes messages apart.
        given: a path, or ``-`` for standard input.
        filter_text: which packets of a capture are meant.
        reading: a `Reader`.

    Raises:
        InputError: the input cannot be read, or holds no message.
    """
    reader = reading and Reader(*reading)
    bounds = reader and bounds_of(reader.limits, reader.clock)
    parser = Parser(profile)
    with opened(given) as found:
        if not found.capture and not filter_text:
            for number, one in enumerate(read_lines(found.source, found.head)):
                if isinstance(one, str):
                    yield Row(number, 0.0, "", "", "", refused=one)
                else:
                    yield parser.row(number, one)
            return
        services = services_of(found, filter_text, bounds)
    meant = [one for one in services if one.name in profile.services] or services
    numbered = [
        (number, message)
        for service in meant
        for number, message in zip(service.numbers, service.messages, strict=True)
    ]
    for remark in sorted({one for service in meant for one in service.remarks}):
        if reader:
            reader.told(remark)
    for done, (number, message) in enumerate(sorted(numbered, key=lambda one: one[0])):
        if reader and bounds and done % _LOOK_EVERY == 0 and bounds.late(1.0):
            reader.told(f"The time was up: only {done} of {len(numbered)} messages were parsed.")
            return
        yield parser.row(number, message)
