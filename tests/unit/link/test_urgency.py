"""Who asks for real-time priority gets it or goes on without, and does not pass it on."""

import json
import subprocess
import sys

import pytest

from cronos.link import urgency

ASKS = """
import json, os, resource, subprocess, sys, threading
from cronos.link.urgency import take_priority
given = take_priority()
mine = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
seen = []
look = "import os; print(os.sched_getscheduler(0))"
thread = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
seen.append(int(subprocess.run([sys.executable, "-c", look], capture_output=True).stdout))
print(json.dumps([given, mine == os.SCHED_RR, seen]))
"""


def test_priority_is_the_askers_alone():
    ran = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, check=True)
    given, real_time, others = json.loads(ran.stdout)

    assert given == real_time
    assert others == [0, 0]


def test_who_may_not_have_it_goes_on_without(monkeypatch):
    def refuse(*_given):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(urgency.os, "sched_setscheduler", refuse)

    assert urgency.take_priority() is False


@pytest.mark.parametrize("word", ["LimitRTPRIO", "realtime = false"])
def test_the_remedy_names_both_ways_out(word):
    assert word in urgency.REMEDY
