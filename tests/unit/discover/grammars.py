"""Random grammars, and random messages of a grammar: what interpreter and exports are held to."""

import random
import string

from cronos.discover import ir
from cronos.discover.builder import build
from cronos.discover.checksums import ALGORITHMS
from cronos.discover.interpreter import Occurrence, Parsed
from cronos.discover.ir import (
    Case,
    Checksum,
    Data,
    Grammar,
    Maybe,
    MessageType,
    Number,
    Repeat,
    Seq,
    Size,
    Sized,
    Switch,
    Until,
    Varint,
)  # fmt: skip
from cronos.discover.model import Sem
from cronos.errors import InputError

PLAIN = [Sem.VALUE, Sem.ID_SEQ, Sem.ENUM_FLAGS, Sem.TIMESTAMP]


class GrammarMaker:
    """Draws grammars whose messages can be drawn too: a region's rest is taken at its end."""

    def __init__(self, seed: int, checksums: bool = True) -> None:
        self.random = random.Random(seed)
        self.checksums = checksums
        self.count = 0
        self.within = False  # in blocks already

    def grammar(self) -> Grammar:
        types = []
        for index in range(self.random.randint(1, 3)):
            tag = Number(self.name(), 1, Sem.ENUM_FLAGS, known=((index, 1.0),), strict=True)
            body = Seq((tag, *self.items(depth=2, last=True)))
            types.append(MessageType(f"type_{index}", body, 1 / 3))
        return Grammar("drawn", tuple(types))

    def name(self) -> str:
        self.count += 1
        return f"f_{self.count}"

    def number(self, widths=(1, 2, 3, 4, 5, 8), sem=None) -> Number:
        return Number(
            self.name(),
            self.random.choice(widths),
            sem or self.random.choice(PLAIN),
            self.random.choice(("be", "le")),
        )

    def items(self, depth: int, last: bool) -> list:
        out = []
        for _ in range(self.random.randint(1, 4)):
            out += self.item(depth)
        if last and self.random.random() < 0.5:
            out += self.tail(depth)
        return out

    def item(self, depth: int) -> list:
        kinds = ["number", "number", "float", "data", "known", "sized_leaf", "until", "varint"]
        if depth:
            kinds += ["sized", "switch", "counted", "sentinel", "masked", "ber"]
        if self.checksums:
            kinds.append("checksum")
        return getattr(self, "_" + self.random.choice(kinds))(depth)

    def tail(self, depth: int) -> list:
        kinds = ["rest", "repeat", "maybe", "trailer"]
        kind = self.random.choice(kinds if self.within else [*kinds, "blocks"])
        if kind == "blocks":
            return [self.blocks(depth)]
        if kind == "rest":
            return [Data(self.name(), Size("rest"))]
        if kind == "repeat":
            return [Repeat(Seq(tuple(self.items(0, last=False))))]
        if kind == "maybe":
            return [Maybe(Seq(tuple(self.items(0, last=False))))]
        return [Data(self.name(), Size("rest", 2), Sem.TEXT), self.number((2,))]

    def blocks(self, depth) -> ir.Blocks:
        self.within = True
        body = Seq(tuple(self.items(min(depth, 1), last=True)))
        self.within = False
        order = self.random.choice(("be", "le"))
        leaf = Checksum(self.name(), self.random.choice(sorted(ALGORITHMS)), order)
        return ir.Blocks(self.random.randint(1, 9), leaf, body)

    def _number(self, _depth) -> list:
        return [self.number()]

    def _float(self, _depth) -> list:
        return [self.number((4, 8), Sem.FLOAT)]

    def _data(self, _depth) -> list:
        return [Data(self.name(), Size("fixed", self.random.randint(1, 6)))]

    def _known(self, _depth) -> list:
        values = [(self.random.randbytes(2), 0.5) for _ in range(2)]
        strict = self.random.random() < 0.5
        return [Data(self.name(), Size("fixed", 2), known=tuple(values), strict=strict)]

    def _sized_leaf(self, _depth) -> list:
        length = self.number((1, 2), Sem.LENGTH)
        return [length, Data(self.name(), Size("field", 0, length.name), Sem.TEXT)]

    def _until(self, _depth) -> list:
        if self.random.random() < 0.5:
            return [Until(self.name(), self.random.choice([b"\0", b"\r\n"]), include=True)]
        return [Until(self.name(), b"|"), Data(self.name(), Size("fixed", 1), known=((b"|", 1),))]

    def _varint(self, _depth) -> list:
        return [Varint(self.name(), "leb128")]

    def _ber(self, depth) -> list:
        length = Varint(self.name(), "ber", Sem.LENGTH)
        return [
            length,
            Sized(Size("field", ref=length.name), Seq(tuple(self.items(depth - 1, True)))),
        ]

    def _sized(self, depth) -> list:
        length = self.number((1, 2, 4), Sem.LENGTH)
        between = [self.number()] if self.random.random() < 0.3 else []
        size = Size("field", self.random.choice([0, 0, -2, 3]), length.name)
        return [length, *between, Sized(size, Seq(tuple(self.items(depth - 1, last=True))))]

    def _masked(self, depth) -> list:
        length = self.number((2,), Sem.LENGTH)
        size = Size("field", 0, length.name, mask=0x0FFF)
        return [length, Sized(size, Seq(tuple(self.items(depth - 1, last=True))))]

    def _switch(self, depth) -> list:
        tag = self.number((1, 2), Sem.ENUM_FLAGS)
        cases = tuple(
            Case((2 * n, 2 * n + 1), Seq(tuple(self.items(depth - 1, last=False))), 0.5)
            for n in range(2)
        )
        other = Seq(tuple(self.items(0, last=False))) if self.random.random() < 0.5 else None
        return [tag, Switch(tag.name, cases, other=other)]

    def _counted(self, depth) -> list:
        count = self.number((1,), Sem.COUNT)
        return [
            count,
            Repeat(Seq(tuple(self.items(depth - 1, False))), Size("field", 0, count.name)),
        ]

    def _sentinel(self, _depth) -> list:
        first = Number(self.name(), 1, known=((7, 0.5), (9, 0.5)), strict=True)
        body = Seq((first, *self.items(0, last=False)))
        return [
            Repeat(body, None, b"\0\xff"),
            Data(self.name(), Size("fixed", 2), known=((b"\0\xff", 1.0),)),
        ]

    def _checksum(self, _depth) -> list:
        return [Checksum(self.name(), self.random.choice(sorted(ALGORITHMS)),
                         self.random.choice(("be", "le")), 0)]  # fmt: skip


class MessageMaker:
    """Draws messages of a grammar: fields first, then `build` works out lengths and checksums."""

    def __init__(self, grammar: Grammar, seed: int) -> None:
        self.grammar = grammar
        self.random = random.Random(seed)
        nodes = [node for kind in grammar.types for node in ir.walk(kind.body)]
        self.counts = {n.count.ref for n in nodes if isinstance(n, Repeat) and n.count}
        self.cases = {n.ref: n for n in nodes if isinstance(n, Switch)}

    def message(self) -> bytes | None:
        """Give a message, or None where the draw did not come out (too long for its length)."""
        self.fields, self.shape, self.values = [], [], {}
        kind = self.random.randrange(len(self.grammar.types))
        self.node(self.grammar.types[kind].body)
        try:
            return build(self.grammar, Parsed(kind, tuple(self.fields), tuple(self.shape)))
        except InputError:
            return None

    def put(self, leaf, value, length: int) -> None:
        self.values[leaf.name] = value
        self.fields.append(Occurrence(leaf.name, 0, length, value))

    def node(self, node) -> None:  # noqa: C901 - one case for each kind of node
        match node:
            case Seq():
                for one in node.items:
                    self.node(one)
            case Sized() | ir.Blocks():
                self.node(node.body)
            case Switch():
                value = self.values[node.ref]
                chosen = [case.body for case in node.cases if value in case.values]
                self.node(chosen[0] if chosen else node.other)
            case Repeat():
                times = self.random.randint(0, 3)
                if node.count:
                    times = self.values[node.count.ref]
                else:
                    self.shape.append(times)
                for _ in range(times):
                    self.node(node.body)
            case Maybe():
                self.shape.append(self.random.randint(0, 1))
                if self.shape[-1]:
                    self.node(node.body)
            case _:
                self.leaf(node)

    def leaf(self, leaf) -> None:
        match leaf:
            case Number():
                self.put(leaf, self.number(leaf), leaf.width)
            case Varint():
                self.put(leaf, self.random.choice([0, 5, 127, 128, 300]), 1)
            case Data():
                self.put(leaf, self.data(leaf), 0)
            case Until():
                text = self.text()
                self.put(leaf, text + leaf.delimiter if leaf.include else text, 0)
            case Checksum():
                self.put(leaf, 0, ALGORITHMS[leaf.algorithm].width)

    def text(self) -> bytes:
        letters = string.ascii_letters + string.digits
        return "".join(self.random.choices(letters, k=self.random.randint(0, 8))).encode()

    def number(self, leaf: Number) -> int:
        if leaf.name in self.counts:
            return self.random.randint(0, 3)
        if leaf.name in self.cases:
            node = self.cases[leaf.name]
            return self.random.randint(0, 3 if node.other is None else 5)
        if leaf.known:
            return self.random.choice(leaf.known)[0]
        return self.random.getrandbits(8 * leaf.width)

    def data(self, leaf: Data) -> bytes:
        if leaf.known:
            return self.random.choice(leaf.known)[0]
        if leaf.size.of == "fixed":
            return self.random.randbytes(leaf.size.constant)
        return self.text()


def drawn(seed: int, checksums: bool = True, many: int = 20) -> tuple[Grammar, list[bytes]]:
    """Give a random grammar and messages of it, at least one."""
    while True:
        grammar = GrammarMaker(seed, checksums).grammar()
        maker = MessageMaker(grammar, seed)
        messages = [one for _ in range(many) if (one := maker.message()) is not None]
        if messages:
            return grammar, messages
        seed += 1_000_003
