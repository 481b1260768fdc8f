"""The first phase: what can be said of messages without understanding any of them."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from cronos.discover.learned import Summary
from cronos.discover.messages import Message

_AT_ONCE: Final = 256
_PRINTABLE: Final = frozenset([*range(0x20, 0x7F), 9, 10, 13])


def summarise(messages: Sequence[Message]) -> Summary:
    """Count and measure; linear in the bytes."""
    sizes = sorted(len(message.payload) for message in messages) or [0]
    counts = _counted(messages)
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


def _counted(messages: Sequence[Message]) -> Counter[int]:
    """Count each byte's values; by the hundred megabytes, of a capture that its maker made long."""
    import numpy as np  # noqa: PLC0415 - nor is it needed to show what was found

    counts = np.zeros(256, dtype=np.int64)
    for begin in range(0, len(messages), _AT_ONCE):
        data = b"".join([message.payload for message in messages[begin : begin + _AT_ONCE]])
        counts += np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    return Counter({value: count for value, count in enumerate(counts.tolist()) if count})


def entropy_bits(counts: Counter[int]) -> float:
    """Give the Shannon entropy of what was counted."""
    total = sum(counts.values())
    if not total:
        return 0.0
    return abs(sum(n / total * math.log2(n / total) for n in counts.values()))
