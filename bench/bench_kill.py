"""The kill switch: from the word to the first refusal, while others ask for block after block.

A real enforcer process with its sealed book; its executor records and changes nothing, so that
what is measured is the switch. Two clients ask for eight blocks at a time without pause. Three
ways to stop: over the enforcer's own socket (until it answers), by the file alone (until a client
is refused), and with everything released (until it has undone what is held, and answers; nothing
new happens from the first of that on).
The command's own start is told apart: a process of Python, and what it imports.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from report import Report, quantile

from cronos.errors import CronosError
from cronos.link.frames import connect
from cronos.link.killswitch import KillFile, tell
from cronos.types import (
    Action,
    Entity,
    EntityKind,
    Hello,
    Kill,
    Operation,
    Order,
    Outcomes,
    Verb,
    action_id,
    decode,
    encode,
)

ROUNDS = 5
TIMES = 200
COMMANDS = 15
HELD = 100
SETTINGS = "[plugin.enforcer]\nactions_per_minute = 100000000\n"


def deny(address: str, incident: str) -> Action:
    target = Entity(EntityKind.ADDRESS, address)
    name = action_id("recording", Verb.DENY, target)
    return Action(name, "recording", Verb.DENY, target, incident, 300_000_000_000)


class Asking(threading.Thread):
    """Asks without pause, and notes when it was refused first since it was told to watch."""

    def __init__(self, socket: Path, number: int) -> None:
        super().__init__(daemon=True)
        self.link = connect(socket)
        self.number = number
        self.ending = False
        self.refused_at = 0.0
        self.is_refused = False
        self.asked = 0

    def run(self) -> None:
        """Ask until told to end."""
        while not self.ending:
            self.asked += 1
            block = self.asked & 15
            actions = [
                deny(f"10.{self.number}.{block}.{i}", f"inc-{self.number}") for i in range(1, 9)
            ]
            self.link.send(encode(Order(self.asked, Operation.APPLY, tuple(actions))))
            heard = 0
            while heard < len(actions):
                news = decode(self.link.receive(30) or b"")
                if isinstance(news, Outcomes) and news.order_id == self.asked:
                    heard += len(news.outcomes)
                    is_refused = "kill switch" in news.outcomes[0].detail
                    if is_refused and not self.is_refused:
                        self.refused_at = time.perf_counter()
                    self.is_refused = is_refused


def generation() -> int:
    time.sleep(0.001)  # the next one is another
    return time.time_ns() // 1_000_000


def wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.0002)


def by_socket(socket: Path, clients: list[Asking], *, release_all: bool) -> float:
    if release_all:
        fill(socket)
    kill = Kill(generation(), engaged=True, release_all=release_all)
    began = time.perf_counter()
    tell(socket, kill, 30)
    took = (time.perf_counter() - began) * 1e3
    tell(socket, Kill(generation(), engaged=False), 30)
    wait(lambda: not any(one.is_refused for one in clients))
    return took


def fill(socket: Path) -> None:
    link = connect(socket)
    actions = tuple([deny(f"172.16.0.{i}", "held") for i in range(HELD)])
    link.send(encode(Order(1, Operation.APPLY, actions)))
    link.receive(30)
    link.close()


def by_file(file: KillFile, clients: list[Asking]) -> float:
    for one in clients:
        one.is_refused = False
    began = time.perf_counter()
    file.put(generation(), release_all=False)
    wait(lambda: all(one.is_refused for one in clients))
    took = (max(one.refused_at for one in clients) - began) * 1e3
    file.remove()
    wait(lambda: not any(one.is_refused for one in clients))
    return took


def by_command(state: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "cronos.front.cli", "kill", "--json", "--state", str(state)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True)
    whole = (time.perf_counter() - began) * 1e3
    subprocess.run([*command, "--off"], capture_output=True, check=True)
    return json.loads(done.stdout)["acknowledged_ms"], whole


@contextlib.contextmanager
def enforcer(state: Path):
    config = state / "cronos.toml"
    config.write_text(SETTINGS)
    program = (
        "import sys; from cronos.front.workers import enforcer_main; sys.exit(enforcer_main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--config", str(config), "--state", str(state)]
    )
    socket = state / "enforcer" / "enforcer.sock"
    for _ in range(3_000):
        with contextlib.suppress(CronosError):
            link = connect(socket)
            link.send(encode(Hello("bench", 1)))
            link.receive(30)
            link.close()
            break
        time.sleep(0.01)
    try:
        yield socket
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    report = Report("kill")
    ways: dict[str, list[list[float]]] = {"socket": [], "release": [], "file": []}
    with tempfile.TemporaryDirectory() as folder, enforcer(Path(folder)) as socket:
        clients = [Asking(socket, number) for number in (1, 2)]
        for one in clients:
            one.start()
        wait(lambda: all(one.asked > 100 for one in clients))
        file = KillFile(Path(folder) / "KILL")
        for _ in range(ROUNDS):
            ways["socket"].append(
                [by_socket(socket, clients, release_all=False) for _ in range(TIMES)]
            )
            ways["file"].append([by_file(file, clients) for _ in range(TIMES)])
            ways["release"].append(
                [by_socket(socket, clients, release_all=True) for _ in range(TIMES // 4)]
            )
        commands = [by_command(Path(folder)) for _ in range(COMMANDS)]
        for one in clients:
            one.ending = True
        for one in clients:
            one.join(30)
    told = {
        "socket": "the enforcer's socket, until it answers",
        "file": "the file alone, until all are refused",
        "release": "the same, with up to 356 effects undone",
    }
    for way, rounds in ways.items():
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            times = [quantile(one, q) for one in rounds]
            must = "<= 100" * (q > 0.9 and way != "release")
            report.add(f"{told[way]}, {name}", times, "ms", len(rounds[0]), must)
    report.add(
        "`cronos kill`, from its first line to the answer", [a for a, _ in commands], "ms",
        COMMANDS, "<= 100",
    )  # fmt: skip
    report.add("the same, with the start of its process", [w for _, w in commands], "ms", COMMANDS)
    report.show()


if __name__ == "__main__":
    main()
