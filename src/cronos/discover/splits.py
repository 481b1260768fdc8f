"""Describe what a split by a key explains, so that a learned scorer can say how good it is."""

import math
from typing import Final

import numpy as np

from cronos.discover.evidence import Array
from cronos.discover.keys import (
    HIGH,
    LOW,
    MAX_OFFSET,
    VALUE,
    Heads,
    View,
    bits,
    code_bits,
    crossed,
    ranks,
)

EXPLAINED: Final = 400
"""Messages, evenly over the time, whose bytes a split is asked to explain."""
MAX_GROUPS: Final = 128
LEARNT: Final = 0.1

OWN: Final = (
    *("kind", "place", "varied", "values", "value_share", "bits", "absent", "flow_tie", "way_tie"),
    *("way_told", "size_tie", "size_told", "is_size", "stays", "counts", "echoes", "answers"),
    *(
        "told",
        "tells",
        "mode",
        "least",
        "most",
        "zero",
        "lonely",
        "texts",
        "messages",
        "changes_alone",
    ),
    *("bits-2", "zero-2", "bits-1", "zero-1", "bits+1", "zero+1", "bits+2", "zero+2"),
)
GAINS: Final = ("bytes", "kinds", "sizes", "net", "after", "before", "columns")
ADDED: Final = (
    *("groups", "group_bits", "added_bits", "added_share", "single", "rare", "largest"),
    *("replies", "replies_added", *(f"{name}_left" for name in GAINS[:3]), *GAINS),
)
RANKED: Final = ("bytes", "kinds", "net", "after", "columns")
GIVEN: Final = ("had_groups", "had_bits", "had_bytes", "had_kinds", "had_sizes", "had_way", "depth")
NAMES: Final = (
    *OWN, *ADDED, *GIVEN, *(f"{n}_rank" for n in RANKED), *(f"{n}_best" for n in RANKED),
)  # fmt: skip


def _told(views: list[View]) -> list[tuple[float, float]]:
    """Give for each view how much of it the best earlier one tells, and it of all later ones."""
    own = [bits(view.values) for view in views]
    shared = np.zeros((len(views), len(views)))
    for b, later in enumerate(views):
        for a, earlier in enumerate(views[:b]):
            joint = bits(earlier.values * 100_000 + later.values)
            shared[a, b] = (own[a] + own[b] - joint) / max(own[b], 1e-9)
    return [
        (
            float(shared[:n, n].max(initial=0.0)),
            float(shared[n, n + 1 :].mean()) if n + 1 < len(views) else 0.0,
        )
        for n in range(len(views))
    ]


class Splits:
    """Describes splits of the messages of one discovery; what is asked twice is counted once."""

    def __init__(self, heads: Heads, views: list[View]) -> None:
        self.heads = heads
        self.views = views
        step = max(1, -(-heads.count // EXPLAINED))
        self._some = np.arange(0, heads.count, step)
        self._tables = tuple(table[self._some] for table in heads.tables)
        self._spread = [bits(heads.bytes[:, j]) for j in range(heads.width)]
        self._varied = np.cumsum([spread > 0.01 for spread in self._spread])
        self.values = [ranks(view.values) for view in views]
        """The values of each view, numbered from 0."""
        self._told = _told(views)
        self._own = [self._describe(n) for n in range(len(views))]
        none = np.zeros(heads.count, dtype=np.int64)
        self._whole = [max(1e-6, float(code.sum())) for code in self._codes(none)]

    def _codes(self, labels: Array) -> list[Array]:
        some = np.minimum(labels[self._some], MAX_GROUPS)
        return [code_bits(table, ranks(some)) for table in self._tables]

    def rows(self, groups: Array, depth: int, at: list[int]) -> Array:
        """Give a row of `NAMES` for splitting the groups by each of the views `at`."""
        codes = self._codes(groups)
        way = bits(groups * 4 + self.heads.ways) - bits(groups) < 1e-9
        left = [float(code.sum()) / whole for code, whole in zip(codes, self._whole, strict=True)]
        given = [float(groups.max()) + 1, bits(groups), *left, float(way), float(depth)]
        rows = [[*self._own[n], *self._added(groups, n, codes), *given] for n in at]
        table = np.array(rows, dtype=np.float64).reshape(len(at), len(NAMES) - 2 * len(RANKED))
        ranked = [NAMES.index(name) for name in RANKED]
        order = [np.argsort(np.argsort(-table[:, k], kind="stable")) for k in ranked]
        best = [table[:, k] / max(1e-9, float(np.abs(table[:, k]).max(initial=0))) for k in ranked]
        return np.concatenate((table, np.stack([*order, *best], axis=1)), axis=1)

    def _describe(self, number: int) -> list[float]:
        """Describe a view by itself."""
        view = self.views[number]
        heads, values = self.heads, view.values
        own, flows = bits(values), bits(heads.flows)
        ways, sizes = bits(heads.ways), bits(heads.lengths)
        with_way = own + ways - bits(values * 4 + heads.ways)
        with_size = own + sizes - bits(values * 70_000 + heads.lengths)
        counts = np.bincount(ranks(values))
        present = values[values >= 0]
        offset = view.place if view.kind <= LOW else MAX_OFFSET
        return [
            view.kind,
            view.place,
            float(self._varied[offset]) if offset < heads.width else -1.0,
            len(counts),
            len(counts) / len(values),
            own,
            float((values < 0).mean()),
            (own + flows - bits(values * 10_000 + heads.flows)) / max(own, 1e-9),
            with_way / max(own, 1e-9),
            with_way / max(ways, 1e-9),
            with_size / max(own, 1e-9),
            with_size / max(sizes, 1e-9),
            self._is_size(values),
            *self._moves(view),
            *self._told[number],
            float(counts.max()) / len(values),
            float(present.min(initial=255)),
            float(present.max(initial=0)),
            float((values == 0).mean()),
            float((counts == 1).sum()) / len(values),
            float(((present >= 32) & (present < 127)).mean()) if len(present) else 0.0,
            math.log2(len(values)),
            self._alone(view),
            *self._around(view),
        ]

    def _is_size(self, values: Array) -> float:
        """Give how often a value says the length of the message, up to a constant."""
        apart = (self.heads.lengths - values)[values >= 0]
        if not len(apart) or len(np.unique(self.heads.lengths)) < 2:
            return 0.0
        return float(np.bincount(ranks(apart % 256)).max()) / len(values)

    def _moves(self, view: View) -> list[float]:
        """Say how a view stays or counts in a flow, and how answers repeat it or go with it."""
        values = view.values
        before, asked = self.heads.before, self.heads.asked
        step = (values - values[np.maximum(before, 0)])[before >= 0]
        stays = float((step == 0).mean()) if len(step) else -1.0
        counts = float(((step == 1) | (step == -255)).mean()) if len(step) else -1.0
        answer, question = values[asked >= 0], values[asked[asked >= 0]]
        if not len(answer):
            return [stays, counts, -1.0, -1.0]
        own, other = bits(answer), bits(question)
        shared = own + other - bits(answer * 100_000 + question)
        return [stays, counts, float((answer == question).mean()), shared / max(own, 1e-9)]

    def _alone(self, view: View) -> float:
        """Give how often a byte changes and the one before it, its higher half if any, does not."""
        place = view.place
        if view.kind in (HIGH, LOW) or view.kind >= VALUE or not 0 < place < self.heads.width:
            return -1.0
        joint = bits(self.heads.bytes[:, place - 1] * 300 + self.heads.bytes[:, place])
        return (joint - self._spread[place - 1]) / max(self._spread[place], 1e-9)

    def _around(self, view: View) -> list[float]:
        out: list[float] = []
        for k in (view.place - 2, view.place - 1, view.place + 1, view.place + 2):
            inside = view.kind <= LOW and 0 <= k < self.heads.width
            out.append(self._spread[k] if inside else -1.0)
            out.append(float((self.heads.bytes[:, k] == 0).mean()) if inside else -1.0)
        return out

    def _added(self, groups: Array, number: int, codes: list[Array]) -> list[float]:
        """Describe what a split adds to the groups before it."""
        view, values = self.views[number], self.values[number]
        finer = crossed(groups, values)
        count = len(finer)
        sizes = np.bincount(finer)
        now, had = bits(finer), bits(groups)
        after = self._codes(finer)
        saved = [old - new for old, new in zip(codes, after, strict=True)]
        whole = [max(1e-6, float(code.sum())) for code in codes]
        key = code_bits(
            np.minimum(values, 17)[self._some][:, None], ranks(groups[self._some])
        ).sum()
        columns = np.arange(len(saved[0]))
        place = view.place if view.kind <= LOW else -1
        kinds = saved[1] / np.maximum(codes[1], 1.0)
        gains = [float(s.sum()) / w for s, w in zip(saved, whole, strict=True)]
        others = saved[0][columns != place]
        replies = self._replies(finer)
        return [
            len(sizes),
            now,
            now - had,
            (now - had) / max(bits(values), 1e-9),
            float((sizes == 1).sum()) / count,
            float(sizes[sizes <= 3].sum()) / count,
            float(sizes.max()) / count,
            replies,
            replies - self._replies(groups),
            *[float(a.sum()) / w for a, w in zip(after, self._whole, strict=True)],
            *gains,
            (float(others.sum()) - float(key)) / whole[0],
            float(saved[1][columns > place].mean()) if (columns > place).any() else 0.0,
            float(saved[1][columns < place].mean()) if (columns < place).any() else 0.0,
            float((kinds > LEARNT).mean()),
        ]

    def _replies(self, labels: Array) -> float:
        """Give how much of an answer's label its question's tells."""
        asked = self.heads.asked
        answer, question = labels[asked >= 0], labels[asked[asked >= 0]]
        if not len(answer):
            return -1.0
        own = bits(answer)
        return (own + bits(question) - bits(answer * 100_000 + question)) / max(own, 1e-9)
