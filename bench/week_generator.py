"""A week of mixed traffic, the same every time: who speaks to which service, and what.

Twelve random protocols (`cronos.discover.synthetic`), each on a port of its own and on several
servers, busy by day and quiet by night. Two come up in the middle of the week; one is replaced by
another on the same port, as a new firmware does. Some flows are encrypted; some are one-off: a
protocol that is seen in one flow and never again. Servers move to new addresses now and then.
"""

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from cronos.discover.messages import Message
from cronos.discover.synthetic import samples

DAY_S = 86_400
START_S = 1_700_000_000.0
PROTOCOLS = 12
MESSAGES = 1_500


class Flow(NamedTuple):
    """One flow: when it began, to which service, what was said, and what it truly was."""

    at_s: float
    service: str
    messages: list[Message]
    truth: str


class Protocol:
    """Conversations of one random protocol, given out in pieces of a flow, again and again."""

    def __init__(self, seed: int, count: int = MESSAGES) -> None:
        self.name = f"p{seed}"
        by_flow: dict[str, list[Message]] = {}
        for one in samples(seed, count):
            message = Message(one.payload, one.flow, one.direction, one.ts)
            by_flow.setdefault(one.flow, []).append(message)
        self._flows = [by_flow[name] for name in sorted(by_flow)]

    def piece(self, rng: random.Random) -> list[Message]:
        """Give some consecutive messages of one conversation."""
        flow = rng.choice(self._flows)
        size = rng.randint(4, 30)
        begin = rng.randrange(max(1, len(flow) - size))
        return flow[begin : begin + size]


def week(seed: int, flows: int, protocols: int = PROTOCOLS) -> Iterator[Flow]:
    """Give `flows` flows in the order of time."""
    rng = random.Random(seed)
    spoken = [Protocol(100 * seed + n) for n in range(protocols + 1)]
    begins = [0.0] * (protocols - 2) + [3 * DAY_S, 4.5 * DAY_S]
    weights = [1 / (n + 1) ** 0.7 for n in range(protocols)]
    once = 0
    for at_s in _times(rng, flows):
        kind = rng.random()
        if kind < 0.06:
            noise = [
                Message(rng.randbytes(rng.randint(40, 400))) for _ in range(rng.randint(4, 30))
            ]
            yield Flow(at_s, f"tcp/443 10.1.0.{rng.randrange(6)}", noise, "encrypted")
            continue
        if kind < 0.09:
            once += 1
            strange = Protocol(1_000_000 + 1_000 * seed + once, 12)
            yield Flow(at_s, f"tcp/{20_000 + once} 10.2.0.1", strange.piece(rng), "once")
            continue
        number = rng.choices(range(protocols), weights)[0]
        if at_s < begins[number]:
            number = 0
        replaced = number == 1 and at_s > 5 * DAY_S
        one = spoken[protocols] if replaced else spoken[number]
        moved = int(at_s // (2 * DAY_S)) if number % 3 == 2 else 0
        server = f"10.0.{number}.{10 * moved + rng.randrange(1 + number % 4)}"
        yield Flow(at_s, f"tcp/{4_000 + number} {server}", one.piece(rng), one.name)


def _times(rng: random.Random, count: int) -> list[float]:
    """Draw times of a week: busy at two in the afternoon, a fifth of that at night."""
    times: list[float] = []
    while len(times) < count:
        at_s = rng.uniform(0, 7 * DAY_S)
        busy = 0.6 + 0.4 * math.cos((at_s % DAY_S - 14 * 3_600) / DAY_S * 2 * math.pi)
        if rng.random() < busy:
            times.append(at_s)
    return sorted(times)
