"""The enforcer and its children as real processes, killed at each request to a foreign system.

The systems are doubles that outlive both, and that do the killing: before a request was carried
out, or after that and before it is answered. However it ends, what was there before is there
again a second after the lease.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tests.integration.doubles.aws import OURS, IamDouble
from tests.integration.doubles.keycloak import SECRET, KeycloakDouble
from tests.integration.doubles.kubernetes import TOKEN, KubernetesDouble
from tests.integration.doubles.rabbitmq import PASSWORD, RabbitmqDouble
from tests.integration.doubles.receiver import SECRET as SHARED
from tests.integration.doubles.receiver import ReceiverDouble
from tests.integration.doubles.schedulers import TOKEN as AIRFLOW_TOKEN
from tests.integration.doubles.schedulers import AirflowDouble
from tests.integration.key_services import secret_file
from tests.integration.test_foreign_stories import action
from tests.unit.respond.stage import apply, undo

from cronos.config import Config
from cronos.errors import UnreachableError
from cronos.front.workers import Spec
from cronos.link.frames import connect
from cronos.types import EntityKind, Hello, Outcomes, Verb, decode, encode

ROOT = Path(__file__).parents[2]
LEASE_S = 1.0
GRACE_S = 1.0
# The process that speaks to AWS is there once boto3 has been imported and IAM's model been read.
STARTS_S = {"deactivation": 5.0, "rotation": 5.0}
# More of each blast class than a site would allow in a minute: each is done and undone often.
# Nobody looks of his own accord: his requests would be counted among those of an order.
OWN = {"reconcile_ms": 600_000, "blast_per_minute": {"service": 500, "host": 500, "identity": 500}}


def keycloak(folder):
    double = KeycloakDouble()
    double.add_user("alice", "s-1")
    secret = secret_file(folder / "secret", SECRET)
    settings = {"realm": "plant", "client_id": "cronos", "client_secret_file": secret}
    one = action("keycloak", Verb.CONTAIN, EntityKind.USER, "alice", lease_s=LEASE_S)
    return double, {"keycloak": settings}, one, lambda: double.user("alice")["enabled"]


def kubernetes(folder):
    double = KubernetesDouble()
    double.add_pod("api-0", labels={"app": "api"})
    settings = {"token_file": secret_file(folder / "token", TOKEN)}
    one = action("kubernetes", Verb.CONTAIN, EntityKind.POD, "shop/api-0", lease_s=LEASE_S)
    return double, {"kubernetes": settings}, one, double.state


def machine(folder):
    double = KubernetesDouble()
    double.add_node("worker-1")
    settings = {"token_file": secret_file(folder / "token", TOKEN)}
    one = action("kubernetes", Verb.CONTAIN, EntityKind.MACHINE, "worker-1", lease_s=LEASE_S)
    return double, {"kubernetes": settings}, one, double.state


def rollout(folder):
    double = KubernetesDouble()
    double.add_deployment("billing")
    settings = {
        "token_file": secret_file(folder / "token", TOKEN),
        "workload": {"billing": "shop/billing"},
    }
    point = "kubernetes-workloads"
    one = action(point, Verb.RESTORE, EntityKind.WORKLOAD, "billing", lease_s=LEASE_S)
    return double, {point: settings}, one, double.state


def rabbitmq(folder):
    double = RabbitmqDouble()
    double.add_user("tank", plant=("^x", "^y", ".*"), spare=("", "", "z"))
    settings = {"username": "cronos", "password_file": secret_file(folder / "pass", PASSWORD)}
    one = action("rabbitmq", Verb.DENY, EntityKind.USER, "tank", lease_s=LEASE_S)
    return double, {"rabbitmq": settings}, one, double.state


def receiver(folder):
    double = ReceiverDouble()
    settings = {"secret_file": secret_file(folder / "secret", SHARED), "accepts": ["deny:address"]}
    one = action("webhook-action", Verb.DENY, EntityKind.ADDRESS, "203.0.113.7", lease_s=LEASE_S)
    return double, {"webhook-action": settings}, one, lambda: dict(double.in_force)


def airflow(folder):
    double = AirflowDouble(load=False, sums=False, old=True)
    settings = {
        "token_file": secret_file(folder / "token", AIRFLOW_TOKEN),
        "workload": {"billing": {"dags": ["load", "sums", "old"]}},
    }
    one = action("workflow", Verb.PAUSE, EntityKind.WORKLOAD, "billing", lease_s=LEASE_S)
    return (
        double,
        {"airflow": settings, "workflow": {"hook": "airflow"}},
        one,
        (lambda: dict(double.dags)),
    )


def iam(folder, verb):
    pytest.importorskip("boto3", reason="needs the extra `aws`")
    pytest.importorskip("moto", reason="needs moto, the double of AWS")
    double = IamDouble()
    (key,) = double.add_user("batch")
    new_keys = folder / "new-keys"
    new_keys.mkdir(mode=0o700)
    text = f"[default]\naws_access_key_id = {OURS}\naws_secret_access_key = x\n"
    settings = {
        "credentials_file": secret_file(folder / "credentials", text),
        "secrets_folder": str(new_keys),
    }
    one = action("aws", verb, EntityKind.CREDENTIAL, key, lease_s=LEASE_S)

    def state():
        return double.state("batch"), sorted(file.name for file in new_keys.iterdir())

    return double, {"aws": settings}, one, state


def deactivation(folder):
    return iam(folder, Verb.DENY)


def rotation(folder):
    return iam(folder, Verb.UPDATE)


SYSTEMS = {
    one.__name__: one
    for one in (
        keycloak,
        kubernetes,
        machine,
        rollout,
        rabbitmq,
        receiver,
        airflow,
        deactivation,
        rotation,
    )
}


# The enforcement point of each, which has one or more.
POINTS = {name: name for name in SYSTEMS} | {
    "machine": "kubernetes",
    "rollout": "kubernetes-workloads",
    "receiver": "webhook-action",
    "airflow": "workflow",
    "deactivation": "aws",
    "rotation": "aws",
}


class Killer:
    """Kills a process at one request, counted from when it was armed, and says whether it did."""

    def __init__(self, double):
        self.double = double
        self.count = 0
        self.at = None
        self.victim = None
        self.killed = False
        answer = double.answer

        def answering(method, path, headers, body):
            self.count += 1
            mine = self.at is not None and self.count == self.at[0]
            if mine and self.at[1] == "before":
                self.strike()
            given = answer(method, path, headers, body)
            if mine and self.at[1] == "after":
                self.strike()
            return given

        double.answer = answering

    def arm(self, at, victim):
        self.count, self.at, self.victim, self.killed = 0, at, victim, False

    def strike(self):
        if not self.killed:
            self.killed = True
            os.kill(self.victim(), signal.SIGKILL)


class Host:
    """A machine with an enforcer, started anew after it was killed."""

    def __init__(self, folder, double, tables):
        self.folder = folder
        self.double = double
        for name, table in tables.items():
            if name != "workflow":
                table["url"] = double.url()
                self.name = name
        self.executors = tuple(n for n in tables if n not in ("workflow", "airflow"))
        self.child_name = next(iter(self.executors), "workflow")
        workload = ({"name": "billing", "assets": ["192.0.2.9"]},)
        self.config = msgspec.convert(
            {
                "sealer": "plaintext",
                "executors": self.executors,
                "workload": workload if "workflow" in tables else (),
                "plugin": {**tables, "enforcer": OWN},
            },
            Config,
        )
        self.process = None
        self.client = None

    def start(self):
        path = self.folder / "enforcer.json"
        socket = str(self.folder / "s")
        Path(socket).unlink(missing_ok=True)
        spec = Spec("enforcer", self.config, str(self.folder), "", str(self.folder / "e"),
                    socket, live=True)  # fmt: skip
        path.write_bytes(msgspec.json.encode(spec))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cronos.front.workers", str(path)],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]},
        )
        until = time.monotonic() + 20
        while True:
            try:
                self.client = connect(Path(socket))
                break
            except UnreachableError:
                assert time.monotonic() < until
                assert self.process.poll() is None
                select.select([], [], [], 0.01)
        self.client.send(encode(Hello("kernel", os.getpid())))
        decode(self.client.receive(10))

    def child(self):
        """Give the process number of the executor's child."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self.folder}/e/children/{self.child_name}.json".encode() in path.read_bytes():
                    return int(path.parent.name)
        raise AssertionError("no child runs")

    def answered(self, order):
        """Send an order and give its answer; None when the enforcer is gone."""
        self.client.send(encode(order))
        try:
            while (told := decode(self.client.receive(30))).order_id != order.order_id:
                assert isinstance(told, Outcomes)
        except UnreachableError:
            return None
        return told.outcomes

    def settle(self, one):
        """Wait until nothing of an action is left to do, so that no request is counted twice."""
        until = time.monotonic() + 20
        while not self.answered(undo(one, order_id=2_000_000))[0].ok:
            assert time.monotonic() < until

    def end(self):
        if self.client is not None:
            self.client.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


@contextlib.contextmanager
def hosted(tmp_path, name):
    double, tables, one, state = SYSTEMS[name](tmp_path)
    assert one.enforcement_point == POINTS[name]
    with double.serving():
        killer = Killer(double)
        host = Host(tmp_path, double, tables)
        host.start()
        try:
            yield host, killer, one, state
        finally:
            host.end()


def by(name, begun):
    """Say by when all must be as before; where AWS's library is read anew, a second after that."""
    return max(begun + LEASE_S, time.monotonic() + STARTS_S.get(name, -GRACE_S)) + GRACE_S


def restored(state, before, deadline):
    while state() != before:
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.02)
    return True


def steps():
    for number in range(1, 40):
        for moment in ("before", "after"):
            yield number, moment


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_child_killed_at_any_request_leaves_nothing_behind(tmp_path, name):
    with hosted(tmp_path, name) as (host, killer, one, state):
        before = state()
        killed = 0
        for at in steps():
            this = msgspec.structs.replace(one, incident_id=f"inc-{at[0]}-{at[1]}")
            killer.arm(at, host.child)
            begun = time.monotonic()
            (outcome,) = host.answered(apply(this, order_id=killed + 1))
            killer.at = None
            if not killer.killed:
                assert outcome.ok, outcome.detail
                assert host.answered(undo(this, order_id=killed + 1000))[0].ok
                assert restored(state, before, time.monotonic() + GRACE_S)
                break
            killed += 1
            assert not outcome.ok
            assert restored(state, before, by(name, begun)), (at, state())
            host.settle(this)
        assert killed >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_an_enforcer_killed_at_any_request_leaves_nothing_behind(tmp_path, name):
    with hosted(tmp_path, name) as (host, killer, one, state):
        before = state()
        killed = 0
        for at in steps():
            this = msgspec.structs.replace(one, incident_id=f"inc-{at[0]}-{at[1]}")
            killer.arm(at, lambda: host.process.pid)
            begun = time.monotonic()
            answer = host.answered(apply(this, order_id=killed + 1))
            killer.at = None
            if not killer.killed:
                assert answer[0].ok, answer[0].detail
                break
            killed += 1
            assert answer is None
            host.end()
            host.start()
            assert restored(state, before, by(name, begun)), (at, state())
            host.settle(this)
        assert killed >= 6
        # And one that was answered holds through a crash, and ends with its lease.
        assert state() != before
        host.end()
        host.start()
        assert restored(state, before, by(name, time.monotonic()))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["child", "enforcer"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_killed_at_any_request_of_a_release_it_is_released_all_the_same(tmp_path, name, victim):
    with hosted(tmp_path, name) as (host, killer, one, state):
        before = state()
        killed = 0
        for at in steps():
            this = msgspec.structs.replace(
                one, incident_id=f"inc-{at[0]}-{at[1]}", lease_ns=600_000_000_000
            )
            (outcome,) = host.answered(apply(this, order_id=2 * killed + 1))
            assert outcome.ok, outcome.detail
            killer.arm(at, host.child if victim == "child" else lambda: host.process.pid)
            host.answered(undo(this, order_id=2 * killed + 2))
            killer.at = None
            if not killer.killed:
                break
            killed += 1
            if victim == "enforcer":
                host.end()
                host.start()
            assert restored(state, before, by(name, time.monotonic())), at
            host.settle(this)
        assert killed >= 2
        assert restored(state, before, time.monotonic() + GRACE_S)


def test_one_system_that_hangs_holds_up_no_other(tmp_path):
    """Each foreign point has a lane and a process of its own."""
    slow, tables, alice, _ = keycloak(tmp_path)
    quick, more, tank, _ = rabbitmq(tmp_path)
    with slow.serving(), quick.serving():
        tables["keycloak"] |= {"url": slow.url(), "timeout_ms": 3000}
        more["rabbitmq"]["url"] = quick.url()
        host = Host(tmp_path, quick, {})
        host.config = msgspec.convert(
            {"sealer": "plaintext", "executors": ["keycloak", "rabbitmq", "recording"],
             "plugin": tables | more}, Config)  # fmt: skip
        host.start()
        try:
            slow.mood = "silent"
            address = action("recording", Verb.DENY, EntityKind.ADDRESS, "203.0.113.9")
            host.client.send(encode(apply(alice, tank, address, order_id=1)))
            heard = []
            begun = time.monotonic()
            took = {}
            while len(heard) < 3:
                told = decode(host.client.receive(30))
                for outcome in told.outcomes if told.order_id == 1 else ():
                    heard.append(outcome)
                    took[outcome.action_id] = time.monotonic() - begun
            by_id = {outcome.action_id: outcome for outcome in heard}
            assert by_id[address.action_id].ok
            assert by_id[tank.action_id].ok
            assert not by_id[alice.action_id].ok
            assert took[address.action_id] < took[tank.action_id] < took[alice.action_id]
            # The other system's answer takes milliseconds, and the start of a process a second.
            assert took[tank.action_id] < 2.5 < took[alice.action_id]
        finally:
            slow.let_go.set()
            host.end()
