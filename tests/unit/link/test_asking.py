"""Who asks a node that is not there, or is none."""

import socket
import subprocess
import sys
import threading

import pytest

from cronos.errors import UnreachableError
from cronos.link.asking import ask
from cronos.link.frames import frame
from cronos.types import ControlCall, ControlReply, encode


def test_where_no_node_runs_that_is_said(tmp_path):
    with pytest.raises(UnreachableError) as away:
        ask(tmp_path / "control.sock", ControlCall(1, "status"))
    assert away.value.code == "control.no_node"
    assert "cronos audit" in away.value.remedy


@pytest.mark.parametrize("answer", [b"", frame(b"x"), frame(encode(ControlReply(9))), b"\xff" * 9])
def test_what_answers_otherwise_is_no_node(tmp_path, answer):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def be_strange():
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(answer)

        thread = threading.Thread(target=be_strange)
        thread.start()
        with pytest.raises(UnreachableError):
            ask(path, ControlCall(1, "status"))
        thread.join(10)


def test_one_that_never_answers_is_given_up(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(UnreachableError) as silent:
            ask(tmp_path / "s", ControlCall(1, "status"), 0.05)
        assert silent.value.code == "control.silent"


def test_a_command_imports_no_event_loop():
    program = "import sys, cronos.front.commands.kill; print('asyncio' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "False\n"
