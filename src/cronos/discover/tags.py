"""Tags: the number that decides how a message goes on."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final, TypeAlias

from cronos.discover.model import Sem
from cronos.discover.rows import Column, Row

CASE_BITS: Final = 6.0
_NEAREST: Final = 16
_MAX_TAGS: Final = 64

Groups: TypeAlias = list[tuple[tuple[int, ...], list[Row]]]


def _shape(row: Row) -> tuple[int, ...]:
    """Say how a row goes on, as far as a tag can tell: texts have no length of their own."""
    widths = row.widths(3)
    return tuple(
        [
            -1 if row.sems[row.i + n] in (Sem.TEXT, Sem.BYTES) and width > 2 else width
            for n, width in enumerate(widths)
        ]
    )


def best_tag(rows: Sequence[Row], scope: Sequence[Column]) -> tuple[Column, Groups] | None:
    """Find the number that best tells apart how rows go on, worth more than its cases cost."""
    shapes = [_shape(row) for row in rows]
    whole = _entropy(Counter(shapes)) * len(rows)
    best: tuple[float, Column, dict[int, list[int]]] | None = None
    for column in scope[-_NEAREST:][::-1]:
        by: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            by[row.env[column.name]].append(index)
        few = 1.0 if column.sem is Sem.ENUM_FLAGS else 0.5
        if not 2 <= len(by) <= min(_MAX_TAGS, few * len(rows)):
            continue
        after = sum(
            [_entropy(Counter([shapes[i] for i in some])) * len(some) for some in by.values()]
        )
        gain = whole - after - CASE_BITS * len(by)
        gain *= 1.2 if column.sem is Sem.ENUM_FLAGS else 1.0
        if gain > (best[0] if best else 0.0):
            best = gain, column, by
    if best is None:
        return None
    return best[1], _grouped(rows, shapes, best[2])


def _grouped(
    rows: Sequence[Row], shapes: Sequence[tuple[int, ...]], by: dict[int, list[int]]
) -> Groups:
    """Put the values together after which rows go on alike."""
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for value, some in sorted(by.items()):
        key = tuple(sorted({shapes[index] for index in some}))
        alike[key].append(value)
    return [
        (tuple(values), [rows[index] for value in values for index in by[value]])
        for values in alike.values()
    ]


def _entropy(counts: Counter[tuple[int, ...]]) -> float:
    total = sum(counts.values())
    return -sum([c / total * math.log2(c / total) for c in counts.values()])
