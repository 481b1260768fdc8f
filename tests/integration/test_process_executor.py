"""Real processes frozen in real control groups, and killed by descriptor."""

import os
import select
import socket
import subprocess
import time

import msgspec
import pytest
from tests.integration.processes import Family, Orphan, end, require_freezer
from tests.unit.respond.stage import deny

from cronos.respond import procfs
from cronos.respond.freezer import group_of
from cronos.respond.process import ProcessConfig, ProcessExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.irreversible import IrreversibleExecutorConformance
from cronos.types import EntityKind, Outcome, Plan, Verb

pytestmark = pytest.mark.net
BASE = f"cronos-test-{os.getpid()}"


def contain(pid, host="localhost", verb=Verb.CONTAIN, **told):
    return deny(f"{host}/{pid}", point="process", kind=EntityKind.PROCESS, verb=verb, **told)


@pytest.fixture
def mount():
    return require_freezer()


@pytest.fixture
def family():
    family = Family()
    yield family
    family.close()


@pytest.fixture
def executor(mount):
    return ProcessExecutor(ProcessConfig(cgroup=BASE))


def test_a_process_and_its_children_stand_still_and_run_again_where_they_ran(
    mount, family, executor
):
    homes = [mount / f"{BASE}-home-{i}" for i in range(2)]
    for home in homes:
        home.mkdir()
    try:
        (homes[0] / "cgroup.procs").write_text(str(family.pids[0]))
        (homes[1] / "cgroup.procs").write_text(str(family.pids[1]))
        before = family.state()
        (plan,) = executor.plan([contain(family.pids[0])])
        assert family.state() == before
        (done,) = executor.apply([plan])
        assert done.ok, done.detail
        assert executor.verify([plan]) == [True]
        assert executor.observe() == {plan.action.action_id}
        assert family.runs(wait_ms=100) == [False, False, False]
        assert executor.renew([plan])[0].ok
        assert executor.undo([plan])[0].ok
        assert family.state() == before
        assert not (mount / BASE).exists()
        assert family.runs() == [True, True, True]
    finally:
        family.close()
        for home in homes:
            home.rmdir()


def test_children_born_after_the_plan_are_caught_too_and_go_where_their_parent_was(mount, executor):
    script = "import subprocess, sys; sys.stdin.read(1); p = subprocess.Popen(['sleep', '60'])"
    parent = Orphan("python3", "-c", script + "; print(p.pid, flush=True); p.wait()")
    born = None
    home = mount / f"{BASE}-home"
    home.mkdir()
    try:
        (home / "cgroup.procs").write_text(str(parent.pid))
        (plan,) = executor.plan([contain(parent.pid)])
        parent.stdin.write(b"x")
        parent.stdin.flush()
        born = procfs.read(int(parent.stdout.readline()))
        assert executor.apply([plan])[0].ok
        folder = mount / BASE / plan.action.action_id
        inside = {int(line) for line in (folder / "cgroup.procs").read_text().split()}
        assert inside == {parent.pid, born.pid}
        assert executor.undo([plan])[0].ok
        assert group_of(born.pid) == group_of(parent.pid) == f"/{home.name}"
    finally:
        if born is not None:
            end(born.pid, born.start)
        parent.close()
        home.rmdir()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("released", [0, 1])
def test_two_effects_on_one_family_end_each_in_its_own_time(
    mount, family, executor, first, released
):
    before = family.state()
    held = {}
    for who in (first, 1 - first):
        (held[who],) = executor.plan([contain(family.pids[who])])
        assert executor.apply([held[who]])[0].ok
    # As the reconciler does: what another effect has taken is taken back.
    for plan in held.values():
        assert executor.verify([plan]) == [True] or executor.apply([plan])[0].ok
    assert executor.observe() == {plan.action.action_id for plan in held.values()}
    assert executor.undo([held[released]])[0].ok
    still = held[1 - released]
    assert executor.verify([still]) == [True]
    assert executor.undo([still])[0].ok
    assert family.state() == before
    assert not (mount / BASE).exists()


def test_a_second_incident_puts_back_what_was_before_the_first_also_after_a_restart(
    mount, family, executor
):
    before = family.state()
    (one,) = executor.plan([contain(family.pids[0])])
    assert executor.apply([one])[0].ok
    later = ProcessExecutor(ProcessConfig(cgroup=BASE))
    assert later.verify([one]) == [True]  # as an enforcer looks at all it holds when it starts
    (two,) = later.plan([contain(family.pids[0], incident="inc-2")])
    assert two.recipe == one.recipe
    assert later.apply([two])[0].ok
    assert later.undo([two])[0].ok
    assert family.state() == before


def headless():
    """Give a process whose first thread has ended while another answers on."""
    script = (
        "import ctypes, os, threading\n"
        "def answer():\n"
        "    while data := os.read(0, 1): os.write(1, data)\n"
        "threading.Thread(target=answer).start()\n"
        "ctypes.CDLL(None).syscall(60, 0)\n"
    )
    process = Orphan("python3", "-c", script)
    process.stdin.write(b"x")
    process.stdin.flush()
    assert process.stdout.read(1) == b"x"
    until = time.monotonic() + 10
    while procfs.living_task(process.pid) == process.pid:
        assert time.monotonic() < until
    return process


def test_a_process_whose_first_thread_has_ended_is_frozen_and_let_go_all_the_same(mount, executor):
    process = headless()
    home = mount / f"{BASE}-home"
    home.mkdir()
    try:
        (home / "cgroup.procs").write_text(str(process.pid))
        (plan,) = executor.plan([contain(process.pid)])
        assert isinstance(plan, Plan), plan.detail
        (done,) = executor.apply([plan])
        assert done.ok, done.detail
        assert executor.verify([plan]) == [True]
        (undone,) = executor.undo([plan])
        assert undone.ok, undone.detail
        assert group_of(process.pid) == f"/{home.name}"
        assert not (mount / BASE).exists()
    finally:
        process.close()
        home.rmdir()


def test_a_process_whose_first_thread_has_ended_does_not_pass_for_dead(mount, executor):
    process = headless()
    try:
        (plan,) = executor.plan([contain(process.pid, verb=Verb.STOP)])
        assert "gone already" not in plan.summary
        assert executor.verify([plan]) == [False]
        assert executor.apply([plan])[0].ok
        assert select.select([process.stdout], [], [], 10)[0]
        assert process.stdout.read() == b""  # nobody holds the other end any more
        assert executor.verify([plan]) == [True]
    finally:
        process.close()


def test_children_that_cannot_be_caught_are_said(mount, family, executor, monkeypatch):
    (plan,) = executor.plan([contain(family.pids[0])])
    elusive = procfs.Process(1 << 22, 1, family.pids[0], 1, "", False)
    monkeypatch.setattr(procfs, "descendants", lambda _roots: [elusive])
    (done,) = executor.apply([plan])
    assert not done.ok
    assert "faster" in done.detail
    assert executor.undo([plan])[0].ok
    assert family.runs() == [True] * 3


def test_a_protected_child_keeps_its_parent_from_being_frozen(mount, family, monkeypatch):
    path, _ = procfs.executable_of(family.pids[0])
    executor = ProcessExecutor(ProcessConfig(cgroup=BASE, protected=("/protected",)))
    runs = {family.pids[1]: "/protected"}
    monkeypatch.setattr(procfs, "executable_of", lambda pid: (runs.get(pid, path), True))
    (refused,) = executor.plan([contain(family.pids[0])])
    assert isinstance(refused, Outcome)
    assert f"child of process {family.pids[0]}" in refused.detail
    # Who is not root is not spared for having started such a program.
    monkeypatch.setattr(procfs, "user_of", lambda _pid: 1000)
    assert isinstance(executor.plan([contain(family.pids[0])])[0], Plan)


def test_with_the_book_lost_it_is_let_go_into_the_root(mount, family, executor):
    (one,) = executor.plan([contain(family.pids[0])])
    assert executor.apply([one])[0].ok
    later = ProcessExecutor(ProcessConfig(cgroup=BASE))
    (two,) = later.plan([contain(family.pids[0])])
    assert later.undo([two])[0].ok
    assert [group for _, group, _ in family.state()] == ["/"] * 3
    assert not (mount / BASE).exists()


def test_the_group_a_process_came_from_may_be_gone(mount, family, executor):
    home = mount / f"{BASE}-home"
    home.mkdir()
    (home / "cgroup.procs").write_text(str(family.pids[1]))
    (plan,) = executor.plan([contain(family.pids[1])])
    assert executor.apply([plan])[0].ok
    home.rmdir()
    assert executor.undo([plan])[0].ok
    assert group_of(family.pids[1]) == "/"
    assert family.runs() == [True, True, True]


def test_what_has_ended_is_not_contained_and_its_number_is_left_alone(mount, executor):
    short, later = Orphan("sleep", "60"), Orphan("sleep", "60")
    try:
        (plan,) = executor.plan([contain(short.pid)])
        short.close()
        recipe = msgspec.json.decode(plan.recipe)
        # As if the number had been given to another process meanwhile, which started later.
        recipe["members"][0][:2] = [later.pid, later.start - 1]
        reused = msgspec.structs.replace(plan, recipe=msgspec.json.encode(recipe))
        for ended in (plan, reused):
            (refused,) = executor.apply([ended])
            assert "has ended" in refused.detail
            assert executor.verify([ended]) == [False]
        assert group_of(later.pid) == group_of(os.getpid())
        assert not (mount / BASE).exists()
    finally:
        later.close()


def test_a_damaged_recipe_lets_the_process_run_and_says_where_it_stays(mount, family, executor):
    (plan,) = executor.plan([contain(family.pids[2])])
    assert executor.apply([plan])[0].ok
    before = group_of(os.getpid())
    damaged = [b"", b"{", b'{"members":[]}', b'{"members":[[1,1,"/"]]}', b"[" * 5000]
    for recipe in damaged:
        broken = msgspec.structs.replace(plan, recipe=recipe)
        (undone,) = executor.undo([broken])
        assert undone.ok
        assert "damaged" in undone.detail
        assert executor.verify([broken]) == [False]
    assert family.runs() == [True, True, True]
    assert executor.undo([plan])[0].ok
    assert group_of(family.pids[2]) == before
    assert not (mount / BASE).exists()


def test_a_recipe_cannot_lead_out_of_the_mount(mount, family, executor):
    (plan,) = executor.plan([contain(family.pids[2])])
    recipe = msgspec.json.decode(plan.recipe)
    recipe["members"][0][2] = "/../../../../tmp"
    assert executor.apply([plan])[0].ok
    forged = msgspec.structs.replace(plan, recipe=msgspec.json.encode(recipe))
    assert executor.undo([forged])[0].ok
    assert group_of(family.pids[2]) == "/"


def test_what_must_not_be_touched_is_refused(mount, executor):
    # A container may show none of the kernel's threads.
    threads = [p.pid for p in procfs.all_processes() if p.is_kernel][:1]
    own = subprocess.Popen(["sleep", "60"])  # of our session
    try:
        refused = [1, os.getpid(), os.getppid(), own.pid, *threads]
        for verb in (Verb.CONTAIN, Verb.STOP):
            answers = executor.plan([contain(pid, verb=verb) for pid in refused])
            assert len(answers) == len(refused)
            assert all(isinstance(one, Outcome) and not one.ok for one in answers)
        assert own.poll() is None
    finally:
        own.kill()
        own.wait()


def test_a_protected_executable_is_refused_by_path_and_by_the_name_of_roots_file(mount, family):
    path, is_roots = procfs.executable_of(family.pids[0])
    (refused,) = ProcessExecutor(ProcessConfig(protected=(path,))).plan([contain(family.pids[0])])
    assert "protected" in refused.detail
    named = ProcessExecutor(ProcessConfig(protected=(path.rpartition("/")[2],)))
    (answer,) = named.plan([contain(family.pids[0])])
    assert isinstance(answer, Outcome) == is_roots


@pytest.mark.parametrize(
    "value",
    ["", "1", "localhost", "localhost/", "localhost/0", "localhost/-1", "localhost/07",
     "localhost/1 ", "elsewhere.example/42", "localhost/٣", "localhost/1/2", "../../1"],
)  # fmt: skip
def test_a_target_in_another_form_is_refused(executor, value):
    answers = executor.plan(
        [deny(value, point="process", kind=EntityKind.PROCESS, verb=v)
         for v in (Verb.CONTAIN, Verb.STOP)]
    )  # fmt: skip
    assert [isinstance(one, Outcome) and not one.ok for one in answers] == [True, True]


def test_this_machine_is_named_by_its_name_too(mount, family, executor):
    (plan,) = executor.plan([contain(family.pids[0], host=socket.gethostname().upper())])
    assert isinstance(plan, Plan)


def test_a_process_is_killed_for_good_even_when_it_is_frozen(mount, family, executor):
    (frozen,) = executor.plan([contain(family.pids[1])])
    assert executor.apply([frozen])[0].ok
    (doomed,) = executor.plan([contain(family.pids[1], verb=Verb.STOP)])
    assert (doomed.recipe, doomed.undo_summary) == (b"", "")
    assert executor.verify([doomed]) == [False]
    (done,) = executor.apply([doomed])
    assert done.ok, done.detail
    assert executor.verify([doomed]) == [True]
    assert executor.verify([frozen]) == [False]
    assert executor.undo([frozen])[0].ok
    assert not (mount / BASE).exists()


def test_a_plan_of_an_earlier_process_kills_whom_it_meant_and_nobody_else(mount, family, executor):
    (doomed,) = executor.plan([contain(family.pids[1], verb=Verb.STOP)])
    later = ProcessExecutor(ProcessConfig(cgroup=BASE))
    unnamed = msgspec.structs.replace(doomed, summary="kill it")
    (refused,) = later.apply([unnamed])
    assert not refused.ok
    assert later.verify([unnamed]) == [False]
    meant, comma, start = doomed.summary.rpartition(" ")
    # As if the number had been given to another process since the plan.
    former = msgspec.structs.replace(doomed, summary=f"{meant}{comma}{int(start) - 1}")
    assert later.apply([former])[0].ok
    assert later.verify([former]) == [True]
    assert family.runs() == [True, True, True]
    assert later.apply([doomed])[0].ok
    assert family.runs() == [True, False, True]


def test_without_a_writable_cgroup_v2_it_says_so_and_still_kills(monkeypatch, family):
    monkeypatch.setattr("cronos.respond.freezer.find_mount", lambda: None)
    executor = ProcessExecutor(ProcessConfig())
    (refused,) = executor.plan([contain(family.pids[2])])
    assert "cgroup v2 is not mounted" in refused.detail
    assert executor.observe() == frozenset()
    (plan,) = executor.plan([contain(family.pids[2], verb=Verb.STOP)])
    assert executor.apply([plan])[0].ok
    assert executor.verify([plan]) == [True]


class _Families:
    """Three families for each executor that a suite asks for; the third is a bystander."""

    def setup_method(self):
        self.mount = require_freezer()
        self.families = []

    def teardown_method(self):
        for family in self.families:
            family.close()
        # What a test left contained is empty by now.
        for folder in [*(self.mount / BASE).glob("*/"), self.mount / BASE]:
            if folder.exists():
                folder.rmdir()

    def make(self):
        self.teardown_method()
        self.families = [Family() for _ in range(3)]
        return self.again()

    def again(self):
        return ProcessExecutor(ProcessConfig(cgroup=BASE))

    def impossible(self):
        return contain(1)


class TestContain(_Families, ReversibleExecutorConformance):
    crash_points = 40

    def actions(self):
        return [contain(family.pids[0]) for family in self.families[:2]]

    def state(self):
        there = (self.mount / BASE).exists()
        return [family.state() for family in self.families], self.families[2].runs(), there


class TestStop(_Families, IrreversibleExecutorConformance):
    crash_points = 12

    def actions(self):
        return [contain(family.pids[0], verb=Verb.STOP) for family in self.families[:2]]

    def is_done(self, action):
        pid = int(action.target.value.partition("/")[2])
        (family,) = [one for one in self.families if pid in one.pids]
        return not procfs.is_alive(pid, family.started[0])

    def bystanders(self):
        children = [family.state()[1:] for family in self.families[:2]]
        return children, self.families[2].state(), self.families[2].runs()
