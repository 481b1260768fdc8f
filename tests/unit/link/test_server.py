"""The frame server: everyone has a turn, nobody waits for another, nonsense ends alone."""

import contextlib
import os
import resource
import socket
import struct
import threading

import pytest

from cronos.errors import InputError, UnreachableError
from cronos.link.frames import connect, frame, listen
from cronos.link.server import FrameServer


class Echo:
    """A server in a thread that answers each frame with itself; `no` is nonsense."""

    def __init__(self, path, **limits):
        self.path = path
        self.listener = listen(path)
        self.heard = []
        self.stopping = False
        self.gate = threading.Lock()
        options = {"max_connections": 4, "max_frames": 3, **limits}
        self.server = FrameServer(self.listener, self._hear, **options)
        self.thread = threading.Thread(target=self._serve)

    def _serve(self):
        while not self.stopping:
            self.server.turn(0.05)
        self.server.close()

    def pause(self):
        """Give a lock: while it is held nothing is heard."""
        return self.gate

    def _hear(self, connection, body):
        with self.gate:
            self._answer(connection, body)

    def _answer(self, connection, body):
        if body == b"no":
            raise ValueError("nonsense")
        if body == b"refused":
            raise InputError("testing.no", "No.", "None.")
        self.heard.append(body)
        answer = b"x" * 1_000_000 if body == b"much" else body
        connection.send(answer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.listener.close()


def asks(client, body):
    client.send(body)
    return client.receive(20)


def is_cut_off(client):
    try:
        return client.receive(20) is None and pytest.fail("it was left waiting")
    except UnreachableError:
        return True


def raw(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    client.settimeout(20)
    return client


def test_frames_are_answered_in_order(tmp_path):
    with Echo(tmp_path / "s"), contextlib.closing(connect(tmp_path / "s")) as client:
        for number in range(50):
            client.send(b"%d" % number)
        assert [client.receive(20) for _ in range(50)] == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("nonsense", [b"no", b"refused"])
def test_who_talks_nonsense_is_cut_off_alone(tmp_path, nonsense):
    with Echo(tmp_path / "s") as echo:
        good, bad = connect(tmp_path / "s"), connect(tmp_path / "s")
        assert asks(good, b"1") == b"1"
        bad.send(nonsense)
        with contextlib.suppress(UnreachableError):
            bad.send(b"and what follows it is not heard")
        assert is_cut_off(bad)
        assert asks(good, b"2") == b"2"
        assert echo.heard == [b"1", b"2"]
        good.close()
        bad.close()


def test_a_length_that_no_frame_has_is_cut_off_before_anything_is_kept(tmp_path):
    with Echo(tmp_path / "s"):
        bad, good = raw(tmp_path / "s"), connect(tmp_path / "s")
        bad.sendall(struct.pack(">I", (1 << 20) + 1))
        assert bad.recv(1) == b""
        assert asks(good, b"1") == b"1"
        bad.close()
        good.close()


def test_half_a_frame_holds_nobody_up(tmp_path):
    with Echo(tmp_path / "s"):
        half, good = raw(tmp_path / "s"), connect(tmp_path / "s")
        half.sendall(frame(b"slowly")[:7])
        assert asks(good, b"1") == b"1"
        half.sendall(frame(b"slowly")[7:])
        assert half.recv(99) == frame(b"slowly")
        half.close()
        good.close()


def test_a_flood_of_one_client_leaves_the_others_their_turns(tmp_path):
    with Echo(tmp_path / "s", max_frames=2) as echo:
        flood, good = raw(tmp_path / "s"), connect(tmp_path / "s")
        assert asks(good, b"good") == b"good"
        with echo.pause():
            flood.sendall(frame(b"f") * 5_000)
            good.send(b"mine")
        assert good.receive(20) == b"mine"
        assert echo.heard.index(b"mine") <= 8
        flood.close()
        good.close()


def test_who_does_not_take_its_answers_is_not_heard_further_and_holds_nobody_up(tmp_path):
    with Echo(tmp_path / "s") as echo:
        slow, good = connect(tmp_path / "s"), connect(tmp_path / "s")
        for _ in range(20):
            slow.send(b"much")
        assert asks(good, b"1") == b"1"
        assert asks(good, b"2") == b"2"
        assert echo.heard.count(b"much") < 5
        assert [len(slow.receive(20)) for _ in range(20)] == [1_000_000] * 20
        slow.close()
        good.close()


def test_what_was_sent_before_leaving_is_still_heard(tmp_path):
    with Echo(tmp_path / "s", max_frames=1) as echo:
        hasty, good = raw(tmp_path / "s"), connect(tmp_path / "s")
        hasty.sendall(frame(b"last words") + frame(b"and one more"))
        hasty.close()
        for number in range(5):
            asks(good, b"%d" % number)
        assert {b"last words", b"and one more"} <= set(echo.heard)
        good.close()


def test_who_says_nothing_gives_way_to_who_comes_later(tmp_path):
    with Echo(tmp_path / "s"):
        silent = [connect(tmp_path / "s") for _ in range(4)]
        for number in range(4):
            client = connect(tmp_path / "s")
            assert asks(client, b"%d" % number) == b"%d" % number
            silent.append(client)
        for client in silent:
            client.close()


def test_where_all_have_spoken_the_new_one_is_refused(tmp_path):
    with Echo(tmp_path / "s"):
        clients = [connect(tmp_path / "s") for _ in range(4)]
        assert [asks(client, b"1") for client in clients] == [b"1"] * 4
        late = connect(tmp_path / "s")
        assert is_cut_off(late)
        assert [asks(client, b"2") for client in clients] == [b"2"] * 4
        for client in (*clients, late):
            client.close()


def test_where_the_quiet_give_way_the_quietest_does(tmp_path):
    with Echo(tmp_path / "s", quiet_give_way=True):
        clients = [connect(tmp_path / "s") for _ in range(4)]
        assert [asks(client, b"1") for client in clients] == [b"1"] * 4
        assert asks(clients[0], b"2") == b"2"
        late = connect(tmp_path / "s")
        assert asks(late, b"3") == b"3"
        assert is_cut_off(clients[1])
        assert [asks(clients[n], b"4") for n in (0, 2, 3)] == [b"4"] * 3
        for client in (*clients, late):
            client.close()


def test_where_descriptors_run_out_the_quietest_gives_way(tmp_path):
    with Echo(tmp_path / "s", quiet_give_way=True):
        first, late = connect(tmp_path / "s"), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        assert asks(first, b"1") == b"1"
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            late.settimeout(20)
            late.connect(str(tmp_path / "s"))
            late.sendall(frame(b"2"))
            assert late.recv(99) == frame(b"2")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert is_cut_off(first)
        first.close()
        late.close()


def test_an_answer_for_who_has_left_is_dropped(tmp_path):
    with Echo(tmp_path / "s") as echo:
        for _ in range(20):
            gone = raw(tmp_path / "s")
            gone.sendall(frame(b"much") * 3)
            gone.close()
        with contextlib.closing(connect(tmp_path / "s")) as good:
            assert asks(good, b"1") == b"1"
        assert echo.thread.is_alive()


def test_closing_hangs_up_on_everyone(tmp_path):
    with Echo(tmp_path / "s"):
        client = connect(tmp_path / "s")
        assert asks(client, b"1") == b"1"
    assert is_cut_off(client)
    client.close()
