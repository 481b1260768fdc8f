"""The key agent over its socket: who is answered, who waits for nobody, and who is refused."""

import contextlib
import os
import resource
import socket
import stat
import struct
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tests.unit.crypto.held_keys import ADMIN_KEY, HeldKeysDouble

from cronos.crypto.agent import AgentSession
from cronos.crypto.keystore import Keystore, KeystoreConfig
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.signatures import ML_DSA_44, VerifyingKey
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.frames import FrameSocket, connect, listen
from cronos.link.keyagent import (
    AgentConfig,
    AgentKeys,
    KeyAgentServer,
    _lock_is_limited,
    agent_socket,
)
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.key_provider import KeyProviderConformance
from cronos.types import Hello, KeyCall, KeyReply, decode, encode


class Agent:
    """An agent in a thread, on a socket of its own, with a double of a keystore."""

    def __init__(self, folder):
        self.path = folder / "agent.sock"
        self.keys = HeldKeysDouble("state")
        self.clock = VirtualClock()
        self.lines = []
        self.calls = []

    def __enter__(self):
        self.listener = listen(self.path)
        self.server = KeyAgentServer(self.keys, self.listener, self.clock, self.report)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.stopping = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.listener.close()

    def report(self, level, event, *, detail, remedy=""):
        self.lines.append((level, event, detail, remedy))

    def client(self, **settings):
        return contextlib.closing(AgentKeys(AgentConfig(**settings), self.path))


def until(holds):
    for _ in range(2_000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it never came true")


class TestKeyAgentIsAKeyProvider(KeyProviderConformance):
    """A real keystore, locked by a machine key, behind the agent."""

    @pytest.fixture(autouse=True)
    def _agent(self, tmp_path):
        (tmp_path / "keys").mkdir(mode=0o700)
        agent = Agent(tmp_path)
        root = MachineRoot(MachineConfig(), tmp_path / "keys")
        agent.keys = Keystore(KeystoreConfig(), tmp_path / "keys", root, agent.clock)
        agent.keys.create("state", "rate")
        agent.keys.create("identity", "ml-dsa-44")
        with agent, agent.client() as client, contextlib.closing(agent.keys):
            self.client = client
            yield

    def make(self):
        return self.client

    def key_id(self):
        return "state.1"

    def signing_key_id(self):
        return "identity.1"

    def signed(self, public, message, context, signature):
        try:
            VerifyingKey(ML_DSA_44, public).verify(message, context, signature)
        except DeniedError:
            return False
        return True


def test_keys_are_listed_however_many_there_are(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        (known,) = agent.keys.listed()
        many = [known for _ in range(1_500)]
        agent.keys.listed = lambda: many
        assert client.listed() == many


def test_an_error_is_raised_again_as_the_class_that_it_was(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        with pytest.raises(InputError) as unknown:
            client.public("nobody")
        assert unknown.value.code == "crypto.no_key"
        with pytest.raises(DeniedError) as refused:
            client.unwrap("state", b"what is wrapped by nobody", b"")
        assert refused.value.code == "crypto.refused"


def test_a_fault_of_the_agent_is_told_without_its_text(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        agent.keys.broken = RuntimeError("seed 00112233")
        with pytest.raises(CronosError) as raised:
            client.public("state")
        assert raised.value.code == "crypto.agent_fault"
        agent.keys.broken = None
        assert client.public("state")
        assert [line[1] for line in agent.lines] == ["keys.fault"]
        assert "0011" not in repr(agent.lines)


def test_who_can_unlock_the_keystore_makes_and_destroys_keys_beside_a_running_node(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        assert client.create(ADMIN_KEY, "edge", "cnsa", 60).key_id == "edge.1"
        assert client.destroy(ADMIN_KEY, "edge.1").key_id == "edge.1"
        with pytest.raises(DeniedError) as raised:
            client.destroy(b"a guess", "state.1")
        assert raised.value.code == "crypto.agent_proof"
        assert [one.key_id for one in client.listed()] == ["state.1"]


def test_threads_share_one_connection_and_each_gets_its_own_answer(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        wrong = []

        def use(number):
            for turn in range(20):
                data, context = b"%d/%d" % (number, turn), b"c%d" % number
                if client.unwrap("state", client.wrap("state", data, context), context) != data:
                    wrong.append((number, turn))

        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []


def test_callers_go_on_after_the_agent_was_restarted(tmp_path):
    with Agent(tmp_path) as first:
        client = AgentKeys(AgentConfig(), first.path)
        wrapped = client.wrap("state", b"k", b"c")
        keys = first.keys
    second = Agent(tmp_path)
    second.keys = keys
    with second:
        assert client.unwrap("state", wrapped, b"c") == b"k"
        assert client.rotate("state") == "state.2"
        client.close()


def test_a_caller_waits_for_an_agent_that_is_starting(tmp_path):
    agent = Agent(tmp_path)
    told = []
    with agent.client() as client:
        waiting = threading.Thread(target=lambda: told.append(client.public("state")))
        waiting.start()
        with agent:
            waiting.join(20)
            assert told == [agent.keys.public("state")]


def test_no_agent_is_a_sentence_with_a_remedy(tmp_path):
    with Agent(tmp_path) as agent:
        pass
    with agent.client(patience_s=1) as client, pytest.raises(UnreachableError) as raised:
        client.public("state")
    assert raised.value.code == "link.no_agent"
    assert str(agent.path) in raised.value.sentence
    assert "cronos up" in raised.value.remedy


@contextlib.contextmanager
def impostor(folder, behave):
    """Listen as an agent would, and do to each connection what `behave` does."""
    listener = listen(folder / "agent.sock")
    listener.settimeout(20)
    met = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connected, _ = listener.accept()
                link = FrameSocket(connected)
                met.append(link)
                behave(link)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield folder / "agent.sock", met
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
        for link in met:
            link.close()


def reply_of(link, **changes):
    call = decode(link.receive(20))
    return KeyReply(**{"request_id": call.request_id, "data": b"public", **changes})


def test_an_agent_that_dies_at_every_call_is_given_up_on(tmp_path):
    def dies(link):
        link.receive(20)
        link.close()

    with impostor(tmp_path, dies) as (path, met):
        client = AgentKeys(AgentConfig(), path)
        with pytest.raises(UnreachableError):
            client.public("state")
        assert len(met) == 3


def test_a_rotation_that_may_have_been_carried_out_is_not_sent_again(tmp_path):
    def dies(link):
        link.receive(20)
        link.close()

    with impostor(tmp_path, dies) as (path, met):
        client = AgentKeys(AgentConfig(), path)
        with pytest.raises(UnreachableError) as raised:
            client.rotate("state")
        assert raised.value.code == "link.agent_lost"
        assert len(met) == 1


def test_who_asks_again_after_a_restart_proves_itself_to_the_new_agent(tmp_path):
    keys = HeldKeysDouble("state")

    def behave(link):
        session = AgentSession(keys, keys.steps.append, lambda: None)
        answers = [encode(session.answer(decode(link.receive(20))))]
        if len(met) == 1:
            # It ends with the challenge on its way: no call arrives any more.
            link._socket.shutdown(socket.SHUT_RD)
            link.send(answers[0])
            link.close()
            return
        link.send(answers[0])
        link.send(encode(session.answer(decode(link.receive(20)))))

    with impostor(tmp_path, behave) as (path, met):
        with contextlib.closing(AgentKeys(AgentConfig(), path)) as client:
            assert client.create(ADMIN_KEY, "edge", "cnsa", 60).key_id == "edge.1"
        assert len(met) == 2


def test_an_agent_that_never_answers_is_given_up_on(tmp_path):
    with impostor(tmp_path, lambda link: link.receive(20)) as (path, met):
        client = AgentKeys(AgentConfig(timeout_s=1), path)
        with pytest.raises(UnreachableError) as raised:
            client.public("state")
        assert raised.value.code == "link.agent_silent"
        assert len(met) == 1
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda link: b"\x01\x05Batch" + link.receive(20)[:0],
        lambda link: b"" + link.receive(20)[:0],
        lambda link: encode(Hello("x", link.receive(20)[0])),
        lambda link: encode(reply_of(link, request_id=99)),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(tmp_path, answer):
    with impostor(tmp_path, lambda link: link.send(answer(link))) as (path, _):
        client = AgentKeys(AgentConfig(), path)
        with pytest.raises(UnreachableError) as raised:
            client.public("state")
        assert raised.value.code == "link.not_agent"
        client.close()


def test_a_child_of_a_caller_gets_a_connection_of_its_own(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        wrapped = client.wrap("state", b"k" * 32, b"c")
        link = client._link
        client._pid += 1  # as in a child, which has the parent's connection and another pid
        assert client.unwrap("state", wrapped, b"c") == b"k" * 32
        assert client._link is not link


def test_nonsense_is_cut_off_and_the_others_are_served(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        assert client.public("state")
        for nonsense in (b"", b"\xff" * 99, encode(Hello("reflex", 1)), encode(KeyReply(1))):
            bad = connect(agent.path)
            bad.send(nonsense)
            with pytest.raises(UnreachableError):
                assert bad.receive(20) is not None
            bad.close()
        huge = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        huge.connect(str(agent.path))
        huge.sendall(struct.pack(">I", 1 << 30))
        assert huge.recv(1) == b""
        huge.close()
        assert client.public("state")


def test_strangers_who_take_every_place_do_not_keep_a_caller_out(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        assert client.public("state")
        strangers = []
        for _ in range(200):
            stranger = connect(agent.path)
            stranger.send(encode(KeyCall(1, "public", "state")))
            strangers.append(stranger)
        assert client.public("state")
        for stranger in strangers:
            stranger.close()


@pytest.fixture
def open_folder():
    """Give a folder that every user may reach and write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_hung_up_on(open_folder):
    with Agent(open_folder) as agent:
        agent.path.chmod(0o777)
        child = os.fork()
        if child == 0:  # pragma: no cover - in the child
            code = 1
            with contextlib.suppress(BaseException):
                os.setuid(65534)
                link = connect(agent.path)
                try:
                    link.send(encode(KeyCall(1, "public", "state")))
                    link.receive(10)
                except UnreachableError:
                    code = 0
            os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_caller_hangs_up_on_an_agent_of_another_user(open_folder):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        with contextlib.suppress(BaseException):
            os.setuid(65534)
            listener = listen(open_folder / "agent.sock")
            os.write(writer, b"listens")
            connected, _ = listener.accept()
            # Nothing may arrive: a wrap would give the data key away.
            os.write(writer, b"heard" if connected.recv(1) else b"empty")
        os._exit(0)
    try:
        assert os.read(reader, 7) == b"listens"
        (open_folder / "agent.sock").chmod(0o777)
        with pytest.raises(DeniedError) as raised:
            AgentKeys(AgentConfig(), open_folder / "agent.sock").wrap("state", b"k" * 32, b"")
        assert raised.value.code == "link.other_user"
        assert os.read(reader, 5) == b"empty"
    finally:
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_socket_of_another_users_is_a_sentence_at_once(open_folder):
    with Agent(open_folder):
        child = os.fork()
        if child == 0:  # pragma: no cover - in the child
            code = 1
            with contextlib.suppress(BaseException):
                os.setuid(65534)
                try:
                    AgentKeys(AgentConfig(), open_folder / "agent.sock").public("state")
                except DeniedError as error:
                    code = 0 if error.code == "link.agent_denied" else 2
            os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_memory_counts_as_limited_where_the_system_does_not_say_what_we_may(monkeypatch):
    def hidden(*_, **__):
        raise PermissionError("/proc is not for you")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (65_536, 65_536))
    monkeypatch.setattr(Path, "read_text", hidden)
    assert _lock_is_limited()


def test_what_is_due_is_rotated_once_a_minute_and_told(tmp_path):
    agent = Agent(tmp_path)
    agent.keys.due = ["The key node.1 was replaced by node.2."]
    with agent, agent.client() as client:
        assert client.public("state")
        assert len(agent.keys.steps) == 1
        assert agent.lines == [("info", "keys.step", "The key node.1 was replaced by node.2.", "")]
        agent.clock.advance(59_999_999_999)
        assert client.public("state")
        assert len(agent.keys.steps) == 1
        agent.clock.advance(1)
        until(lambda: len(agent.keys.steps) == 2)


def test_whoever_rotates_without_end_is_stopped_and_may_go_on_a_day_later(tmp_path):
    with Agent(tmp_path) as agent, agent.client() as client:
        for _ in range(60):
            client.rotate("state")
        with pytest.raises(DeniedError) as raised:
            client.rotate("state")
        assert raised.value.code == "crypto.agent_rotations"
        assert client.public("state")
        agent.clock.advance(86_400_000_000_000)
        assert client.rotate("state") == "state.62"


@pytest.mark.parametrize("error", [InputError("crypto.full", "Full.", "Make room."), OSError("0x")])
def test_callers_are_served_though_a_rotation_fails(tmp_path, error):
    agent = Agent(tmp_path)

    def step():
        raise error

    agent.keys.step = step
    with agent, agent.client() as client:
        assert client.public("state")
    assert len(agent.lines) == 1
    assert agent.lines[0][0] == "error"
    assert "0x" not in repr(agent.lines)


def test_a_second_agent_on_a_socket_is_refused_and_the_first_unharmed(tmp_path):
    path = tmp_path / "agent.sock"
    with agent_socket(path) as listener:
        inode = path.stat().st_ino
        with pytest.raises(DeniedError) as raised, agent_socket(path):
            pytest.fail("two agents listen")
        assert raised.value.code == "link.agent_running"
        assert path.stat().st_ino == inode
        client = connect(path)
        listener.accept()[0].close()
        client.close()
    assert not path.exists()


def test_a_socket_that_a_killed_agent_left_is_replaced(tmp_path):
    path = tmp_path / "agent.sock"
    listen(path).close()
    with agent_socket(path) as listener:
        client = connect(path)
        listener.accept()[0].close()
        client.close()


def test_the_socket_is_this_users_alone(tmp_path):
    with agent_socket(tmp_path / "agent.sock"):
        for name in ("agent.sock", "agent.lock"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_folder_is_made_for_this_user_alone(tmp_path):
    with agent_socket(tmp_path / "keys" / "agent.sock"):
        assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_folder_that_others_may_write_is_refused(open_folder):
    with pytest.raises(DeniedError) as raised, agent_socket(open_folder / "agent.sock"):
        pytest.fail("others could put a socket of their own there")
    assert raised.value.code == "crypto.folder_shared"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeniedError) as raised, agent_socket(tmp_path / "file" / "agent.sock"):
        pytest.fail("it listens in no folder")
    assert "file" in raised.value.sentence


def test_a_client_shows_its_socket_and_nothing_else():
    assert "agent.sock" in repr(AgentKeys(AgentConfig(), "agent.sock"))
