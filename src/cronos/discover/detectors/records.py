"""Records behind one another: tag, length, value (TLV) or length, value (LV); and in values.

A walk from a fixed place goes from record to record and must end exactly where the message ends.
Nothing else is asked of it, so the bound is how often such a walk would hit any given place: its
hits per byte in the last bytes before the end (at least 1/64), to the power of the *different*
sequences of lengths that ended exactly. Values of one tag are walked again, up to three deep.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Bools,
    Found,
    Ints,
    Table,
    coincidence,
    fixed,
    tail,
    variants,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

Bytes: TypeAlias = npt.NDArray[np.uint8]
Reader: TypeAlias = Callable[[Ints], Ints]

FEW: Final = 8
SAMPLE: Final = 32
STARTS: Final = 256
MOST_STEPS: Final = 48
MOST_RECORDS: Final = 96
MOST_CLAIMS: Final = 360
DEEPEST: Final = 4
MOST_BYTES: Final = 2048
LEAST_DENSITY: Final = 1 / 64
LEAST_SHAPES: Final = 3
"""So many different rows of records must go before the last one, which the rest decides."""
NEAR: Final = 16
"""Hits are counted in so many bytes before the end."""


class Form(msgspec.Struct, frozen=True):
    """How a record is written. `width` 0 is a BER length, -1 a varint; `stop` is an end tag or -1.

    `whole` lengths count the record from its tag on; `align` fills each record up with zeros;
    `trailer` bytes of the message follow the last record.
    """

    tag: int
    width: int
    order: str = "be"
    align: int = 1
    whole: bool = False
    stop: int = -1
    trailer: int = 0

    def terms(self) -> dict[str, str | int]:
        """Say what a grammar needs."""
        lengths = {0: "ber", -1: "varint"}
        return {
            "tag_width": self.tag, "width": max(0, self.width), "endian": self.order,
            "form": lengths.get(self.width, "fixed"), "align": self.align,
            "whole": int(self.whole), "stop": self.stop, "trailer": self.trailer,
        }  # fmt: skip


def _forms() -> tuple[Form, ...]:
    """Give every form that is tried, the common ones first."""
    out: list[Form] = []
    lengths = ((1, "be"), (2, "be"), (2, "le"), (4, "be"), (4, "le"), (0, "be"), (-1, "be"))
    for trailer in (0, 2, 1, 4):
        for tag in (1, 2, 4, 0):
            for width, order in lengths:
                if width <= 0 and tag > 1:
                    continue
                out.append(Form(tag, width, order, trailer=trailer))
                if trailer or width <= 0:
                    continue
                out.append(Form(tag, width, order, whole=True))
                if tag:
                    out += [Form(tag, width, order, align) for align in (2, 4)]
                    out.append(Form(tag, width, order, 4, whole=True))
                if tag == 1:
                    out += [Form(1, width, order, stop=stop) for stop in (0, 255)]
    return tuple(out)


FORMS: Final = _forms()
TRIED: Final = STARTS * len(FORMS)


class Page(NamedTuple):
    """Pieces of messages laid out: a row's bytes, its size, and what its bytes sum to from o on."""

    block: Bytes
    sizes: Ints
    rest: Ints


class Step(NamedTuple):
    """One record of one message: where it begins, its head, its value, what fills it up."""

    start: int
    head: int
    value: int
    end: int


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the records of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find the records of this table, those in values too."""
    pieces = [
        (row, 0, len(message.payload))
        for row, message in enumerate(table.messages)
        if len(message.payload) <= MOST_BYTES
    ]
    out: list[Found] = []
    if len(pieces) >= 4 and len(pieces) >= LEAST_SUPPORT * len(table):
        _search(table, pieces, "", 0, out)
    return out[:MOST_CLAIMS]


def _search(
    table: Table, pieces: list[tuple[int, int, int]], path: str, depth: int, out: list[Found]
) -> None:
    """Look for records in these pieces (row, start, end), say them, and look into their values."""
    best = _best(table, pieces, STARTS if depth == 0 else 5)
    if best is None:
        return
    form, start, alarm = best
    steps: dict[int, list[Step]] = {}
    inner: dict[bytes, list[tuple[int, int, int]]] = {}
    for row, first, last in pieces:
        payload = table.messages[row].payload
        for step in walk(payload[first:last], form, start) or ():
            moved = Step(*(place + first for place in step))
            steps.setdefault(row, []).append(moved)
            if moved.end > moved.value and form.tag:
                tag = payload[moved.start : moved.head]
                inner.setdefault(tag, []).append((row, moved.value, moved.end))
    if depth == 0:
        out += _counted(table, steps, start)
    out += _say(table, form, steps, alarm, {"path": path, "depth": depth, "start": start})
    for tag, values in inner.items():
        if depth + 1 < DEEPEST and len(values) >= 6 and len(out) < MOST_CLAIMS:
            _search(table, values, f"{path}/{tag.hex()}", depth + 1, out)


def _best(
    table: Table, pieces: list[tuple[int, int, int]], starts: int
) -> tuple[Form, int, float] | None:
    """Give the form and place whose walk fits with the least chance, or nothing."""
    few, sample = _page(table, _spread(pieces, FEW)), _page(table, _spread(pieces, SAMPLE))
    every: Page | None = None
    columns = np.arange(min(starts, sample.block.shape[1], few.block.shape[1]))
    fits: list[tuple[float, float, Form, int]] = []
    for form in FORMS:
        for start in _survivors(sample, form, _survivors(few, form, columns)):
            every = every or _page(table, _spread(pieces, 400))
            alarm, tags = _judge(every, form, int(start))
            # The first start that fits takes the most in.
            if alarm <= MOST_ALARM:
                fits.append((alarm, tags, form, int(start)))
                break
    if not fits:
        return None
    # Of forms that fit about as well, the least odd one; then the commonest.
    least = min(alarm for alarm, _, _, _ in fits) ** 0.7 * 1e3
    alarm, _, form, start = min(
        (fit for fit in fits if fit[0] <= least), key=lambda fit: round(fit[1], 1)
    )
    return form, start, alarm


def _spread(pieces: list[tuple[int, int, int]], most: int) -> list[tuple[int, int, int]]:
    return pieces[:: max(1, len(pieces) // most)][:most]


def _page(table: Table, pieces: list[tuple[int, int, int]]) -> Page:
    parts = [table.messages[row].payload[first:last] for row, first, last in pieces]
    sizes = np.array([len(part) for part in parts], np.int64)
    block = np.zeros((len(parts), int(sizes.max(initial=0)) + 8), np.uint8)
    for row, part in enumerate(parts):
        block[row, : len(part)] = np.frombuffer(part, np.uint8)
    sums: Ints = block.astype(np.int64)[:, ::-1].cumsum(axis=1)[:, ::-1]
    return Page(block, sizes, sums)


def _survivors(page: Page, form: Form, columns: Ints) -> Ints:
    """Give the starts, of these, from which nearly all of the sample ends exactly."""
    if columns.size == 0:
        return columns
    rows = len(page.sizes)
    at = np.repeat(columns[None, :], rows, axis=0)
    ends = np.maximum(0, page.sizes - form.trailer)[:, None]
    failed = at > ends
    done = at == ends
    taken = np.zeros(at.shape, np.int64)
    for _ in range(MOST_STEPS):
        going = ~failed & ~done
        if not going.any():
            break
        after, bad = _advance(page, form, at, ends)
        failed |= going & bad
        # An empty record tells little: zeros walk anywhere.
        taken += going & ~bad & (after > at + form.tag + max(1, form.width))
        at = np.where(going & ~bad, after, at)
        done |= going & ~bad & (at >= ends)
        keep = failed.mean(axis=0) <= 1 - LEAST_SUPPORT
        if not keep.all():
            at, failed, done, taken = at[:, keep], failed[:, keep], done[:, keep], taken[:, keep]
            columns = columns[keep]
            if columns.size == 0:
                return columns
    least = 0.9 if form.width == 0 and form.tag else 1.5
    good = (done & ~failed).mean(axis=0) >= LEAST_SUPPORT
    kept: Ints = columns[good & (taken.mean(axis=0) >= least)]
    return kept


def _advance(page: Page, form: Form, at: Ints, ends: Ints) -> tuple[Ints, Bools]:
    """Give the places after one record from each place, and where no record can be."""
    rows = np.arange(len(page.sizes))[:, None]
    last = page.block.shape[1] - 1
    here = at + form.tag

    def byte(places: Ints) -> Ints:
        read: Ints = page.block[rows, np.minimum(places, last)].astype(np.int64)
        return read

    if form.width > 0:
        size = np.zeros(at.shape, np.int64)
        for step in range(form.width):
            shift = 8 * (form.width - 1 - step if form.order == "be" else step)
            size |= byte(here + step) << shift
        taken = np.full(at.shape, form.width, np.int64)
    else:
        size, taken = _coded(byte, here, form.width)
    head = form.tag + taken
    step_size = size if form.whole else head + size
    bare = at + step_size
    bad = (step_size < head) | (bare > ends) | (here + taken > ends)
    after = bare + (-step_size) % form.align
    if form.stop >= 0:
        stopped = byte(at) == form.stop
        # Behind the end tag only zeros may follow.
        rest = page.rest[rows, np.minimum(at + 1, last)]
        bad = np.where(stopped, rest > 0, bad)
        after = np.where(stopped, ends, after)
    return np.minimum(after, ends), bad


def _coded(byte: "Reader", here: Ints, width: int) -> tuple[Ints, Ints]:
    """Read BER lengths or varints at these places."""
    first = byte(here)
    if width == 0:
        more = np.where(first >= 128, first - 128, 0)
        size = np.where(first < 128, first, 0)
        for step in range(1, 5):
            size = np.where(more >= step, size << 8 | byte(here + step), size)
        bad = (first == 128) | (more > 4)
        return np.where(bad, 1 << 40, size), 1 + np.minimum(more, 4)
    second = byte(here + 1)
    long = first > 127
    size = np.where(long, (first & 127) | (second & 127) << 7, first)
    return np.where(long & (second > 127), 1 << 40, size), 1 + long.astype(np.int64)


def _judge(page: Page, form: Form, start: int) -> tuple[float, float]:
    """Bound the chance that this walk ends exactly in so many ways; tell how odd it looks.

    Odd: different tags and empty values, for each record.
    """
    tags: set[bytes] = set()
    shapes: set[tuple[int, ...]] = set()
    right: set[tuple[int, ...]] = set()
    near, ended, full, total, begun = 0, 0, 0, 0, 0
    for row, size in enumerate(page.sizes):
        data = page.block[row, : int(size)].tobytes()
        walked = walk(data, form, start)
        shape = tuple(step.end - step.start for step in walked or ()) or (-1, row)
        shapes.add(shape)
        if walked:
            ended += 1
            right.add(shape)
            near += sum(int(size) - NEAR <= step.start < int(size) for step in walked)
            full += sum(step.end > step.value for step in walked)
            total += len(walked)
            tags.update(data[step.start : step.head] for step in walked)
            begun += walked[0].end > walked[0].value and (form.width != 0 or data[start] > 0)
    # Zeros walk anywhere, and one length at the end is a length, not a row of records.
    if ended < LEAST_SUPPORT * len(page.sizes) or 2 * full < total or 2 * begun < ended:
        return 1.0, 1.0
    alike = len({shape[:-1] for shape in right}) < LEAST_SHAPES
    # A tag that is always zero is the high byte of a length.
    if form.tag and not any(map(any, tags)):
        return 1.0, 1.0
    # Of BER, what holds other values says so in its tag: there one alone will do.
    if alike and not (form.width == 0 and form.tag and all(tag[0] & 0x20 for tag in tags)):
        return 1.0, 1.0
    density = max(LEAST_DENSITY, near / max(1, ended) / NEAR)
    missed = len(shapes - right)
    alarm = min(1.0, TRIED * density ** (len(right) - 2 * missed))
    return alarm, (len(tags) + total - full) / max(1, total)


def walk(data: bytes, form: Form, start: int) -> list[Step] | None:
    """Walk one piece from record to record; None where it does not end exactly."""
    at, end = start, len(data) - form.trailer
    out: list[Step] = []
    while at < end and len(out) < MOST_RECORDS:
        if form.stop >= 0 and data[at] == form.stop:
            return out if not any(data[at + 1 :]) else None
        read = _length(data, at + form.tag, form)
        if read is None:
            return None
        size, taken = read
        head = form.tag + taken
        whole = size if form.whole else head + size
        if whole < head or at + whole > end:
            return None
        out.append(Step(at, at + form.tag, at + head, at + whole))
        after = min(end, at + whole + (-whole) % form.align)
        if any(data[at + whole : after]):
            return None
        at = after
    return out if at == end and out else None


def _length(data: bytes, at: int, form: Form) -> tuple[int, int] | None:
    """Read one length: its number and its bytes."""
    if form.width > 0:
        part = data[at : at + form.width]
        order: Literal["big", "little"] = "big" if form.order == "be" else "little"
        return (int.from_bytes(part, order), form.width) if len(part) == form.width else None
    if at >= len(data):
        return None
    first = data[at]
    if first < 128:
        return first, 1
    if form.width == 0:
        more = first - 128
        part = data[at + 1 : at + 1 + more]
        whole = 0 < more <= 4 and len(part) == more
        return (int.from_bytes(part, "big"), 1 + more) if whole else None
    if at + 1 < len(data) and data[at + 1] < 128:
        return first & 127 | data[at + 1] << 7, 2
    return None


def _say(
    table: Table,
    form: Form,
    steps: dict[int, list[Step]],
    alarm: float,
    terms: dict[str, str | int],
) -> Iterator[Found]:
    """Give tags, lengths, values and fillers, the first of each message first."""
    rows = len(table)
    kind = "tlv" if form.tag else "lv"
    most = min(MOST_RECORDS, max((len(walked) for walked in steps.values()), default=0))
    for number in range(most):
        parts: dict[str, tuple[Ints, Ints]] = {}
        for row, walked in steps.items():
            if number >= len(walked):
                continue
            step = walked[number]
            spans = {
                "tag": (step.start, step.head - step.start),
                "length": (step.head, step.value - step.head),
                "value": (step.value, step.end - step.value),
                "filler": (step.end, _filler(walked, number)),
            }
            for part, (offset, length) in spans.items():
                if length > 0:
                    at, sizes = parts.setdefault(
                        part, (np.zeros(rows, np.int64), np.zeros(rows, np.int64))
                    )
                    at[row], sizes[row] = offset, length
        said = {**form.terms(), **terms, "number": number}
        for part, (at, sizes) in parts.items():
            yield Found(f"{kind}.{part}", SEMS[part], at, sizes, sizes > 0, alarm, said)


def _counted(table: Table, steps: dict[int, list[Step]], start: int) -> Iterator[Found]:
    """Give the number before the records, if there is one, that says how many follow."""
    numbers = np.array([len(steps.get(row, ())) for row in range(len(table))], np.int64)
    different = np.unique(numbers[numbers > 0]).size
    for width, order in variants((1, 2, 4)):
        for offset in range(max(0, min(start, table.width) - width + 1)):
            holds = (numbers > 0) & (table.numbers(offset, width, order) == numbers)
            if different >= 2 and holds.mean() >= LEAST_SUPPORT:
                by_rows = tail(int(holds.sum()), len(table), coincidence(numbers, numbers))
                alarm = STARTS * 5 * max(by_rows, 1 / 32.0**different)
                if alarm <= MOST_ALARM:
                    at, widths = fixed(len(table), offset), fixed(len(table), width)
                    terms: dict[str, str | int] = {"endian": order, "width": width, "start": start}
                    yield Found("count.records", Sem.COUNT, at, widths, holds, alarm, terms)


def _filler(walked: list[Step], number: int) -> int:
    if number + 1 < len(walked):
        return min(7, max(0, walked[number + 1].start - walked[number].end))
    return 0


SEMS: Final = {
    "tag": Sem.ENUM_FLAGS, "length": Sem.LENGTH, "value": Sem.BYTES, "filler": Sem.BYTES,
}  # fmt: skip
