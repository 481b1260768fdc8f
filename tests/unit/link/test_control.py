"""The control socket: calls are answered in order, and nobody is in anybody's way."""

import asyncio
import contextlib
import socket
import threading

import pytest
import uvloop
from tests.unit.link.desk import FakeDesk, question

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.asking import ask
from cronos.link.clerk import Caller, Clerk
from cronos.link.control import ControlServer
from cronos.link.frames import connect, frame
from cronos.link.killswitch import KillSwitch
from cronos.runtime.world import SystemClock
from cronos.types import ControlCall, ControlReply, Hello, decode, encode

LOCAL = Caller("local/eve", ("analyst",), signed=False, alone=True)


class FakeAuthority:
    """Believes everyone, or takes its time."""

    def __init__(self):
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()
        self.uids = []

    def identify(self, call, uid):
        self.uids.append(uid)
        self.begun.set()
        assert self.let_go.wait(20)
        if call.order == b"forged":
            raise DeniedError("crypto.refused", "Refused.", "Sign it.")
        return LOCAL


@contextlib.contextmanager
def serving(folder, desk=None, authority=None, factory=None):
    """A control server on a loop in a thread of the test."""
    faults, ready, loops = [], threading.Event(), []
    stop = asyncio.Event()

    async def run():
        loops.append(asyncio.get_running_loop())
        clerk = Clerk(desk or FakeDesk(question()), KillSwitch(folder / "KILL"), SystemClock())
        server = ControlServer(
            folder / "control.sock", clerk, authority or FakeAuthority(), faults.append
        )
        assert await server.health() != "ok"
        await server.start()
        assert await server.health() == "ok"
        ready.set()
        await stop.wait()
        await server.stop()
        await server.stop()

    def live():
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run())

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert ready.wait(20)
        yield folder / "control.sock", faults
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()


def reply_of(link):
    body = link.receive(10)
    assert body is not None
    return decode(body)


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop])
def test_a_call_is_answered_with_json(tmp_path, factory):
    with serving(tmp_path, factory=factory) as (path, _):
        assert path.stat().st_mode & 0o777 == 0o600
        assert b'"node":"local"' in ask(path, ControlCall(7, "status"))
    assert not path.exists()


def test_an_error_comes_back_as_the_class_it_was(tmp_path):
    desk = FakeDesk()
    with serving(tmp_path, desk) as (path, _):
        with pytest.raises(InputError) as refused:
            ask(path, ControlCall(1, "release", b'{"incident":"x"}'))
        assert refused.value.code == "control.unknown_incident"
        with pytest.raises(DeniedError, match="Sign it"):
            ask(path, ControlCall(1, "status", b"{}", b"forged"))
        desk.fails = UnreachableError("testing.away", "Away.", "Wait.")
        with pytest.raises(UnreachableError, match="Away"):
            ask(path, ControlCall(1, "release", b'{"incident":"local-1-i1"}'))
        desk.fails = CronosError("testing.ours", "Ours.", "Wait.")
        with pytest.raises(CronosError, match="Ours") as ours:
            ask(path, ControlCall(1, "release", b'{"incident":"local-1-i1"}'))
        assert ours.value.blame == "ours"


def test_a_fault_of_ours_is_told_and_ends_nothing(tmp_path):
    desk = FakeDesk()
    desk.fails = KeyError("oops")
    with serving(tmp_path, desk) as (path, faults):
        with pytest.raises(CronosError) as fault:
            ask(path, ControlCall(1, "release", b'{"incident":"local-1-i1"}'))
        assert fault.value.code == "control.fault"
        assert "oops" in faults[0]
        assert ask(path, ControlCall(2, "status"))


def test_calls_of_one_client_are_answered_in_order(tmp_path):
    with serving(tmp_path) as (path, _):
        link = connect(path)
        for number in range(100):
            link.send(encode(ControlCall(number, "status")))
        assert [reply_of(link).request_id for _ in range(100)] == list(range(100))
        link.close()


def test_who_waits_for_a_signature_is_in_nobodys_way_on_the_loop(tmp_path):
    authority = FakeAuthority()
    authority.let_go.clear()
    with serving(tmp_path, authority=authority) as (path, _):
        slow = connect(path)
        slow.send(encode(ControlCall(1, "status")))
        assert authority.begun.wait(20)
        slow.close()  # and who leaves meanwhile hears nothing
        authority.let_go.set()
        assert ask(path, ControlCall(2, "status"))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff" + b"x" * 100,
        frame(b""),
        frame(b"nonsense"),
        frame(encode(Hello("cli", 1))),
        frame(encode(ControlReply(1))),
        frame(b"\x01\x07Unknown\x90"),
    ],
)
def test_who_talks_nonsense_loses_its_own_connection_only(tmp_path, garbage):
    with serving(tmp_path) as (path, _):
        good = connect(path)
        with socket.socket(socket.AF_UNIX) as bad:
            bad.settimeout(10)
            bad.connect(str(path))
            bad.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):
                assert bad.recv(100) == b""
        good.send(encode(ControlCall(1, "status")))
        assert reply_of(good).code == ""
        good.close()


def test_one_who_only_holds_a_place_gives_way(tmp_path):
    with serving(tmp_path) as (path, _):
        idle = [connect(path) for _ in range(40)]
        assert ask(path, ControlCall(1, "status"))
        for one in idle:
            one.close()


def test_when_all_places_are_in_use_a_new_client_is_refused(tmp_path):
    with serving(tmp_path) as (path, _):
        busy = []
        for number in range(16):
            link = connect(path)
            link.send(encode(ControlCall(number, "status")))
            reply_of(link)
            busy.append(link)
        with pytest.raises(UnreachableError):
            ask(path, ControlCall(1, "status"))
        busy.pop().close()
        for one in busy:
            one.close()
