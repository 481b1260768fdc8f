"""Traffic in which nothing is to be found: random, shuffled by columns, and enumerations."""

import numpy as np

from cronos.discover.messages import Message
from cronos.discover.synthetic import samples


def messages(sampled):
    """Give samples as the detectors get them."""
    return [Message(s.payload, s.flow, s.direction, s.ts, s.source, s.destination) for s in sampled]


def random_bytes(seed, count=200):
    """Give messages of random bytes and lengths, questions and answers in some flows."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        payload = rng.bytes(int(rng.integers(8, 80)))
        side = "c2s" if number % 2 == 0 else "s2c"
        out.append(Message(payload, str(number // 2 % 5), side, 1.7e9 + number))
    return out


def shuffled(seed, count=200):
    """Take a random protocol's messages and permute every column among the rows that have it.

    Each place keeps its values, so a constant stays one; what a value had to do with the others,
    with the size, the time and the flow is gone.
    """
    rng = np.random.default_rng(seed)
    real = messages(samples(seed, count))
    rows = [bytearray(m.payload) for m in real]
    for column in range(max(map(len, rows))):
        have = [row for row in rows if len(row) > column]
        values = [row[column] for row in have]
        for row, value in zip(have, rng.permutation(values), strict=True):
            row[column] = int(value)
    return [
        Message(bytes(row), m.flow, m.direction, m.ts, m.source, m.destination)
        for row, m in zip(rows, real, strict=True)
    ]


def few_sizes(seed, count=200):
    """Give messages of a few sizes whose first bytes are small random codes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(8, 40, 3)
    out = []
    for number in range(count):
        head = bytes(int(v) for v in rng.integers(0, 12, 8))
        size = int(sizes[int(rng.integers(3))])
        side = "c2s" if number % 2 == 0 else "s2c"
        out.append(Message((head + bytes(40))[:size], "1", side, 1.7e9 + number))
    return out


def alarms(claims, seeds, makers=(random_bytes, shuffled, few_sizes)):
    """Count the sets of noise in which a family claims anything, and name what it claims."""
    wrong = []
    for make in makers:
        for seed in seeds:
            kinds = sorted({c.kind for c in claims(make(seed))})
            if kinds:
                wrong.append((make.__name__, seed, kinds))
    return wrong
