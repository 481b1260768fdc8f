"""Real-time priority for what stands between a detection and its isolation.

A machine under attack is a busy one. At ordinary priority an enforcer that was woken for one order
was seen to wait 20 to 120 ms for a processor that others kept busy (two to ten of 200 orders in
`bench/bench_wire.py`, two cores, Linux 6.18); at the lowest real-time priority none did. The kernel
keeps a share of the time for all others (``sched_rt_runtime_us``): nobody can be locked out.

Only the enforcer asks for it, and the reflex process of a node without peers: neither parses what
strangers sent, nor weighs what peers tell.
"""

import os
from typing import Final

__all__ = ["ORDINARY_PRIORITY", "REMEDY", "take_priority"]

ORDINARY_PRIORITY: Final = "A busy machine may delay isolations: real-time priority is denied."
REMEDY: Final = "Give the unit LimitRTPRIO=1 (or CAP_SYS_NICE), or set realtime = false in [node]."
_LOWEST: Final = 1


def take_priority() -> bool:
    """Have this thread go before all of ordinary priority; False where that is not allowed.

    Threads and processes that it begins later are of ordinary priority again.
    """
    try:
        lowest = os.sched_param(_LOWEST)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, lowest)
    except OSError:
        return False
    return True
