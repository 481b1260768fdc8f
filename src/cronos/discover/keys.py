"""Describe what may tell message types apart: a byte, half of one, a tag of BER, a word of text.

A key has few values, changes within a conversation, and decides how long a message is and what
stands in its other columns, most of all behind it; an identifier does the first at most.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from cronos.discover.evidence import Array
from cronos.discover.messages import Message

MAX_OFFSET: Final = 64
"""Keys are looked for, and columns explained, among this many bytes of the front."""
MAX_HALVES: Final = 2
"""Halves are looked at in the first bytes only: further behind they are halves of numbers."""
MAX_TAGS: Final = 8
MAX_VALUES: Final = 96
FEW: Final = 8
MOST_DIFFERENT: Final = 0.3
"""What has more values than this share of the messages that hold it names messages, not types."""
WORDS: Final = 3
WORD_BYTES: Final = 24
FIRST_LINE: Final = 256
SPEAKERS: Final = 3
"""Values of a byte that says who speaks."""
ALPHABET: Final = 18
"""Values of a column that are told apart when it is explained; all others count alike."""
MOST: Final = 0.8
DENSE: Final = 4_096
"""Labels that lie closer are counted without being sorted."""
WAYS: Final = {"": 0, "c2s": 1, "s2c": 2}
BYTE, HIGH, LOW, TAG, VALUE, WORD, NONE = range(7)

_KINDS: Final = np.full(257, 2)
_KINDS[0], _KINDS[1:32], _KINDS[32:127], _KINDS[255], _KINDS[256] = 0, 1, 3, 4, 5
_KIND_COUNT: Final = 6
_HALVES: Final = np.array([0.0] + [math.lgamma(k / 2) for k in range(1, 40_000)]) / math.log(2)
_BLANKS: Final = bytes(32 if c in b"\r\n\t:;=,/<>" else c for c in range(256))


class View(NamedTuple):
    """One way to read a small number out of each message; -1 where it has none."""

    kind: int
    place: int
    values: Array


class Heads:
    """The first bytes of all messages as tables, and what else is known of each message."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.count = len(messages)
        sizes = [len(m.payload) for m in messages]
        self.width = min(MAX_OFFSET, max(sizes, default=0))
        self.bytes = np.full((self.count, self.width), 256, dtype=np.int64)
        for i, message in enumerate(messages):
            head = np.frombuffer(message.payload[: self.width], np.uint8)
            self.bytes[i, : len(head)] = head
        self.lengths = np.array(sizes, dtype=np.int64)
        self.flows = ranks(np.array([m.flow for m in messages]))
        self.before, self.asked = _linked(messages)
        self.views = [*_byte_views(self.bytes), *_nested_views(messages), *_word_views(messages)]
        told = ranks(np.array([WAYS.get(m.direction, 0) for m in messages], dtype=np.int64))
        self.speaker = None if told.max(initial=0) else _speaker(self.views, self.before)
        """The view that says who speaks, where directions are not told."""
        self.ways = told if self.speaker is None else ranks(self.speaker.values)
        size = np.minimum(ranks(np.minimum(self.lengths, 4_096)), ALPHABET * 4)
        self.tables = (
            _common(self.bytes),
            _KINDS[self.bytes],
            _common(size[:, None]),
        )
        """What a key should explain: bytes, kinds of bytes, and the length."""


def ranks(values: Array) -> Array:
    """Number values from 0 in their order."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(np.unique(values, return_inverse=True)[1].astype(np.int64).reshape(-1))


def _common(table: Array) -> Array:
    """Number the values of each column by how frequent they are; the rare ones count alike."""
    out = np.empty_like(table)
    for j in range(table.shape[1]):
        _, inverse, counts = np.unique(table[:, j], return_inverse=True, return_counts=True)
        order = np.empty(len(counts), dtype=np.int64)
        order[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        out[:, j] = np.minimum(order[inverse.reshape(-1)], ALPHABET - 1)
    return out


def _linked(messages: Sequence[Message]) -> tuple[Array, Array]:
    """Give for each message the one before it of its flow and direction, and the other side's."""
    seen: dict[tuple[str, str], int] = {}
    latest: dict[str, int] = {}
    before = np.full(len(messages), -1)
    asked = np.full(len(messages), -1)
    for i, message in enumerate(messages):
        before[i] = seen.get((message.flow, message.direction), -1)
        last = latest.get(message.flow, -1)
        if last >= 0 and messages[last].direction != message.direction:
            asked[i] = last
        seen[message.flow, message.direction] = i
        latest[message.flow] = i
    return before, asked


def _byte_views(table: Array) -> list[View]:
    out: list[View] = []
    for j in range(table.shape[1]):
        values = np.where(table[:, j] < 256, table[:, j], -1)
        out.append(View(BYTE, j, values))
        if j < MAX_HALVES and _tells(values):
            high = np.where(values >= 0, values >> 4, -1)
            low = np.where(values >= 0, values & 15, -1)
            if _kinds(high) > 1 and _kinds(low) > 1:
                out += [View(HIGH, j, high), View(LOW, j, low)]
    return out


def _kinds(values: Array) -> int:
    return len(np.unique(values))


def _speaker(views: list[View], before: Array) -> View | None:
    """Find the byte that says who speaks: in a flow it changes with every message, and back."""
    one = np.flatnonzero(before >= 0)
    two = one[before[before[one]] >= 0]
    if len(two) < FEW:
        return None
    best: tuple[float, View] | None = None
    for view in views:
        values = view.values
        if view.kind > LOW or not 2 <= _kinds(values) <= SPEAKERS:
            continue
        there = float((values[one] != values[before[one]]).mean())
        back = float((values[two] == values[before[before[two]]]).mean())
        if min(there, back) >= MOST and (best is None or there + back > best[0]):
            best = there + back, view
    return None if best is None else best[1]


def _nested_views(messages: Sequence[Message]) -> list[View]:
    """Read the tags, and the small values, of the first elements of BER in their order."""
    rows = [_elements(m.payload) for m in messages]
    if not rows or sum(bool(row) for row in rows) < MOST * len(rows):
        return []
    out: list[View] = []
    for k in range(MAX_TAGS):
        for kind, part in ((TAG, 0), (VALUE, 1)):
            values = [row[k][part] if k < len(row) else -1 for row in rows]
            out.append(View(kind, k, np.array(values, dtype=np.int64)))
    return out


def _elements(data: bytes) -> list[tuple[int, int]]:
    """Give (tag, short value or -1) of the first elements, those inside of others included.

    Empty where the message is not one element of BER from its beginning to its end.
    """
    out: list[tuple[int, int]] = []
    at = 0
    while at + 2 <= len(data) and len(out) < MAX_TAGS:
        tag, size, head = data[at], data[at + 1], 2
        if size >= 0x80:
            more = size & 0x7F
            if not 1 <= more <= 4 or at + 2 + more > len(data):
                break
            size, head = int.from_bytes(data[at + 2 : at + 2 + more], "big"), 2 + more
        if at + head + size > len(data) or (not out and at + head + size != len(data)):
            break
        short = int.from_bytes(data[at + head : at + head + size], "big") if size == 1 else -1
        out.append((tag, short))
        at += head if tag & 0x20 else head + size
    return out if len(out) > 1 else []


def _word_views(messages: Sequence[Message]) -> list[View]:
    """Read the first words of texts."""
    lines = [m.payload[:FIRST_LINE] for m in messages]
    texts = sum(line[:4].isascii() and line[:4].decode("latin-1").isprintable() for line in lines)
    if not lines or texts < MOST * len(lines):
        return []
    words = [line.translate(_BLANKS).split()[:WORDS] for line in lines]
    out: list[View] = []
    for k in range(WORDS):
        known: dict[bytes, int] = {}
        values = [
            known.setdefault(w[k][:WORD_BYTES], len(known)) if k < len(w) else -1 for w in words
        ]
        out.append(View(WORD, k, np.array(values, dtype=np.int64)))
    return out


def candidates(heads: Heads) -> list[View]:
    """Give the views with few enough values; of two that tell the same apart the first.

    The last one tells nothing apart: a search may be better off with it.
    """
    out: list[View] = []
    seen: set[bytes] = set()
    for view in heads.views:
        if not _tells(view.values):
            continue
        mark = _first_seen(view.values).tobytes()
        if mark not in seen:
            seen.add(mark)
            out.append(view)
    if out:
        out.append(View(NONE, 0, np.zeros(heads.count, dtype=np.int64)))
    return out


def _tells(values: Array) -> bool:
    """Say whether values may tell types apart: several, and few for the messages that hold one."""
    present = values[values >= 0]
    kinds = _kinds(present)
    if _kinds(values) < 2 or kinds > MAX_VALUES:
        return False
    return kinds <= max(min(FEW, len(values) // 2), MOST_DIFFERENT * len(present))


def _first_seen(values: Array) -> Array:
    """Number values in the order in which they come, so that equal splits are equal arrays."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)])


def crossed(groups: Array, values: Array) -> Array:
    """Number the pairs of what two labellings say, from 0 in their order; both number from 0."""
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    home = groups * (int(values.max()) + 1) + values
    seen = np.zeros(int(home.max()) + 1, dtype=np.int64)
    seen[home] = 1
    return np.asarray((np.cumsum(seen) - 1)[home])


def bits(labels: Array) -> float:
    """Give the entropy of a labelling."""
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if high - low < DENSE:
        counts = np.bincount(labels - low)
    else:
        ordered = np.sort(labels, axis=None)
        ends = np.flatnonzero(ordered[1:] != ordered[:-1])
        counts = np.diff(ends, prepend=-1, append=len(ordered) - 1)
    share = counts[counts > 0] / max(1, len(labels))
    return float(-(share * np.log2(share)).sum())


def code_bits(table: Array, labels: Array) -> Array:
    """Give for each column the bits of an adaptive code (Krichevsky, Trofimov) in each group."""
    alphabet = np.asarray(table.max(axis=0) + 1)
    first = np.cumsum(alphabet) - alphabet
    total = int(alphabet.sum())
    counts = np.bincount((labels[:, None] * total + (first + table)).ravel())
    seen = np.flatnonzero(counts)
    column = np.repeat(np.arange(len(alphabet)), alphabet)[seen % total]
    told = _half(2 * counts[seen] + 1) - _HALVES[1]
    sizes = np.bincount(labels)[:, None]
    out = (_half(2 * sizes + alphabet) - _half(alphabet)).sum(axis=0)
    return np.asarray(out - np.bincount(column, told, len(alphabet)))


def _half(k: Array) -> Array:
    """Give log2 of Gamma(k / 2)."""
    return np.asarray(_HALVES[np.minimum(k, len(_HALVES) - 1)])
