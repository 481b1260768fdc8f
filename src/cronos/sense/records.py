"""Read JSON records from lines, tolerantly: a broken record costs a defect, never the rest.

An event must not hide behind a character that a strict parser refuses, so what msgspec rejects
(a lone surrogate, a raw control character, ``1e999``) is read again with the standard library and
tamed: integers beyond 64 bits become text, other halves of characters U+FFFD.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from cronos.ports import Clock, Reading, Source
from cronos.sense.lines import LineReader, NumberedLine, first_line, too_long
from cronos.types import MAX_FRAME_BYTES, Defect, Observation, encode

Record: TypeAlias = dict[str, Any]
Build: TypeAlias = Callable[[Record, int, int], Observation | None]
"""Makes an observation of a record, its number and the boot time at which it was there; or None
for a record that is none of its format."""

MAX_DEPTH: Final = 64
_FEW_BRACKETS: Final = 48
_LONG_RECORD_BYTES: Final = 1 << 17
_LONG_HEAD_BYTES: Final = 60_000
# Less than a frame, which also carries the batch around the observation.
_MAX_OBSERVATION_BYTES: Final = MAX_FRAME_BYTES - (1 << 16)
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
_KEY: Final = re.compile(r'"([\w.@ -]{1,40})"\s*:')
_PROBE: Final = msgspec.msgpack.Encoder()


def decode(raw: bytes) -> Record | None:
    """Give the JSON object that `raw` is, or None: not JSON, no object, or nested too deeply.

    What comes back always has canonical bytes: valid UTF-8, numbers within 64 bits.
    """
    try:
        record: Record | None = _DECODER.decode(raw)
        _PROBE.encode(record)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        record = _tolerant(raw)
    except RecursionError:
        return None
    if record is None or (_deep(raw) and _depth(record) > MAX_DEPTH):
        return None
    return record


def _deep(raw: bytes) -> bool:
    return raw.count(b"{") + raw.count(b"[") > _FEW_BRACKETS


def _depth(value: object) -> int:
    """Measure nesting without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= MAX_DEPTH:
        deepest += 1
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                below += cast("list[object]", item)
        level = below
    return deepest


def _tolerant(raw: bytes) -> Record | None:
    try:
        value = json.loads(
            raw.decode(errors="replace"), strict=False, parse_int=_whole, parse_constant=str
        )
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or _depth(cast("object", value)) > MAX_DEPTH:
        return None
    return cast("Record", tame(cast("object", value)))


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 19 else digits


def tame(value: object) -> object:
    """Give `value` with all its text valid and all its numbers finite; bounded by its depth."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {cast("str", tame(key)): tame(item) for key, item in items}
    if isinstance(value, list):
        return [tame(item) for item in cast("list[object]", value)]
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value


def head_record(head: bytes) -> Record:
    """Give the first record of `head`; where `head` ends within it, its keys with empty values."""
    line = first_line(head)
    record = decode(line)
    if record is not None:
        return record
    if line.startswith(b"{") and len(line) > _LONG_HEAD_BYTES:
        return dict.fromkeys(_KEY.findall(line.decode(errors="replace")), "")
    return {}


class RecordReader:
    """Turns the lines of one source into readings, with `build` for each record."""

    def __init__(self, source: Source, clock: Clock | None, max_line_bytes: int) -> None:
        self._source = source
        self._clock = clock
        self._limit = max_line_bytes

    def boot_ns(self) -> int:
        """Give the boot time, or 0 where nobody waits."""
        return self._clock.now().boot_ns if self._clock else 0

    def read(self, build: Build) -> Iterator[Sequence[Reading]]:
        """Yield readings in order; an empty sequence says that nothing is there for now."""
        for lines in LineReader(self._source, self._limit):
            yield self.readings(lines, build)

    def readings(self, lines: list[NumberedLine], build: Build) -> list[Reading]:
        """Read lines that are there already."""
        sensed = self.boot_ns() if lines else 0
        out: list[Reading] = []
        for number, raw in lines:
            record = decode(raw) if raw is not None else None
            if raw is None:
                out.append(too_long(self._source, number, self._limit))
            elif record is None:
                out.append(self.unreadable(number, raw))
            else:
                observation = build(record, number, sensed)
                if observation is None:
                    out.append(self.foreign(number))
                else:
                    out.append(self.fitting(observation, len(raw)))
        return out

    def fitting(self, observation: Observation, size: int) -> Reading:
        """Give the observation, or a defect if it cannot travel in a frame."""
        if size < _LONG_RECORD_BYTES or len(encode(observation)) <= _MAX_OBSERVATION_BYTES:
            return observation
        return Defect(
            observation.source,
            observation.position,
            f"The record at {observation.position} is too large to pass on.",
            "Shorten the record at its writer.",
        )

    def unreadable(self, number: int, raw: bytes) -> Defect:
        """Say that a line is not a JSON object."""
        begin = raw[:40].decode(errors="replace")
        return Defect(
            self._source.name,
            number,
            f"Line {number} is not a JSON object; it begins with {begin!r}.",
            "Check whether the file is complete and one format throughout.",
        )

    def foreign(self, number: int) -> Defect:
        """Say that a line is JSON, but not of the format it is read as."""
        return Defect(
            self._source.name,
            number,
            f"The object in line {number} is not of this format.",
            "Keep one format to a file, or name the sensor `json`, which takes any object.",
        )
