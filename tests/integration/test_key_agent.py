"""The key agent as a real process: alone, killed, replaced, beset, and closed to its own user."""

import base64
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tests.integration.agent_process import NOBODY, become_nobody

from cronos.crypto.keystore import admin_key_of
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.errors import DeniedError, UnreachableError
from cronos.link.frames import connect, frame
from cronos.link.keyagent import AgentConfig, AgentKeys
from cronos.types import KeyCall, KeyState, encode

REPO = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")


class Agent:
    """A key agent process, started on entering and killed, if need be, on leaving."""

    def __init__(self, folder, name="agent.sock", user="", **how):
        self.folder = folder
        self.path = folder / name
        self.arguments = [str(folder), name, user]
        self.how = how

    def __enter__(self):
        program = [sys.executable, "-m", "tests.integration.agent_process"]
        self.process = subprocess.Popen(
            [*program, *self.arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'src'}"},
            **self.how,
        )
        self.log = []
        return self

    def ready(self):
        """Wait until it serves, and can be told to stop."""
        while not self.log or self.log[-1]["event"] != "ready":
            self.log.append(json.loads(self.process.stderr.readline()))

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self.process.stderr.close()

    def end(self):
        """Tell it to stop; gives its exit code and the lines of its log."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, self.log + [json.loads(one) for one in log.splitlines()]

    def client(self, **settings):
        return contextlib.closing(AgentKeys(AgentConfig(**settings), self.path))

    def status(self, key):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(key)))


@pytest.fixture
def folder():
    """Give a folder of this user's alone, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def agent(folder):
    with Agent(folder) as started:
        yield started


def test_it_wraps_signs_lists_and_ends_when_told(agent):
    with agent.client() as keys:
        wrapped = keys.wrap("state", b"k" * 32, b"epoch")
        assert keys.unwrap("state", wrapped, b"epoch") == b"k" * 32
        signature = keys.sign("identity", b"message", b"cronos-test")
        VerifyingKey(ML_DSA_87, keys.public("identity")).verify(
            b"message", b"cronos-test", signature
        )
        assert [one.key_id for one in keys.listed()] == ["identity.1", "node.1", "state.1"]
    code, log = agent.end()
    assert code == 0
    assert "error" not in {line["level"] for line in log}
    assert not agent.path.exists()


@pytest.mark.parametrize(
    ("name", "code"), [("agent.sock", "link.agent_running"), ("b.sock", "crypto.keystore_in_use")]
)
def test_a_second_agent_is_refused_with_a_sentence_and_the_first_goes_on(agent, name, code):
    with agent.client() as keys:
        public = keys.public("state")
        with Agent(agent.folder, name) as second:
            assert second.process.wait(30) == 4
            told = json.loads(second.process.stderr.readlines()[-1])
        assert told["event"] == code
        assert told["detail"]
        assert told["remedy"]
        assert keys.public("state") == public
    with agent.client() as keys:
        assert keys.public("state") == public


def test_an_agent_whose_keystore_does_not_open_says_so_and_leaves_no_socket(folder):
    with Agent(folder) as good, good.client() as keys:
        assert keys.public("state")
        assert good.end()[0] == 0
    (folder / "machine.key").write_bytes(b"damaged")
    with Agent(folder) as bad:
        assert bad.process.wait(30) == 4
        told = json.loads(bad.process.stderr.readlines()[-1])
    assert told["event"] == "crypto.machine_key_damaged"
    assert not bad.path.exists()


def test_after_a_kill_a_new_agent_takes_the_socket_and_callers_go_on(folder):
    with Agent(folder) as first, first.client() as keys:
        wrapped = keys.wrap("state", b"k" * 32, b"epoch")
        first.process.kill()
        first.process.wait(20)
        assert first.path.exists()
        with Agent(folder) as second:
            assert keys.unwrap("state", wrapped, b"epoch") == b"k" * 32
            assert second.process.poll() is None


def test_callers_get_through_many_kills(folder):
    stop, failures, done = threading.Event(), [], [[], [], []]

    def use(mine):
        with contextlib.closing(
            AgentKeys(AgentConfig(patience_s=30), folder / "agent.sock")
        ) as keys:
            while not stop.is_set():
                try:
                    wrapped = keys.wrap("state", b"k" * 32, b"c")
                    mine.append(keys.unwrap("state", wrapped, b"c") == b"k" * 32)
                except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                    failures.append(repr(error))

    callers = [threading.Thread(target=use, args=(mine,)) for mine in done]
    for _ in range(5):
        with Agent(folder) as agent:
            if not callers[0].ident:
                for caller in callers:
                    caller.start()
            # A call is sent three times: each caller must have got through before the next kill.
            before = [len(mine) for mine in done]
            _until(
                lambda before=before: (
                    all(len(mine) > old + 3 for mine, old in zip(done, before, strict=True))
                    or failures
                )
            )
            agent.process.kill()
    with Agent(folder):
        stop.set()
        for caller in callers:
            caller.join(60)
    assert failures == []
    assert all(all(mine) for mine in done)


def test_who_can_unlock_the_keystore_makes_and_destroys_keys_through_the_agent(agent):
    with agent.client() as keys:
        assert keys.public("state")
        admin_key = admin_key_of(agent.folder, MachineRoot(MachineConfig(), agent.folder))
        assert keys.create(admin_key, "edge", "rate", 3_600).key_id == "edge.1"
        assert keys.destroy(admin_key, "edge.1").state is KeyState.DESTROYED
        with pytest.raises(DeniedError) as raised:
            keys.destroy(bytes(len(admin_key)), "state.1")
        assert raised.value.code == "crypto.agent_proof"
        assert keys.unwrap("state", keys.wrap("state", b"k", b"c"), b"c") == b"k"


def test_hostile_clients_hurt_nobody_else_and_take_no_memory(agent):
    with agent.client() as keys:
        public = keys.public("state")
        before = agent.status("VmRSS")
        stop = threading.Event()
        attackers = [
            threading.Thread(target=_attack, args=(agent.path, attack, stop))
            for attack in (_flood, _halves, _oversized, _nonsense, _slow_reader, _come_and_go)
        ]
        for attacker in attackers:
            attacker.start()
        try:
            waits = []
            for _ in range(40):
                began = time.monotonic()
                assert keys.public("state") == public
                assert keys.sign("identity", b"m", b"cronos-test")
                waits.append(time.monotonic() - began)
        finally:
            stop.set()
            for attacker in attackers:
                attacker.join(60)
        assert sorted(waits)[len(waits) // 2] < 2
        assert agent.status("VmRSS") < before + 200_000
        assert keys.public("state") == public
    code, log = agent.end()
    assert code == 0
    assert "keys.fault" not in {line["event"] for line in log}


def test_no_secret_is_in_the_log_of_an_agent_that_was_beset(agent):
    with agent.client() as keys:
        keys.wrap("state", b"k" * 32, b"c")
        for call in (
            lambda: keys.unwrap("state", b"w" * 1_200, b"c"),
            lambda: keys.sign("identity", b"m", b"not ours"),
            lambda: keys.destroy(b"no", "state.1"),
        ):
            with pytest.raises(DeniedError):
                call()
    secret = (agent.folder / "machine.key").read_bytes()
    _, log = agent.end()
    text = json.dumps(log)
    for shown in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
        assert shown not in text


def test_it_dumps_no_core_and_is_not_swapped_where_the_system_lets_it(agent):
    with agent.client() as keys:
        assert keys.public("state")
        if os.geteuid() == 0:
            limits = Path(f"/proc/{agent.process.pid}/limits").read_text()
            core = next(one for one in limits.splitlines() if one.startswith("Max core"))
            assert core.split()[4:6] == ["0", "0"]
        locked = agent.status("VmLck")
    _, log = agent.end()
    assert (locked > 0) != ("keys.swappable" in {line["event"] for line in log})


def _no_locking():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65_536, 65_536))


@pytest.fixture
def nobodys():
    """Give a folder of user nobody."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def _as_nobody(act):
    """Fork a child that acts as the user nobody; gives its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    with contextlib.suppress(BaseException):
        become_nobody()
        act()
        code = 0
    os._exit(code)


def _reads_memory(pid):
    """Say whether a process of nobody's may open the memory of another."""
    reader = _as_nobody(lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)))
    return os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == 0


@needs_root
def test_its_memory_is_closed_to_its_own_user(nobodys):
    reader, writer = os.pipe()
    usual = _as_nobody(lambda: (os.write(writer, b"x"), time.sleep(60)))
    try:
        assert os.read(reader, 1) == b"x"
        readable = _reads_memory(usual)
    finally:
        os.kill(usual, signal.SIGKILL)
        os.waitpid(usual, 0)
        os.close(reader)
        os.close(writer)
    if not readable:
        pytest.skip("this system closes the memory of every process (yama)")
    with Agent(nobodys, user="nobody") as agent:
        agent.ready()
        assert not _reads_memory(agent.process.pid)
        assert agent.end()[0] == 0


@needs_root
def test_where_memory_cannot_be_locked_it_says_so_and_serves(nobodys):
    with Agent(nobodys, user="nobody", preexec_fn=_no_locking) as agent:
        agent.ready()
        code, log = agent.end()
    assert code == 0
    (line,) = [one for one in log if one["event"] == "keys.swappable"]
    assert "LimitMEMLOCK" in line["remedy"]


def test_an_agent_that_was_stopped_by_a_signal_keeps_callers_waiting_no_longer_than_they_said(
    agent,
):
    with agent.client(timeout_s=1) as keys:
        assert keys.public("state")
        agent.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(UnreachableError) as raised:
                keys.public("state")
            assert raised.value.code == "link.agent_silent"
        finally:
            agent.process.send_signal(signal.SIGCONT)
        assert keys.public("state")


# --- what hostile clients do ----------------------------------------------------------------------


def _attack(path, attack, stop):
    while not stop.is_set():
        with contextlib.suppress(OSError, UnreachableError):
            attack(path, stop)


def _socket(path):
    hostile = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hostile.settimeout(1)
    try:
        hostile.connect(str(path))
    except OSError:
        hostile.close()
        raise
    return hostile


def _flood(path, stop):
    """Send signatures to make as fast as it goes, and read the answers."""
    call = frame(encode(KeyCall(1, "sign", "identity", b"m", b"cronos-flood")))
    with _socket(path) as hostile:
        while not stop.is_set():
            hostile.sendall(call * 50)
            hostile.recv(1 << 20)


def _halves(path, stop):
    """Fill every place with half a frame."""
    with contextlib.ExitStack() as held:
        for _ in range(100):
            one = held.enter_context(_socket(path))
            with contextlib.suppress(OSError):
                one.sendall(b"\x00\x0f\xff\xff" + bytes(10_000))
        stop.wait(0.1)


def _oversized(path, _):
    with _socket(path) as hostile:
        hostile.sendall(b"\xff\xff\xff\xff" + bytes(100_000))
        hostile.recv(1)


def _nonsense(path, _):
    with _socket(path) as hostile:
        hostile.sendall(frame(b"\x01\x07KeyCall\x93") + frame(b"\xff" * 500))
        hostile.recv(1)


def _slow_reader(path, stop):
    """Ask for long lists and take none of them."""
    with contextlib.closing(connect(path)) as hostile, contextlib.suppress(TimeoutError):
        hostile._socket.settimeout(1)
        for number in range(2_000):
            hostile._socket.sendall(frame(encode(KeyCall(number, "listed"))))
        stop.wait(0.5)


def _come_and_go(path, _):
    for _ in range(200):
        _socket(path).close()


def _until(holds):
    for _ in range(6_000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it never came true")
