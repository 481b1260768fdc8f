"""Recorders remember what passed, and not what failed."""

import asyncio

import pytest

from cronos.errors import InputError, UnreachableError
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.mesh import Mailbox
from cronos.testing.conformance.samples import deny
from cronos.testing.memory_govern import MemoryLedger, MemorySealer
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.memory_respond import MemoryExecutor
from cronos.testing.recorders import ExecutorRecorder, LedgerRecorder, MeshRecorder
from cronos.types import MAX_FRAME_BYTES, Lane, Plan


def test_an_executors_calls_are_remembered_in_order():
    recorder = ExecutorRecorder(MemoryExecutor(VirtualClock()))
    action = deny("memory", "192.0.2.7")
    plans = [plan for plan in recorder.plan([action]) if isinstance(plan, Plan)]
    recorder.apply(plans)
    recorder.verify(plans)
    recorder.renew(plans)
    recorder.undo(plans)
    recorder.observe()
    methods = ("plan", "apply", "verify", "renew", "undo")
    assert recorder.calls == [*((m, (action.action_id,)) for m in methods), ("observe", ())]


def test_a_refused_append_is_not_remembered():
    recorder = LedgerRecorder(MemoryLedger(MemorySealer(), VirtualClock()))
    recorder.append([b"a"])
    with pytest.raises(InputError):
        recorder.append([bytes(MAX_FRAME_BYTES + 1)])
    assert recorder.appended == [(b"a",)]


def test_a_nodes_words_are_remembered_on_both_sides():
    async def story() -> None:
        nodes = MemoryNetwork().mesh("a", "b")
        one, two = MeshRecorder(nodes["a"]), MeshRecorder(nodes["b"])
        await one.start(Mailbox().receive, Mailbox().linked)
        await two.start(Mailbox().receive, Mailbox().linked)
        await one.send("b", Lane.KEYS, b"x")
        with pytest.raises(UnreachableError):
            await one.send("nobody", Lane.KEYS, b"x")
        assert (one.sent, two.received) == ([("b", Lane.KEYS, b"x")], [("a", Lane.KEYS, b"x")])
        one.forget("b")
        assert (one.links, two.links) == ([("b", True), ("b", False)], [("a", True), ("a", False)])

    asyncio.run(story())
