"""What a sequence labeller sees of each byte, and the IOB tags it gives.

A byte is described by itself, by its column in messages of its kind (counted from the front and
from the end), by how it goes with the byte before it, and by what detectors vouch for. Nothing of
it names a protocol. Tags are ``O`` (outside of any field: unreadable), ``B-x`` where a field of
meaning x begins, and ``I-x`` inside of it.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]

SEMS: Final = tuple(Sem)
OUTSIDE: Final = 0
TAGS: Final = ("O", *(f"{part}-{sem}" for sem in SEMS for part in "BI"))
MOST_BYTES: Final = 512
CLAIMED: Final = (
    Sem.LENGTH, Sem.CHECKSUM, Sem.TIMESTAMP, Sem.COUNT, Sem.ID_SEQ, Sem.ENUM_FLAGS, Sem.ADDRESS,
    Sem.TEXT, Sem.FLOAT, Sem.BYTES,
)  # fmt: skip
KEY_COLUMNS: Final = 16
MOST_KINDS: Final = 24
COLUMNS: Final = 8
ALONE: Final = 11
FEATURES: Final = 2 * COLUMNS + ALONE + len(CLAIMED) + 2


class Described(NamedTuple):
    """The bytes of one message with what is known of each: (n,) and (n, FEATURES)."""

    data: Ints
    features: Floats


def begin(sem: Sem) -> int:
    """Give the tag with which a field of this meaning begins; the next number is its inside."""
    return 1 + 2 * SEMS.index(sem)


def tags_of(fields: Sequence[tuple[int, int, Sem]], size: int) -> Ints:
    """Write (offset, length, meaning) as tags; what no field covers is outside."""
    out = np.zeros(size, np.int64)
    for offset, length, sem in fields:
        if offset < size:
            out[offset : offset + length] = begin(sem) + 1
            out[offset] = begin(sem)
    return out


def fields_of(tags: Sequence[int]) -> list[tuple[int, int, Sem]]:
    """Read tags as fields; a stretch of ``O`` is one field of bytes."""
    out: list[tuple[int, int, Sem]] = []
    start = 0
    for at in range(1, len(tags) + 1):
        if at == len(tags) or _begins(tags[at - 1], tags[at]):
            tag = tags[start]
            sem = Sem.BYTES if tag == OUTSIDE else SEMS[(tag - 1) // 2]
            out.append((start, at - start, sem))
            start = at
    return out


def _begins(before: int, tag: int) -> bool:
    if tag == OUTSIDE:
        return before != OUTSIDE
    return tag % 2 == 1 or (before - 1) // 2 != (tag - 1) // 2 or before == OUTSIDE


def kinds(messages: Sequence[Message]) -> Ints:
    """Tell kinds of messages apart by direction and the one front byte that explains most."""
    block, sizes = _block(messages, 48)
    sides = np.array([len(message.direction) and ord(message.direction[0]) for message in messages])
    base = np.unique(sides, return_inverse=True)[1]
    best, least = base, _cost(block, sizes, base) * 0.97
    for column in range(min(KEY_COLUMNS, block.shape[1])):
        labels = np.unique(base * 256 + block[:, column], return_inverse=True)[1]
        if labels.max(initial=0) < MOST_KINDS:
            cost = _cost(block, sizes, labels)
            if cost < least:
                best, least = labels, cost
    return best.astype(np.int64)


def _cost(block: Ints, sizes: Ints, labels: Ints) -> float:
    """Give the bits that columns and sizes cost in these groups, with a price for each group."""
    total = 24.0 * (int(labels.max(initial=0)) + 1)
    for label in np.unique(labels):
        rows = labels == label
        total += len(block[rows]) * _entropy(sizes[rows])
        total += sum(len(block[rows]) * _entropy(column) for column in block[rows].T)
    return total


def _entropy(values: Ints) -> float:
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / max(1, values.size)
    return float(-(shares * np.log2(shares)).sum())


def _block(messages: Sequence[Message], most: int, *, back: bool = False) -> tuple[Ints, Ints]:
    """Lay messages out from the front, or from the end; what is missing is -1."""
    sizes = np.array([len(message.payload) for message in messages], np.int64)
    block = np.full((len(messages), int(min(most, sizes.max(initial=0)))), -1, np.int64)
    for row, message in enumerate(messages):
        part = message.payload[::-1] if back else message.payload
        part = part[: block.shape[1]]
        block[row, : len(part)] = np.frombuffer(part, np.uint8)
    return block, sizes


def describe(messages: Sequence[Message], claims: Sequence[Claim]) -> list[Described]:
    """Describe the first `MOST_BYTES` of each message, in the light of all of them."""
    groups = kinds(messages)
    front, sizes = _block(messages, MOST_BYTES)
    back, _ = _block(messages, MOST_BYTES, back=True)
    columns = _columns(front, groups)
    ends = _columns(back, groups)
    vouched = _vouched(claims, front.shape)
    out: list[Described] = []
    for row in range(len(messages)):
        size = int(min(sizes[row], front.shape[1]))
        data = front[row, :size]
        far = int(sizes[row]) - 1 - np.arange(size)
        seen = ends[groups[row], np.minimum(far, ends.shape[1] - 1)]
        features = np.concatenate(
            (columns[groups[row], :size], seen, _alone(data, int(sizes[row])), vouched[row, :size]),
            axis=1,
        )
        out.append(Described(data, features.astype(np.float32)))
    return out


def _columns(block: Ints, groups: Ints) -> Floats:
    """Describe every column of every group: (groups, columns, COLUMNS)."""
    out = np.zeros((int(groups.max(initial=0)) + 1, max(1, block.shape[1]), COLUMNS), np.float32)
    for group in np.unique(groups):
        rows = block[groups == group]
        before: Ints | None = None
        before_bits = 0.0
        for column in range(block.shape[1]):
            here = rows[:, column]
            used = here[here >= 0]
            if used.size == 0:
                break
            bits = _entropy(used)
            shared = 0.0
            if before is not None:
                both = (here >= 0) & (before >= 0)
                joint = _entropy(before[both] * 256 + here[both])
                shared = max(0.0, bits + before_bits - joint) / max(0.3, min(bits, before_bits))
            names, counts = np.unique(used, return_counts=True)
            room = max(1.0, math.log2(used.size + 1))
            out[group, column] = (
                bits / 8, bits / room, names.size / used.size, counts.max() / used.size,
                (used == 0).mean(), ((used >= 32) & (used < 127)).mean(), used.mean() / 255,
                min(1.0, shared),
            )  # fmt: skip
            before, before_bits = here, bits
    return out


def _alone(data: Ints, size: int) -> Floats:
    """Describe bytes by themselves and by their place."""
    n = data.size
    near = np.minimum(np.arange(n), 64) / 64
    left = np.minimum(size - np.arange(n), 64) / 64
    ones = np.array([value.bit_count() for value in range(256)], np.float32)
    unlike = ones[data ^ np.roll(data, 1)] / 8 if n else np.zeros(0, np.float32)
    rows = (
        data == 0, data == 255, (data >= 32) & (data < 127), data >= 128, unlike, data < 16,
        near, left, np.full(n, math.log2(size + 1) / 16), np.arange(n) % 2, np.arange(n) % 4 == 0,
    )  # fmt: skip
    return np.stack([np.asarray(row, np.float32) for row in rows], axis=1)


def _vouched(claims: Sequence[Claim], shape: tuple[int, ...]) -> Floats:
    """Mark where claims begin, by meaning, where any lies, and where one has just ended."""
    out = np.zeros((shape[0], shape[1] + 1, len(CLAIMED) + 2), np.float32)
    for claim in claims:
        strength = 1.0 if claim.terms.get("choice", 0) == 0 else 0.5
        if claim.sem not in CLAIMED:
            continue
        kind = CLAIMED.index(claim.sem)
        for row, span in enumerate(claim.spans):
            if span is None or span[0] >= shape[1]:
                continue
            first, last = span[0], min(shape[1], span[0] + span[1])
            out[row, first, kind] = max(out[row, first, kind], strength)
            out[row, first:last, -2] = strength
            out[row, last, -1] = max(out[row, last, -1], strength)
    return out[:, : shape[1]]
