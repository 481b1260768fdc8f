"""Whoever is killed, whenever: every finding once, every record on the ledger, nobody left over."""

import contextlib
import os
import signal

import pytest
from tests.integration.product import (
    Up,
    alive,
    cronos,
    failed_logins,
    modbus_capture,
    policy_file,
    remove,
    short_folder,
    until,
)

from cronos.config import SourceEntry, parse
from cronos.front.compose import Node, run_loop, verify_ledger
from cronos.front.layout import Layout

ROLES = ("parser-0", "scorer", "ledger", "enforcer", "keys")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A log and a capture that take seconds to read, with a finding in every part of them."""
    folder = tmp_path_factory.mktemp("sources")
    log = folder / "auth.log"
    with log.open("wb") as file:
        for number in range(500):
            attacker, host = f"198.18.{number // 250}.{number % 250 + 1}", f"host-{number}"
            file.write(failed_logins(100, attacker, host))
            file.write(b"\xff not a record\n" if number % 100 == 50 else b"")
    clients = [f"203.0.{number // 250}.{number % 250 + 1}" for number in range(2_000)]
    capture = modbus_capture(folder / "plant.pcap", clients)
    return policy_file(folder), [log, capture]


def process(folder, sources, disturb):
    """Read the sources to their end; `disturb(node)` is called again and again meanwhile."""
    policy, files = sources
    config = parse({"plugin": {"modbus-policy": {"policy_file": str(policy)}}}, "the test")
    entries = [SourceEntry("file", "", {"path": str(path)}) for path in files]
    layout = Layout(folder, config.node.instance, session=True)

    async def play():
        node = Node(config, layout, entries, live=False, log_level="error")
        try:
            await node.start()
            await node.finish(lambda: disturb(node))
        finally:
            await node.stop()
        return node

    try:
        node = run_loop(play())
        return node, verify_ledger(layout.ledger)
    finally:
        layout.close()


class Killer:
    """Kills a worker each time that the node has come a further fifth of its way."""

    def __init__(self, role, total, times=4):
        self.role = role
        self.killed = set()
        self._marks = [total * part // (times + 1) for part in range(1, times + 1)]

    def __call__(self, node):
        pid = node.workers().get(self.role)
        if not self._marks or pid is None or pid in self.killed:
            return
        if sum(node.processed.values()) >= self._marks[0]:
            self._marks.pop(0)
            self.killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def told(node):
    """Give who did what how often: the same whoever was killed.

    Of equally strong findings the first one gives the title, and which comes first depends on where
    a report ends: the connection, or the request in it.
    """
    return {
        (one.actor, one.target, one.title.replace("connection", "request")): (
            one.findings,
            one.state,
        )
        for one in node.incidents()
    }


@pytest.fixture(scope="module")
def undisturbed(sources, tmp_path_factory):
    node, _ = process(tmp_path_factory.mktemp("undisturbed"), sources, lambda _: None)
    assert node.restarts == 0
    return node


def test_undisturbed_every_attacker_is_an_incident(undisturbed):
    assert len(told(undisturbed)) >= 2_500
    assert len(undisturbed.defects) == 5


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_killed_again_and_again_every_finding_is_there_exactly_once(
    tmp_path, sources, undisturbed, role, capfd
):
    killer = Killer(role, sum(undisturbed.processed.values()))
    node, checkpoint = process(tmp_path, sources, killer)

    assert len(killer.killed) >= 2
    assert node.restarts >= len(killer.killed)
    assert told(node) == told(undisturbed)
    assert node.processed == undisturbed.processed
    assert sorted(node.defects, key=str) == sorted(undisturbed.defects, key=str)
    assert node.ended == undisturbed.ended
    assert checkpoint.size >= max(one.ledger.last for one in node.incidents())
    assert all(0 < one.ledger.first <= one.ledger.last for one in node.incidents())
    assert "Traceback" not in capfd.readouterr().err


# --- the end -----------------------------------------------------------------------------------


@pytest.fixture
def state():
    folder = short_folder()
    yield folder
    remove(folder)


@pytest.fixture
def up(state, tmp_path):
    log = tmp_path / "auth.log"
    log.write_bytes(failed_logins(30))
    running = []

    def start(*more):
        running.append(Up("--state", state, "--follow", log, *more))
        running[-1].wait_for("node.ready")
        return running[-1]

    start.log = log
    yield start
    for one in running:
        one.kill()


def verified(state):
    done = cronos("audit", "verify", "--state", state, "--json")
    assert done.code == 0, done.err
    return done.document["records"]


def test_sigterm_leaves_no_process_behind_and_a_ledger_that_verifies(up, state):
    running = up()
    running.wait_for("incident.decision")
    children = running.children()
    assert len(children) >= 4
    done = running.stop()
    assert done.code == 1
    assert done.document["observations"] == 30
    assert [pid for pid in children if alive(pid)] == []
    assert verified(state) >= done.document["incidents"][0]["ledger"]["last"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_the_node_ends_its_workers_end_with_it(up, state, number):
    running = up()
    running.wait_for("incident.decision")
    children = running.children()
    running.process.send_signal(number)
    running.process.wait(30)
    until(lambda: not [pid for pid in children if alive(pid)])
    assert verified(state) > 0


def test_a_node_that_was_killed_is_started_again_on_the_same_folder(up, state):
    first = up()
    first.wait_for("incident.decision")
    first.process.kill()
    first.process.wait(30)
    second = up()
    with up.log.open("ab") as file:
        file.write(failed_logins(30, "192.0.2.99", "other"))
    second.wait_for("incident.decision")
    assert len(second.children()) >= 4
    done = second.stop()
    assert done.incident("192.0.2.99")
    assert verified(state) > 0


def test_a_restarted_node_goes_on_in_the_followed_file(up, state):
    first = up()
    first.wait_for("incident.decision")
    until((state / "local" / "run" / "scorer.sealed").exists)
    stopped = first.stop().document
    (first_case,) = stopped["incidents"]
    assert stopped["observations"] == 30
    with up.log.open("ab") as file:
        file.write(failed_logins(30, "192.0.2.99", "other"))
    second = up()
    second.wait_for("incident.decision")
    done = second.stop()
    # What was read before is taken up as it stood, not told again, nor forgotten in the count.
    before, new = done.document["incidents"]
    assert (before["actor"], new["actor"]) == ("address 192.0.2.66", "address 192.0.2.99")
    assert before["incident_id"] == first_case["incident_id"]
    assert before["findings"] == first_case["findings"]
    assert done.document["observations"] == 60


def test_a_worker_of_a_live_node_that_is_killed_comes_back(up):
    running = up()
    running.wait_for("incident.decision")
    for number, pid in enumerate(sorted(running.children()), 1):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        running.wait_for("worker.crashed", number)
    with up.log.open("ab") as file:
        file.write(failed_logins(30, "192.0.2.99", "other"))
    running.wait_for("incident.decision", 2)
    done = running.stop()
    assert {one["actor"] for one in done.document["incidents"]} == {
        "address 192.0.2.66",
        "address 192.0.2.99",
    }
    assert done.document["worker_restarts"] >= 4
