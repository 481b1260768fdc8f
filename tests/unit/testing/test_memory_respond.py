"""Effects in a table end with their lease; workloads remember their last verb."""

import pytest

from cronos.errors import InputError
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.samples import deny
from cronos.testing.memory_respond import MemoryExecutor, MemoryWorkflow
from cronos.types import Plan


def test_an_effect_ends_with_its_lease_unless_it_is_renewed():
    clock = VirtualClock()
    executor = MemoryExecutor(clock)
    plans = [p for p in executor.plan([deny("memory", "192.0.2.7")]) if isinstance(p, Plan)]
    executor.apply(plans)
    clock.advance(200_000_000_000)
    executor.renew(plans)
    clock.advance(299_999_999_999)
    assert executor.verify(plans) == [True]
    clock.advance(1)
    assert executor.verify(plans) == [False]
    assert executor.observe() == frozenset()


def test_a_broken_point_says_yes_and_does_nothing():
    executor = MemoryExecutor(VirtualClock(), broken=True)
    plans = [p for p in executor.plan([deny("memory", "192.0.2.7")]) if isinstance(p, Plan)]
    assert [outcome.ok for outcome in executor.apply(plans)] == [True]
    assert executor.verify(plans) == [False]


def test_a_workload_remembers_its_last_verb_and_a_stranger_is_refused():
    workflow = MemoryWorkflow(["billing"])
    workflow.adjust("billing", "pause")
    assert workflow.states == {"billing": "pause"}
    with pytest.raises(InputError, match="payroll"):
        workflow.adjust("payroll", "pause")
