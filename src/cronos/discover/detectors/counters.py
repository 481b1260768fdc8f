"""Counters and echoed numbers: what goes up by one step a message, what an answer repeats.

Counters: within a flow (or one direction of it) the next value is this one plus a constant step, in
at least 90 % of the transitions. The bound compares with the same values in any other order: how
often would two of them, drawn at random, lie one step apart? Echoes: an answer carries what the
question before it carried, and another question's would not do: the bound is the chance that two
questions of the capture share the value.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Bools,
    Found,
    Ints,
    Table,
    fixed,
    overlap,
    tail,
    variants,
    within,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

FRONT: Final = 128
LEAST_STEPS: Final = 0.9
MOST_STEP: Final = 4
LEAST_TRANSITIONS: Final = 8
LEAST_RISES: Final = 24
LEAST_RISING: Final = 0.97
LEAST_MOVING: Final = 0.3
"""Of the transitions, so many must change the value."""
TRIED_STEPS: Final = FRONT * 7 * 3 * 2 * MOST_STEP
"""Places, widths and orders, groupings, signs and sizes of steps."""
TRIED_ECHOES: Final = FRONT * 8
BACK: Final = 8
"""So many questions may be open at once."""
LIKENESS: Final = 48
LEAST_ECHOED: Final = 0.6
"""Captures lose questions; the bound is that of the answers that agree."""
MOSTLY_ZERO: Final = 0.9
LEAST_DIFFERENT: Final = 0.4
"""Of the questions, so many values of an id must differ; less is a code, or a station."""


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the counters and echoed ids of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find echoes, then counters that are no part of one."""
    echoes = _echoes(table)
    counted = [each for each in _counters(table) if each.alarm <= MOST_ALARM]
    free = [c for c in counted if not any(overlap(c, e) for e in echoes if e.sem is Sem.ID_SEQ)]
    return echoes + list(_chosen(table, free))


def successions(table: Table) -> dict[str, tuple[Ints, Ints]]:
    """Give the rows that follow one another: in a flow's direction, a flow, the capture."""
    order = np.argsort(table.times, kind="stable")
    keys = {
        "direction": table.flows * 4 + table.sides,
        "flow": table.flows,
        "capture": np.zeros(len(table), np.int64),
    }
    out: dict[str, tuple[Ints, Ints]] = {}
    for name, key in keys.items():
        rows = order[np.argsort(key[order], kind="stable")]
        same = key[rows[1:]] == key[rows[:-1]]
        out[name] = (rows[:-1][same].astype(np.int64), rows[1:][same].astype(np.int64))
    return out


class _Moves(NamedTuple):
    """For each succession: the row it starts from, and for each offset how far the number moves."""

    before: Ints
    words: Ints
    deltas: Ints
    inside: Bools


def _counters(table: Table) -> Iterator[Found]:
    for scope, (before, after) in successions(table).items():
        if before.size < LEAST_TRANSITIONS:
            continue
        ends: Ints = np.minimum(table.sizes[before], table.sizes[after])
        for width, order in variants((1, 2, 4)):
            words = table.words(width, order)[:, :FRONT]
            inside = within(ends, words.shape[1], width)
            moves = _Moves(before, words, words[after] - words[before], inside)
            terms: dict[str, str | int] = {"endian": order, "width": width, "scope": scope}
            yield from _steady(table, moves, terms)
            if scope == "direction":  # between question and answer the kind of message decides
                yield from _rising(table, moves, terms)


def _steady(table: Table, moves: "_Moves", terms: dict[str, str | int]) -> Iterator[Found]:
    """Find columns that go on by one and the same step."""
    width = int(terms["width"])
    top = 1 << (8 * width)
    before, words, inside = moves.before, moves.words, moves.inside
    steps = moves.deltas % top
    for step in (*range(1, MOST_STEP + 1), top - 1):
        right = (steps == step) & inside
        share = right.sum(axis=0) / np.maximum(1, inside.sum(axis=0))
        for offset in np.flatnonzero((share >= LEAST_STEPS) & _enough(inside)):
            can = inside[:, offset]
            start = words[:, offset][before[can]]
            trials, hits = _different(start, steps[can, offset], step)
            alarm = min(1.0, TRIED_STEPS * tail(hits, trials, _apart(start, step, top)))
            yield _found(table, "counter", int(offset), width, alarm, {**terms, "step": int(step)})


def _rising(table: Table, moves: "_Moves", terms: dict[str, str | int]) -> Iterator[Found]:
    """Find columns that never fall, however much they rise: captures have gaps.

    In any other order each change would as likely go down. The lowest byte must take part in the
    changes, or the number ends before it.
    """
    width = int(terms["width"])
    before, words, inside, deltas = moves.before, moves.words, moves.inside, moves.deltas
    ups = ((deltas > 0) & inside).sum(axis=0)
    downs = ((deltas < 0) & inside).sum(axis=0)
    moved = ups + downs
    good = (moved >= LEAST_RISES) & (ups >= LEAST_RISING * moved) & _enough(inside)
    good &= moved >= LEAST_MOVING * inside.sum(axis=0)
    for offset in np.flatnonzero(good):
        if _ends_here(words[:, offset][before], deltas[:, offset], inside[:, offset], width):
            change = inside[:, offset] & (deltas[:, offset] != 0)
            start = words[:, offset][before[change]]
            trials, hits = _different(start, np.sign(deltas[change, offset]), 1)
            alarm = min(1.0, TRIED_STEPS * tail(hits, trials, 0.5))
            more: dict[str, str | int] = {**terms, "moved": int(moved[offset])}
            yield _found(table, "counter.rising", int(offset), width, alarm, more)


def _ends_here(start: Ints, moves: Ints, can: Bools, width: int) -> bool:
    """Say whether the lowest byte belongs to the number: it moves, and by itself it rises."""
    changed = can & (moves != 0)
    if (moves[changed] & 255 != 0).mean() < 0.8:
        return False
    if width == 1:
        return True
    alone = changed & (start >> 8 == (start + moves) >> 8)
    return int(alone.sum()) >= LEAST_TRANSITIONS and (moves[alone] > 0).mean() >= LEAST_RISING


def _different(start: Ints, steps: Ints, step: int) -> tuple[int, int]:
    """Count the different transitions, and those of them that go by `step`.

    Flows that all begin with the same few messages repeat themselves, which proves nothing more.
    """
    kinds = np.unique(np.stack([start, steps]), axis=1)
    return int(kinds.shape[1]), int((kinds[1] == step).sum())


def _enough(inside: Bools) -> Bools:
    rows = inside.sum(axis=0)
    enough: Bools = (rows >= LEAST_TRANSITIONS) & (rows >= LEAST_SUPPORT * len(inside))
    return enough


def _apart(values: Ints, step: int, top: int) -> float:
    """Give the chance that two of these values, drawn at random, lie one step apart."""
    names, counts = np.unique(values, return_counts=True)
    shifted = (names + step) % top
    order = np.argsort(shifted)
    _, one, other = np.intersect1d(shifted[order], names, return_indices=True)
    pairs_apart = float((counts[order][one].astype(np.float64) * counts[other]).sum())
    return pairs_apart / max(1, values.size) ** 2


def _found(
    table: Table, kind: str, offset: int, width: int, alarm: float, terms: dict[str, str | int]
) -> Found:
    holds = table.reach(offset + width)
    at, widths = fixed(len(table), offset), fixed(len(table), width)
    return Found(kind, Sem.ID_SEQ, at, widths, holds, alarm, terms)


def _chosen(table: Table, found: list[Found]) -> Iterator[Found]:
    """Give one counter a place, each at its likely widths: ``choice`` 0 first."""
    scopes = {"direction": 0, "flow": 1, "capture": 2}

    def rank(each: Found) -> tuple[int, int, float, int, int]:
        moved = int(each.terms.get("moved", len(table)))
        kind = 0 if each.kind == "counter" else 1
        width = int(each.terms["width"])
        return kind, -moved, each.alarm, width, scopes[str(each.terms["scope"])]

    kept: list[Found] = []
    for each in sorted(found, key=rank):
        if any(overlap(each, other) for other in kept):
            continue
        kept.append(each)
        for choice, (low, high) in enumerate(_extents(table, each)):
            terms = {**each.terms, "width": high - low, "choice": choice}
            yield _found(table, each.kind, low, high - low, each.alarm, terms)


def _extents(table: Table, each: Found) -> list[tuple[int, int]]:
    """Give the widths that a counter may have: zeros on its high side may belong to it.

    A single lively byte between zeros can be read either way; the longer run of zeros goes first.
    """
    low = int(each.offsets[0])
    high = low + int(each.lengths[0])
    quiet = (table.block[:, : table.width] == 0).mean(axis=0) >= MOSTLY_ZERO
    left = right = 0
    while left < 7 and low - left > 0 and quiet[low - left - 1]:
        left += 1
    while right < 7 and high + right < quiet.size and quiet[high + right]:
        right += 1
    sides = {"be": [(left, True)], "le": [(right, False)]}[str(each.terms["endian"])]
    if high - low == 1:
        sides = sorted([(left, True), (right, False)], reverse=True)
    out: list[tuple[int, int]] = []
    for zeros, before in sides:
        for width in (4, 2, 8):
            if high - low < width <= high - low + zeros:
                first = high - width if before else low
                out += [(first, first + width)]
    return [*out, (low, high)]


def pairs(table: Table) -> tuple[Ints, Ints]:
    """Give questions and their answers.

    An answer's question is, of the last `BACK` of the flow, the one that shares most with it. A
    byte counts the more the less two questions of the capture agree in it; the last wins a tie.
    """
    block = table.block[:, : min(LIKENESS, table.width)]
    asked = np.flatnonzero(table.sides == 1)
    if asked.size == 0:
        return asked, asked
    weights = 1.0 - np.array([_collision(block[asked, o]) for o in range(block.shape[1])])
    recent: dict[int, list[int]] = {}
    questions: list[int] = []
    answers: list[int] = []
    for row in np.argsort(table.times, kind="stable"):
        earlier = recent.setdefault(int(table.flows[row]), [])
        if table.sides[row] == 1:
            earlier.append(int(row))
            del earlier[:-BACK]
        elif table.sides[row] == 2 and earlier:
            likeness = (block[earlier] == block[row]) @ weights
            questions.append(earlier[::-1][int(likeness[::-1].argmax())])
            answers.append(int(row))
    return np.array(questions, np.int64), np.array(answers, np.int64)


def _collision(values: Ints) -> float:
    """Give the chance that two of these are equal."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts**2).sum()) / max(1, values.size) ** 2


def runs(mask: Bools) -> list[tuple[int, int]]:
    """Give the stretches of a mask that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _echoes(table: Table) -> list[Found]:
    """Find what answers repeat: the run that differs most is an id, the others just echoes."""
    asked, answers = pairs(table)
    if asked.size < LEAST_TRANSITIONS:
        return []
    block = table.block[:, : min(FRONT, table.width)].astype(np.int64)
    ends: Ints = np.minimum(table.sizes[asked], table.sizes[answers])
    inside = within(ends, block.shape[1])
    equal: Bools = np.logical_and(block[asked] == block[answers], inside)
    share = equal.sum(axis=0) / np.maximum(1, inside.sum(axis=0))
    likely = (share >= LEAST_ECHOED) & (inside.mean(axis=0) >= LEAST_SUPPORT)
    groups: list[tuple[float, list[Found]]] = []
    for start, end in runs(likely):
        groups += _ids(table, asked, answers, (start, end))
    groups.sort(key=lambda group: (-round(group[0], 1), int(group[1][0].offsets[0])))
    out: list[Found] = []
    for number, (_, ids) in enumerate(groups):
        if number == 0:
            out += ids
        else:
            out += [msgspec.structs.replace(each, kind="echo", sem=Sem.VALUE) for each in ids]
    return out


def _ids(
    table: Table, asked: Ints, answers: Ints, run: tuple[int, int]
) -> list[tuple[float, list[Found]]]:
    """Cut a repeated run down to its parts in which questions differ, at likely widths."""
    start, end = run
    block = table.block
    lively = np.array([np.unique(block[asked, o]).size for o in range(start, end)])
    out: list[tuple[float, list[Found]]] = []
    for first, last in runs(lively > 1):
        group: list[Found] = []
        unlike = 0.0
        for choice, (low, high) in enumerate(_snap(table, run, start + first, start + last)):
            alarm, different = _echo_alarm(table, asked, answers, (low, high))
            if alarm > MOST_ALARM or different < LEAST_DIFFERENT:
                break
            unlike = max(unlike, different)
            terms: dict[str, str | int] = {"width": high - low, "choice": choice}
            group.append(_found(table, "id.echo", low, high - low, alarm, terms))
        if group:
            out.append((unlike, group))
    return out


def _echo_alarm(
    table: Table, asked: Ints, answers: Ints, span: tuple[int, int]
) -> tuple[float, float]:
    """Bound the chance of so many repetitions; give too how much the questions differ."""
    low, high = span
    wide = np.ascontiguousarray(table.block[:, low:high]).view(f"V{high - low}")[:, 0]
    _, keys = np.unique(wide, return_inverse=True)
    hits = int((keys[asked] == keys[answers]).sum())
    questions = np.unique(asked)
    different = np.unique(keys[questions]).size
    if different < 4:
        return 1.0, 0.0
    chance = min(1.0, BACK * _collision(keys[questions]))
    alarm = min(1.0, TRIED_ECHOES * tail(hits, asked.size, chance))
    return alarm, different / questions.size


def _snap(table: Table, run: tuple[int, int], low: int, high: int) -> list[tuple[int, int]]:
    """Give likely extents of what varies in [low, high): common widths, filled up with zeros."""
    size = high - low
    if size > 8:
        return [(low, low + 4), (low, low + 8)]
    wide = next(width for width in (1, 2, 4, 8) if width >= size)
    out: list[tuple[int, int]] = []
    for width in (2, 4, 1) if wide == 1 else (wide, 2 * wide):
        # Zeros may fill it up: before it in network order, behind it in the other.
        for first, last in ((high - width, high), (low, low + width)):
            if run[0] <= first and last <= run[1] and first <= low and high <= last:
                quiet = (table.block[:, first:low], table.block[:, high:last])
                if not quiet[0].any() and not quiet[1].any() and (first, last) not in out:
                    out.append((first, last))
    return out or [(low, high)]
