"""Learn published protocols by name: how their messages begin, and trees for each alone."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover.boosting import Recipe, grow
from cronos.discover.evidence import Array
from cronos.discover.lessons import Lesson, sampled
from cronos.discover.published import HEAD, PARTS, SYMBOLS, tally
from cronos.discover.teaching import Teacher

FEWEST: Final = 25
"""Messages that are too few to know a protocol again by."""
SHARES: Final = {"published": 0.5, "drawn": 0.25, "even": 0.25}
"""What the usual beginnings are mixed of, each protocol counting alike."""
FROM: Final = 300
"""Messages of a protocol that its trees learn from."""
ROWS: Final = 8_000


def known_again(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Give the lessons that are long enough to know their protocol again by."""
    return [one for one in lessons if len(one.messages) >= FEWEST]


def beginnings_of(lessons: Sequence[Lesson], drawn: Iterable[Lesson]) -> dict[str, Array]:
    """Count how the messages of each protocol begin, and how those of all."""
    seen = [tally(one.messages) for one in lessons]
    parts = {
        "published": [each / each.sum(axis=1, keepdims=True) for each in seen],
        "drawn": [t / t.sum(axis=1, keepdims=True) for t in (tally(d.messages) for d in drawn)],
    }
    even = np.full((HEAD, SYMBOLS), 1 / SYMBOLS)
    usual = SHARES["even"] * even
    for name, tables in parts.items():
        usual = usual + SHARES[name] * (np.mean(tables, axis=0) if tables else even)
    return {
        "protocols": np.array([one.name for one in lessons], dtype=str),
        "seen": np.array(seen, dtype=np.uint16).reshape(-1, HEAD, SYMBOLS),
        "usual": usual.astype(np.float32),
    }


class Own(msgspec.Struct, frozen=True):
    """Grows trees for one protocol alone."""

    teacher: Teacher
    recipe: Recipe

    def __call__(self, lesson: Lesson) -> dict[str, Array]:
        """Give the packed trees, each part behind the protocol's name and a stop."""
        rows = self.teacher((sampled(lesson, FROM), ROWS))
        parts = grow(
            rows.gaps, rows.borders, np.ones(len(rows.borders)), rows.gap_names, self.recipe
        )
        return {f"{lesson.name}.{part}": parts[part] for part in PARTS}
