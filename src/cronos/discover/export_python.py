"""Writes a grammar down as a Python module that needs nothing but the standard library.

The module is for people who want to parse elsewhere; Cronos interprets the grammar and never runs
what stands here. Runs of fields of fixed width are unpacked at once, offsets that are known are
written as numbers. It takes and refuses exactly what the interpreter does, checksums included; it
gives (type, [(name, offset, length, value), ...]) or None.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Final

from cronos.discover import ir
from cronos.discover.checksums import ALGORITHMS, table_of
from cronos.discover.export_flat import flat_of, source
from cronos.discover.interpreter import MAX_CALLS, MAX_MESSAGE, MAX_STEPS, SURE_BITS, gains_of
from cronos.discover.model import Sem
from cronos.errors import InputError

MAX_LOOPS: Final = 12  # Python allows 20 nested blocks
_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}

_HEAD: Final = '''"""A parser of the protocol {name}, written by Cronos from its grammar.

parse(data, direction="") -> (type, [(field, offset, length, value), ...]), or None.
Run it with hexadecimal messages on standard input, one a line: it prints JSON lines.
"""

import functools
import struct


class Misfit(Exception):
    """The message is not of this type."""


def no():
    raise Misfit


def ber(d, p, e):
    if p >= e:
        raise Misfit
    n = d[p]
    if n < 128:
        return n, p + 1
    n &= 127
    if not 1 <= n <= 4 or p + 1 + n > e:
        raise Misfit
    return int.from_bytes(d[p + 1 : p + 1 + n], "big"), p + 1 + n


def leb128(d, p, e):
    v = 0
    for n in range(min(9, e - p)):
        b = d[p + n]
        v |= (b & 127) << 7 * n
        if b < 128:
            return v, p + n + 1
    raise Misfit


PRINTABLE = bytes(range(32, 127)) + b"\\t\\r\\n"


def text(v):
    v = v[:256]
    odd = len(v.translate(None, PRINTABLE))
    return (len(v) - odd) * 1.3 - odd * 5.0


def zero(v, z, o):
    v = v[:256]
    n = v.count(0)
    return n * z + (len(v) - n) * o


def cover(d, start, p, n, whole):
    if start > p:
        raise Misfit
    return d[start:p] + bytes(n) + d[p + n :] if whole else d[start:p]

'''

_BLOCKS: Final = '''

def blocks(d, p, e, size, width, order, total, name):
    """Give the data of blocks in one piece, and the checksums that stand behind each."""
    data, sums = [], []
    while p < e:
        q = min(p + size, e - width)
        if q <= p:
            raise Misfit
        v = int.from_bytes(d[q : q + width], order)
        if total(d[p:q]) != v:
            raise Misfit
        data.append(d[p:q])
        sums.append((name, q, width, v))
        p = q + width
    return b"".join(data), sums


def spread(o, sums, p, size, width):
    """Give fields of the data at their places; one that a checksum cuts is there in pieces."""
    for name, at, left, v in o:
        begin, part = at, v
        while True:
            n = min(left, size - at % size)
            if isinstance(v, bytes):
                part = v[at - begin : at - begin + n]
            sums.append((name, p + at + at // size * width, n, part))
            at += n
            left -= n
            if not left:
                break
    sums.sort(key=lambda one: (one[1], one[2]))
    return sums

'''

_TAIL: Final = '''

def parse(data, direction=""):
    """Take a message apart by the first type that it fits."""
    if len(data) > {most}:
        return None
    for name, of, one in TYPES:
        if direction and of and of != direction:
            continue
        try:
            return name, one(data, len(data))
        except Misfit:
            pass
    return None


if __name__ == "__main__":
    import json
    import sys

    for line in sys.stdin:
        found = parse(bytes.fromhex(line))
        if found:
            fields = [[n, o, k, v.hex() if isinstance(v, bytes) else v] for n, o, k, v in found[1]]
            found = {{"type": found[0], "fields": fields}}
        print(json.dumps(found))
'''


def render(grammar: ir.Grammar) -> str:
    """Give the source of the module.

    Raises:
        InputError: the grammar may not run, or its repeats are nested deeper than Python allows.
    """
    ir.check(grammar)
    writer = _Writer(grammar.rules)
    for name, body in grammar.rules.items():
        writer.rule(name, body)
    for index, kind in enumerate(grammar.types):
        writer.type(index, kind)
    types = [
        f"    ({kind.name!r}, {kind.direction!r}, type_{index}),"
        for index, kind in enumerate(grammar.types)
    ]
    return "".join(
        [
            _HEAD.format(name=grammar.name),
            *([_BLOCKS] if writer.blocks else []),
            *(_checksum_source(name) for name in sorted(writer.algorithms)),
            *(source(name, flat) for name, flat in sorted(writer.flat.items())),
            "\n".join(["", *writer.constants, *writer.lines, "", "TYPES = (", *types, ")", ""]),
            _TAIL.format(most=MAX_MESSAGE),
        ]
    )


class _Writer:
    """Writes nodes as statements: `d` the data, `p` the place, `e` the end, `o` the output."""

    def __init__(self, rules: Mapping[str, ir.Node]) -> None:
        found = {name: flat_of(name, body) for name, body in rules.items()}
        self.flat = {name: flat for name, flat in found.items() if flat is not None}
        self.lines: list[str] = []
        self.constants: list[str] = []
        self.algorithms: set[str] = set()
        self.blocks = False
        self._indent = 1
        self._static: int | None = 0  # the place where it is known; else it is in `p`
        self._ends = ["e"]
        self._loops = 0
        self._local = "0"
        self._count = 0

    def type(self, index: int, kind: ir.MessageType) -> None:
        """Write the function of a message type."""
        self.lines += ["", "", f"def type_{index}(d, e):"]
        self._indent, self._static, self._loops, self._local = 1, 0, 0, "0"
        self._say("o = []")
        self._say("g = 0.0")
        self._say("z = 0")
        self._node(kind.body)
        self._say(f"if {self._here()} != e or g < {kind.floor!r}:")
        self._say("    raise Misfit")
        self._say("return o")

    def rule(self, name: str, body: ir.Node) -> None:
        """Write the function of a rule; `z` counts how deep rules are in rules."""
        self.lines += ["", "", f"def rule_{name}(d, p, e, o, g, z, local):"]
        self._indent, self._static, self._loops, self._local = 1, None, 0, "local"
        self._say(f"if z > {MAX_CALLS} or len(o) > {MAX_STEPS}:")
        self._say("    raise Misfit")
        self._node(body)
        self._sync()
        self._say("return p, g")

    def _say(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    def _here(self, more: int = 0) -> str:
        if self._static is not None:
            return str(self._static + more)
        return f"p + {more}" if more else "p"

    def _sync(self) -> None:
        """Put a known place into `p`, and forget that it is known."""
        if self._static is not None:
            self._say(f"p = {self._static}")
        self._static = None

    def _move(self, width: int) -> None:
        if self._static is not None:
            self._static += width
        else:
            self._say(f"p += {width}")

    def _fresh(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def _constant(self, value: str) -> str:
        name = self._fresh("K")
        self.constants.append(f"{name} = {value}")
        return name

    def _node(self, node: ir.Node) -> None:
        match node:
            case ir.Seq():
                self._seq(node.items)
            case ir.Sized():
                self._sized(node)
            case ir.Switch():
                self._switch(node)
            case ir.Repeat():
                self._repeat(node)
            case ir.Blocks():
                self._blocks(node)
            case ir.Maybe():
                self._sync()
                self._block(f"if p < {self._ends[-1]}:", node.body)
            case ir.Call():
                self._sync()
                end = self._ends[-1]
                self._say(f"p, g = rule_{node.rule}(d, p, {end}, o, g, z + 1, {self._local})")
            case _:
                self._leaf(node)

    def _block(self, head: str, body: ir.Node) -> None:
        """Write a body below a head; the place is in `p` before and after."""
        self._say(head)
        self._indent += 1
        self._node(body)
        self._sync()
        self._say("pass")
        self._indent -= 1

    def _seq(self, items: Sequence[ir.Node]) -> None:
        run: list[ir.Number | ir.Data] = []
        for node in items:
            if isinstance(node, ir.Number) or (isinstance(node, ir.Data) and ir.width_of(node)):
                run.append(node)
                continue
            self._run(run)
            run = []
            self._node(node)
        self._run(run)

    def _run(self, leaves: Sequence[ir.Number | ir.Data]) -> None:
        """Unpack leaves of fixed width at once, as far as one order of bytes goes."""
        part: list[ir.Number | ir.Data] = []
        order = ""
        for leaf in leaves:
            own = "" if isinstance(leaf, ir.Data) or leaf.width not in (2, 4, 8) else leaf.endian
            if own and order and own != order:
                self._unpack(part, order)
                part, order = [], ""
            order = order or own
            part.append(leaf)
        if part:
            self._unpack(part, order)

    def _unpack(self, leaves: Sequence[ir.Number | ir.Data], order: str) -> None:
        codes = [
            _CODES[leaf.width]
            if isinstance(leaf, ir.Number) and leaf.width in _CODES
            else f"{ir.width_of(leaf)}s"
            for leaf in leaves
        ]
        total = sum([ir.width_of(leaf) for leaf in leaves])
        mark = "<" if order == "le" else ">"
        reader = self._constant(f"struct.Struct({mark + ''.join(codes)!r}).unpack_from")
        names = [f"v_{leaf.name}" for leaf in leaves]
        self._say(f"if {self._here(total)} > {self._ends[-1]}:")
        self._say("    raise Misfit")
        self._say(f"{', '.join(names)}, = {reader}(d, {self._here()})")
        found: list[str] = []
        at = 0
        for leaf, name in zip(leaves, names, strict=True):
            width = ir.width_of(leaf)
            if isinstance(leaf, ir.Number) and width not in _CODES:
                big = "big" if leaf.endian == "be" else "little"
                self._say(f"{name} = int.from_bytes({name}, {big!r})")
            self._weigh(leaf, name)
            found.append(f"({leaf.name!r}, {self._here(at)}, {width}, {name})")
            at += width
        self._say(f"o += ({', '.join(found)},)")
        self._move(total)

    def _weigh(self, leaf: ir.Number | ir.Data, name: str) -> None:
        """Add the evidence of a value; refuse what a strict leaf does not know."""
        gains, other = gains_of(leaf)
        if gains:
            table = self._constant(repr(gains))
            if leaf.strict:
                self._say(f"g += {table}[{name}] if {name} in {table} else no()")
            else:
                self._say(f"g += {table}.get({name}, {other!r})")
        elif leaf.sem is Sem.TEXT and isinstance(leaf, ir.Data):
            self._say(f"g += text({name})")
        elif isinstance(leaf, ir.Data) and leaf.zeros:
            zero, other = math.log2(256 * leaf.zeros), math.log2((1 - leaf.zeros) * 256 / 255)
            self._say(f"g += zero({name}, {zero!r}, {other!r})")

    def _size(self, size: ir.Size) -> str:
        if size.of == "fixed":
            return str(size.constant)
        if size.of == "rest":
            rest = f"{self._ends[-1]} - ({self._here()}) - {size.constant}"
            return f"min({size.most}, {rest})" if size.most else rest
        value = f"v_{size.ref}"
        if size.mask:
            value = f"(({value} & {size.mask}) >> {ir.shift_of(size.mask)})"
        return f"min({size.most or ir.MAX_SIZE}, {value} * {size.scale} + {size.constant})"

    def _leaf(self, leaf: ir.Leaf) -> None:
        match leaf:
            case ir.Number():
                self._run([leaf])
            case ir.Data():
                self._data(leaf)
            case ir.Varint():
                self._sync()
                name = f"v_{leaf.name}"
                self._say(f"{name}, q = {leaf.form}(d, p, {self._ends[-1]})")
                self._say(f"o.append(({leaf.name!r}, p, q - p, {name}))")
                self._say("p = q")
            case ir.Until():
                self._until(leaf)
            case ir.Checksum():
                self._checksum(leaf)

    def _data(self, leaf: ir.Data) -> None:
        if ir.width_of(leaf):
            self._run([leaf])
            return
        size = self._size(leaf.size)
        self._sync()
        self._say(f"n = {size}")
        self._say(f"if n < 0 or p + n > {self._ends[-1]}:")
        self._say("    raise Misfit")
        self._say("v = d[p : p + n]")
        self._weigh(leaf, "v")
        self._say(f"o.append(({leaf.name!r}, p, n, v))")
        self._say("p += n")

    def _until(self, leaf: ir.Until) -> None:
        self._sync()
        self._say(f"q = d.find({leaf.delimiter!r}, p, {self._ends[-1]})")
        self._say("if q < 0:")
        self._say("    raise Misfit")
        if leaf.sem is Sem.TEXT:
            self._say("g += text(d[p:q])")
        if leaf.include:
            self._say(f"q += {len(leaf.delimiter)}")
        self._say(f"o.append(({leaf.name!r}, p, q - p, d[p:q]))")
        self._say("p = q")

    def _checksum(self, leaf: ir.Checksum) -> None:
        self.algorithms.add(leaf.algorithm)
        width = ir.width_of(leaf)
        self._sync()
        order = "big" if leaf.endian == "be" else "little"
        start = f"{self._local} + {leaf.start}" if leaf.local else str(leaf.start)
        self._say(f"if p + {width} > {self._ends[-1]}:")
        self._say("    raise Misfit")
        self._say(f"v = int.from_bytes(d[p : p + {width}], {order!r})")
        covered = f"cover(d, {start}, p, {width}, {leaf.whole})"
        self._say(f"if sum_{leaf.algorithm.replace('-', '_')}({covered}) != v:")
        self._say("    raise Misfit")
        self._say(f"g += {8 * width}")
        self._say(f"o.append(({leaf.name!r}, p, {width}, v))")
        self._say(f"p += {width}")

    def _sized(self, node: ir.Sized) -> None:
        outer, end = self._ends[-1], self._fresh("e")
        self._say(f"{end} = {self._here()} + ({self._size(node.size)})")
        self._say(f"if not {self._here()} <= {end} <= {outer}:")
        self._say("    raise Misfit")
        if node.size.of == "field":
            self._say(f"if {end} == {outer}:")
            self._say(f"    g += {SURE_BITS}")
        self._ends.append(end)
        self._node(node.body)
        self._ends.pop()
        self._say(f"if {self._here()} != {end}:")
        self._say("    raise Misfit")

    def _blocks(self, node: ir.Blocks) -> None:
        """Read the data of blocks in one piece: another `d` and `o`, until their end."""
        leaf, end = node.checksum, self._ends[-1]
        self.blocks = True
        self.algorithms.add(leaf.algorithm)
        width, total = ir.width_of(leaf), f"sum_{leaf.algorithm.replace('-', '_')}"
        order = "big" if leaf.endian == "be" else "little"
        outer, sums, inner = self._fresh("x"), self._fresh("s"), self._fresh("e")
        how = f"{node.size}, {width}, {order!r}, {total}, {leaf.name!r}"
        self._sync()
        self._say(f"{outer} = d, o, p")
        self._say(f"d, {sums} = blocks(d, p, {end}, {how})")
        self._say(f"o, {inner} = [], len(d)")
        self._say(f"g += {8 * width} * len({sums})")
        local, self._local, self._static = self._local, "0", 0
        self._ends.append(inner)
        self._node(node.body)
        self._ends.pop()
        self._say(f"if {self._here()} != {inner}:")
        self._say("    raise Misfit")
        self._say(f"{sums} = spread(o, {sums}, {outer}[2], {node.size}, {width})")
        self._say(f"d, o = {outer}[:2]")
        self._say(f"o += {sums}")
        self._local, self._static = local, None
        self._say(f"p = {end}")

    def _switch(self, node: ir.Switch) -> None:
        tag = f"v_{node.ref}"
        if node.mask:
            tag = f"({tag} & {node.mask}) >> {ir.shift_of(node.mask)}"
        name = self._fresh("t")
        self._say(f"{name} = {tag}")
        before, word = self._static, "if"
        for case in node.cases:
            self._static = before
            values = ", ".join(map(str, case.values))
            self._block(f"{word} {name} in ({values},):", case.body)
            word = "elif"
        self._static = before
        self._block("else:", ir.Seq(()) if node.other is None else node.other)
        if node.other is None:
            self.lines.insert(-1, "    " * (self._indent + 1) + "raise Misfit")
        self._static = None

    def _repeat(self, node: ir.Repeat) -> None:
        self._loops += 1
        if self._loops > MAX_LOOPS:
            raise InputError(
                "discover.too_nested",
                f"Repeats within repeats, more than {MAX_LOOPS} deep, cannot be Python.",
                "Use the interpreter, or simplify the grammar.",
            )
        self._sync()
        end, begin, local = self._ends[-1], self._fresh("b"), self._local
        called = node.body.rule if isinstance(node.body, ir.Call) else ""
        if called in self.flat and node.count is None and not node.sentinel:
            self._say(f"g = flat_{called}(d, p, {end}, o, g, z)")
            self._say(f"p = {end}")
            self._loops -= 1
            return
        if node.count is not None:
            self._say(f"n = {self._size(node.count)}")
            self._say(f"if not 0 <= n <= {end} - p:")
            self._say("    raise Misfit")
            head = f"for {begin} in range(n):"
        elif node.sentinel:
            head = f"while p >= {end} or not d.startswith({node.sentinel!r}, p, {end}):"
        else:
            head = f"while p < {end}:"
        self._say(head)
        self._indent += 1
        if node.sentinel:
            self._say(f"if p >= {end}:")
            self._say("    raise Misfit")
        self._say(f"{begin} = p")
        self._local = begin
        self._node(node.body)
        self._sync()
        self._say(f"if p <= {begin} or len(o) > {MAX_STEPS}:")
        self._say("    raise Misfit")
        self._indent -= 1
        self._local = local
        self._loops -= 1


@functools.cache
def _checksum_source(name: str) -> str:
    """Give the source of a checksum's function."""
    algorithm, title = ALGORITHMS[name], f"sum_{name.replace('-', '_')}"
    if not algorithm.poly:
        return f"\n\ndef {title}(data):\n    return {_PLAIN[name]}\n"
    bits = 8 * algorithm.width
    table = ", ".join(map(str, table_of(algorithm)))
    if algorithm.reflected:
        step = "table[(value ^ byte) & 255] ^ value >> 8"
    else:
        step = f"table[(value >> {bits - 8} ^ byte) & 255] ^ value << 8 & {(1 << bits) - 1}"
    return (
        f"\n\ndef {title}(data, table=({table})):\n"
        f"    value = {algorithm.init}\n    for byte in data:\n        value = {step}\n"
        f"    return value ^ {algorithm.xorout}\n"
    )


_FLETCHER: Final = (
    "functools.reduce(lambda s, b: ((s[0] + b) % {m}, (s[1] + (s[0] + b) % {m}) % {m}), data, {z})"
)
_PLAIN: Final = {
    "sum8": "sum(data) & 255",
    "sum8-neg": "-sum(data) & 255",
    "sum8-not": "~sum(data) & 255",
    "xor8": "functools.reduce(lambda a, b: a ^ b, data, 0)",
    "xor8-not": "functools.reduce(lambda a, b: a ^ b, data, 0) ^ 255",
    "internet": (
        "65535 - ((sum(data[0::2]) * 256 + sum(data[1::2]) - 1) % 65535 + 1 if any(data) else 0)"
    ),
    "sum16": "sum(data) & 65535",
    "fletcher16": "(lambda s: s[1] << 8 | s[0])(" + _FLETCHER.format(m=255, z="(0, 0)") + ")",
    "sum32": "sum(data) & 4294967295",
    "adler32": "(lambda s: s[1] << 16 | s[0])(" + _FLETCHER.format(m=65521, z="(1, 0)") + ")",
}
