"""A machine on which a real enforcer process is killed at a step, and started again.

Three words to know: a *world* is one executor of the catalogue with victims of its own, which is
looked at without the executor; a *step* is where the enforcer's process kills itself; a *machine*
starts and loses enforcers. Whoever writes an executor adds a world to `tests.integration.worlds`.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cronos.errors import UnreachableError
from cronos.link.frames import connect
from cronos.types import Action, Hello, decode, encode

ROOT = Path(__file__).parents[2]
GRACE_S = 1.0

# Where the enforcer's process kills itself, in the order of an isolation's life.
BEFORE_ANSWER = ("before-book", "after-book", "within-apply", "after-apply", "after-verify")
RENEWING = ("before-renew", "after-renew")
UNDOING = ("before-undo", "within-undo", "after-undo")


class World:
    """One enforcement point and its victims; subclass it, and add it to `WORLDS`.

    Attributes:
        point: the executor's name in the catalogue.
        final: its actions cannot be taken back.
        settles_at_start: what the kernel ended by itself is tidied up at the next start only.
    """

    point = ""
    final = False
    settles_at_start = False

    def __init__(self, folder: Path) -> None:
        """Make the victims, or skip with a reason; `folder` is the world's own."""

    def close(self) -> None:
        """End the victims."""

    def settings(self) -> dict[str, object]:
        """Give the executor's own table, ``[plugin.<point>]``."""
        return {}

    def config(self) -> dict[str, object]:
        """Give what else the configuration holds, other plug-ins' tables among it."""
        return {}

    def terms(self) -> dict[str, object]:
        """Give the enforcer's own settings."""
        return {}

    def command(self, command: Sequence[str]) -> list[str]:
        """Give the command line that starts the enforcer in this world (a namespace)."""
        return list(command)

    def actions(self, lease_s: float) -> list[Action]:
        """Give two or more actions on different victims, each with this lease."""
        raise NotImplementedError

    def effects(self) -> set[str]:
        """Look, without the executor, and give one name for each effect that is there."""
        raise NotImplementedError

    def state(self) -> object:
        """Give all of the world that an effect may change, to be compared with before."""
        return None


class Machine:
    """Starts the enforcer of a world as a process, and loses it."""

    def __init__(self, folder: Path, world: World | None = None) -> None:
        self.folder = folder
        self.world = world
        self.process: subprocess.Popen[bytes] | None = None
        if world is not None:
            spec = {
                "point": world.point,
                "settings": world.settings(),
                "config": world.config(),
                "terms": world.terms(),
                "final": world.final,
            }
            (folder / "spec").write_text(json.dumps(spec))

    def start(self, crash_at: str = "never"):
        socket_path = self.folder / "socket"
        socket_path.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.integration.enforcer_process", str(self.folder)]
        command.append(crash_at)
        self.process = subprocess.Popen(
            command if self.world is None else self.world.command(command),
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]},
        )
        client = self._connected()
        client.send(encode(Hello("kernel", os.getpid())))
        decode(client.receive(10))
        return client

    def _connected(self):
        until = time.monotonic() + 20
        while True:
            try:
                return connect(self.folder / "socket")
            except UnreachableError:
                assert time.monotonic() < until
                assert self.process.poll() is None
                select.select([], [], [], 0.01)

    def killed(self) -> bool:
        return self.process.wait(20) in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)

    def effects(self) -> set[str]:
        if self.world is not None:
            return self.world.effects()
        return {path.name for path in (self.folder / "world").iterdir()}

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def empty_by(self, deadline: float) -> bool:
        while self.effects():
            if time.monotonic() > deadline:
                return False
            select.select([], [], [], 0.01)
        return True


class Crashing:
    """An executor whose process kills itself, without warning, at a chosen step."""

    def __init__(self, executor, crash_at: str) -> None:
        self._executor = executor
        self._crash_at = crash_at
        self._done = ""
        self.manifest = executor.manifest
        self.config_type = executor.config_type
        self.waits = getattr(executor, "waits", False)

    def plan(self, actions):
        if actions:
            self._step("before-book")
        return self._executor.plan(actions)

    def apply(self, plans):
        if not plans:
            return []
        self._step("after-book")
        self._half(self._executor.apply, plans, "within-apply")
        answers = self._executor.apply(plans)
        self._step("after-apply")
        self._done = "apply"
        return answers

    def verify(self, plans):
        there = self._executor.verify(plans)
        if self._done == "apply" and any(there):
            self._step("after-verify")
        if self._done == "undo":
            self._step("after-undo")
        return there

    def renew(self, plans):
        if not plans:
            return []
        self._step("before-renew")
        answers = self._executor.renew(plans)
        self._step("after-renew")
        return answers

    def undo(self, plans):
        if not plans:
            return []
        self._step("before-undo")
        self._half(self._executor.undo, plans, "within-undo")
        answers = self._executor.undo(plans)
        self._done = "undo"
        return answers

    def observe(self):
        return self._executor.observe()

    def _half(self, work, plans, step):
        if step == self._crash_at:
            work(plans[:1])
            self._step(step)

    def _step(self, name):
        if name == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def machine_of(world_type: type[World], folder: Path):
    """Give a machine with a world of this type; ends both."""
    (folder / "victims").mkdir()
    world = world_type(folder / "victims")
    machine = Machine(folder, world)
    try:
        yield machine
    finally:
        machine.kill()
        world.close()


def skip_unless(holds: bool, why: str) -> None:
    if not holds:
        pytest.skip(why)
