"""Kills a process, without warning, at a chosen line of the code that it runs.

Work is carried out in a fork, traced line by line in one folder of the source alone; before the
chosen line the fork kills itself (SIGKILL), as a power cut or the kernel would.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from cronos.testing.conformance.base import require

_FAULT: Final = 3
_MAX_DIGITS: Final = 20


def folder_of(of: object) -> str:
    """Give the folder of the source in which an object's class is written."""
    return str(Path(sys.modules[type(of).__module__].__file__ or "/").parent)


def count_lines(work: Callable[[], object], folder: str) -> int:
    """Carry work out in a fork, and count the lines of `folder` that it runs through."""
    return _forked(work, folder, None)


def killed_at(work: Callable[[], object], folder: str, line: int) -> None:
    """Carry work out in a fork that is killed before the line of that number, from 1."""
    _forked(work, folder, line)


def spread(total: int, most: int) -> Iterator[int]:
    """Give line numbers from 1 to `total`, all of them or `most`, evenly."""
    if total <= most:
        yield from range(1, total + 1)
        return
    yield from (1 + i * (total - 1) // (most - 1) for i in range(most))


def _forked(work: Callable[[], object], folder: str, line: int | None) -> int:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _run_and_exit(work, folder, line, write)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read(_MAX_DIGITS)
    _, status = os.waitpid(child, 0)
    if line is None:
        require(status == 0 and said.isdigit(), "What is to be killed runs through unharmed.")
        return int(said)
    # A line more or less may be run the second time; beyond the last there is nothing to cut.
    require(
        (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL) or status == 0,
        "The fork is killed at its line, or runs through.",
    )
    return line


def _run_and_exit(work: Callable[[], object], folder: str, line: int | None, answer: int) -> None:
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    status = _FAULT
    try:
        sys.settrace(trace)
        work()
        sys.settrace(None)
        os.write(answer, str(seen).encode())
        status = 0
    finally:
        os._exit(status)
