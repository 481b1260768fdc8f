"""Accounts of a scratch root locked by the real `usermod`, and real sessions ended.

The account files are this test's own (`usermod -P`); the machine's are never touched. Where a
session of logind is asked for, its file is a double that stands in a folder of the test.
"""

import os
import re
import shutil

import msgspec
import pytest
from tests.integration.processes import Family, Orphan, require_freezer
from tests.unit.respond.stage import deny

from cronos.errors import UnreachableError
from cronos.respond import account, procfs
from cronos.respond.account import AccountConfig, AccountExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.irreversible import IrreversibleExecutorConformance
from cronos.types import EntityKind, Outcome, Plan, Verb

pytestmark = pytest.mark.net
UID = 64242
SLICE = f"cronos-test-slice-{os.getpid()}-{{uid}}"
SHADOW = (
    "root:*:19000:0:99999:7:::\n"
    "daemon:*:19000:0:99999:7:::\n"
    "alice:$6$abc$def:19000:0:99999:7::20500:\n"
    "bob:!:19000:0:99999:7:::\n"
    "carol::19000::::::\n"
    "dora:$y$j9T$x:19000:1:2:3:4:0:\n"
    "eve:!$6$a$b:19000:0:99999:7::1:\n"
)


@pytest.fixture
def root(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("locking accounts needs root")
    if shutil.which("usermod") is None and shutil.which("usermod", path="/usr/sbin") is None:
        pytest.skip("`usermod` is not installed")
    etc = tmp_path / "etc"
    etc.mkdir()
    names = [line.partition(":")[0] for line in SHADOW.splitlines()]
    ids = {"root": 0, "daemon": 1}
    (etc / "passwd").write_text(
        "".join(f"{n}:x:{ids.get(n, UID + i)}:{UID}::/:/bin/sh\n" for i, n in enumerate(names))
    )
    (etc / "shadow").write_text(SHADOW)
    (etc / "shadow").chmod(0o640)
    (etc / "group").write_text(f"all:x:{UID}:\n")
    (etc / "gshadow").write_text("all:!::\n")
    return tmp_path


@pytest.fixture
def executor(root):
    return made(root)


def made(root, **told):
    sessions = root / "sessions"
    sessions.mkdir(exist_ok=True)
    config = AccountConfig(prefix=str(root), slice=SLICE, sessions=str(sessions))
    return AccountExecutor(msgspec.structs.replace(config, **told))


def shadow(root):
    return (root / "etc" / "shadow").read_bytes()


def lock(name, **told):
    verb, kind = Verb.CONTAIN, EntityKind.USER
    return deny(name, point="account", kind=kind, verb=verb, **told)


def end(session):
    return deny(session, point="account", kind=EntityKind.SESSION, verb=Verb.STOP)


@pytest.mark.parametrize("name", ["alice", "bob", "carol", "dora", "eve"])
def test_an_account_is_locked_and_its_line_comes_back_byte_for_byte(root, executor, name):
    before = shadow(root)
    (plan,) = executor.plan([lock(name)])
    assert isinstance(plan, Plan), plan
    assert shadow(root) == before
    assert b"$" not in plan.recipe  # no password's hash leaves its file
    for _ in range(2):
        (done,) = executor.apply([plan])
        assert done.ok, done.detail
    assert executor.verify([plan]) == [True]
    assert executor.observe() == {plan.action.action_id}
    line = next(row for row in shadow(root).decode().splitlines() if row.startswith(name))
    assert line.split(":")[7] in ("2604", "2605")
    assert not line.split(":")[1].startswith("$")
    assert executor.renew([plan])[0].ok
    for _ in range(2):
        (undone,) = executor.undo([plan])
        assert undone.ok, undone.detail
    assert shadow(root) == before
    assert executor.verify([plan]) == [False]
    assert executor.observe() == frozenset()


def test_a_password_that_was_changed_meanwhile_stays_changed(root, executor):
    (plan,) = executor.plan([lock("alice")])
    assert executor.apply([plan])[0].ok
    path = root / "etc" / "shadow"
    path.write_text(path.read_text().replace("!$6$abc$def", "!$6$new$hash"))
    assert executor.undo([plan])[0].ok
    assert shadow(root).decode() == SHADOW.replace("$6$abc$def", "$6$new$hash")


def test_an_account_that_was_closed_for_good_meanwhile_is_not_opened_again(root, executor):
    (plan,) = executor.plan([lock("alice")])
    assert executor.apply([plan])[0].ok
    path = root / "etc" / "shadow"
    path.write_text(path.read_text().replace(":2604:", ":1:"))
    closed = shadow(root)
    for step in (executor.renew, executor.apply):  # as the reconciler does
        (done,) = step([plan])
        assert not done.ok
        assert "what they set is kept" in done.detail
    (undone,) = executor.undo([plan])
    assert undone.ok
    assert "somebody set another" in undone.detail
    assert shadow(root) == closed


def test_what_a_lock_that_failed_remembered_is_no_state_to_go_back_to(root, executor, monkeypatch):
    (failed,) = executor.plan([lock("alice")])
    with monkeypatch.context() as patch:
        patch.setattr(executor._accounts, "lock", lambda *_given, **_options: "no")
        assert not executor.apply([failed])[0].ok
    path = root / "etc" / "shadow"
    path.write_text(path.read_text().replace(":20500:", ":20600:"))
    before = shadow(root)
    (plan,) = executor.plan([lock("alice")])
    assert executor.apply([plan])[0].ok
    assert executor.undo([plan])[0].ok
    assert shadow(root) == before


def test_an_account_that_cannot_be_seen_is_not_said_to_be_unlocked(root, executor):
    (plan,) = executor.plan([lock("alice")])
    assert executor.apply([plan])[0].ok
    path = root / "etc" / "shadow"
    path.rename(root / "kept")
    path.mkdir()  # to read it is an error, for root as well
    for step in (executor.verify, executor.undo):
        with pytest.raises(UnreachableError, match="cannot be read"):
            step([plan])
    (refused,) = executor.plan([lock("bob")])
    assert "cannot be read" in refused.detail
    path.rmdir()
    (root / "kept").rename(path)
    assert executor.undo([plan])[0].ok


def test_an_account_in_whose_slice_cronos_itself_runs_is_not_frozen(root, monkeypatch):
    mount = require_freezer()
    folder = mount / SLICE.replace("{uid}", str(UID + 2))
    folder.mkdir()
    try:
        inside = f"/{folder.name}/session-3.scope"
        own = os.getpid()
        monkeypatch.setattr(account, "group_of", lambda pid: inside if pid == own else "/")
        executor = made(root)
        (refused,) = executor.plan([lock("alice")])
        assert isinstance(refused, Outcome)
        assert "Cronos runs in" in refused.detail
        monkeypatch.setattr(account, "group_of", lambda _pid: "/")
        (plan,) = executor.plan([lock("alice")])
        monkeypatch.setattr(account, "group_of", lambda pid: inside if pid == own else "/")
        assert not executor.apply([plan])[0].ok
        assert (folder / "cgroup.freeze").read_text() == "0\n"
        assert shadow(root).decode() == SHADOW
    finally:
        folder.rmdir()


def test_what_the_user_runs_stands_still_and_runs_again(root):
    mount = require_freezer()
    folder = mount / SLICE.replace("{uid}", str(UID + 2))
    folder.mkdir()
    family = Family()
    try:
        for pid in family.pids:
            (folder / "cgroup.procs").write_text(str(pid))
        executor = made(root)
        before = (family.state(), shadow(root))
        (plan,) = executor.plan([lock("alice")])
        assert executor.apply([plan])[0].ok
        assert executor.verify([plan]) == [True]
        assert family.runs(wait_ms=100) == [False, False, False]
        (folder / "cgroup.freeze").write_text("0")
        assert executor.verify([plan]) == [False]
        assert executor.renew([plan])[0].ok
        assert executor.undo([plan])[0].ok
        assert family.runs() == [True, True, True]
        assert (family.state(), shadow(root)) == before
    finally:
        family.close()
        folder.rmdir()


def test_a_second_incident_and_a_restart_know_what_was_before_the_first(root, executor):
    before = shadow(root)
    (one,) = executor.plan([lock("alice")])
    executor.apply([one])
    later = made(root)
    assert later.verify([one]) == [True]
    (two,) = later.plan([lock("alice", incident="inc-2")])
    assert two.recipe == one.recipe
    assert later.apply([two])[0].ok
    assert later.undo([two])[0].ok
    assert shadow(root) == before


def test_with_the_book_lost_the_password_comes_back_and_the_day_does_not(root, executor):
    executor.apply(executor.plan([lock("alice")]))
    later = made(root)
    (plan,) = later.plan([lock("alice")])
    assert later.undo([plan])[0].ok
    assert shadow(root).decode() == SHADOW.replace(":20500:", "::")


@pytest.mark.parametrize(
    "recipe", [b"", b"{", b"null", b'{"user":"root","expire":"","password":true}', b"[" * 5000,
               b'{"user":"alice","expire":"1; x","password":true}', b'{"user":"--help"}']
)  # fmt: skip
def test_a_damaged_recipe_does_no_harm(root, executor, recipe):
    (plan,) = executor.plan([lock("alice")])
    broken = msgspec.structs.replace(plan, recipe=recipe)
    assert not executor.apply([broken])[0].ok
    assert executor.undo([broken])[0].ok
    assert shadow(root).decode() == SHADOW
    assert executor.apply([plan])[0].ok
    (undone,) = executor.undo([broken])
    assert "damaged" in undone.detail
    assert executor.verify([plan]) == [False]
    assert shadow(root).decode() == SHADOW.replace(":20500:", "::")


@pytest.mark.parametrize(
    "name", ["root", "daemon", "nobody", "mallory", "", "-h", "alice:x", "CORP\\alice", "a b",
             "alice\n", "localhost\\alice", "../alice"]
)  # fmt: skip
def test_who_is_kept_or_no_user_of_this_machine_is_refused(root, executor, name):
    (refused,) = executor.plan([lock(name)])
    assert isinstance(refused, Outcome)
    assert not refused.ok
    assert shadow(root).decode() == SHADOW


def test_a_protected_name_is_refused_and_a_low_number_may_be_configured(root):
    (refused,) = made(root, protected=("alice",)).plan([lock("alice")])
    assert "protected" in refused.detail
    (plan,) = made(root, min_uid=1).plan([lock("daemon")])
    assert isinstance(plan, Plan)
    (refused,) = made(root, min_uid=0).plan([lock("root")])
    assert isinstance(refused, Outcome)


def test_without_the_files_there_is_a_sentence(root):
    (root / "etc" / "shadow").unlink()
    (refused,) = made(root).plan([lock("alice")])
    assert isinstance(refused, Outcome)
    assert made(root).observe() == frozenset()


# --- sessions -----------------------------------------------------------------------------------


@pytest.fixture
def family(root):
    family = Family(user=UID)
    yield family
    family.close()


def test_a_session_is_ended_with_all_its_processes(executor, family):
    bystander = Family(user=UID)
    try:
        (plan,) = executor.plan([end(f"localhost/{family.pids[0]}")])
        assert (plan.recipe, plan.undo_summary) == (b"", "")
        assert executor.verify([plan]) == [False]
        for _ in range(2):
            (done,) = executor.apply([plan])
            assert done.ok, done.detail
        assert executor.verify([plan]) == [True]
        assert [alive for _, _, alive in family.state()] == [False] * 3
        assert bystander.runs() == [True, True, True]
        assert not executor.undo([plan])[0].ok
        assert not executor.renew([plan])[0].ok
    finally:
        bystander.close()


def test_a_session_of_a_protected_name_is_kept(root, family):
    passwd = root / "etc" / "passwd"
    passwd.write_text(passwd.read_text() + f"keeper:x:{UID}:{UID}::/:/bin/sh\n")
    (refused,) = made(root, protected=("keeper",)).plan([end(f"localhost/{family.pids[0]}")])
    assert isinstance(refused, Outcome)
    assert "keeper, protected" in refused.detail


def test_who_was_born_after_the_plan_is_ended_too_or_the_session_has_not(executor, family):
    (plan,) = executor.plan([end(f"localhost/{family.pids[0]}")])
    name = plan.action.action_id
    late = list(zip(family.pids, family.started, strict=True))[2]
    planned = executor._doomed[name]
    known = tuple(one for one in planned.members if one != late)
    # As if it had been born while the others were killed.
    executor._doomed[name] = msgspec.structs.replace(planned, members=known)
    for pid, start in known:
        assert procfs.kill(pid, start, 5000)
    assert executor.verify([plan]) == [False]
    (done,) = executor.apply(executor.plan([plan.action]))
    assert done.ok, done.detail
    assert not procfs.is_alive(*late)


def test_the_number_of_a_session_that_was_given_anew_is_left_alone(executor, family):
    (plan,) = executor.plan([end(f"localhost/{family.pids[0]}")])
    name = plan.action.action_id
    pid, start = family.pids[0], family.started[0]
    # As if the number had been given to another process meanwhile, which started later.
    executor._doomed[name] = msgspec.structs.replace(
        executor._doomed[name], members=((pid, start - 1),), leaders=((pid, start - 1),)
    )
    assert executor.apply([plan])[0].ok
    assert executor.verify([plan]) == [True]
    assert family.runs() == [True] * 3


def test_a_session_whose_leader_has_ended_is_ended_too(executor, family):
    assert procfs.kill(family.pids[0], family.started[0], 5000)
    (plan,) = executor.plan([end(f"localhost/{family.pids[0]}")])
    assert executor.apply([plan])[0].ok
    assert [alive for _, _, alive in family.state()] == [False] * 3


def test_a_session_is_found_by_the_id_that_logind_gave_it(root, executor, family):
    (root / "sessions" / "c7").write_text(f"UID={UID}\nUSER=alice\nLEADER={family.pids[0]}\n")
    (plan,) = executor.plan([end("c7")])
    assert executor.apply([plan])[0].ok
    assert [alive for _, _, alive in family.state()] == [False] * 3
    (gone,) = executor.plan([end("c8")])
    assert executor.apply([gone])[0].ok


def test_a_plan_of_an_earlier_process_ends_the_session_it_meant_and_no_other(
    root, executor, family
):
    (plan,) = executor.plan([end(f"localhost/{family.pids[0]}")])
    unnamed = msgspec.structs.replace(plan, summary="end it")
    later = made(root)
    assert not later.apply([unnamed])[0].ok
    assert later.verify([unnamed]) == [False]
    # As if the number had been given to another session since the plan.
    former = msgspec.structs.replace(plan, summary=re.sub(r"@[0-9]+", "@1", plan.summary))
    assert later.apply([former])[0].ok
    assert family.runs() == [True, True, True]
    assert made(root).apply([plan])[0].ok
    assert family.runs() == [False, False, False]


@pytest.mark.parametrize("value", ["localhost/1", "elsewhere.example/42", "../c1", "", "a/b/c"])
def test_a_session_in_another_form_is_refused(executor, value):
    (refused,) = executor.plan([end(value)])
    assert isinstance(refused, Outcome)
    assert not refused.ok


def test_roots_sessions_and_our_own_are_kept(executor):
    roots = Orphan("sleep", "60")
    try:
        (refused,) = executor.plan([end(f"localhost/{roots.pid}")])
        assert "kept" in refused.detail
        ours = os.getsid(0)  # 0 where the session began outside this container, and has no number
        (refused,) = made_for_root(executor).plan([end(f"localhost/{ours}")])
        kept = ("Cronos", "first process") if ours else ("names no session",)
        assert any(word in refused.detail for word in kept)
    finally:
        roots.close()


def made_for_root(executor):
    return AccountExecutor(msgspec.structs.replace(executor._config, min_uid=0))


class _Rooted:
    @pytest.fixture(autouse=True)
    def _root(self, root):
        self.root = root
        self.families = []
        yield
        self.close()

    def close(self):
        while self.families:
            self.families.pop().close()

    def again(self):
        return made(self.root)

    def impossible(self):
        return lock("root")


class TestLock(_Rooted, ReversibleExecutorConformance):
    crash_points = 30

    def make(self):
        (self.root / "etc" / "shadow").write_text(SHADOW)
        return self.again()

    def actions(self):
        return [lock(name) for name in ("alice", "bob", "dora", "eve")]

    def state(self):
        return shadow(self.root), (self.root / "etc" / "passwd").read_bytes()


class TestEnd(_Rooted, IrreversibleExecutorConformance):
    crash_points = 12

    def make(self):
        self.close()
        self.families = [Family(size=2, user=UID) for _ in range(3)]
        return self.again()

    def actions(self):
        return [end(f"localhost/{family.pids[0]}") for family in self.families[:2]]

    def is_done(self, action):
        pid = int(action.target.value.partition("/")[2])
        (family,) = [one for one in self.families if pid in one.pids]
        return not any(alive for _, _, alive in family.state())

    def bystanders(self):
        return self.families[2].state(), self.families[2].runs()
