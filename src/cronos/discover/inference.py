"""Infers the body of a message type from rows: which node explains what follows, at each place.

Columns that all rows share become leaves. Where rows part ways, the explanations are tried in the
order of how much they promise: a number that says a length, one that counts items, items to the
end, a tag that decides, a delimiter, a trailer counted from the end. What none explains becomes
bytes without structure. A union or a repeat stays only where it describes the rows in fewer bits
than their bytes without structure would (minimum description length): a node costs `NODE_BITS`, a
boundary that the grammar does not give costs `LOST_BITS`.

The work is bounded: `work` rows may be looked at, then everything left becomes bytes.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from cronos.discover import ir
from cronos.discover.interpreter import text_bits
from cronos.discover.items import Partition, ber_fits, counted, to_the_end
from cronos.discover.model import Sem
from cronos.discover.namer import Names, ber_rule
from cronos.discover.relations import (
    Relation,
    checksum_relation,
    inner_relation,
    numbers,
    order_of,
    rest_relation,
)  # fmt: skip
from cronos.discover.rows import Column, Row, common
from cronos.discover.tags import CASE_BITS, best_tag

NODE_BITS: Final = 14.0
LOST_BITS: Final = 7.0
MAX_DEPTH: Final = 7  # regions within regions; a region is up to three nodes deep
_NEAREST: Final = 16
_WIDEST: Final = 8
_NO_LENGTHS: Final = (Sem.CHECKSUM, Sem.ADDRESS, Sem.FLOAT)
_MAX_ITEMS: Final = 3_000
MAX_LEAVES: Final = 1_200
_DELIMITERS: Final = (b"\r\n", b"\0", b"\n", b"\r", b" ", b":", b";", b",", b"=", b"|", b"/")

Nodes: TypeAlias = list[ir.Node]


class Told(Exception):  # noqa: N818 - no explanation without knowing where the region ends
    """Raised in a region whose end the parser cannot know."""


class Part:
    """What explains some rows: nodes, the bits of boundaries lost, whether the region is done."""

    __slots__ = ("done", "lost", "nodes")

    def __init__(self, nodes: Nodes, lost: float = 0.0, *, done: bool = False) -> None:
        self.nodes = nodes
        self.lost = lost
        self.done = done

    @property
    def bits(self) -> float:
        """Give the description length."""
        return self.lost + sum([bits_of(node) for node in self.nodes])


def bits_of(node: ir.Node) -> float:
    """Give the bits that it takes to write a tree down."""
    total = 0.0
    for one in ir.walk(node):
        total += NODE_BITS
        if isinstance(one, ir.Switch):
            total += CASE_BITS * sum([len(case.values) for case in one.cases])
    return total


def lost_bits(rows: Sequence[Row]) -> float:
    """Give what it costs to say nothing about what is left of these rows."""
    return LOST_BITS * sum([max(0, row.left - 1) for row in rows])


Saved: TypeAlias = list[tuple[int, int, Sequence[int], Sequence[Sem], int]]


def _save(rows: Sequence[Row]) -> Saved:
    return [(row.i, row.at, row.cuts, row.sems, len(row.env)) for row in rows]


def _restore(rows: Sequence[Row], saved: Saved) -> None:
    for row, (i, at, cuts, sems, known) in zip(rows, saved, strict=True):
        row.i, row.at, row.cuts, row.sems = i, at, cuts, sems
        while len(row.env) > known:
            # Numbers of an explanation that was given up would push out those in scope.
            row.env.popitem()


class Inference:
    """Infers regions; `names` gives each leaf its name, `rules` collects rules that were used."""

    def __init__(self, names: Names, work: int, *, bold: bool = False) -> None:
        self._bold = bold
        self.names = names
        self.work = work
        self._begun = names.count
        self.rules: dict[str, ir.Node] = {}

    def body(self, rows: list[Row]) -> Part:
        """Infer a whole message."""
        split = self._trailer(rows)
        if split is not None:
            return split
        return self.region(rows, [], 0, bounded=True)

    def region(self, rows: list[Row], scope: list[Column], depth: int, *, bounded: bool) -> Part:
        """Infer what is left of these rows' regions.

        Raises:
            Told: the region is not `bounded`, and nothing explains its end.
        """
        scope = list(scope)
        out = Part([])
        while not out.done and any(row.at < row.end for row in rows):
            self.work -= len(rows) + sum([row.left for row in rows]) // 2
            part = self._next(rows, scope, depth, bounded)
            out.nodes += part.nodes
            out.lost += part.lost
            out.done = part.done
        return out

    def _next(self, rows: list[Row], scope: list[Column], depth: int, bounded: bool) -> Part:
        live = [row for row in rows if row.at < row.end]
        if self.work < 0 or depth > MAX_DEPTH or self.names.count - self._begun > MAX_LEAVES:
            return self._opaque(rows, bounded)
        if len(live) < len(rows):
            return self._tail(rows, live, scope, depth, bounded)
        repeat = self._first(rows, (
            lambda: self._counted(rows, scope, depth),
            lambda: self._to_the_end(rows, scope, depth, bounded),
        ))  # fmt: skip
        if repeat is not None:
            return repeat
        if len({row.width for row in rows}) == 1:
            return self._column(rows, scope, depth, bounded)
        return self._diverge(rows, scope, depth, bounded)

    def _first(
        self, rows: Sequence[Row], options: Sequence[Callable[[], Part | None]]
    ) -> Part | None:
        """Take the first explanation that is one; rows go back to where they were between them."""
        saved = _save(rows)
        for option in options:
            try:
                part = option()
            except Told:
                part = None
            if part is not None:
                return part
            _restore(rows, saved)
        return None

    # ---- one column ---------------------------------------------------------------------------

    def _column(self, rows: list[Row], scope: list[Column], depth: int, bounded: bool) -> Part:
        width, sem = rows[0].width, common([row.sem for row in rows])
        if sem is Sem.CHECKSUM and width in (1, 2, 4):
            checksum = checksum_relation(rows, width)
            if checksum is not None:
                found = self.names.put(checksum, Sem.CHECKSUM, self._place(rows))
                return self._move(rows, width, found)
        if not _numeric(width, sem):
            leaf = self.names.put(ir.Data("", ir.Size("fixed", width), sem), sem, self._place(rows))
            return self._move(rows, width, leaf)
        return self._number(rows, scope, depth, bounded)

    def _place(self, rows: Sequence[Row]) -> int:
        """Give the offset in the message where all rows have it at the same, else -1."""
        first = rows[0].at
        return first if all(row.at == first for row in rows) else -1

    def _move(self, rows: Sequence[Row], width: int, leaf: ir.Leaf) -> Part:
        for row in rows:
            row.skip(width)
        return Part([leaf])

    def _number(self, rows: list[Row], scope: list[Column], depth: int, bounded: bool) -> Part:
        width, sem = rows[0].width, common([row.sem for row in rows])
        raw = [row.data[row.at : row.at + width] for row in rows]
        before = {row.at + width - row.start for row in rows}
        rests = [row.end - row.at - width for row in rows]
        found: Relation | None = None
        if bounded and any(rests):
            found = rest_relation(raw, rests, sem, before.pop() if len(before) == 1 else 1 << 20)
        if found is not None and found.constant and _says_a_boundary(rows, found, raw):
            found = None
        if found is not None and sem is not Sem.COUNT:
            sem = Sem.LENGTH
        if sem is Sem.FLOAT and width not in (4, 8):
            sem = Sem.VALUE
        endian = found.endian if found else order_of(raw, sem)
        leaf = self.names.put(ir.Number("", width, sem, endian), sem, self._place(rows))
        self._bind(rows, leaf, raw)
        column = Column(leaf.name, sem, width, endian)
        column.spent = found is not None
        scope.append(column)
        part = self._move(rows, width, leaf)
        if found is None:
            return part
        inner = self.region(rows, scope, depth + 1, bounded=True)
        body = ir.Sized(found.size(leaf.name), ir.Seq(tuple(inner.nodes)))
        return Part([leaf, body], inner.lost, done=True)

    @staticmethod
    def _bind(rows: Sequence[Row], leaf: ir.Number, raw: Sequence[bytes]) -> None:
        for row, one, value in zip(rows, raw, numbers(raw, leaf.endian), strict=True):
            row.env[leaf.name] = value
            row.env["@" + leaf.name] = row.at + len(one)

    # ---- where rows part ways -----------------------------------------------------------------

    def _diverge(self, rows: list[Row], scope: list[Column], depth: int, bounded: bool) -> Part:
        part = self._first(rows, (
            lambda: self._varint(rows, scope, depth, bounded),
            lambda: self._sized(rows, scope, depth),
            lambda: self._switch(rows, scope, depth, bounded),
            lambda: self._delimited(rows),
            lambda: self._suffix(rows, scope, depth, bounded),
            lambda: self._majority(rows, scope, depth, bounded),
        ))  # fmt: skip
        return self._opaque(rows, bounded) if part is None else part

    def _varint(
        self, rows: list[Row], scope: list[Column], depth: int, bounded: bool
    ) -> Part | None:
        heads = [row.head() for row in rows]
        form = _varint_form(heads)
        if form is None:
            return None
        sem = common([row.sem for row in rows])
        leaf = self.names.put(ir.Varint("", form, sem), sem, self._place(rows))
        for row, head in zip(rows, heads, strict=True):
            row.env[leaf.name] = _varint_value(form, head)
            row.env["@" + leaf.name] = row.at + len(head)
            row.skip(len(head))
        scope.append(Column(leaf.name, sem, 0, "be"))
        rests = [row.end - row.at for row in rows]
        values = [row.env[leaf.name] for row in rows]
        if bounded and values == rests and len(set(rests)) > 1:
            inner = self.region(rows, scope, depth + 1, bounded=True)
            body = ir.Sized(ir.Size("field", 0, leaf.name), ir.Seq(tuple(inner.nodes)))
            return Part([leaf, body], inner.lost, done=True)
        return Part([leaf])

    def _sized(self, rows: list[Row], scope: list[Column], depth: int) -> Part | None:
        near = list(reversed(scope[-_NEAREST:]))
        near.sort(key=lambda column: column.sem is not Sem.LENGTH)
        for column in near:
            if column.spent or column.width > 4 or column.sem in _NO_LENGTHS:
                continue
            behind = {row.at - row.env["@" + column.name] for row in rows}
            gap = behind.pop() if len(behind) == 1 else 1 << 20
            found = inner_relation(rows, column.name, column.sem is Sem.LENGTH, gap)
            if found is not None:
                return self._cut_out(rows, scope, depth, found, column)
        return None

    def _cut_out(
        self, rows: list[Row], scope: list[Column], depth: int, found: Relation, column: Column
    ) -> Part:
        parts = [row.part(found.of(row.env[column.name])) for row in rows]
        size = found.size(column.name)
        if all(part.left <= 1 for part in parts):
            sem = common([part.sem for part in parts if part.left])
            leaf = self.names.put(ir.Data("", size, sem), sem, self._place(parts))
            return Part([leaf])
        inner = self.region(parts, scope, depth + 1, bounded=True)
        return Part([ir.Sized(size, ir.Seq(tuple(inner.nodes)))], inner.lost)

    def _delimited(self, rows: list[Row]) -> Part | None:
        heads = [row.head() for row in rows]
        sem = common([row.sem for row in rows])
        for delimiter in _DELIMITERS:
            if all(head.find(delimiter) == len(head) - len(delimiter) for head in heads):
                return self._until(rows, ir.Until("", delimiter, True, sem))
        for delimiter in _DELIMITERS:
            if all(
                row.data.startswith(delimiter, row.at + row.width) and delimiter not in head
                for row, head in zip(rows, heads, strict=True)
            ):
                return self._until(rows, ir.Until("", delimiter, False, sem))
        return None

    def _until(self, rows: Sequence[Row], leaf: ir.Until) -> Part:
        named = self.names.put(leaf, leaf.sem, self._place(rows))
        for row in rows:
            row.skip(row.width)
        return Part([named])

    def _suffix(
        self, rows: list[Row], scope: list[Column], depth: int, bounded: bool
    ) -> Part | None:
        """Take one field of unknown length before a trailer that all rows share."""
        if not bounded:
            return None
        trailer = [tuple(row.widths(64)[1:]) for row in rows]
        if len(set(trailer)) > 1 or not trailer[0] or any(row.left > 64 for row in rows):
            return None
        behind, sem = sum(trailer[0]), common([row.sem for row in rows])
        leaf = self.names.put(ir.Data("", ir.Size("rest", behind), sem), sem, self._place(rows))
        for row in rows:
            row.skip(row.width)
        inner = self.region(rows, scope, depth + 1, bounded=True)
        return Part([leaf, *inner.nodes], inner.lost, done=True)

    def _majority(
        self, rows: list[Row], scope: list[Column], depth: int, bounded: bool
    ) -> Part | None:
        """Cut all rows where most are cut, if hardly any is not.

        When `bold` also where fewer are, if that loses less than to cut none from here on.
        """
        ((width, many),) = Counter([row.width for row in rows]).most_common(1)
        wrong = len(rows) - many
        if any(row.end - row.at < width for row in rows):
            return None
        cheap = self._bold and 4 * LOST_BITS * wrong <= lost_bits(rows)
        if wrong > 0.15 * len(rows) and not cheap:
            return None
        for row in rows:
            if row.width != width:
                saved = row.i, row.at
                row.skip(width)
                gained = row.cuts[row.i :]
                row.cuts = (saved[1], *gained)
                row.sems = (common([Sem.VALUE]), *row.sems[row.i :])
                row.i, row.at = 0, saved[1]
        part = self._column(rows, scope, depth, bounded)
        part.lost += LOST_BITS * (len(rows) - many)
        return part

    def _opaque(self, rows: Sequence[Row], bounded: bool) -> Part:
        if not bounded:
            raise Told
        lost = lost_bits(rows)
        sem = common([row.sem for row in rows if row.left])
        if any(row.left > 1 for row in rows):
            sem = Sem.TEXT if all(s is Sem.TEXT for r in rows for s in r.sems[r.i :]) else Sem.BYTES
        if sem is Sem.BYTES and _readable(rows):
            sem = Sem.TEXT
        leaf = self.names.put(ir.Data("", ir.Size("rest"), sem), sem, self._place(rows))
        for row in rows:
            row.skip(row.end - row.at)
        return Part([leaf], lost, done=True)

    # ---- the end of some rows -----------------------------------------------------------------

    def _tail(
        self, rows: list[Row], live: list[Row], scope: list[Column], depth: int, bounded: bool
    ) -> Part:
        part = self._first(rows, (
            lambda: self._counted(rows, scope, depth),
            lambda: self._to_the_end(rows, scope, depth, bounded),
            lambda: self._sized(rows, scope, depth),
            lambda: self._switch(rows, scope, depth, bounded),
        ))  # fmt: skip
        if part is not None:
            return part
        if not bounded:
            raise Told
        nothing = lost_bits(live)
        saved = _save(live)
        inner = self.region(live, scope, depth + 1, bounded=True)
        out = Part([ir.Maybe(_one(inner.nodes))], inner.lost, done=True)
        if out.bits > nothing + 2 * NODE_BITS:
            _restore(live, saved)
            return self._opaque(rows, bounded)
        return out

    # ---- unions ---------------------------------------------------------------------------------

    def _switch(
        self, rows: list[Row], scope: list[Column], depth: int, bounded: bool
    ) -> Part | None:
        chosen = best_tag(rows, scope)
        if chosen is None:
            return None
        column, groups = chosen
        nothing, saved = lost_bits(rows), _save(rows)
        cases: list[ir.Case] = []
        lost = 0.0
        spare: list[Row] = []
        for values, group in groups:
            if bounded and len(group) == 1 and len(groups) > 2:
                spare += group
                continue
            inner = self.region(group, scope, depth + 1, bounded=bounded)
            cases.append(ir.Case(values, ir.Seq(tuple(inner.nodes)), len(group) / len(rows)))
            lost += inner.lost
        if not cases:
            return None
        other = None
        if bounded:
            sem = Sem.BYTES
            lost += lost_bits(spare)
            other = self.names.put(ir.Data("", ir.Size("rest"), sem), sem, -1)
        part = Part([ir.Switch(column.name, _merged(cases), 0, other)], lost, done=True)
        if bounded and part.bits > nothing + NODE_BITS:
            _restore(rows, saved)
            return None
        return part

    # ---- repeats --------------------------------------------------------------------------------

    def _counted(self, rows: list[Row], scope: list[Column], depth: int) -> Part | None:
        for column in scope[-_NEAREST:][::-1]:
            if column.sem is not Sem.COUNT and column.width > 2:
                continue
            found = counted(rows, column.name, sure=column.sem is Sem.COUNT)
            if found is None:
                continue
            part = self._items(rows, scope, depth, found, ir.Size("field", 0, column.name))
            if part is not None:
                return part
        return None

    def _to_the_end(
        self, rows: list[Row], scope: list[Column], depth: int, bounded: bool
    ) -> Part | None:
        if not bounded:
            return None
        if ber_fits(rows):
            self.rules.setdefault("ber", ber_rule())
            for row in rows:
                row.skip(row.end - row.at)
            return Part([ir.Repeat(ir.Call("ber"))], done=True)
        found = to_the_end(rows)
        if found is None:
            return None
        nothing, saved = lost_bits(rows), _save(rows)
        part = self._items(rows, scope, depth, found, None)
        if part is None or part.bits > nothing + NODE_BITS:
            _restore(rows, saved)
            return None
        part.done = True
        return part

    def _items(
        self, rows: list[Row], scope: list[Column], depth: int, found: Partition,
        count: ir.Size | None,
    ) -> Part | None:  # fmt: skip
        items: list[Row] = []
        for row, lengths in zip(rows, found.lengths, strict=True):
            items += [row.part(length) for length in lengths]
        self.work -= len(items)
        items = items[:: len(items) // _MAX_ITEMS + 1]
        if found.relation is not None:
            inner = self._tlv(items, scope, depth, found)
        else:
            inner = self.region(items, scope, depth + 1, bounded=False)
        if not inner.nodes:
            return None
        return Part([ir.Repeat(_one(inner.nodes), count)], inner.lost)

    def _tlv(self, items: list[Row], scope: list[Column], depth: int, found: Partition) -> Part:
        """Infer items that carry their own length: header columns, then what the length says."""
        scope = list(scope)
        head = [self._head(items, scope, found, index) for index in range(found.header)]
        length = head[found.length_at].name
        size = ir.Size("field") if found.relation is None else found.relation.size(length)
        if all(row.left <= 1 for row in items):
            sem = common([row.sem for row in items if row.left])
            return Part([*head, self.names.put(ir.Data("", size, sem), sem, -1)])
        inner = self.region(items, scope, depth + 1, bounded=True)
        return Part([*head, ir.Sized(size, ir.Seq(tuple(inner.nodes)))], inner.lost)

    def _head(
        self, items: list[Row], scope: list[Column], found: Partition, index: int
    ) -> ir.Number | ir.Data:
        width, sem = items[0].width, common([row.sem for row in items])
        raw = [row.data[row.at : row.at + width] for row in items]
        endian = order_of(raw, sem)
        if index == found.length_at and found.relation is not None:
            sem, endian = Sem.LENGTH, found.relation.endian
        leaf: ir.Number | ir.Data
        if _numeric(width, sem):
            sem = Sem.VALUE if sem is Sem.FLOAT and width not in (4, 8) else sem
            leaf = self.names.put(ir.Number("", width, sem, endian), sem, -1)
            self._bind(items, leaf, raw)
            scope.append(Column(leaf.name, sem, width, endian))
        else:
            leaf = self.names.put(ir.Data("", ir.Size("fixed", width), sem), sem, -1)
        for row in items:
            row.skip(width)
        return leaf

    # ---- checksums at the end -------------------------------------------------------------------

    def _trailer(self, rows: list[Row]) -> Part | None:
        """Split off a checksum that ends every message, where messages differ in length."""
        if len({row.end for row in rows}) == 1 or any(row.left < 2 for row in rows):
            return None
        if any(row.sems[-1] is not Sem.CHECKSUM for row in rows):
            return None
        widths = {row.cuts[-1] - row.cuts[-2] for row in rows}
        if len(widths) > 1:
            return None
        width = widths.pop()
        parts = [row.part(row.end - row.at - width) for row in rows]
        last = self._column(rows, [], 0, bounded=True)
        inner = self.region(parts, [], 1, bounded=True)
        cut = ir.Sized(ir.Size("rest", width), ir.Seq(tuple(inner.nodes)))
        return Part([cut, *last.nodes], inner.lost)


def _says_a_boundary(rows: Sequence[Row], found: Relation, raw: Sequence[bytes]) -> bool:
    """Say whether the number without its constant ends a part inside: then it says that."""
    for row, value in zip(rows, numbers(raw, found.endian), strict=True):
        end = row.at + len(raw[0]) + found.of(value) - found.constant
        if end >= row.end or end not in row.rest():
            return False
    return True


def _readable(rows: Sequence[Row]) -> bool:
    """Say whether all that is left is text, so that it is known from random bytes."""
    rests = [row.data[row.at : row.end] for row in rows if row.at < row.end]
    return bool(rests) and all(text_bits(rest) > 0.0 for rest in rests)


def _one(nodes: Nodes) -> ir.Node:
    return nodes[0] if len(nodes) == 1 else ir.Seq(tuple(nodes))


def _numeric(width: int, sem: Sem) -> bool:
    if sem in (Sem.TEXT, Sem.BYTES, Sem.ADDRESS):
        return width <= 2 or (sem is Sem.ADDRESS and width <= 4)
    return width <= _WIDEST


def _varint_form(heads: Sequence[bytes]) -> Literal["leb128", "ber"] | None:
    if max(map(len, heads)) > 5 or min(map(len, heads)) < 1:
        return None
    if all(all(b > 127 for b in head[:-1]) and head[-1] < 128 for head in heads):
        return "leb128"
    if all(
        (len(head) == 1 and head[0] < 128) or (head[0] > 128 and len(head) == head[0] - 127)
        for head in heads
    ):
        return "ber"
    return None


def _varint_value(form: str, head: bytes) -> int:
    if form == "leb128":
        return sum([(byte & 127) << 7 * n for n, byte in enumerate(head)])
    return head[0] if len(head) == 1 else int.from_bytes(head[1:], "big")


def _merged(cases: list[ir.Case]) -> tuple[ir.Case, ...]:
    """Put the most frequent case first."""
    return tuple(sorted(cases, key=lambda case: (-case.probability, case.values)))
