"""What the suites share: stating a rule, expecting a refusal, and noise that is always the same."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final, TypeVar

T = TypeVar("T")
ErrorT = TypeVar("ErrorT", bound=BaseException)

_PATIENCE_TURNS: Final = 500
_TURN_S: Final = 0.01


def require(holds: bool, rule: str) -> None:
    """State a rule of the port.

    Raises:
        AssertionError: it does not hold. Unlike `assert`, this survives ``python -O``.
    """
    if not holds:
        raise AssertionError(rule)


def same(found: object, expected: object, rule: str) -> None:
    """State that two values must be equal.

    Raises:
        AssertionError: they are not; shows the beginning of both.
    """
    require(found == expected, f"{rule}\n  found    {found!r:.500}\n  expected {expected!r:.500}")


def refused(error: type[ErrorT], call: Callable[[], object], rule: str) -> ErrorT:
    """State that a call must raise, and give what it raised.

    Raises:
        AssertionError: it returned.
    """
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(rule)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work on an event loop of its own."""
    return asyncio.run(work)


async def eventually(holds: Callable[[], bool], rule: str) -> None:
    """State that something comes true within five seconds; returns as soon as it does.

    Raises:
        AssertionError: it did not.
    """
    for _ in range(_PATIENCE_TURNS):
        if holds():
            return
        await asyncio.sleep(_TURN_S)
    raise AssertionError(rule)


def noise(seed: int, size: int) -> bytes:
    """Give `size` bytes that look random and are the same every time."""
    blocks: list[bytes] = []
    for block in count():
        if block * 32 >= size:
            break
        blocks.append(hashlib.sha256(f"{seed}/{block}".encode()).digest())
    return b"".join(blocks)[:size]
