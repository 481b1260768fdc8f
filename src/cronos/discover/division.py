"""Divides messages into the types of a grammar, so that the whole description is shortest.

Four ways are tried: all together, by direction, as discovery found the types, and those merged one
into another while that shortens the description. Each becomes a grammar and parses the sample: what
counts is the grammar's size and what its parse really loses, wrongly chosen types included.

A type that comes before another must not take its messages: where the values at a fixed place never
meet, the earlier type demands its own there (`strict`).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from cronos.discover import ir
from cronos.discover.explained import LOST_BITS, Part
from cronos.discover.inference import Inference
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.model import Claim, Sem
from cronos.discover.namer import Names, named
from cronos.discover.rows import rows_of

TYPE_BITS: Final = 24.0
OTHER: Final = "other"
Direction: TypeAlias = Literal["", "c2s", "s2c"]
_MOST_MERGES: Final = 24
_MAX_VALUES: Final = 24
_MAX_PLACE: Final = 64


class Sample(msgspec.Struct, frozen=True):
    """A message as inference sees it."""

    data: bytes
    fields: tuple[tuple[int, int, Sem], ...]
    type: int
    direction: str
    said: dict[int, tuple[Claim, ...]] = {}
    """What detectors claim of it; see `attested.said_of`."""


class _Group:
    """Messages that may share a type, and what was inferred of them."""

    __slots__ = ("bold", "part", "rules", "samples", "seen")

    def __init__(
        self, samples: Sequence[Sample], names: Names, work: int, *, bold: bool = False
    ) -> None:
        self.samples = samples
        self.bold = bold
        self.seen: dict[tuple[int, int], frozenset[bytes]] = {}
        inference = Inference(names, work, bold=bold)
        self.part: Part = inference.body(
            rows_of([(one.data, one.fields) for one in samples], [one.said for one in samples])
        )
        self.rules = inference.rules

    @property
    def bits(self) -> float:
        return self.part.bits + TYPE_BITS


def divided(
    samples: Sequence[Sample], name: str, work: int, *, bold: bool = False, merged: bool = True
) -> ir.Grammar:
    """Give the structure of the grammar: types in the order in which they are tried.

    When `bold`, messages are cut as most of them are also where many are not. Types are `merged`
    one into another unless there is no time for it: that takes as long as all else.
    """
    names = Names()
    whole = [_Group(samples, names, work, bold=bold)]
    directed = _split(whole[0], names, work, lambda one: one.direction)
    typed = _split(whole[0], names, work, lambda one: f"{one.direction}/{one.type:06}")
    # One group more is the whole once more, at the same cost.
    ways = [whole, *([directed] if len(directed) > 1 else [])]
    ways += [_agglomerated(typed, names, work)] if merged and len(typed) > 1 else []
    ways += [typed] if 1 < len(typed) <= ir.MAX_TYPES else []
    grammars = [one for way in ways if _small(one := _grammar(way, names, name))]
    return min(grammars, key=lambda one: described_bits(one, samples))


def with_others(
    grammar: ir.Grammar, samples: Sequence[Sample], work: int, sides: Sequence[Direction] = ("",)
) -> ir.Grammar:
    """Add a last type for what is none of the others: the header that all share, then bytes.

    One for each of these directions, or one for both.

    Checksums of the header are of it, and so are those of blocks and a length that says where the
    message ends: what breaks them is no message.
    """
    names, out = Names(), grammar
    for direction in sides:
        some = [one for one in samples if direction in ("", one.direction)]
        head = _header(_Group(some, names, work).part.nodes, names) if some else []
        if head and len(out.types) < ir.MAX_TYPES:
            body = named([ir.Seq(tuple(head))], names.places, out)[0]
            name = f"{OTHER}_{direction}" if direction else OTHER
            kind = ir.MessageType(name, body, 0.0, direction)
            out = msgspec.structs.replace(out, types=(*out.types, kind))
    return out


def _header(nodes: Sequence[ir.Node], names: Names) -> list[ir.Node]:
    """Give the leaves of fixed width that nodes begin with, then bytes; nothing without any."""
    head: list[ir.Node] = []
    rest: ir.Node = names.put(ir.Data("", ir.Size("rest")), Sem.BYTES, -1)
    for node in nodes:
        if isinstance(node, ir.Number | ir.Data | ir.Checksum) and ir.width_of(node):
            head.append(node)
            continue
        blocks = node.body if isinstance(node, ir.Maybe) else node
        if isinstance(blocks, ir.Blocks):
            whole = msgspec.structs.replace(blocks, body=rest)
            rest = ir.Maybe(whole) if isinstance(node, ir.Maybe) else whole
        elif isinstance(node, ir.Sized) and node is nodes[-1] and isinstance(node.body, ir.Seq):
            within = _header(node.body.items, names) or [rest]
            rest = msgspec.structs.replace(node, body=ir.Seq(tuple(within)))
        break
    return [*head, rest] if head else []


def _small(grammar: ir.Grammar) -> bool:
    """Say whether a grammar may run: many types of many fields may be too many nodes."""
    return sum([1 for kind in grammar.types for _ in ir.walk(kind.body)]) < ir.MAX_NODES


def described_bits(grammar: ir.Grammar, samples: Sequence[Sample]) -> float:
    """Give the description length: the grammar, the choice of types, and boundaries not given."""
    run = Interpreter(grammar)
    total = TYPE_BITS * len(grammar.types)
    for body in [kind.body for kind in grammar.types] + list(grammar.rules.values()):
        total += Part([body]).bits
    counts: dict[int, int] = defaultdict(int)
    for one in samples:
        parsed = run.parse(one.data, one.direction, checksums=False, floor=-math.inf)
        wanted = {offset for offset, _, _ in one.fields if offset}
        if isinstance(parsed, Parsed):
            counts[parsed.type] += 1
            total += LOST_BITS * len(wanted ^ {f.offset for f in parsed.fields if f.offset})
        else:
            total += 2 * LOST_BITS * (len(wanted) + 1)
    return total + sum([-n * math.log2(n / len(samples)) for n in counts.values()])


def _split(whole: _Group, names: Names, work: int, key: Callable[[Sample], str]) -> list[_Group]:
    by: dict[str, list[Sample]] = defaultdict(list)
    for one in whole.samples:
        by[key(one)].append(one)
    if len(by) == 1:
        return [whole]
    share, bold = work // len(by), whole.bold
    return [_Group(some, names, share, bold=bold) for _, some in sorted(by.items())]


def _agglomerated(groups: list[_Group], names: Names, work: int) -> list[_Group]:
    """Merge types, the smallest into those that begin alike, while the description shrinks."""
    pending = sorted(groups, key=lambda group: len(group.samples))
    done: list[_Group] = []
    tries = _MOST_MERGES
    while pending:
        one = pending.pop(0)
        merged: _Group | None = None
        for other in _near(one, pending) if tries > 0 else ():
            tries -= 1
            both = _Group([*other.samples, *one.samples], names, work // 4, bold=one.bold)
            if both.bits < one.bits + other.bits:
                merged = both
                pending.remove(other)
                break
        if merged is None:
            done.append(one)
        else:
            pending.append(merged)
            pending.sort(key=lambda group: len(group.samples))
    return done


def _near(one: _Group, others: Sequence[_Group]) -> list[_Group]:
    """Give the two groups, of the same direction, whose first fields are most like these."""

    def likeness(other: _Group) -> int:
        same = 0
        for a, b in zip(one.samples[0].fields, other.samples[0].fields, strict=False):
            if a[:2] != b[:2]:
                break
            same += 1
        return same

    direction = one.samples[0].direction
    near = [o for o in others if o.samples[0].direction == direction and likeness(o) > 0]
    return sorted(near, key=likeness, reverse=True)[:2]


def _grammar(groups: Sequence[_Group], names: Names, name: str) -> ir.Grammar:
    """Write groups down as types, the largest first, each leaving the others' messages alone."""
    ordered = sorted(groups, key=lambda group: -len(group.samples))
    bodies = named([ir.Seq(tuple(group.part.nodes)) for group in ordered], names.places)
    bodies = [_strict(bodies[n], ordered[n], ordered[n + 1 :]) for n in range(len(ordered))]
    rules: dict[str, ir.Node] = {}
    for group in ordered:
        rules |= group.rules
    kinds = [
        ir.MessageType(
            f"type_{index}",
            body,
            len(group.samples),
            _direction(group) if len(ordered) > 1 else "",
            len(group.samples),
            tuple(sorted({one.type for one in group.samples})),
        )
        for index, (group, body) in enumerate(zip(ordered, bodies, strict=True))
    ]
    return ir.Grammar(name, tuple(kinds), rules)


def _direction(group: _Group) -> Direction:
    directions = {one.direction for one in group.samples}
    if directions == {"c2s"}:
        return "c2s"
    return "s2c" if directions == {"s2c"} else ""


def _strict(body: ir.Node, group: _Group, later: Sequence[_Group]) -> ir.Node:
    """Mark the leaves whose values keep this type apart from the later ones."""
    marked: dict[str, frozenset[bytes]] = {}
    telling = [
        (leaf, place, width, mine)
        for leaf, place, width in _fixed_places(body)
        if _telling(leaf, group, mine := _values(group, place, width), width)
    ]
    for other in later:
        for leaf, place, width, mine in telling:
            if not mine & _values(other, place, width):
                marked[leaf.name] = mine
                break

    def change(node: ir.Node) -> ir.Node:
        if not isinstance(node, ir.Number | ir.Data) or node.name not in marked:
            return node
        values = sorted(marked[node.name])
        share = 1.0 / (len(values) + 1)
        if isinstance(node, ir.Data):
            known = tuple([(value, share) for value in values])
            return msgspec.structs.replace(node, strict=True, known=known)
        order: Literal["big", "little"] = "big" if node.endian == "be" else "little"
        numbers = tuple([(int.from_bytes(value, order), share) for value in values])
        return msgspec.structs.replace(node, strict=True, known=numbers)

    return ir.rewrite(body, change)


def _fixed_places(body: ir.Node) -> Iterator[tuple[ir.Number | ir.Data, int, int]]:
    """Give the leaves at fixed places from the beginning on, tags first."""
    found: list[tuple[ir.Number | ir.Data, int, int]] = []
    at, node = 0, body
    while isinstance(node, ir.Seq) and node.items and at < _MAX_PLACE:
        for one in node.items:
            width = ir.width_of(one) if isinstance(one, ir.Number | ir.Data) else 0
            if not isinstance(one, ir.Number | ir.Data) or not width:
                break
            found.append((one, at, width))
            at += width
        last = node.items[-1]
        node = last.body if isinstance(last, ir.Sized) else ir.Seq(())
    return iter(sorted(found, key=lambda one: (one[0].sem is not Sem.ENUM_FLAGS, one[1])))


def _values(group: _Group, place: int, width: int) -> frozenset[bytes]:
    """Give what stands there in all of a group's messages."""
    key = place, width
    if key not in group.seen:
        group.seen[key] = frozenset([one.data[place : place + width] for one in group.samples])
    return group.seen[key]


def _telling(
    leaf: ir.Number | ir.Data, group: _Group, values: frozenset[bytes], width: int
) -> bool:
    """Say whether these values are so few, and so often there, that others would be news."""
    if any(len(value) != width for value in values) or len(values) > _MAX_VALUES:
        return False
    if leaf.sem is Sem.ENUM_FLAGS and width <= 2:
        return True
    return len(values) <= 4 and len(group.samples) >= 8 * len(values)
