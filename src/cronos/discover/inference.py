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
from typing import Final, Literal

from cronos.discover import ir
from cronos.discover.attested import (
    Records,
    ends_in_blocks,
    said_blocks,
    said_checksum,
    said_items,
    said_order,
    said_records,
    said_rest,
    standing,
)  # fmt: skip
from cronos.discover.explained import (
    LOST_BITS,
    NODE_BITS,
    Nodes,
    Part,
    Told,
    lost_bits,
    restore,
    save,
)  # fmt: skip
from cronos.discover.interpreter import read_varint, text_bits
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
    varint_form,
    varint_value,
)  # fmt: skip
from cronos.discover.rows import Column, Row, common
from cronos.discover.tags import best_tag

MAX_DEPTH: Final = 7  # regions within regions; a region is up to three nodes deep
_NEAREST: Final = 16
_WIDEST: Final = 8
_NO_LENGTHS: Final = (Sem.CHECKSUM, Sem.ADDRESS, Sem.FLOAT)
_MAX_ITEMS: Final = 3_000
MAX_LEAVES: Final = 1_200
_DELIMITERS: Final = (b"\r\n", b"\0", b"\n", b"\r", b" ", b":", b";", b",", b"=", b"|", b"/")


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
            lambda: self._blocks(rows, scope, depth, maybe=False) if bounded else None,
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
        saved = save(rows)
        for option in options:
            try:
                part = option()
            except Told:
                part = None
            if part is not None:
                return part
            restore(rows, saved)
        return None

    # ---- one column ---------------------------------------------------------------------------

    def _column(self, rows: list[Row], scope: list[Column], depth: int, bounded: bool) -> Part:
        width, sem = rows[0].width, common([row.sem for row in rows])
        checksum = said_checksum(rows, width)
        if checksum is not None or (sem is Sem.CHECKSUM and width in (1, 2, 4)):
            checksum = checksum or checksum_relation(rows, width)
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
        claims = standing(rows, "count.")
        found = said_rest(rows, width) if bounded and any(rests) else None
        if found is None and bounded and any(rests):
            found = rest_relation(raw, rests, sem, before.pop() if len(before) == 1 else 1 << 20)
            if found is not None and found.constant and _says_a_boundary(rows, found, raw):
                found = None
        if found is not None and sem is not Sem.COUNT:
            sem = Sem.LENGTH
        if sem is Sem.FLOAT and width not in (4, 8):
            sem = Sem.VALUE
        endian = found.endian if found else said_order(rows, width) or order_of(raw, sem)
        leaf = self.names.put(ir.Number("", width, sem, endian), sem, self._place(rows))
        self._bind(rows, leaf, raw)
        column = Column(leaf.name, sem, width, endian)
        column.claims = claims
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
        form = varint_form(heads)
        if form is None:
            return None
        sem = common([row.sem for row in rows])
        leaf = self.names.put(ir.Varint("", form, sem), sem, self._place(rows))
        for row, head in zip(rows, heads, strict=True):
            row.env[leaf.name] = varint_value(form, head)
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
            lambda: self._blocks(live, scope, depth, maybe=True) if bounded else None,
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
        saved = save(live)
        inner = self.region(live, scope, depth + 1, bounded=True)
        out = Part([ir.Maybe(_one(inner.nodes))], inner.lost, done=True)
        if out.bits > nothing + 2 * NODE_BITS:
            restore(live, saved)
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
        nothing, saved = lost_bits(rows), save(rows)
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
            restore(rows, saved)
            return None
        return part

    # ---- repeats --------------------------------------------------------------------------------

    def _counted(self, rows: list[Row], scope: list[Column], depth: int) -> Part | None:
        for column in scope[-_NEAREST:][::-1]:
            found = said_items(rows, column)
            if found is None and (column.sem is Sem.COUNT or column.width <= 2):
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
        nothing, saved = lost_bits(rows), save(rows)
        records = said_records(rows)
        part = self._records(rows, scope, depth, records) if records else None
        found = to_the_end(rows) if part is None else None
        if found is not None:
            part = self._items(rows, scope, depth, found, None)
        if part is None or part.bits > nothing + NODE_BITS:
            restore(rows, saved)
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
        if _numeric(width, sem):
            sem = Sem.VALUE if sem is Sem.FLOAT and width not in (4, 8) else sem
            return self._put_number(items, width, sem, endian, scope)
        leaf = self.names.put(ir.Data("", ir.Size("fixed", width), sem), sem, -1)
        for row in items:
            row.skip(width)
        return leaf

    def _put_number(
        self, rows: list[Row], width: int, sem: Sem, endian: ir.Endian, scope: list[Column]
    ) -> ir.Number:
        """Put a number at the cursor, wherever the cuts are."""
        raw = [row.data[row.at : row.at + width] for row in rows]
        leaf = self.names.put(ir.Number("", width, sem, endian), sem, -1)
        self._bind(rows, leaf, raw)
        scope.append(Column(leaf.name, sem, width, endian))
        for row in rows:
            row.skip(width)
        return leaf

    def _put_varint(
        self, rows: list[Row], form: Literal["leb128", "ber"], scope: list[Column]
    ) -> ir.Varint:
        """Put a length at the cursor that says its own width."""
        leaf = self.names.put(ir.Varint("", form, Sem.LENGTH), Sem.LENGTH, -1)
        scope.append(Column(leaf.name, Sem.LENGTH, 0, "be"))
        for row in rows:
            value, behind = read_varint(form, row.data, row.at, row.end)
            row.env[leaf.name], row.env["@" + leaf.name] = value, behind
            row.skip(behind - row.at)
        return leaf

    # ---- what detectors vouch for ---------------------------------------------------------------

    def _records(
        self, rows: list[Row], scope: list[Column], depth: int, records: Records
    ) -> Part | None:
        """Take records as they are claimed: the cuts within them may be wrong."""
        items = [
            row.part(size) for row, sizes in zip(rows, records.sizes, strict=True) for size in sizes
        ]
        self.work -= len(items)
        some = items[:: len(items) // _MAX_ITEMS + 1]
        head: Nodes = []
        outer, scope = scope, list(scope)
        if records.tag:
            head.append(self._put_number(some, records.tag, Sem.ENUM_FLAGS, records.endian, scope))
        leaf: ir.Number | ir.Varint
        if records.form:
            leaf = self._put_varint(some, records.form, scope)
        else:
            leaf = self._put_number(some, records.width, Sem.LENGTH, records.endian, scope)
        size = ir.Size("field", records.said(), leaf.name)
        inner = self.region(some, scope, depth + 1, bounded=True)
        body = ir.Seq((*head, leaf, ir.Sized(size, ir.Seq(tuple(inner.nodes)))))
        repeat = ir.Repeat(body, None, records.stop)
        if not records.stop and not records.trailer:
            return Part([repeat], inner.lost, done=True)
        last = self.region(rows, outer, depth + 1, bounded=True)
        node: ir.Node = repeat
        if records.trailer:
            node = ir.Sized(ir.Size("rest", records.trailer), repeat)
        return Part([node, *last.nodes], inner.lost + last.lost, done=True)

    def _blocks(
        self, rows: list[Row], scope: list[Column], depth: int, *, maybe: bool
    ) -> Part | None:
        """Take blocks as they are claimed; there are none without data, so `maybe` none at all."""
        cut = said_blocks(rows)
        if cut is None:
            return None
        first, width = self._place(rows), ir.width_of(cut.leaf)
        leaf = self.names.put(cut.leaf, Sem.CHECKSUM, -1)
        known = self.names.count
        inner = self.region(cut.rows, scope, depth + 1, bounded=True)
        self.names.move(known, lambda at: first + at + at // cut.size * width if first >= 0 else -1)
        for row in rows:
            row.skip(row.end - row.at)
        blocks: ir.Node = ir.Blocks(cut.size, leaf, ir.Seq(tuple(inner.nodes)))
        return Part([ir.Maybe(blocks) if maybe else blocks], inner.lost, done=True)

    # ---- checksums at the end -------------------------------------------------------------------

    def _trailer(self, rows: list[Row]) -> Part | None:
        """Split off a checksum that ends every message, where messages differ in length."""
        if len({row.end for row in rows}) == 1 or any(row.left < 2 for row in rows):
            return None
        if any(row.sems[-1] is not Sem.CHECKSUM for row in rows) or ends_in_blocks(rows):
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


def _merged(cases: list[ir.Case]) -> tuple[ir.Case, ...]:
    """Put the most frequent case first."""
    return tuple(sorted(cases, key=lambda case: (-case.probability, case.values)))
