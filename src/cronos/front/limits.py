"""Limits that a command is given, and its own memory held to them."""

import contextlib
import resource
from collections.abc import Generator
from pathlib import Path
from typing import Final

from cronos.errors import InputError

_STATUS: Final = Path("/proc/self/status")
_MIB: Final = 1 << 20


@contextlib.contextmanager
def held_to(max_memory_mb: int) -> Generator[None]:
    """Let the kernel refuse this process more memory than so much above what it has.

    Raises:
        InputError: more was needed.
    """
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _data_bytes() + max_memory_mb * _MIB
    if before != resource.RLIM_INFINITY:
        most = min(most, before)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    except MemoryError:
        raise InputError(
            "front.memory",
            f"More than {max_memory_mb} MiB of memory were needed.",
            "Allow more with --max-memory, or choose less of the input with --filter.",
        ) from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def positive(text: str) -> float:
    """Read a number of seconds."""
    value = float(text)
    if not 0 < value <= 1e6:
        raise ValueError
    return value


def size(text: str) -> int:
    """Read a size or a number of things, from 1 on."""
    value = int(text)
    if not 0 < value <= 1 << 20:
        raise ValueError
    return value


def _data_bytes() -> int:
    """Give what the limit counts now; 0 where nobody says."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
