"""Runs a grammar: parses a message into its fields.

This is what a gateway runs; generated source never is. A grammar is compiled once into closures
over plain data. Work on one message is bounded whatever grammar and message are: every node costs
a step, every 16 bytes of a checksum cost one, and all alternatives together have `MAX_STEPS`.

Evidence: each field with known values adds log2(share x 256^width) bits, so random bytes sink and
what was learnt rises; a message that fits by structure and has less than 0 bits is refused.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from cronos.discover import ir
from cronos.discover.checksums import ALGORITHMS, function_of
from cronos.discover.model import Sem

MAX_STEPS: Final = 100_000
MAX_MESSAGE: Final = 1 << 20
MAX_CALLS: Final = 24  # rules within rules
BYTES_A_STEP: Final = 16
_PRINTABLE: Final = bytes(range(32, 127)) + b"\t\r\n"
_TEXT_BITS: Final = 1.3  # log2(256 / 98)
_UNTEXT_BITS: Final = -5.0
SURE_BITS: Final = 8.0  # what a length that ends where its region does is worth

Value: TypeAlias = int | bytes


class Occurrence(msgspec.Struct, frozen=True, array_like=True):
    """One field of one message. `value` is the number, or the bytes.

    A field of data in blocks that a checksum cuts in two is there in pieces, each with its own
    offset, length and bytes (a number with the whole number); `more` bytes follow the piece.
    """

    name: str
    offset: int
    length: int
    value: Value
    more: int = 0


class Parsed(msgspec.Struct, frozen=True):
    """A message taken apart: the fields cover it without gap or overlap."""

    type: int
    """Index into `Grammar.types`."""
    fields: tuple[Occurrence, ...]
    shape: tuple[int, ...] = ()
    """How often each repeat ran that no count decides, 0 or 1 for each `Maybe`, in order."""
    bits: float = 0.0
    """Evidence that this is such a message and no random bytes."""
    bad_checksums: tuple[str, ...] = ()
    """Only with `checksums=False`: those that do not hold."""


class Refused(msgspec.Struct, frozen=True):
    """A message that no type of the grammar fits: how far the best attempt came, and why."""

    reason: str
    offset: int = 0


class _Misfit(Exception):  # noqa: N818 - control flow within this file, it never leaves it
    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class _Run:
    """One attempt: the message, what was found, the numbers in scope, what is left to spend."""

    __slots__ = (
        "bad",
        "bits",
        "calls",
        "data",
        "env",
        "fields",
        "local",
        "shape",
        "steps",
        "strict",
    )

    def __init__(self, data: bytes, slots: int, steps: int, strict: bool) -> None:
        self.data = data
        self.fields: list[Occurrence] = []
        self.env = [0] * slots
        self.shape: list[int] = []
        self.bits = 0.0
        self.steps = steps
        self.local = 0
        self.calls = 0
        self.bad: list[str] = []
        self.strict = strict


Step: TypeAlias = Callable[[_Run, int, int], int]
"""Takes (run, offset, end of the region) to the next offset; raises `_Misfit`."""


class Interpreter:
    """A grammar made ready to run; holds no state between messages, so threads may share it."""

    def __init__(self, grammar: ir.Grammar) -> None:
        """Compile a grammar.

        Raises:
            InputError: the grammar may not run.
        """
        ir.check(grammar)
        self.grammar = grammar
        self._names = tuple(ir.leaves(grammar))
        compiler = _Compiler(grammar)
        self._slots = len(compiler.slots)
        self._steps = tuple([compiler.of(kind.body) for kind in grammar.types])
        compiler.finish()

    def parse(
        self,
        data: bytes,
        direction: str = "",
        *,
        checksums: bool = True,
        floor: float | None = None,
    ) -> Parsed | Refused:
        """Take a message apart by the first type that it fits.

        Args:
            data: the whole message.
            direction: ``c2s`` or ``s2c`` leave out the types of the other one.
            checksums: whether a wrong checksum refuses the message; else it is listed.
            floor: the least evidence in bits, instead of each type's own floor; minus infinity
                asks for structure alone.
        """
        if len(data) > MAX_MESSAGE:
            return Refused(f"{len(data)} bytes are more than {MAX_MESSAGE}")
        best, left = Refused("no message type of this direction"), MAX_STEPS
        for index, kind in enumerate(self.grammar.types):
            if direction and kind.direction and kind.direction != direction:
                continue
            run = _Run(data, self._slots, left, checksums)
            try:
                self._attempt(index, run, kind.floor if floor is None else floor)
            except _Misfit as misfit:
                if misfit.offset >= best.offset:
                    best = Refused(f"{kind.name}: {misfit.reason}", misfit.offset)
                left = run.steps
                if left <= 0:
                    return Refused("it takes too many steps", misfit.offset)
            else:
                return Parsed(index, tuple(run.fields), tuple(run.shape), run.bits, tuple(run.bad))
        return best

    def _attempt(self, index: int, run: _Run, floor: float) -> None:
        size = len(run.data)
        end = self._steps[index](run, 0, size)
        if end != size:
            raise _Misfit(end, f"{size - end} bytes are left over")
        if run.bits < floor:
            raise _Misfit(end, "it fits, but its values are those of random bytes")


class _Compiler:
    """Turns nodes into closures; numbers that something refers to get a slot."""

    def __init__(self, grammar: ir.Grammar) -> None:
        self.slots: dict[str, int] = {}
        self._rules = grammar.rules
        self._called: dict[str, list[Step]] = {name: [] for name in grammar.rules}
        for body in [kind.body for kind in grammar.types] + list(grammar.rules.values()):
            for node in ir.walk(body):
                for name in _references(node):
                    self.slots.setdefault(name, len(self.slots))

    def finish(self) -> None:
        """Compile the rules; calls find them in their lists."""
        for name, body in self._rules.items():
            self._called[name].append(self.of(body))

    def of(self, node: ir.Node) -> Step:  # noqa: PLR0911 - one case for each kind of node
        """Compile one node and what is below it."""
        match node:
            case ir.Seq():
                return _seq(tuple([self.of(one) for one in node.items]))
            case ir.Sized():
                return _sized(self._size(node.size), self.of(node.body), node.size.of == "field")
            case ir.Switch():
                return self._switch(node)
            case ir.Repeat():
                count = None if node.count is None else self._size(node.count)
                return _repeat(self.of(node.body), count, node.sentinel)
            case ir.Maybe():
                return _maybe(self.of(node.body))
            case ir.Blocks():
                return _blocks(node.size, node.checksum, self.of(node.body))
            case ir.Call():
                return _call(self._called[node.rule])
            case _:
                return self._leaf(node)

    def _leaf(self, leaf: ir.Leaf) -> Step:
        match leaf:
            case ir.Number():
                return _number(leaf, self.slots.get(leaf.name, -1))
            case ir.Varint():
                return _varint(leaf, self.slots.get(leaf.name, -1))
            case ir.Data():
                return _data(leaf, self._size(leaf.size))
            case ir.Until():
                return _until(leaf)
            case ir.Checksum():
                return _checksum(leaf)

    def _size(self, size: ir.Size) -> Callable[[_Run, int], int]:
        """Give a function of (run, bytes left) to the size."""
        constant, most = size.constant, size.most
        if size.of == "fixed":
            return lambda _run, _left: constant
        if size.of == "rest":
            if most:
                return lambda _run, left: min(most, left - constant)
            return lambda _run, left: left - constant
        slot, mask, scale = self.slots[size.ref], size.mask or -1, size.scale
        shift = ir.shift_of(size.mask)
        most = most or ir.MAX_SIZE
        return lambda run, _left: min(most, ((run.env[slot] & mask) >> shift) * scale + constant)

    def _switch(self, node: ir.Switch) -> Step:
        slot, mask, shift = self.slots[node.ref], node.mask or -1, ir.shift_of(node.mask)
        cases: dict[int, Step] = {}
        for case in node.cases:
            cases |= dict.fromkeys(case.values, self.of(case.body))
        other = None if node.other is None else self.of(node.other)

        def step(run: _Run, at: int, end: int) -> int:
            chosen = cases.get((run.env[slot] & mask) >> shift, other)
            if chosen is None:
                raise _Misfit(at, f"no case for {node.ref} = {run.env[slot]}")
            return chosen(run, at, end)

        return step


def _references(node: ir.Node) -> Iterator[str]:
    sizes = (
        [node.size]
        if isinstance(node, ir.Data | ir.Sized)
        else [node.count]
        if isinstance(node, ir.Repeat) and node.count
        else []
    )
    yield from [size.ref for size in sizes if size.of == "field"]
    if isinstance(node, ir.Switch):
        yield node.ref


def gains_of(leaf: ir.Number | ir.Data) -> tuple[dict[int | bytes, float], float]:
    """Give the bits of evidence of each known value, and those of any other.

    One part in `total` is kept for what was never seen, so that nothing is impossible.
    """
    gains: dict[int | bytes, float] = {}
    for value, share in leaf.known:
        bits = 8 * (leaf.width if isinstance(leaf, ir.Number) else len(_raw(value)))
        gains[value] = bits + math.log2(min(1.0, max(share, 2**-bits if bits < 64 else 2**-64)))
    if not gains:
        return {}, 0.0
    seen = min(1.0 - 2**-10, sum(share for _, share in leaf.known))
    return gains, math.log2(max(1.0 - seen, 2**-10))


def _raw(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _number(leaf: ir.Number, slot: int) -> Step:
    name, width, endian, strict = leaf.name, leaf.width, leaf.endian, leaf.strict
    order: Final = "big" if endian == "be" else "little"
    gains, other = gains_of(leaf)

    def step(run: _Run, at: int, end: int) -> int:
        stop = at + width
        if stop > end:
            raise _Misfit(at, f"{name} needs {width} bytes")
        run.steps -= 1
        value = int.from_bytes(run.data[at:stop], order)
        if gains:
            gain = gains.get(value)
            if gain is None:
                if strict:
                    raise _Misfit(at, f"{name} is never {value}")
                gain = other
            run.bits += gain
        if slot >= 0:
            run.env[slot] = value
        run.fields.append(Occurrence(name, at, width, value))
        return stop

    return step


def read_varint(form: str, data: bytes, at: int, end: int) -> tuple[int, int]:
    """Give (value, offset behind it) of a varint; offset -1 where there is none in time."""
    if at >= end:
        return 0, -1
    if form == "ber":
        first = data[at]
        count = first & 0x7F
        if first < 0x80:
            return first, at + 1
        if not 1 <= count <= 4 or at + 1 + count > end:
            return 0, -1
        return int.from_bytes(data[at + 1 : at + 1 + count], "big"), at + 1 + count
    value = 0
    for index in range(min(9, end - at)):
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return 0, -1


def write_varint(form: str, value: int, least: int) -> bytes:
    """Write a varint in `least` bytes, or in as many more as the value needs.

    Raises:
        OverflowError: more than 4 (BER) or 9 (LEB128) bytes would be needed.
    """
    if form == "ber":
        if value < 0x80 and least <= 1:
            return bytes([value])
        count = max(least - 1, (value.bit_length() + 7) // 8, 1)
        if count > 4:
            raise OverflowError
        return bytes([0x80 | count]) + value.to_bytes(count, "big")
    count = max(least, (value.bit_length() + 6) // 7, 1)
    if count > 9:
        raise OverflowError
    groups = [value >> 7 * index & 0x7F for index in range(count)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def _varint(leaf: ir.Varint, slot: int) -> Step:
    name, form = leaf.name, leaf.form

    def step(run: _Run, at: int, end: int) -> int:
        run.steps -= 1
        value, stop = read_varint(form, run.data, at, end)
        if stop < 0:
            raise _Misfit(at, f"{name} is no number")
        if slot >= 0:
            run.env[slot] = value
        run.fields.append(Occurrence(name, at, stop - at, value))
        return stop

    return step


def text_bits(data: bytes) -> float:
    """Give the evidence that bytes are text; only the first 256 are looked at."""
    head = data[:256]
    strange = len(head.translate(None, _PRINTABLE))
    return (len(head) - strange) * _TEXT_BITS + strange * _UNTEXT_BITS


def zero_bits(data: bytes, share: float) -> float:
    """Give the evidence of so many zeros among the first 256 bytes."""
    head = data[:256]
    zeros = head.count(0)
    return zeros * math.log2(256 * share) + (len(head) - zeros) * math.log2((1 - share) * 256 / 255)


def _data(leaf: ir.Data, size: Callable[[_Run, int], int]) -> Step:
    name, strict, text = leaf.name, leaf.strict, leaf.sem is Sem.TEXT
    gains, other = gains_of(leaf)
    zeros = leaf.zeros

    def step(run: _Run, at: int, end: int) -> int:
        length = size(run, end - at)
        if length < 0 or at + length > end:
            raise _Misfit(at, f"{name} has {length} bytes, of {end - at}")
        run.steps -= 1
        value = run.data[at : at + length]
        if gains:
            if strict and value not in gains:
                raise _Misfit(at, f"{name} has another value than ever")
            run.bits += gains.get(value, other)
        elif text:
            run.bits += text_bits(value)
        elif zeros:
            run.bits += zero_bits(value, zeros)
        run.fields.append(Occurrence(name, at, length, value))
        return at + length

    return step


def _until(leaf: ir.Until) -> Step:
    name, delimiter = leaf.name, leaf.delimiter
    extra, text = len(delimiter) if leaf.include else 0, leaf.sem is Sem.TEXT

    def step(run: _Run, at: int, end: int) -> int:
        run.steps -= 1
        stop = run.data.find(delimiter, at, end)
        if stop < 0:
            raise _Misfit(at, f"{name} does not end")
        run.steps -= (stop - at) // 1024
        if text:
            run.bits += text_bits(run.data[at:stop])
        stop += extra
        run.fields.append(Occurrence(name, at, stop - at, run.data[at:stop]))
        return stop

    return step


def _checksum(leaf: ir.Checksum) -> Step:
    name, width = leaf.name, ALGORITHMS[leaf.algorithm].width
    order: Final = "big" if leaf.endian == "be" else "little"
    over = function_of(leaf.algorithm)

    def step(run: _Run, at: int, end: int) -> int:
        stop = at + width
        if stop > end:
            raise _Misfit(at, f"{name} needs {width} bytes")
        start = leaf.start + (run.local if leaf.local else 0)
        covered = _covered(run.data, start, at, width, leaf.whole)
        run.steps -= 1 + len(covered) // BYTES_A_STEP
        if run.steps <= 0:
            raise _Misfit(at, "it takes too many steps")
        value = int.from_bytes(run.data[at:stop], order)
        if start > at or over(covered) != value:
            if run.strict:
                raise _Misfit(at, f"{name} does not hold")
            run.bad.append(name)
        else:
            run.bits += 8 * width
        run.fields.append(Occurrence(name, at, width, value))
        return stop

    return step


def _covered(data: bytes, start: int, at: int, width: int, whole: bool) -> bytes:
    if not whole:
        return data[start:at]
    return data[start:at] + bytes(width) + data[at + width :]


def _seq(steps: tuple[Step, ...]) -> Step:
    def step(run: _Run, at: int, end: int) -> int:
        run.steps -= 1
        if run.steps <= 0:
            raise _Misfit(at, "it takes too many steps")
        for one in steps:
            at = one(run, at, end)
        return at

    return step


def _sized(size: Callable[[_Run, int], int], body: Step, checked: bool) -> Step:
    def step(run: _Run, at: int, end: int) -> int:
        length = size(run, end - at)
        stop = at + length
        if length < 0 or stop > end:
            raise _Misfit(at, f"a part of {length} bytes, of {end - at}")
        run.steps -= 1
        if checked and stop == end:
            run.bits += SURE_BITS
        reached = body(run, at, stop)
        if reached != stop:
            raise _Misfit(reached, f"{stop - reached} bytes of a part are left over")
        return stop

    return step


def _repeat(body: Step, count: Callable[[_Run, int], int] | None, sentinel: bytes) -> Step:
    def step(run: _Run, at: int, end: int) -> int:
        outer = run.local
        if count is None:
            place, done = len(run.shape), 0
            run.shape.append(0)
            while _more(run, at, end, sentinel):
                at, done = _item(body, run, at, end), done + 1
            run.shape[place] = done
        else:
            wanted = count(run, end - at)
            if not 0 <= wanted <= end - at:  # an item has at least a byte
                raise _Misfit(at, f"{wanted} items in {end - at} bytes")
            for _ in range(wanted):
                at = _item(body, run, at, end)
        run.local = outer
        return at

    return step


def _more(run: _Run, at: int, end: int, sentinel: bytes) -> bool:
    if not sentinel:
        return at < end
    if at >= end:
        raise _Misfit(at, "no sentinel ends the items")
    return not run.data.startswith(sentinel, at, end)


def _item(body: Step, run: _Run, at: int, end: int) -> int:
    run.steps -= 1
    if run.steps <= 0:
        raise _Misfit(at, "it takes too many steps")
    run.local = at
    reached = body(run, at, end)
    if reached <= at:
        raise _Misfit(at, "an item is empty")
    return reached


def _maybe(body: Step) -> Step:
    def step(run: _Run, at: int, end: int) -> int:
        run.shape.append(int(at < end))
        return body(run, at, end) if at < end else at

    return step


def _call(rule: list[Step]) -> Step:
    def step(run: _Run, at: int, end: int) -> int:
        run.steps -= 1
        run.calls += 1
        if run.calls > MAX_CALLS or run.steps <= 0:
            raise _Misfit(at, "rules within rules go too deep")
        at = rule[0](run, at, end)
        run.calls -= 1
        return at

    return step


def _blocks(size: int, leaf: ir.Checksum, body: Step) -> Step:
    width = ALGORITHMS[leaf.algorithm].width

    def step(run: _Run, at: int, end: int) -> int:
        run.steps -= (end - at) // BYTES_A_STEP
        data, sums = _unblocked(run, size, leaf, at, end)
        message, local, mark = run.data, run.local, len(run.fields)
        run.data, run.local = data, 0
        try:
            reached = body(run, 0, len(data))
        except _Misfit as misfit:
            misfit.offset = at + misfit.offset + misfit.offset // size * width
            raise
        run.data, run.local = message, local
        if reached != len(data):
            raise _Misfit(at + reached, f"{len(data) - reached} bytes of blocks are left over")
        run.fields[mark:] = spread(run.fields[mark:], sums, at, size, width)
        return end

    return step


def _unblocked(
    run: _Run, size: int, leaf: ir.Checksum, at: int, end: int
) -> tuple[bytes, list[Occurrence]]:
    """Give the data of blocks in one piece, and their checksums."""
    width, over = ALGORITHMS[leaf.algorithm].width, function_of(leaf.algorithm)
    order: Final = "big" if leaf.endian == "be" else "little"
    parts: list[bytes] = []
    sums: list[Occurrence] = []
    good = 0
    while at < end:
        stop = min(at + size, end - width)
        run.steps -= 1
        if stop <= at or run.steps <= 0:
            raise _Misfit(at, "a block without data, or too many")
        parts.append(run.data[at:stop])
        value = int.from_bytes(run.data[stop : stop + width], order)
        if over(parts[-1]) == value:
            good += 1
        elif run.strict:
            raise _Misfit(stop, f"{leaf.name} does not hold")
        else:
            run.bad.append(leaf.name)
        sums.append(Occurrence(leaf.name, stop, width, value))
        at = stop + width
    run.bits += 8 * width * good
    return b"".join(parts), sums


def spread(
    fields: Sequence[Occurrence], sums: Sequence[Occurrence], at: int, size: int, width: int
) -> list[Occurrence]:
    """Give the fields of data in blocks at their places in the message, with the checksums."""
    out = list(sums)
    for field in fields:
        begin, left = field.offset, field.length
        while True:
            length = min(left, size - begin % size)
            left -= length
            place, value = at + begin + begin // size * width, field.value
            if isinstance(value, bytes):
                value = value[begin - field.offset : begin - field.offset + length]
            out.append(Occurrence(field.name, place, length, value, left))
            begin += length
            if not left:
                break
    out.sort(key=lambda one: (one.offset, one.length))
    return out


def whole(fields: Sequence[Occurrence]) -> list[Occurrence]:
    """Give fields in one piece each: what a checksum cuts in two where it begins."""
    out: list[Occurrence] = []
    cut: dict[str, tuple[int, list[Occurrence]]] = {}
    for one in fields:
        if one.name in cut:
            at, pieces = cut[one.name]
            pieces.append(one)
        elif one.more:
            at, pieces = cut[one.name] = len(out), [one]
            out.append(one)
        else:
            out.append(one)
            continue
        if not one.more:
            del cut[one.name]
            out[at] = _joined(pieces)
    return out


def _joined(pieces: Sequence[Occurrence]) -> Occurrence:
    first = pieces[0]
    parts = [one.value for one in pieces if isinstance(one.value, bytes)]
    value = b"".join(parts) if isinstance(first.value, bytes) else first.value
    return Occurrence(first.name, first.offset, first.length + first.more, value, first.more)
