import contextlib
import socket
import threading

import pytest
from tests.unit.respond.stage import deny

from cronos.errors import UnreachableError
from cronos.link.frames import FrameSocket, listen
from cronos.respond.tap import TapConfig, TapExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Operation, Outcome, Outcomes, Plan, Verb, decode, encode


class Tap:
    """A double of the forwarding tap's control socket: holds what it is told to."""

    def __init__(self, path):
        self.held = {}
        self.mood = "honest"
        self.connections = 0
        self.orders = []
        self._listener = listen(path)
        self._connection = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self.hang_up()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def hang_up(self):
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                self._connection, _ = self._listener.accept()
                self.connections += 1
                self._converse(FrameSocket(self._connection))

    def _converse(self, connection):
        with contextlib.suppress(UnreachableError), contextlib.closing(connection):
            while (received := connection.receive(None)) is not None:
                order = decode(received)
                self.orders.append(order)
                for answer in self._answers(order):
                    connection.send(answer)

    def _answers(self, order):
        if self.mood == "silent":
            return []
        if self.mood == "garbage":
            return [b"garbage"]
        stale = encode(Outcomes(0, ()))
        for action in order.actions:
            if order.operation is Operation.UNDO:
                self.held.pop(action.action_id, None)
            else:
                self.held[action.action_id] = action
        told = order.actions or tuple(self.held.values())
        if self.mood == "short":
            told = told[1:]
        outcomes = tuple(
            Outcome(a.action_id, a.incident_id, order.operation, True, True, "done") for a in told
        )
        return [stale, encode(Outcomes(order.order_id, outcomes))]


@pytest.fixture
def tap(tmp_path):
    tap = Tap(tmp_path / "control")
    yield tap
    tap.close()


@pytest.fixture
def executor(tap, tmp_path):
    executor = TapExecutor(TapConfig(str(tmp_path / "control"), timeout_ms=5000))
    yield executor
    executor.close()


def block(*addresses):
    return [deny(address, point="tap") for address in addresses]


def test_blocks_are_ordered_looked_at_renewed_and_lifted(tap, executor):
    plans = executor.plan(block("192.0.2.7", "192.0.2.8"))
    assert tap.connections == 0
    assert all(isinstance(plan, Plan) and plan.kernel_timeout for plan in plans)
    assert executor.verify([]) == []
    assert all(o.ok for o in executor.apply(plans))
    assert executor.verify(plans) == [True, True]
    assert executor.observe() == {plan.action.action_id for plan in plans}
    assert all(o.ok for o in executor.renew(plans))
    assert all(o.ok for o in executor.undo(plans[:1]))
    assert executor.verify(plans) == [False, True]
    assert tap.connections == 1


def test_a_flow_can_be_cut_but_a_host_cannot_be_contained(executor):
    flow = deny("tcp/192.0.2.7:40312>198.51.100.2:502", point="tap", kind=EntityKind.FLOW)
    host = deny("plc-1", point="tap", kind=EntityKind.HOST)
    pause = deny("192.0.2.7", point="tap", verb=Verb.PAUSE)
    plan, no_host, no_pause = executor.plan([flow, host, pause])
    assert isinstance(plan, Plan)
    assert "cannot deny a host" in no_host.detail
    assert "cannot pause" in no_pause.detail


def test_a_tap_that_restarted_is_connected_to_again(tap, executor):
    plans = executor.plan(block("192.0.2.7"))
    executor.apply(plans)
    tap.hang_up()
    assert executor.apply(plans)[0].ok
    assert tap.connections == 2


def test_a_tap_that_is_not_there_is_an_outcome(tmp_path):
    executor = TapExecutor(TapConfig(str(tmp_path / "none")))
    outcome = executor.apply(executor.plan(block("192.0.2.7")))[0]
    assert not outcome.ok
    assert "Nothing answers" in outcome.detail
    with pytest.raises(UnreachableError):
        executor.observe()


@pytest.mark.parametrize("mood", ["silent", "garbage", "short"])
def test_a_tap_that_answers_strangely_is_an_outcome(tap, tmp_path, mood):
    tap.mood = mood
    executor = TapExecutor(TapConfig(str(tmp_path / "control"), timeout_ms=100))
    outcome = executor.apply(executor.plan(block("192.0.2.7")))[0]
    assert not outcome.ok
    assert "did not answer as it should" in outcome.detail
    executor.close()


def test_thousands_of_blocks_are_sent_in_parts(tap, executor):
    plans = executor.plan(block(*(f"198.18.{i // 250}.{i % 250}" for i in range(2500))))
    assert len(executor.apply(plans)) == 2500
    assert len(tap.orders) == 3


class TestConformance(ReversibleExecutorConformance):
    @pytest.fixture(autouse=True)
    def _taps(self, tmp_path):
        self.folder, self.open = tmp_path, []
        yield
        for executor, tap in self.open:
            executor.close()
            tap.close()

    def make(self):
        path = self.folder / f"control-{len(self.open)}"
        tap = Tap(path)
        executor = TapExecutor(TapConfig(str(path), timeout_ms=5000))
        self.open.append((executor, tap))
        return executor

    def actions(self):
        flow = deny("tcp/192.0.2.7:1>198.51.100.2:502", point="tap", kind=EntityKind.FLOW)
        return [*block("192.0.2.7", "192.0.2.8"), flow]

    def impossible(self):
        return deny("plc-1", point="tap", kind=EntityKind.HOST)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("192.0.2.07", EntityKind.ADDRESS),
        ("2001:DB8::7", EntityKind.ADDRESS),
        ("::ffff:192.0.2.7", EntityKind.ADDRESS),
        ("fe80::1%eth0", EntityKind.ADDRESS),
        ("tcp/192.0.2.7:040>198.51.100.2:502", EntityKind.FLOW),
    ],
)
def test_a_spelling_that_the_tap_would_never_meet_is_refused(tmp_path, value, kind):
    executor = TapExecutor(TapConfig(str(tmp_path / "nobody")))
    (refused,) = executor.plan([deny(value, point="tap", kind=kind)])
    assert isinstance(refused, Outcome)
    assert "canonical" in refused.detail
