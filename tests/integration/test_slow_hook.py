"""A hook that takes its time, under the enforcer as a real process."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.respond.stage import apply, deny, undo

from cronos.errors import UnreachableError
from cronos.link.frames import connect
from cronos.types import EntityKind, Hello, Operation, Verb, decode, encode

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from pathlib import Path
from tests.unit.respond.stage import BootClock, WorldExecutor
from cronos.respond.guards import EnforcerConfig
from cronos.respond.hooks import CommandConfig, CommandWorkflow, Steps
from cronos.respond.serving import run
from cronos.respond.workflow import WorkflowExecutor, WorkflowExecutorConfig
folder = Path(sys.argv[1])
clock = BootClock()
gate = ("/bin/sh", "-c", f"read line < {folder}/gate")
steps = Steps(pause=gate, restore=("/usr/bin/touch", f"{folder}/restored"))
hook = CommandWorkflow(CommandConfig(workload={"tank": steps}, timeout_ms=20_000), clock)
hooks = WorkflowExecutor(WorkflowExecutorConfig(), {"command": hook})
points = {"world": WorldExecutor({})}
if "hooks" in sys.argv:
    points["workflow"] = hooks
if "accounts" in sys.argv:
    from cronos.respond import account
    class Waiting(account.Accounts):  # a double: its usermod waits for the gate
        objection = lambda self: None
        lock = lambda self, *_given, **_options: open(folder / "gate").readline()
    account.Accounts = Waiting
    points["account"] = account.AccountExecutor(account.AccountConfig(prefix=str(folder), slice=""))
run(EnforcerConfig(), points, folder / "state", folder / "socket", clock)
"""
PAUSE = deny("tank", point="workflow", kind=EntityKind.WORKLOAD, verb=Verb.PAUSE)


@pytest.fixture
def start(tmp_path):
    processes, clients = [], []
    os.mkfifo(tmp_path / "gate")

    def started(*arguments):
        (tmp_path / "socket").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, tmp_path, *arguments],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]},
        )
        processes.append(process)
        client = None
        while client is None:
            assert process.poll() is None
            try:
                client = connect(tmp_path / "socket")
            except UnreachableError:
                select.select([], [], [], 0.01)
        clients.append(client)
        client.send(encode(Hello("kernel", os.getpid())))
        return process, client, decode(client.receive(10))

    yield started
    for client in clients:
        client.close()
    for process in processes:
        process.kill()
        process.wait(20)


def test_the_next_address_is_blocked_while_a_hook_still_waits(start, tmp_path):
    process, client, _ = start("hooks")
    client.send(encode(apply(PAUSE, order_id=1)))
    client.send(encode(apply(deny("203.0.113.7"), order_id=2)))
    answer = decode(client.receive(10))
    assert (answer.order_id, answer.outcomes[0].verified) == (2, True)
    (tmp_path / "gate").write_text("open\n")
    answer = decode(client.receive(10))
    assert (answer.order_id, answer.outcomes[0].ok) == (1, True)
    # Its lease is remembered through a crash like any other, and released on request.
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    _, client, restart = start("hooks")
    assert "tank" in {lease.plan.action.target.value for lease in restart.leases}
    (tmp_path / "gate").write_text("open\n")  # it is paused once more: see the executor
    client.send(encode(undo(PAUSE, order_id=3)))
    answer = decode(client.receive(10))
    while answer.order_id != 3:
        answer = decode(client.receive(10))
    assert answer.outcomes[0].ok
    assert (tmp_path / "restored").exists()


def test_the_next_address_is_blocked_while_an_account_is_still_being_locked(start, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("ann:x:64242:64242::/:/bin/sh\n")
    (tmp_path / "etc" / "shadow").write_text("ann:$6$a$b:19000::::::\n")
    _, client, _ = start("accounts")
    lock = deny("ann", point="account", kind=EntityKind.USER, verb=Verb.CONTAIN)
    client.send(encode(apply(lock, order_id=1)))
    client.send(encode(apply(deny("203.0.113.7"), order_id=2)))
    answer = decode(client.receive(10))
    assert (answer.order_id, answer.outcomes[0].verified) == (2, True)
    (tmp_path / "gate").write_text("refused\n")
    answer = decode(client.receive(10))
    assert (answer.order_id, answer.outcomes[0].ok) == (1, False)


def test_a_pause_whose_hooks_were_removed_is_not_forgotten(start, tmp_path):
    process, client, _ = start("hooks")
    client.send(encode(apply(PAUSE, order_id=1)))
    (tmp_path / "gate").write_text("open\n")
    assert decode(client.receive(10)).outcomes[0].ok
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    _, client, restart = start()
    assert [lease.plan.action.target.value for lease in restart.leases] == ["tank"]
    client.send(encode(undo(PAUSE, order_id=3)))
    answer = decode(client.receive(10))
    while answer.order_id != 3:
        answer = decode(client.receive(10))
    assert not answer.outcomes[0].ok
    assert answer.outcomes[0].operation is Operation.UNDO
    assert "workflow" in answer.outcomes[0].detail
