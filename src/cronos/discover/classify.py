"""Say before anything is learnt whether there is anything to be learnt: readable or sealed.

Encrypted and compressed bytes are spread evenly. Two measures: the *excess* of equal bytes over
that of random ones, by pairs and so independent of the amount (0 for random bytes, 0.01 to 0.2 for
compressed ones, above 1 for nearly all that can be read); and the share of the front bytes in
columns that hardly change, which is the header in clear. Sealed is what has
next to no excess behind a short header. What is too short to tell is readable: trying to learn it
costs a moment, not trying would hide it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from cronos.discover.messages import Message

MOST_EXCESS: Final = 0.3
MOST_CLEAR: Final = 0.78
"""Of the bytes in the front columns, so many may belong to a header."""
DULL: Final = 4.0
"""A column with five times as many equal pairs as random bytes is part of a header."""
COLUMNS: Final = 64
LEAST_BYTES: Final = 400
LEAST_ROWS: Final = 12
MOST_ROWS: Final = 400
MOST_BYTES: Final = 1 << 17
LEAST_SIZE: Final = 24
LEAST_USUAL: Final = 40
"""Half of the messages must be as long: in short ones a header is much of what there is."""


class Sealed(NamedTuple):
    """Whether messages are encrypted or compressed, and by which figures."""

    sealed: bool
    why: str
    excess: float
    clear: float


def sealed(messages: Sequence[Message]) -> Sealed:
    """Judge messages of one service; linear in their bytes, of which 128 KiB are looked at."""
    different = list(dict.fromkeys(message.payload for message in messages))
    long = [payload for payload in different if len(payload) >= LEAST_SIZE]
    step = max(1, len(long) // MOST_ROWS)
    long = long[::step][:MOST_ROWS]
    usual = sorted(map(len, different))[len(different) // 2] if different else 0
    body = b"".join(payload[_head(payload) :] for payload in long)[:MOST_BYTES]
    if len(body) < LEAST_BYTES or usual < LEAST_USUAL:
        return Sealed(False, "Too few bytes to tell whether they are sealed.", 0.0, 1.0)
    excess = excess_of(body)
    clear = _clear(long) if len(long) >= LEAST_ROWS else 0.0
    # Of few bytes the excess is known within so much, twice its deviation.
    margin = 2 * 22.6 / len(body)
    even = excess <= MOST_EXCESS + margin and clear <= MOST_CLEAR
    why = (
        f"Equal bytes exceed those of random ones by {excess:.2f}; {clear:.0%} are a clear header."
    )
    return Sealed(even, why, excess, clear)


def _head(payload: bytes) -> int:
    """Leave a quarter out, 32 bytes at most: headers are in clear."""
    return min(32, len(payload) // 4)


def excess_of(data: bytes) -> float:
    """Give by how much pairs of equal bytes exceed those of evenly spread bytes: 0 is even."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256).astype(np.float64)
    pairs = float((counts * (counts - 1)).sum())
    return 256 * pairs / max(1.0, len(data) * (len(data) - 1.0)) - 1.0


def _clear(payloads: Sequence[bytes]) -> float:
    """Give the share of front bytes in columns where far more are equal than of random ones."""
    dull = total = 0
    for column in range(COLUMNS):
        values = bytes(payload[column] for payload in payloads if len(payload) > column)
        if len(values) < LEAST_ROWS:
            break
        total += len(values)
        dull += len(values) * (excess_of(values) > DULL)
    return dull / max(1, total)
