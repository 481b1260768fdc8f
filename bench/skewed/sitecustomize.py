"""Shift the wall clock that Python code of one node sees; on its PYTHONPATH it is loaded first.

What is shifted: `time.time`, `time.time_ns` and `CLOCK_REALTIME` as `time.clock_gettime` and its
sibling give it, in every Python process of the node, by the nanoseconds that stand as a decimal in
the file CRONOS_SKEW_FILE (re-read at most every 20 ms, so that a step is felt while it runs). What
is not: boot time and monotonic time, the clocks of C code (BoringSSL when it checks certificates,
SQLite), and the times of files.
"""

import os
import time

_FILE = os.environ.get("CRONOS_SKEW_FILE", "")
_LOOK_NS = 20_000_000

if _FILE:
    _time_ns, _gettime, _gettime_ns = time.time_ns, time.clock_gettime, time.clock_gettime_ns
    _monotonic_ns = time.monotonic_ns
    _skew = [0, 0]  # in nanoseconds, and when it was read

    def _skew_ns():
        now_ns = _monotonic_ns()
        if now_ns - _skew[1] > _LOOK_NS:
            _skew[1] = now_ns
            try:
                with open(_FILE, encoding="ascii") as file:  # noqa: PTH123 - loads before pathlib
                    _skew[0] = int(file.read() or 0)
            except (OSError, ValueError):
                pass
        return _skew[0]

    def _shifted_ns():
        return _time_ns() + _skew_ns()

    def _clock_gettime(clock):
        return _gettime(clock) + (_skew_ns() / 1e9 if clock == time.CLOCK_REALTIME else 0.0)

    def _clock_gettime_ns(clock):
        return _gettime_ns(clock) + (_skew_ns() if clock == time.CLOCK_REALTIME else 0)

    time.true_time_ns = _time_ns
    time.time_ns = _shifted_ns
    time.time = lambda: _shifted_ns() / 1e9
    time.clock_gettime, time.clock_gettime_ns = _clock_gettime, _clock_gettime_ns
