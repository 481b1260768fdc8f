"""The first phase: what can be said of messages without understanding any of them."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from cronos.discover.learned import Summary
from cronos.discover.messages import Message

_PRINTABLE: Final = frozenset([*range(0x20, 0x7F), 9, 10, 13])


def summarise(messages: Sequence[Message]) -> Summary:
    """Count and measure; linear in the bytes."""
    sizes = sorted(len(message.payload) for message in messages) or [0]
    counts: Counter[int] = Counter()
    for message in messages:
        counts.update(message.payload)
    total = sum(counts.values())
    times = [message.ts for message in messages if message.ts > 0] or [0.0]
    return Summary(
        messages=len(messages),
        bytes=total,
        flows=len({message.flow for message in messages}),
        distinct=len({message.payload for message in messages}),
        shortest=sizes[0],
        median=sizes[len(sizes) // 2],
        longest=sizes[-1],
        entropy_bits=round(entropy_bits(counts), 3),
        printable=sum(counts[byte] for byte in _PRINTABLE) / total if total else 0.0,
        sent=dict(sorted(Counter(message.direction for message in messages).items())),
        seconds=max(times) - min(times),
    )


def entropy_bits(counts: Counter[int]) -> float:
    """Give the Shannon entropy of what was counted."""
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0
