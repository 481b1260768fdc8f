"""Writes a grammar down as Scapy packets.

The module has a packet class for each message type (`Type_0`, ...) and part, and a function
`dissect` that tries the types in order. It takes and builds messages; it knows structure and strict
values, while evidence and checksums are the interpreter's. Lengths are not worked out anew.

Source: Scapy 2.7 (Packet, Field.getfield and addfield, _parent).
"""

import keyword
from typing import Final

from cronos.discover import ir

_HEAD: Final = '''"""Packets of the protocol {name}, written by Cronos from its grammar, for Scapy.

dissect(data, direction="") gives a packet, or None; bytes(packet) gives the message.
"""

from scapy.fields import Field
from scapy.packet import Packet


class Misfit(Exception):
    """The message is not of this type."""


def no():
    raise Misfit


class Num(Field):
    """An unsigned number of any width."""

    __slots__ = ["known", "order"]

    def __init__(self, name, width, order, known=None):
        Field.__init__(self, name, 0, "B")
        self.sz, self.order, self.known = width, order, known

    def getfield(self, pkt, s):
        if len(s) < self.sz:
            no()
        value = int.from_bytes(s[: self.sz], self.order)
        if self.known is not None and value not in self.known:
            no()
        return s[self.sz :], value

    def addfield(self, pkt, s, val):
        return s + int(val).to_bytes(self.sz, self.order)


class Raw(Field):
    """Bytes; how many, the subclasses say."""

    __slots__ = ["known", "size"]

    def __init__(self, name, size=None, known=None):
        Field.__init__(self, name, b"", "B")
        self.size, self.known = size, known

    def measure(self, pkt, s):
        return self.size(pkt, s)

    def getfield(self, pkt, s):
        n = self.measure(pkt, s)
        if not 0 <= n <= len(s) or (self.known is not None and s[:n] not in self.known):
            no()
        return s[n:], s[:n]

    def addfield(self, pkt, s, val):
        return s + bytes(val)


class Until(Raw):
    """Bytes before a delimiter, or with it."""

    __slots__ = ["mark", "more"]

    def __init__(self, name, mark, more):
        Raw.__init__(self, name)
        self.mark, self.more = mark, more

    def measure(self, pkt, s):
        n = s.find(self.mark)
        return n + self.more if n >= 0 else no()


class Varint(Raw):
    """A number that says its own width, kept as its bytes."""

    __slots__ = ["form"]

    def __init__(self, name, form):
        Raw.__init__(self, name)
        self.form = form

    def measure(self, pkt, s):
        if self.form == "ber" and s:
            n = s[0] & 127 if s[0] > 127 else 0
            return n + 1 if s[0] != 128 and n <= 4 else no()
        return next((n + 1 for n, b in enumerate(s[:9]) if b < 128), -1)


def number(value, form):
    if form == "ber":
        return value[0] if len(value) == 1 else int.from_bytes(value[1:], "big")
    return sum((b & 127) << 7 * n for n, b in enumerate(value))


class Part(Field):
    """Packets within: one, or as many as `count`, `mark` or the end say."""

    __slots__ = ["kind", "size", "times", "count", "mark", "maybe"]
    islist, holds_packets = 1, 1

    def __init__(self, name, kind, size=None, times=1, count=None, mark=b"", maybe=False):
        Field.__init__(self, name, [], "B")
        self.kind, self.size, self.times = kind, size, times
        self.count, self.mark, self.maybe = count, mark, maybe

    def more(self, s, done, times):
        if self.maybe and not s:
            return False
        if times is not None:
            return done < times
        if self.mark and not s:
            no()
        return not s.startswith(self.mark) if self.mark else bool(s)

    def getfield(self, pkt, s):
        n = len(s) if self.size is None else self.size(pkt, s)
        if not 0 <= n <= len(s):
            no()
        data, after, out = s[:n], s[n:], []
        times = self.times if self.count is None else self.count(pkt, s)
        if times is not None and not 0 <= times <= max(1, len(data)):
            no()
        while self.more(data, len(out), times):
            one = (self.kind(pkt) or no())(_parent=pkt)
            one.dissect(data)
            if self.times is None and len(one.left) >= len(data):
                no()
            out.append(one)
            data = one.left
        if self.size is not None and data:
            no()
        return data + after, out

    def addfield(self, pkt, s, val):
        return s + b"".join(map(bytes, val))


class Blocks(Part):
    """Data to the end in blocks with a checksum behind each, read in one piece.

    The checksums are kept as they came; of data that has more blocks by now the last is repeated.
    """

    __slots__ = ["block", "width"]

    def __init__(self, name, kind, block, width):
        Part.__init__(self, name, kind)
        self.block, self.width = block, width

    def getfield(self, pkt, s):
        data, sums = b"", []
        while s:
            n = min(self.block, len(s) - self.width)
            if n <= 0:
                no()
            data, s = data + s[:n], s[n:]
            sums, s = sums + [s[: self.width]], s[self.width :]
        one = self.kind(pkt)(_parent=pkt)
        one.dissect(data)
        if one.left:
            no()
        one.sums = sums
        return b"", [one]

    def addfield(self, pkt, s, val):
        for one in val:
            data, sums = bytes(one), getattr(one, "sums", [bytes(self.width)])
            for n in range(0, len(data), self.block):
                s += data[n : n + self.block] + sums[min(n // self.block, len(sums) - 1)]
        return s


class Base(Packet):
    __slots__ = ["left", "sums"]

    def extract_padding(self, s):
        self.left = s
        return b"", None


def up(pkt, levels, name):
    for _ in range(levels):
        pkt = pkt.parent
    return pkt.getfieldval(name)

'''

_TAIL: Final = '''

def dissect(data, direction=""):
    """Take a message apart by the first type that it fits."""
    for kind, of in TYPES:
        if direction and of and of != direction:
            continue
        packet = kind()
        try:
            packet.dissect(data)
        except (Misfit, RecursionError):
            continue
        if not packet.left:
            return packet
    return None
'''


def render(grammar: ir.Grammar) -> str:
    """Give the source of the module.

    Raises:
        InputError: the grammar may not run.
    """
    ir.check(grammar)
    writer = _Writer(_names(grammar))
    for name, body in grammar.rules.items():
        writer.whole(f"Rule_{name}", body)
    for index, kind in enumerate(grammar.types):
        writer.whole(f"Type_{index}", kind.body)
    types = [f"    (Type_{n}, {kind.direction!r})," for n, kind in enumerate(grammar.types)]
    return "\n".join(
        [_HEAD.format(name=grammar.name), *writer.lines, "", "TYPES = (", *types, ")", _TAIL]
    )


def _names(grammar: ir.Grammar) -> dict[str, str]:
    """Give each leaf a name that may be an argument's, as Scapy makes it one."""
    leaves = ir.leaves(grammar)
    names: dict[str, str] = {}
    for name in leaves:
        one = name
        while keyword.iskeyword(one) or one.startswith("_") or (one != name and one in leaves):
            one = f"x{one}"
        names[name] = one
    return names


class _Writer:
    """Writes classes, inner ones first; a frame holds the numbers of one class."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self.lines: list[str] = []
        self._frames: list[dict[str, str]] = []
        self._fields: list[str] = []
        self._count = 0

    def whole(self, name: str, body: ir.Node) -> str:
        """Write a class."""
        outer = self._fields
        self._fields = []
        self._frames.append({})
        self._node(body)
        self._frames.pop()
        self.lines += ["", f"class {name}(Base):", f"    name = {name!r}", "    fields_desc = ["]
        self.lines += [f"        {field}," for field in self._fields]
        self.lines += ["    ]", ""]
        self._fields = outer
        return name

    def _fresh(self) -> str:
        self._count += 1
        return f"Part_{self._count}"  # no name of a field has a capital

    def _part(self, body: ir.Node) -> str:
        self._count += 1
        return self.whole(f"Part_{self._count}", body)

    def _bits(self, ref: str, mask: int) -> str:
        for levels, frame in enumerate(reversed(self._frames)):
            if ref in frame:
                form = frame[ref]
                value = f"up(p, {levels}, {self._names[ref]!r})"
                value = f"number({value}, {form!r})" if form else value
                return f"(({value} & {mask}) >> {ir.shift_of(mask)})" if mask else value
        raise KeyError(ref)  # `check` has seen to it that this does not happen

    def _size(self, size: ir.Size) -> str:
        if size.of == "fixed":
            return f"lambda p, s: {size.constant}"
        if size.of == "rest":
            rest = f"len(s) - {size.constant}"
            return f"lambda p, s: min({size.most}, {rest})" if size.most else f"lambda p, s: {rest}"
        value = f"{self._bits(size.ref, size.mask)} * {size.scale} + {size.constant}"
        return f"lambda p, s: min({size.most or ir.MAX_SIZE}, {value})"

    def _node(self, node: ir.Node) -> None:  # noqa: C901 - one case for each kind of node
        match node:
            case ir.Seq():
                for one in node.items:
                    self._node(one)
            case ir.Sized():
                self._put(self._part(node.body), f"size={self._size(node.size)}")
            case ir.Switch():
                self._switch(node)
            case ir.Repeat():
                self._repeat(node)
            case ir.Blocks():
                how = f"{node.size}, {ir.width_of(node.checksum)}"
                kind = self._part(node.body)
                self._fields.append(f"Blocks({self._fresh()!r}, lambda p: {kind}, {how})")
            case ir.Maybe():
                self._put(self._part(node.body), "maybe=True")
            case ir.Call():
                self._put(f"Rule_{node.rule}", "")
            case _:
                self._leaf(node)

    def _put(self, kind: str, how: str) -> None:
        more = f", {how}" if how else ""
        self._fields.append(f"Part({self._fresh()!r}, lambda p: {kind}{more})")

    def _repeat(self, node: ir.Repeat) -> None:
        how = "times=None"
        if node.count is not None:
            how += f", count={self._size(node.count)}"
        elif node.sentinel:
            how += f", mark={node.sentinel!r}"
        self._put(self._part(node.body), how)

    def _switch(self, node: ir.Switch) -> None:
        cases: list[str] = []
        for case in node.cases:
            kind = self._part(case.body)
            cases += [f"{value}: {kind}" for value in case.values]
        other = "None" if node.other is None else self._part(node.other)
        tag = self._bits(node.ref, node.mask)
        table = "{" + ", ".join(cases) + "}"
        self._fields.append(f"Part({self._fresh()!r}, lambda p: {table}.get({tag}, {other}))")

    def _leaf(self, leaf: ir.Leaf) -> None:
        name = repr(self._names[leaf.name])
        match leaf:
            case ir.Number() | ir.Checksum():
                order = "big" if leaf.endian == "be" else "little"
                known = ""
                if isinstance(leaf, ir.Number):
                    self._frames[-1][leaf.name] = ""
                    known = f", {{{_listed(leaf)}}}" if leaf.strict else ""
                self._fields.append(f"Num({name}, {ir.width_of(leaf)}, {order!r}{known})")
            case ir.Varint():
                self._frames[-1][leaf.name] = leaf.form
                self._fields.append(f"Varint({name}, {leaf.form!r})")
            case ir.Data():
                known = f", {{{_listed(leaf)}}}" if leaf.strict else ""
                self._fields.append(f"Raw({name}, {self._size(leaf.size)}{known})")
            case ir.Until():
                more = len(leaf.delimiter) if leaf.include else 0
                self._fields.append(f"Until({name}, {leaf.delimiter!r}, {more})")


def _listed(leaf: ir.Number | ir.Data) -> str:
    return ", ".join([repr(value) for value, _ in leaf.known])
