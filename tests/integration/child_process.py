"""The process of an executor whose effects are files, which dies or hangs where it is told to.

What it is told stands in the file `mood` of its folder and is read at each step: ``die-<step>``,
``hang-<step>``, ``exit-<step>``, or one of the lies about its answers.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from msgspec.structs import replace

from cronos.errors import DeniedError, InputError
from cronos.respond.childserving import serve
from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.types import Operation, Outcome, Plan


class FileExecutor:
    """Effects are files: what a dead process leaves behind stays for all to see."""

    manifest = RecordingExecutor.manifest
    config_type = RecordingConfig

    def __init__(self, folder: Path) -> None:
        self.world = folder / "world"
        self.told = folder / "mood"
        self._step("build")
        if self.mood() == "refuse":
            raise InputError("respond.test", "It cannot be made.", "Make it otherwise.")

    def mood(self) -> str:
        return self.told.read_text() if self.told.exists() else ""

    def plan(self, actions):
        self._step("plan")
        if self.mood() == "raise":
            raise ValueError("a secret that must not be told")
        if self.mood() == "deny":
            raise DeniedError("respond.test", "Not\x1b[2J today.", "Come again.")
        plans = [Plan(a, b'{"was":"open"}', "lock", "unlock") for a in actions]
        lies = {
            "other-action": lambda p: replace(p, action=replace(p.action, incident_id="other")),
            "huge-recipe": lambda p: replace(p, recipe=bytes(100_000)),
            "kernel": lambda p: replace(p, kernel_timeout=True),
            "short": None,
        }
        lie = lies.get(self.mood(), lambda p: p)
        return plans[1:] if lie is None else [lie(p) for p in plans]

    def apply(self, plans):
        self._step("before-apply")
        for plan in plans:
            (self.world / plan.action.action_id).write_text(plan.recipe.decode())
            self._step("within-apply")
        self._step("after-apply")
        said = [self._said(p, Operation.APPLY) for p in plans]
        if self.mood() == "wrong-operation":
            return [replace(s, operation=Operation.UNDO) for s in said]
        if self.mood() == "wrong-id":
            return [replace(s, action_id="0" * 32) for s in said]
        if self.mood() == "verified":
            return [replace(s, verified=True, detail="\x1b[31m" + "x" * 5000) for s in said]
        return said

    def verify(self, plans):
        there = [(self.world / p.action.action_id).exists() for p in plans]
        self._step("verify-there" if any(there) else "verify-gone")
        return there

    def renew(self, plans):
        return [self._said(p, Operation.RENEW) for p in plans]

    def undo(self, plans):
        self._step("before-undo")
        for plan in plans:
            assert plan.recipe == b'{"was":"open"}'
            (self.world / plan.action.action_id).unlink(missing_ok=True)
            self._step("within-undo")
        return [self._said(p, Operation.UNDO) for p in plans]

    def observe(self):
        if self.mood() == "odd-names":
            return frozenset({"../../etc/passwd"})
        return frozenset(p.name for p in self.world.iterdir())

    def _step(self, name):
        """Do what was told for this step, once."""
        what, _, step = self.mood().partition("-")
        if step != name or what not in ("die", "hang", "exit"):
            return
        self.told.unlink()
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            os._exit(0)
        threading.Event().wait(60)

    def _said(self, plan, operation):
        return Outcome(plan.action.action_id, plan.action.incident_id, operation, True, False, "")


if __name__ == "__main__":
    serve(lambda: FileExecutor(Path(sys.argv[1])))
