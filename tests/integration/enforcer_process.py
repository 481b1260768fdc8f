"""An enforcer as a real process whose executor kills it, without warning, at a chosen step.

Its book is sealed by the real sealer, under a machine key of its own.
"""

import os
import signal
import sys
from pathlib import Path

from tests.unit.respond.stage import BootClock

from cronos.config import Config
from cronos.errors import CronosError
from cronos.front.keyring import open_keystore
from cronos.front.plugins import make
from cronos.respond.guards import EnforcerConfig
from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.respond.serving import Home, Keyless, run
from cronos.types import Operation, Outcome, Plan


class FileExecutor:
    """Effects are files: what a dead process leaves behind stays for all to see."""

    manifest = RecordingExecutor.manifest
    config_type = RecordingConfig

    def __init__(self, world: Path, crash_at: str) -> None:
        self.world = world
        self.crash_at = crash_at

    def plan(self, actions):
        self._step("before-book")
        return [Plan(a, b"{}", "touch", "remove") for a in actions]

    def apply(self, plans):
        self._step("after-book")
        for plan in plans:
            (self.world / plan.action.action_id).touch()
            self._step("within-apply")
        return [self._said(p, Operation.APPLY) for p in plans]

    def verify(self, plans):
        there = [(self.world / p.action.action_id).exists() for p in plans]
        self._step("after-apply" if any(there) else "after-undo")
        return there

    def renew(self, plans):
        return [self._said(p, Operation.RENEW) for p in plans]

    def undo(self, plans):
        self._step("before-undo")
        for plan in plans:
            (self.world / plan.action.action_id).unlink(missing_ok=True)
            self._step("within-undo")
        return [self._said(p, Operation.UNDO) for p in plans]

    def observe(self):
        return frozenset(p.name for p in self.world.iterdir())

    def _step(self, name):
        if name == self.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _said(self, plan, operation):
        return Outcome(plan.action.action_id, plan.action.incident_id, operation, True, False, "")


def sealer_of(folder: Path, clock):
    config = Config(plugin={"keystore": {"root": "machine-key"}})
    try:
        keys = open_keystore(config, folder / "keys", clock, ensure=True)
    except CronosError as error:
        return Keyless(error)
    return make("sealer", "epochs", config, folder=folder, keys=keys, clock=clock, store="leases")


def said(sentence):
    with (folder / "said").open("a") as file:
        file.write(sentence + "\n")


if __name__ == "__main__":
    folder, crash_step = Path(sys.argv[1]), sys.argv[2]
    executor = FileExecutor(folder / "world", crash_step)
    # No addresses of this machine's own: the stories isolate some that it may happen to have.
    run(
        EnforcerConfig(),
        {"world": executor},
        Home(folder / "state", sealer_of(folder / "state", BootClock()), said),
        folder / "socket",
        BootClock(),
        dict,
    )
