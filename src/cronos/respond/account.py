"""Locks an account of this machine, or ends a session for good.

To contain a user is to lock the account (`cronos.respond.passwd`), and to freeze what the user
runs where that lies in a control group of its own, as under systemd. Both are taken back exactly.
To stop a session kills all its processes, which nobody can take back.

A session is named as its system names it: by logind's id, or as `host/number`, the number being
that of the process that leads it. Never touched: root, users below `min_uid`, protected names,
whoever runs Cronos, and the session that Cronos runs in.
"""

import os
import re
import socket
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import CronosError
from cronos.link.openc2target import target_name
from cronos.link.text import plain
from cronos.respond import procfs
from cronos.respond.freezer import find_mount, freeze, group_of, is_asked_frozen, wait_frozen
from cronos.respond.passwd import LOCKED_BY_US, NAME, Accounts, Shadow
from cronos.types import (
    Ability,
    Action,
    Blast,
    Entity,
    EntityKind,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Reversal,
    Verb,
    action_id,
)

_POINT: Final = "account"
_SESSION: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253})/(?P<sid>[1-9][0-9]{0,9})")
_LOGIND: Final = re.compile(r"[A-Za-z0-9]{1,32}")
# How a plan that has no recipe names whom it means, for another process than the one that made it.
_MARKS: Final = re.compile(r", started (?P<marks>[0-9]+@[0-9]+(?: [0-9]+@[0-9]+)*)$")
_MOST_MARKS: Final = 32
_GONE: Final = "gone already: session "
_DAY: Final = re.compile(r"[0-9]{0,9}")
_MAX_REMEMBERED: Final = 4096
_ROUNDS: Final = 16
_MAX_BYTES: Final = 1 << 16
_IRREVERSIBLE: Final = "The session was ended, which cannot be taken back."


class AccountConfig(Section, frozen=True):
    """Who is never touched, and where accounts and sessions are found."""

    min_uid: Annotated[int, Meta(ge=0)] = 1000
    protected: tuple[str, ...] = ("root", "nobody")
    # Account files below another root; empty is this machine's own.
    prefix: str = ""
    # Where a user's processes lie, below the mount of cgroup v2; empty freezes nobody.
    slice: str = "user.slice/user-{uid}.slice"
    # Where logind keeps what it says of sessions.
    sessions: str = "/run/systemd/sessions"
    usermod_ms: Positive = 5000
    freeze_ms: Positive = 200
    kill_ms: Positive = 1000


class Recipe(msgspec.Struct, frozen=True):
    """What a plan keeps: how the account was before, and whether its processes stood still."""

    user: str
    expire: str
    password: bool  # we lock it, so we unlock it
    was_frozen: bool = False


class _Session(msgspec.Struct, frozen=True):
    sid: int
    scope: str  # the control group that logind gave it, or nothing
    members: tuple[tuple[int, int], ...]
    leaders: tuple[tuple[int, int], ...] = ()  # its leader, if that lived when it was planned


class AccountExecutor:
    """Contains users and stops sessions of this machine."""

    manifest = Manifest(
        _POINT,
        "Locks an account and freezes what it runs, or ends a session, on this machine",
        abilities=(
            Ability(
                Verb.CONTAIN,
                EntityKind.USER,
                target_name(EntityKind.USER),
                "D3-AL",
                Reversal.LEASED,
                Blast.IDENTITY,
                500,
                # Whoever is locked out may be the one who would help: a person is asked first.
                risk=0.70,
                efficacy=0.90,
                disruption=0.40,
            ),
            Ability(
                Verb.STOP,
                EntityKind.SESSION,
                target_name(EntityKind.SESSION),
                "D3-ST",
                Reversal.NONE,
                Blast.NARROW,
                500,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = AccountConfig
    waits: ClassVar[bool] = True  # for usermod

    def __init__(self, config: AccountConfig) -> None:
        self._config = config
        self._accounts = Accounts(config.prefix, config.usermod_ms / 1000)
        self._mount = find_mount()
        self._hosts = {"localhost", socket.gethostname().casefold()}
        self._recipes: OrderedDict[str, bytes] = OrderedDict()  # of what is held, by action
        self._doomed: OrderedDict[str, _Session] = OrderedDict()

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Find the account or the session; see `Executor.plan`."""
        return [self._plan(action) for action in actions]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Lock and freeze, or kill; see `Executor.apply`."""
        return [self._apply(plan, Operation.APPLY) for plan in plans]

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Look into the account's line and its group, or for the session's processes."""
        return [self._verify(plan) for plan in plans]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Keep what is locked as it is, and lock again what is not; see `Executor.renew`."""
        return [self._renew(plan) for plan in plans]

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Unlock accounts to what they were; see `Executor.undo`."""
        return [self._undo(plan) for plan in plans]

    def observe(self) -> frozenset[str]:
        """Name the accounts that carry our mark; what was ended leaves nothing to see."""
        return frozenset(
            action_id(_POINT, Verb.CONTAIN, Entity(EntityKind.USER, one.name))
            for one in self._accounts.all_shadows()
            if one.is_marked
        )

    # --- plan ----------------------------------------------------------------------------------

    def _plan(self, action: Action) -> Plan | Outcome:
        try:
            match action.verb, action.target.kind:
                case Verb.CONTAIN, EntityKind.USER:
                    planned = self._plan_to_lock(action)
                case Verb.STOP, EntityKind.SESSION:
                    planned = self._plan_to_end(action)
                case _:
                    planned = (
                        f"The account executor cannot {action.verb} a {action.target.kind}: it "
                        "contains users and stops sessions."
                    )
        except CronosError as error:
            planned = str(error)
        if isinstance(planned, str):
            return _said(action, Operation.APPLY, planned, ok=False)
        return planned

    def _plan_to_lock(self, action: Action) -> Plan | str:
        name = self._user_of(action)
        if name is None:
            return f"{plain(action.target.value)} is no name of a user of this machine."
        uid, shadow = self._accounts.user_id(name), self._accounts.shadow(name)
        if uid is None or shadow is None:
            return f"{name} has no account on this machine; a directory's are locked there."
        why = self._spared(name, uid) or self._accounts.objection()
        if why is not None:
            return why
        # What was remembered is the state before only while it is held.
        held = self._recipes.get(action.action_id) if shadow.is_ours else None
        recipe = held or msgspec.json.encode(self._recipe_for(name, uid, shadow))
        was = _read(recipe)
        expired = f"expires on day {was.expire}" if was and was.expire else "never expires"
        return Plan(
            action,
            recipe,
            f"lock the account {name} and freeze what it runs",
            f"unlock the account {name}, which {expired}",
        )

    def _recipe_for(self, name: str, uid: int, shadow: Shadow) -> Recipe:
        if shadow.is_marked:  # by us, in a book that was lost: the day it expired is lost too
            return Recipe(name, "", shadow.expire == LOCKED_BY_US)
        folder = self._slice(uid)
        was_frozen = folder is not None and is_asked_frozen(folder)
        password = shadow.has_password and not shadow.is_locked
        return Recipe(name, shadow.expire, password, was_frozen)

    def _user_of(self, action: Action) -> str | None:
        domain, _, name = action.target.value.rpartition("\\")
        if domain and domain.casefold() not in self._hosts:
            return None
        # Only one spelling is one effect: `observe` cannot know of another.
        return name if not domain and NAME.fullmatch(name) else None

    def _spared(self, name: str, uid: int) -> str | None:
        if uid == 0 or uid < self._config.min_uid:
            return f"refused: {name} is number {uid}; those below {self._config.min_uid} are kept."
        if uid == os.getuid() or name in self._config.protected:
            return f"refused: {name} is protected."
        folder = self._slice(uid)
        if folder is not None and self._holds_us(folder):
            return f"refused: Cronos runs in what {name} has open, and would stand still with it."
        return None

    def _holds_us(self, folder: Path) -> bool:
        """Say whether one of our own processes lies in a control group, as under `sudo`."""
        mount = self._mount or folder
        groups = (group_of(pid) for pid in procfs.own_tree())
        return any(
            (mount / group.lstrip("/")).is_relative_to(folder)
            for group in groups
            if group is not None
        )

    def _plan_to_end(self, action: Action) -> Plan | str:
        found = self._session_of(action.target.value)
        if isinstance(found, str):
            return found
        if {pid for pid, _ in found.members} & procfs.own_tree():
            return "refused: Cronos is part of that session."
        self._doomed[action.action_id] = found
        self._doomed.move_to_end(action.action_id)
        while len(self._doomed) > _MAX_REMEMBERED:
            self._doomed.popitem(last=False)
        count, named = len(found.members), plain(action.target.value)
        if not count:
            return Plan(action, b"", f"{_GONE}{named}", "")
        marks = " ".join(f"{pid}@{start}" for pid, start in found.members[:_MOST_MARKS])
        what = f"kill the {count} processes of session {named}, started {marks}"
        return Plan(action, b"", what, "")

    def _meant(self, plan: Plan) -> _Session | None:
        """Find what an earlier process planned to end, by the starts that its plan names."""
        if plan.summary.startswith(_GONE):
            return _Session(0, "", ())
        found = self._session_of(plan.action.target.value)
        marks = _MARKS.search(plan.summary)
        if isinstance(found, str) or marks is None:
            return None
        members = [one.split("@") for one in marks["marks"].split(" ")]
        if any(procfs.is_alive(int(pid), int(start)) for pid, start in members):
            return found if found.members else None
        return _Session(0, "", ()) if len(members) < _MOST_MARKS else None

    def _session_of(self, value: str) -> _Session | str:
        """Find a session's processes; one without any has ended."""
        named = _SESSION.fullmatch(value)
        if named is not None and named["host"].casefold() in self._hosts:
            sid, uid, scope = int(named["sid"]), None, ""
        elif _LOGIND.fullmatch(value):
            told = self._told(value)
            if told is None:
                return _Session(0, "", ())
            sid, uid = told
            scope = f"session-{value}.scope"
        else:
            return f"{plain(value)} names no session: write logind's id, or localhost/NUMBER."
        if sid <= 1:
            return "refused: that is no session but the machine's first process."
        members = self._members(sid, scope)
        owner = uid if uid is not None else _owner(sid, members)
        why = self._kept(owner) if members else None
        if why is not None:
            return f"refused: {why}."
        return _Session(sid, scope, members, tuple(one for one in members if one[0] == sid))

    def _kept(self, owner: int | None) -> str | None:
        """Say why nobody ends a session of this user number."""
        if owner is None or owner < self._config.min_uid:
            return f"the session belongs to user number {owner}, who is kept"
        if owner == os.getuid():
            return f"Cronos runs as user number {owner}, whose session that is"
        names = sorted(self._accounts.names_of(owner) & set(self._config.protected))
        if names:
            return f"the session belongs to {', '.join(names)}, protected"
        return None

    def _told(self, session: str) -> tuple[int, int] | None:
        """Read the leader and the user of a session from what logind keeps."""
        try:
            with (Path(self._config.sessions) / session).open("rb") as file:
                text = file.read(_MAX_BYTES).decode(errors="replace")
        except OSError:
            return None
        fields: dict[str, str] = {}
        for line in text.splitlines():
            key, _, value = line.partition("=")
            fields[key] = value
        leader, uid = fields.get("LEADER", ""), fields.get("UID", "")
        if not (leader.isascii() and leader.isdigit() and uid.isascii() and uid.isdigit()):
            return None
        found = procfs.read(int(leader))
        return (found.session, int(uid)) if found is not None else None

    def _members(self, sid: int, scope: str) -> tuple[tuple[int, int], ...]:
        def belongs(process: procfs.Process) -> bool:
            group = group_of(process.pid) if scope else None
            within = group is not None and scope in group.split("/")
            return process.session == sid or within

        return tuple((one.pid, one.start) for one in procfs.all_processes() if belongs(one))

    # --- apply and undo ------------------------------------------------------------------------

    def _apply(self, plan: Plan, operation: Operation) -> Outcome:
        if plan.action.verb is Verb.STOP:
            return self._kill(plan, operation)
        recipe = _read(plan.recipe)
        name = self._user_of(plan.action)
        if name is None or recipe is None or recipe.user != name:
            return _said(plan.action, operation, "The recipe is damaged.", ok=False)
        self._remember(plan)
        shadow = self._accounts.shadow(name)
        uid = self._accounts.user_id(name)
        if shadow is None or uid is None:
            return _said(plan.action, operation, f"{name} has no account any more.", ok=False)
        why = self._spared(name, uid) or _decided_since(shadow, recipe)
        if why is None and not shadow.is_marked:
            why = self._accounts.lock(name, password=recipe.password)
        if why is None:
            why = self._stand_still(uid)
        if why is not None:
            return _said(plan.action, operation, why, ok=False)
        detail = f"{name} is locked for {plan.action.lease_ns / 1e9:.1f} s."
        return _said(plan.action, operation, detail, ok=True, undo=plan.undo_summary)

    def _stand_still(self, uid: int) -> str | None:
        folder = self._slice(uid)
        if folder is None:
            return None
        try:
            freeze(folder, frozen=True)
        except OSError as error:
            return f"What the user runs cannot be frozen: {error.strerror}."
        wait_frozen(folder, self._config.freeze_ms)
        return None

    def _slice(self, uid: int) -> Path | None:
        """Give the control group of what a user runs, None where there is none."""
        if self._mount is None or not self._config.slice:
            return None
        folder = self._mount / self._config.slice.replace("{uid}", str(uid))
        return folder if (folder / "cgroup.freeze").exists() else None

    def _remember(self, plan: Plan) -> None:
        """Keep the recipe of what is held, for another incident that asks for the same."""
        if plan.action.verb is Verb.CONTAIN and _read(plan.recipe) is not None:
            self._recipes[plan.action.action_id] = plan.recipe
            while len(self._recipes) > _MAX_REMEMBERED:
                self._recipes.popitem(last=False)

    def _verify(self, plan: Plan) -> bool:
        if plan.action.verb is Verb.STOP:
            return self._is_ended(plan.action)
        name = self._user_of(plan.action)
        shadow = self._accounts.shadow(name) if name is not None else None
        if name is None or shadow is None or not shadow.is_marked:
            return False
        self._remember(plan)
        uid = self._accounts.user_id(name)
        folder = self._slice(uid) if uid is not None else None
        return folder is None or is_asked_frozen(folder)

    def _renew(self, plan: Plan) -> Outcome:
        if plan.action.verb is Verb.STOP:
            return _said(plan.action, Operation.RENEW, _IRREVERSIBLE, ok=False)
        return self._apply(plan, Operation.RENEW)

    def _undo(self, plan: Plan) -> Outcome:
        if plan.action.verb is not Verb.CONTAIN:
            return _said(plan.action, Operation.UNDO, _IRREVERSIBLE, ok=False)
        name, recipe = self._user_of(plan.action), _read(plan.recipe)
        shadow = self._accounts.shadow(name) if name is not None else None
        if name is None or shadow is None:
            return _said(plan.action, Operation.UNDO, "There is no such account.", ok=True)
        remark = ""
        uid = self._accounts.user_id(name)
        if recipe is None or recipe.user != name:
            remark = " The recipe is damaged: a day on which it expired is lost."
            recipe = Recipe(name, "", shadow.expire == LOCKED_BY_US)
        elif _decided_since(shadow, recipe):
            remark = " But for the day on which it expires: somebody set another, which stays."
        why = self._run_again(uid, recipe)
        if shadow.is_ours:
            password = recipe.password and shadow.is_locked
            why = why or self._accounts.unlock(name, recipe.expire, password=password)
        if why is not None:
            return _said(plan.action, Operation.UNDO, why, ok=False)
        self._recipes.pop(plan.action.action_id, None)
        return _said(plan.action, Operation.UNDO, f"{name} is as before.{remark}", ok=True)

    def _run_again(self, uid: int | None, recipe: Recipe) -> str | None:
        folder = self._slice(uid) if uid is not None else None
        if folder is None or recipe.was_frozen:
            return None
        try:
            freeze(folder, frozen=False)
        except OSError as error:
            return f"What the user runs cannot be let go: {error.strerror}."
        return None

    # --- sessions ------------------------------------------------------------------------------

    def _kill(self, plan: Plan, operation: Operation) -> Outcome:
        doomed = self._doomed.get(plan.action.action_id) or self._meant(plan)
        if doomed is None:
            why = "This was planned by an earlier process; whoever has the number now is spared."
            return _said(plan.action, operation, why, ok=False)
        self._doomed[plan.action.action_id] = doomed
        try:
            for _ in range(_ROUNDS):
                # A session's number is not given anew while one of its processes lives.
                if not any(procfs.is_alive(*member) for member in doomed.members):
                    break
                for pid, start in doomed.members:
                    procfs.kill(pid, start, self._config.kill_ms)
                doomed = msgspec.structs.replace(doomed, members=self._left_of(doomed))
                self._doomed[plan.action.action_id] = doomed
        except OSError as error:
            why = f"The kernel refused: {error.strerror}."
            return _said(plan.action, operation, why, ok=False)
        ended = self._is_ended(plan.action)
        detail = "The session has ended." if ended else "The session does not end."
        return _said(plan.action, operation, detail, ok=ended)

    def _left_of(self, doomed: _Session) -> tuple[tuple[int, int], ...]:
        """Give who is left of a session, also who was born since it was looked at.

        Its number is given to nobody else while one of its processes lives; once it was, whoever
        leads the session by that number now has started later, and is not meant.
        """
        if not doomed.sid:
            return ()
        leader = procfs.read(doomed.sid)
        if leader is not None and (leader.pid, leader.start) not in doomed.leaders:
            return tuple(one for one in doomed.members if procfs.is_alive(*one))
        return self._members(doomed.sid, doomed.scope)

    def _is_ended(self, action: Action) -> bool:
        doomed = self._doomed.get(action.action_id)
        if doomed is not None:
            return not self._left_of(doomed)
        found = self._session_of(action.target.value)
        return isinstance(found, _Session) and not found.members


def _decided_since(shadow: Shadow, recipe: Recipe) -> str | None:
    """Say that somebody else has set the day on which an account expires, which is theirs to say.

    Locked over it, an account that was closed for good meanwhile would be opened at the end.
    """
    if shadow.is_ours or shadow.expire == recipe.expire:
        return None
    return f"Somebody has set another day on which {shadow.name} expires; what they set is kept."


def _owner(sid: int, members: Sequence[tuple[int, int]]) -> int | None:
    """Give the user of a session's leader, or the lowest of all when the leader has ended."""
    leader = procfs.user_of(sid)
    if leader is not None:
        return leader
    users = [user for pid, _ in members if (user := procfs.user_of(pid)) is not None]
    return min(users, default=None)


def _read(recipe: bytes) -> Recipe | None:
    try:
        read = msgspec.json.decode(recipe, type=Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    return read if NAME.fullmatch(read.user) and _DAY.fullmatch(read.expire) else None


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
