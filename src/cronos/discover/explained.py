"""What explains some rows, and how many bits it takes to say: the measure of an inference.

A node costs `NODE_BITS`, a boundary that the grammar does not give costs `LOST_BITS`.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from cronos.discover import ir
from cronos.discover.model import Sem
from cronos.discover.rows import Row
from cronos.discover.tags import CASE_BITS

NODE_BITS: Final = 14.0
LOST_BITS: Final = 7.0

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


def save(rows: Sequence[Row]) -> Saved:
    """Remember where rows are."""
    return [(row.i, row.at, row.cuts, row.sems, len(row.env)) for row in rows]


def restore(rows: Sequence[Row], saved: Saved) -> None:
    """Put rows back to where they were."""
    for row, (i, at, cuts, sems, known) in zip(rows, saved, strict=True):
        row.i, row.at, row.cuts, row.sems = i, at, cuts, sems
        while len(row.env) > known:
            # Numbers of an explanation that was given up would push out those in scope.
            row.env.popitem()
