"""What the shell gives to those who may not take it: time and identifiers."""

import contextlib
import time
from pathlib import Path
from typing import Final

from cronos.types import Now

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """This machine's clocks; the `Clock` of every process."""

    def now(self) -> Now:
        """Give boot time, suspended time included, and wall time; see `Clock.now`."""
        return Now(time.clock_gettime_ns(_BOOT_CLOCK), time.time_ns())

    def boot_id(self) -> str:
        """Name this boot by the system's identifier, or by the hour in which it began."""
        with contextlib.suppress(OSError):
            return _BOOT_ID.read_text(encoding="ascii").strip()
        began_ns = time.time_ns() - time.clock_gettime_ns(_BOOT_CLOCK)
        return f"boot-{began_ns // 3_600_000_000_000}"


class SequenceIds:
    """Identifiers that carry the instance and its incarnation; the `Ids` of every process."""

    def __init__(self, instance: str, incarnation: int) -> None:
        self._prefix = f"{instance}-{incarnation}-"
        self._sequence = 0

    def next(self, kind: str) -> str:
        """Give ``<instance>-<incarnation>-<kind><sequence>``."""
        self._sequence += 1
        return f"{self._prefix}{kind}{self._sequence}"
