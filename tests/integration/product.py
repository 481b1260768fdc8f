"""The product as its users meet it: the command in a process of its own, and what it is fed."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable

from bench.capture_generator import Writer, tcp

ROOT = pathlib.Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
COMMAND = (sys.executable, "-m", "cronos.front.cli")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
PLC = bytes((198, 51, 100, 2))
POLICY = """version = 1
[[server]]
address = "198.51.100.2"
[[server.client]]
address = "192.0.2.20"
functions = [3, 6]
write = [{ table = "holding", first = 1, last = 1, min = 200, max = 800 }]
"""


class Done:
    """How a command ended, and what it said."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.out = out.decode()
        self.err = err.decode()
        assert "Traceback" not in self.err, self.err
        assert "Warning" not in self.err, self.err

    @property
    def document(self):
        """The one JSON document it printed."""
        return json.loads(self.out)

    def incident(self, actor):
        """The one incident of an actor."""
        (found,) = [one for one in self.document["incidents"] if actor in one["actor"]]
        return found


def cronos(*given, stdin: bytes | None = None, timeout_s: float = 120) -> Done:
    """Run the command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, given)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        timeout=timeout_s,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Up:
    """`cronos up`, running, until it is told to stop."""

    def __init__(self, *given) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "up", *map(str, given), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        os.set_blocking(self.process.stderr.fileno(), False)
        self._said = b""

    def said(self) -> list[dict]:
        """Give the log lines so far."""
        if not self.process.stderr.closed:
            self._said += self.process.stderr.read() or b""
        whole = self._said[: self._said.rfind(b"\n") + 1].decode()
        assert "Traceback" not in whole, whole
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def events(self, event: str) -> list[dict]:
        """Give the log lines of one kind."""
        return [one for one in self.said() if one["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> list[dict]:
        """Wait until something has been logged so many times."""
        until(lambda: len(self.events(event)) >= count or self.process.poll() is not None)
        found = self.events(event)
        assert len(found) >= count, self._said.decode()
        return found

    def children(self) -> set[int]:
        """Give the processes that it has started."""
        return descendants(self.process.pid)

    def stop(self) -> Done:
        """Tell it to stop and give how it ended."""
        self.process.terminate()
        return self.ended()

    def ended(self) -> Done:
        """Wait until it has ended by itself."""
        os.set_blocking(self.process.stderr.fileno(), True)
        out, err = self.process.communicate(timeout=60)
        self._said += err or b""
        return Done(self.process.returncode, out, self._said)

    def kill(self) -> None:
        """End it without a word, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        if not self.process.stdout.closed:
            self.process.communicate(timeout=60)


def until(condition, timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """Give the processes below one."""
    found = set()
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def alive(pid: int) -> bool:
    """Say whether a process still runs; one that is dead and not yet collected does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def short_folder() -> pathlib.Path:
    """Make a state folder whose sockets have room for their names."""
    return pathlib.Path(tempfile.mkdtemp(prefix="cr-"))


def remove(folder: pathlib.Path) -> None:
    """Remove a folder that `short_folder` made."""
    shutil.rmtree(folder, ignore_errors=True)


# --- what it is fed --------------------------------------------------------------------------


def failed_logins(count: int, attacker: str = "192.0.2.66", host: str = "gate") -> bytes:
    """Write syslog lines of failed logins, a tenth of a second apart."""
    return b"".join(
        b"<38>1 2026-11-14T22:%02d:%02d.%d00000Z %s sshd %d - - "
        b"Failed password for root from %s port %d ssh2\n"
        % (
            n // 600 % 60,
            n // 10 % 60,
            n % 10,
            host.encode(),
            n + 1,
            attacker.encode(),
            1024 + n % 60_000,
        )
        for n in range(count)
    )


def write_register(value: int = 900, function: int = 6) -> bytes:
    """Build a Modbus request that writes register 1."""
    pdu = struct.pack(">BHH", function, 1, value)
    return struct.pack(">HHHB", 1, 0, len(pdu) + 1, 1) + pdu


def exchange(out: Writer, client: bytes, port: int, request: bytes) -> None:
    """Write one whole connection to the controller: a request, its echo, and the end."""
    there, back = (client, PLC, port, 502), (PLC, client, 502, port)

    def say(ends, numbers, data=b""):
        out.frame(tcp(ends, numbers, len(data))[:40] + data)

    size = len(request)
    say(there, (100, 0, 0x02))
    say(back, (900, 101, 0x12))
    say(there, (101, 901, 0x10))
    say(there, (101, 901, 0x18), request)
    say(back, (901, 101 + size, 0x18), request)
    say(there, (101 + size, 901 + size, 0x11))
    say(back, (901 + size, 102 + size, 0x11))
    say(there, (102 + size, 902 + size, 0x10))


def modbus_capture(path: pathlib.Path, clients: Iterable[str], request: bytes | None = None):
    """Write a capture in which each client sends one request; give the path."""
    with path.open("wb") as file:
        out = Writer(file)
        for number, client in enumerate(clients):
            address = bytes(map(int, client.split(".")))
            exchange(out, address, 40_000 + number % 20_000, request or write_register())
        out.flush()
    return path


def forged_syns(path: pathlib.Path, victim: str, ports: int = 500):
    """Write a capture of SYNs that name a victim as their sender, none of them answered."""
    address = bytes(map(int, victim.split(".")))
    with path.open("wb") as file:
        out = Writer(file)
        for port in range(1, ports + 1):
            out.frame(tcp((address, PLC, 40_000 + port, port), (100, 0, 0x02), 0))
        out.flush()
    return path


def policy_file(folder: pathlib.Path) -> pathlib.Path:
    """Write the declared policy that the captures break."""
    path = folder / "policy.toml"
    path.write_text(POLICY)
    return path
