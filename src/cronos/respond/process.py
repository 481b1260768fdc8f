"""Freezes a process with all its children, or kills one; on this machine only.

A target is `host/pid`, its host this machine's name or `localhost`. What is contained is moved
into a control group of ours and frozen there; what undoing it needs, the former group of each and
the start that tells it from a later process of the same number, is the plan's recipe. A process
that was killed cannot be brought back: such a plan has no recipe, and says so. Its summary names
the start of what is meant, so that whoever has the number after a crash is spared.

Never touched: the first process, threads of the kernel, Cronos itself (its parents, its children,
all of its session), and what runs an executable that the configuration protects.
"""

import re
import socket
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final, TypeVar

import msgspec
from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import CronosError
from cronos.link.text import plain
from cronos.respond import procfs
from cronos.respond.freezer import Freezer, freeze, group_of, is_frozen, wait_frozen
from cronos.types import (
    Ability,
    Action,
    Blast,
    EntityKind,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Reversal,
    Verb,
)

_TARGET: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253})/(?P<pid>[1-9][0-9]{0,9})")
_MAX_REMEMBERED: Final = 4096
_STARTED: Final = re.compile(r", started (?P<start>[0-9]{1,20})$")
_IRREVERSIBLE: Final = "It was killed, which cannot be taken back."
_GONE: Final = -1
_GONE_ALREADY: Final = " (gone already)"
_MAX_PID: Final = 1 << 22

Kept = TypeVar("Kept", int, bytes)


class ProcessConfig(Section, frozen=True):
    """What is never touched, and how long an effect may take."""

    # Executables by path, or by name where the file belongs to root.
    protected: tuple[str, ...] = (
        "systemd",
        "systemd-journald",
        "systemd-logind",
        "systemd-udevd",
        "dbus-daemon",
        "sshd",
    )
    # Where our groups lie, below the mount of cgroup v2.
    cgroup: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")] = "cronos"
    # A process with more children is refused.
    max_processes: Positive = 4096
    freeze_ms: Positive = 200
    kill_ms: Positive = 1000


class _Member(msgspec.Struct, frozen=True, array_like=True):
    pid: int
    start: int
    group: str
    beyond: str = ""  # where it was before another effect of ours had moved it to `group`

    def groups(self) -> tuple[str, ...]:
        return (self.group, self.beyond) if self.beyond else (self.group,)


class Recipe(msgspec.Struct, frozen=True):
    """What a plan keeps: whom it moves, the root first, and where each came from."""

    members: tuple[_Member, ...]


class ProcessExecutor:
    """Contains and stops processes of this machine."""

    manifest = Manifest(
        "process",
        "Freezes a process and its children, or kills one, on this machine",
        abilities=(
            Ability(
                Verb.CONTAIN,
                EntityKind.PROCESS,
                "process",
                "D3-PS",
                Reversal.LEASED,
                Blast.NARROW,
                1000,
                risk=0.45,
                efficacy=0.70,
                disruption=0.30,
            ),
            Ability(
                Verb.STOP,
                EntityKind.PROCESS,
                "process",
                "D3-PT",
                Reversal.NONE,
                Blast.NARROW,
                500,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = ProcessConfig
    waits: ClassVar[bool] = True  # for processes to come to rest, or to end

    def __init__(self, config: ProcessConfig) -> None:
        self._config = config
        self._freezer = Freezer(config.cgroup)
        self._hosts = {"localhost", socket.gethostname().casefold()}
        # The recipe of what is held, by action: another incident may ask for the same.
        self._recipes: OrderedDict[str, bytes] = OrderedDict()

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Find the process, its children and their groups; see `Executor.plan`."""
        own = procfs.own_tree() if actions else frozenset[int]()
        return [self._plan(action, own) for action in actions]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Freeze or kill; see `Executor.apply`."""
        return [self._apply(plan, Operation.APPLY) for plan in plans]

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Look whether each group is frozen with its process in it, or the process gone."""
        return [self._verify(plan) for plan in plans]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Keep what is frozen as it is, and freeze again what is not; see `Executor.renew`."""
        return [self._renew(plan) for plan in plans]

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Move processes back to where they were, running; see `Executor.undo`."""
        return [self._undo(plan) for plan in plans]

    def observe(self) -> frozenset[str]:
        """Name the groups that are frozen; what was killed leaves nothing to see."""
        return frozenset(self._freezer.frozen())

    # --- plan ----------------------------------------------------------------------------------

    def _plan(self, action: Action, own: frozenset[int]) -> Plan | Outcome:
        pid = self._pid_of(action)
        if pid is None:
            why = (
                f"The process executor cannot {action.verb} {action.target.kind} "
                f"{plain(action.target.value)}: it contains and stops processes of this machine, "
                "as localhost/PID."
            )
            return _said(action, Operation.APPLY, why, ok=False)
        found = procfs.read(pid)
        forbidden = self._objection(pid, found, own)
        if forbidden is not None:
            return _said(action, Operation.APPLY, forbidden, ok=False)
        if action.verb is Verb.STOP:
            return self._doom(action, pid, found)
        return self._plan_to_contain(action, pid, found, own)

    def _pid_of(self, action: Action) -> int | None:
        if action.target.kind is not EntityKind.PROCESS:
            return None
        if action.verb not in (Verb.CONTAIN, Verb.STOP):
            return None
        named = _TARGET.fullmatch(action.target.value)
        if named is None or named["host"].casefold() not in self._hosts:
            return None
        return int(named["pid"])

    def _objection(self, pid: int, found: procfs.Process | None, own: frozenset[int]) -> str | None:
        """Say why a process must not be touched."""
        if pid == 1:
            return "refused: without the first process there is no machine."
        if pid in own:
            return f"refused: process {pid} is part of Cronos, or started it."
        if found is None:
            return None
        if found.is_kernel:
            return f"refused: process {pid} is a thread of the kernel."
        path, is_roots = procfs.executable_of(pid)
        name = path.rpartition("/")[2]
        for entry in self._config.protected:
            if entry == path or (entry == name and is_roots):
                return f"refused: process {pid} is protected by the entry {entry}."
        return None

    def _objection_to_family(
        self, family: Sequence[procfs.Process], own: frozenset[int]
    ) -> str | None:
        """Say why children must not be frozen with their parent.

        A child is protected by its executable only where root runs it: anybody may start one of
        the protected programs and would be spared for that.
        """
        if len(family) > self._config.max_processes:
            return f"Process {family[0].pid} has more than {self._config.max_processes} children."
        for child in family[1:]:
            if child.pid in own or procfs.user_of(child.pid) == 0:
                why = self._objection(child.pid, child, own)
                if why is not None:
                    return f"{why} It is a child of process {family[0].pid}."
        return None

    def _doom(self, action: Action, pid: int, found: procfs.Process | None) -> Plan:
        """Say which process of this number is meant; one that is gone needs no killing."""
        if found is None:
            return Plan(action, b"", f"kill process {pid}{_GONE_ALREADY}", "")
        what = f"kill process {pid} ({plain(found.name)}), started {found.start}"
        return Plan(action, b"", what, "")

    def _plan_to_contain(
        self, action: Action, pid: int, found: procfs.Process | None, own: frozenset[int]
    ) -> Plan | Outcome:
        why = self._freezer.objection()
        if why is None and found is None:
            why = f"There is no process {pid}."
        if why is not None or found is None:
            return _said(action, Operation.APPLY, why or "", ok=False)
        held = self._recipes.get(action.action_id)
        if held is not None and action.action_id in self._freezer.frozen():
            return self._as_held(action, found, held)
        family = [found, *procfs.descendants([pid])]
        why = self._objection_to_family(family, own)
        if why is not None:
            return _said(action, Operation.APPLY, why, ok=False)
        groups = [(process, group_of(process.pid)) for process in family]
        members = tuple(
            self._member(process, group, action.action_id)
            for process, group in groups
            if group is not None
        )
        if not members or members[0].pid != pid:
            why = f"The group of process {pid} is out of sight."
            return _said(action, Operation.APPLY, why, ok=False)
        return self._as_held(action, found, msgspec.json.encode(Recipe(members)))

    def _as_held(self, action: Action, found: procfs.Process, recipe: bytes) -> Plan:
        """Give the plan; what is held already is put back where it was before that."""
        members = msgspec.json.decode(recipe, type=Recipe).members
        others = len(members) - 1
        count = f"and {others} children" if others else "alone"
        return Plan(
            action,
            recipe,
            f"freeze process {found.pid} ({plain(found.name)}) {count}",
            f"let process {found.pid} run again, back in {plain(members[0].group)}",
        )

    def _member(self, process: procfs.Process, group: str, action: str) -> _Member:
        beyond = self._beyond(process, group)
        if self._freezer.effect_of(group) == action:
            group, beyond = beyond, ""
        return _Member(process.pid, process.start, group, beyond)

    def _beyond(self, process: procfs.Process, group: str) -> str:
        """Say where a process was before another effect of ours had moved it."""
        effect = self._freezer.effect_of(group)
        if effect is None:
            return ""
        other = _read(self._recipes.get(effect, b""))
        for member in other.members if other is not None else ():
            if (member.pid, member.start) == (process.pid, process.start):
                return member.beyond or member.group
        return other.members[0].group if other is not None and other.members else "/"

    # --- apply and undo ------------------------------------------------------------------------

    def _apply(self, plan: Plan, operation: Operation) -> Outcome:
        try:
            if plan.action.verb is Verb.STOP:
                return self._kill(plan, operation)
            return self._contain(plan, operation)
        except OSError as error:
            why = f"The kernel refused: {error.strerror}."
            return _said(plan.action, operation, why, ok=False)
        except CronosError as error:
            return _said(plan.action, operation, str(error), ok=False)

    def _contain(self, plan: Plan, operation: Operation) -> Outcome:
        recipe = _read(plan.recipe)
        if recipe is None:
            return _said(plan.action, operation, "The recipe is damaged.", ok=False)
        folder = self._freezer.folder(plan.action.action_id)
        root = recipe.members[0]
        if not procfs.is_alive(root.pid, root.start):
            why = f"Process {root.pid} has ended; nothing is left to contain."
            return _said(plan.action, operation, why, ok=False)
        try:
            members = {one.pid: one.start for one in recipe.members}
            caught = self._freezer.catch(folder, members)
        except OSError:
            self._let_go(folder, recipe)
            raise
        _keep(self._recipes, plan.action.action_id, plan.recipe)
        if not caught:
            why = f"Process {root.pid} has children faster than they can be caught."
            return _said(plan.action, operation, why, ok=False)
        if not wait_frozen(folder, self._config.freeze_ms):
            why = f"Process {root.pid} did not come to rest in {self._config.freeze_ms} ms."
            return _said(plan.action, operation, why, ok=False)
        return _said(plan.action, operation, _contained(plan), ok=True, undo=plan.undo_summary)

    def _renew(self, plan: Plan) -> Outcome:
        if plan.action.verb is Verb.STOP:
            return _said(plan.action, Operation.RENEW, _IRREVERSIBLE, ok=False)
        if self._verify(plan):
            return _said(plan.action, Operation.RENEW, _contained(plan), ok=True)
        return self._apply(plan, Operation.RENEW)

    def _kill(self, plan: Plan, operation: Operation) -> Outcome:
        pid, start = self._pid_of(plan.action), _start_of(plan)
        if pid is None or start is None:
            why = "This plan names no process by its start; whoever has the number now is spared."
            return _said(plan.action, operation, why, ok=False)
        if start == _GONE:
            ended = procfs.read(pid) is None
        else:
            ended = procfs.kill(pid, start, self._config.kill_ms)
        detail = f"Process {pid} has ended." if ended else f"Process {pid} does not end."
        return _said(plan.action, operation, detail, ok=ended)

    def _verify(self, plan: Plan) -> bool:
        if plan.action.verb is Verb.STOP:
            return self._is_stopped(plan)
        recipe = _read(plan.recipe)
        try:
            folder = self._freezer.folder(plan.action.action_id)
        except CronosError:
            return False
        if not is_frozen(folder):
            return False
        if recipe is not None:
            _keep(self._recipes, plan.action.action_id, plan.recipe)
        # With a damaged recipe what is frozen in our name still counts, so that it is undone.
        return recipe is None or self._freezer.holds(folder, recipe.members[0].pid)

    def _is_stopped(self, plan: Plan) -> bool:
        pid = self._pid_of(plan.action)
        found = procfs.read(pid) if pid is not None else None
        if pid is None or found is None:
            return pid is not None
        start = _start_of(plan)
        return start not in (None, _GONE, found.start)

    def _undo(self, plan: Plan) -> Outcome:
        if plan.action.verb is not Verb.CONTAIN:
            return _said(plan.action, Operation.UNDO, _IRREVERSIBLE, ok=False)
        try:
            folder = self._freezer.folder(plan.action.action_id)
            self._recipes.pop(plan.action.action_id, None)
            return self._let_go(folder, _read(plan.recipe), plan.action)
        except OSError as error:
            why = f"The kernel refused: {error.strerror}."
            return _said(plan.action, Operation.UNDO, why, ok=False)
        except CronosError:
            # Without cgroup v2 nothing can be frozen.
            return _said(plan.action, Operation.UNDO, "It is not there: nothing to undo.", ok=True)

    def _let_go(self, folder: Path, recipe: Recipe | None, action: Action | None = None) -> Outcome:
        done, detail = True, "It runs again, where it ran before."
        if not folder.exists():
            self._freezer.remove(folder)  # a crash may have left the empty group around it
            detail = "It is not there: nothing to undo."
        elif recipe is None:
            # Better that it runs in a group of ours than that it stands still for ever.
            freeze(folder, frozen=False)
            detail = f"The recipe is damaged: it runs again, but stays in the group {folder}."
        else:
            home = recipe.members[0].groups()
            former = {
                one.pid: one.groups()
                for one in recipe.members
                if procfs.is_alive(one.pid, one.start)
            }
            done = self._freezer.release(folder, former, home)
            detail = detail if done else f"Somebody is still in the group {folder}."
        if action is None:
            return Outcome("", "", Operation.UNDO, ok=done, verified=False, detail=detail)
        return _said(action, Operation.UNDO, detail, ok=done)


def _keep(kept: OrderedDict[str, Kept], name: str, value: Kept) -> None:
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > _MAX_REMEMBERED:
        kept.popitem(last=False)


def _start_of(plan: Plan) -> int | None:
    """Give the start of the process that a plan means; None where it does not say."""
    named = _STARTED.search(plan.summary)
    if named is not None:
        return int(named["start"])
    return _GONE if plan.summary.endswith(_GONE_ALREADY) else None


def _read(recipe: bytes) -> Recipe | None:
    try:
        read = msgspec.json.decode(recipe, type=Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    sane = all(1 < one.pid <= _MAX_PID and one.group.startswith("/") for one in read.members)
    return read if read.members and sane else None


def _contained(plan: Plan) -> str:
    return f"{plan.action.target.value} is frozen for {plan.action.lease_ns / 1e9:.1f} s."


def _said(
    action: Action, operation: Operation, detail: str, *, ok: bool, undo: str = ""
) -> Outcome:
    return Outcome(
        action.action_id,
        action.incident_id,
        operation,
        ok=ok,
        verified=False,
        detail=detail,
        undo=undo,
    )
