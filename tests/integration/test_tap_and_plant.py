"""A real tap between a real Modbus plant and its callers, each a process of its own."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from cronos.link.frames import connect
from cronos.respond.tap import TapConfig as TapExecutorConfig
from cronos.respond.tap import TapExecutor
from cronos.sense.tap import TapSensor, TapSensorConfig
from cronos.sense.tapfeed import TapFeedConfig, TapFeedSource
from cronos.types import (
    Action,
    Entity,
    EntityKind,
    Observation,
    Operation,
    Order,
    Provenance,
    Verb,
    action_id,
    decode,
    encode,
)

pytest.importorskip("pymodbus", reason="the extra `demo` is not installed")

HERE = pathlib.Path(__file__).parent
SRC = HERE.parents[1] / "src"
ATTACKER = Entity(EntityKind.ADDRESS, "127.0.0.66")
LEASE_NS = 1_500_000_000


class Process:
    """A child whose JSON lines are collected; `wait_for` blocks until one tells an event."""

    def __init__(self, *command):
        environment = {**os.environ, "PYTHONPATH": str(SRC)}
        self.child = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.told = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._collect)
        self._reader.start()

    def _collect(self):
        for line in self.child.stdout:
            with self._more:
                self.told.append(json.loads(line))
                self._more.notify_all()
        with self._more:
            self.told.append({"event": "ended"})
            self._more.notify_all()

    def wait_for(self, wanted, timeout_s=30):
        with self._more:
            assert self._more.wait_for(lambda: self.find(wanted), timeout_s), self.told[-5:]
        return self.find(wanted)

    def find(self, wanted):
        return next((t for t in self.told if wanted in (t.get("event"), *t.keys())), None)

    def end(self):
        self.child.terminate()
        self.child.wait(20)
        self._reader.join(20)
        self.child.stdout.close()


@pytest.fixture
def processes():
    started = []

    def start(*command):
        started.append(Process(*command))
        return started[-1]

    yield start
    for process in reversed(started):
        process.end()


@pytest.fixture
def site(processes, tmp_path):
    plant = processes("-m", "cronos.testing.plant", "server")
    config = {
        "upstream_host": "127.0.0.1",
        "upstream_port": plant.wait_for("listening")["port"],
        "feed": str(tmp_path / "feed"),
        "control": str(tmp_path / "control"),
        "protected": ["127.0.0.2"],
    }
    tap = processes(HERE / "tap_process.py", json.dumps(config))
    return tap.wait_for("port")["port"], tmp_path, plant


def play(role, port, *more):
    return "-m", "cronos.testing.plant", role, "--port", port, *more


def order(folder, operation, *targets, lease_ns=LEASE_NS):
    control = connect(folder / "control")
    actions = tuple(
        Action(action_id("tap", "deny", t), "tap", Verb.DENY, t, "test-1-i1", lease_ns)
        for t in targets
    )
    control.send(encode(Order(7, operation, actions)))
    answer = decode(control.receive(10))
    control.close()
    assert answer.order_id == 7
    return answer.outcomes


def test_the_attacker_is_cut_and_the_operator_never_notices(processes, site):
    port, folder, plant = site
    operator = processes(*play("operator", port, "--duration-s", "600"))
    operator.wait_for("poll")
    attacker = processes(*play("attacker", port, "--duration-s", "60"))
    attacker.wait_for("write")
    plant.wait_for("unsafe")

    (outcome,) = order(folder, Operation.APPLY, ATTACKER)
    assert outcome.ok
    assert outcome.verified
    attacker.wait_for("cut")
    attacker.wait_for("refused")
    attacker.wait_for("connected_again")

    polls_then = len(operator.told)
    operator.wait_for("poll")
    with operator._more:
        operator._more.wait_for(lambda: len(operator.told) > polls_then + 5, 30)
    polls = [told for told in operator.told if told["event"] == "poll"]
    assert len(polls) > 20
    assert all(poll["ok"] for poll in polls)
    again = attacker.find("connected_again")["at_boot_ns"]
    assert again - outcome.at_boot_ns >= LEASE_NS


def test_an_undo_lets_the_attacker_in_before_the_lease_ends(processes, site):
    port, folder, _ = site
    attacker = processes(*play("attacker", port, "--duration-s", "60"))
    attacker.wait_for("write")
    order(folder, Operation.APPLY, ATTACKER, lease_ns=3600 * 10**9)
    attacker.wait_for("refused")
    assert [o.action_id for o in order(folder, Operation.APPLY)] == [
        action_id("tap", "deny", ATTACKER)
    ]
    (outcome,) = order(folder, Operation.UNDO, ATTACKER)
    assert outcome.ok
    attacker.wait_for("connected_again")
    assert order(folder, Operation.APPLY) == ()


def test_a_protected_operator_cannot_be_blocked(site):
    _, folder, _ = site
    (outcome,) = order(folder, Operation.APPLY, Entity(EntityKind.ADDRESS, "127.0.0.2"))
    assert not outcome.ok
    assert "protected" in outcome.detail


def test_the_sensor_sees_what_the_attacker_wrote_and_that_it_was_cut(processes, site):
    port, folder, _ = site
    attacker = processes(*play("attacker", port, "--duration-s", "60"))
    attacker.wait_for("write")
    order(folder, Operation.APPLY, ATTACKER)
    attacker.wait_for("refused")

    source = TapFeedSource(TapFeedConfig(str(folder / "feed")))
    seen = []
    for batch in TapSensor(TapSensorConfig()).read(source):
        seen += batch
        if any(s.fields.get("status") == "refused" for s in seen):
            break
    source.close()
    assert all(isinstance(s, Observation) for s in seen)
    assert {s.actor for s in seen} == {ATTACKER}
    assert {s.provenance for s in seen} == {Provenance.BIDIRECTIONAL}
    writes = [s for s in seen if s.fields.get("modbus.function_code") == 6]
    assert writes[0].fields["modbus.value"] == 60_000
    assert writes[0].fields["modbus.direction"] == "request"
    assert [s.fields["status"] for s in seen if s.activity == "network_activity"][:2] == [
        "open",
        "closed",
    ]
    cut = next(s for s in seen if s.native.get("kind") == "cut")
    assert cut.fields["traffic.bytes_out"] > 0


def test_the_enforcers_executor_blocks_looks_and_takes_back(processes, site):
    port, folder, _ = site
    attacker = processes(*play("attacker", port, "--duration-s", "60"))
    attacker.wait_for("write")
    executor = TapExecutor(TapExecutorConfig(control_socket=str(folder / "control")))
    name = action_id("tap", "deny", ATTACKER)
    plans = executor.plan([Action(name, "tap", Verb.DENY, ATTACKER, "test-1-i1", 60 * 10**9)])
    (applied,) = executor.apply(plans)
    assert applied.verified
    assert executor.verify(plans) == [True]
    attacker.wait_for("cut")
    assert executor.renew(plans)[0].ok
    assert executor.undo(plans)[0].ok
    assert executor.observe() == frozenset()
    attacker.wait_for("connected_again")
    executor.close()
