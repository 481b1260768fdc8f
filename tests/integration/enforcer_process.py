"""An enforcer as a real process that is killed, without warning, at a chosen step.

Its book is sealed by the real sealer, under a machine key of its own. Without a file `spec` in
its folder its effects are files; with one it runs an executor of the catalogue.
"""

import json
import sys
from pathlib import Path

import msgspec
from tests.integration.crashing import Crashing
from tests.unit.respond.stage import BootClock

from cronos.config import Config, parse
from cronos.errors import CronosError
from cronos.front.keyring import open_keystore
from cronos.front.plugins import make
from cronos.link.egress import EgressGate
from cronos.respond.guards import EnforcerConfig
from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.respond.serving import Home, Keyless, run
from cronos.types import Operation, Outcome, Plan


class FileExecutor:
    """Effects are files: what a dead process leaves behind stays for all to see."""

    manifest = RecordingExecutor.manifest
    config_type = RecordingConfig

    def __init__(self, world: Path) -> None:
        self.world = world

    def plan(self, actions):
        return [Plan(a, b"{}", "touch", "remove") for a in actions]

    def apply(self, plans):
        for plan in plans:
            (self.world / plan.action.action_id).touch()
        return [self._said(p, Operation.APPLY) for p in plans]

    def verify(self, plans):
        return [(self.world / p.action.action_id).exists() for p in plans]

    def renew(self, plans):
        return [self._said(p, Operation.RENEW) for p in plans]

    def undo(self, plans):
        for plan in plans:
            (self.world / plan.action.action_id).unlink(missing_ok=True)
        return [self._said(p, Operation.UNDO) for p in plans]

    def observe(self):
        return frozenset(p.name for p in self.world.iterdir())

    def _said(self, plan, operation):
        return Outcome(plan.action.action_id, plan.action.incident_id, operation, True, False, "")


def executor_of(spec):
    """Build an executor as the node's enforcer does, with the hooks that are configured."""
    config = parse(spec["config"], "spec")
    ports = {"clock": BootClock(), "egress": EgressGate(config.egress)}
    hooks = {
        name: make("workflow", name, config, **ports)
        for name in ("command", "webhook")
        if name in config.plugin
    }
    return make("executor", spec["point"], config, given=spec["settings"], hooks=hooks, **ports)


def everybody(action):
    """Approve in the name of two persons: a double of the operators' signed orders."""
    return [(who, f"{who} {action.action_id}".encode()) for who in ("one", "another")]


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
    home = Home(folder / "state", sealer_of(folder / "state", BootClock()), said)
    if (folder / "spec").exists():
        spec = json.loads((folder / "spec").read_text())
        executors = {spec["point"]: Crashing(executor_of(spec), crash_step)}
        terms = msgspec.convert(spec["terms"], EnforcerConfig)
        if spec["final"]:
            home = home._replace(approvals=everybody)
    else:
        executors = {"world": Crashing(FileExecutor(folder / "world"), crash_step)}
        terms = EnforcerConfig()
    # No addresses of this machine's own: the stories isolate some that it may happen to have.
    run(terms, executors, home, folder / "socket", BootClock(), dict)
