"""The process of one discovery: `python -m cronos.front.learner`, asked on its standard input."""

import os
import signal
import sys
from typing import Final

from cronos.front.plugins import load

# What a child sees of our environment: how to find Python's own files.
_KEPT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME")
# One thread each: several discoveries run beside one another, and threads cost memory.
_THREADS: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def launch() -> tuple[tuple[str, ...], dict[str, str]]:
    """Say how such a process is started: its command, and all of its environment."""
    environment = {one: os.environ[one] for one in _KEPT if one in os.environ}
    command = (sys.executable, "-m", "cronos.front.learner")
    return command, {**environment, **_THREADS}


def main() -> int:
    """Answer the one ask that comes, and leave."""
    # An interrupt of the terminal is the parent's to handle: it ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load("entry", "discover-child")(load("entry", "clock")())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
