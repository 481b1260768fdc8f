"""The process of one discovery."""

import socket
import subprocess
import sys

import msgspec

from cronos.discover.child import DONE, FAILED, Failure, ReadAsk
from cronos.discover.model import Limits
from cronos.discover.wire import Unpacker, packed
from cronos.front.learner import launch


def test_it_answers_what_it_is_asked_and_leaves(tmp_path):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "cronos.front.learner"], stdin=theirs.fileno()
        )
        theirs.close()
        ask = ReadAsk(str(tmp_path / "nowhere"), "", Limits())
        ours.sendall(packed("ask", msgspec.msgpack.encode(ask)))
        unpacker, said = Unpacker(), []
        while data := ours.recv(1 << 16):
            said += unpacker.feed(data)

    assert child.wait(20) == 0
    ((kind, body),) = said
    assert kind == FAILED != DONE
    assert msgspec.msgpack.decode(body, type=Failure).code == "discover.unreadable"


def test_it_is_started_with_little_of_our_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    command, environment = launch()

    assert command[1:] == ("-m", "cronos.front.learner")
    assert "SECRET" not in environment
    assert environment["OMP_NUM_THREADS"] == "1"
