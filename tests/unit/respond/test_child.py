"""An executor in a process of its own: it dies, hangs and lies, and nothing but its batch fails."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from tests.unit.respond.stage import BootClock, deny

from cronos.errors import CronosError, UnreachableError
from cronos.respond.child import ChildExecutor, Launch
from cronos.respond.recording import RecordingExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import Outcome, Plan

ROOT = Path(__file__).parents[3]
ONE, TWO = deny("192.0.2.1"), deny("192.0.2.2")


def child_at(folder, deadline_ms=10_000, **environment):
    (folder / "world").mkdir(exist_ok=True)
    launch = Launch(
        (sys.executable, "-m", "tests.integration.child_process", str(folder)),
        {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment},
        deadline_ms,
    )
    return ChildExecutor(RecordingExecutor.manifest, launch, BootClock())


@pytest.fixture
def child(tmp_path):
    made = child_at(tmp_path)
    yield made
    made.close()


@pytest.fixture
def mood(tmp_path):
    return (tmp_path / "mood").write_text


class TestConformance(ReversibleExecutorConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        self.made = []
        yield
        for one in self.made:
            one.close()

    def make(self):
        made = child_at(self.folder)
        self.made.append(made)
        return made

    def actions(self):
        return [ONE, TWO]


def planned(child, *actions):
    plans = child.plan(actions or (ONE,))
    assert all(isinstance(plan, Plan) for plan in plans), plans
    return plans


def test_it_is_started_once_and_ends_with_close(child):
    child.start()
    first = child.pid
    planned(child)
    assert (child.pid, child.starts) == (first, 1)
    child.close()
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    planned(child)
    assert child.starts == 2


def test_a_large_batch_goes_in_parts_and_keeps_its_order(child):
    actions = [deny(f"10.0.{i // 250}.{i % 250}") for i in range(1000)]
    plans = planned(child, *actions)
    assert [plan.action for plan in plans] == actions
    assert [one.action_id for one in child.apply(plans)] == [a.action_id for a in actions]
    assert child.verify(plans) == [True] * 1000
    assert len(child.observe()) == 1000


@pytest.mark.parametrize(
    "step", ["build", "plan", "before-apply", "within-apply", "after-apply", "verify-there"]
)
@pytest.mark.parametrize("how", ["die", "exit"])
def test_one_that_dies_fails_its_batch_and_the_next_one_undoes(child, mood, tmp_path, step, how):
    if step != "build":
        plans = planned(child, ONE, TWO)
    mood(f"{how}-{step}")
    if step in ("build", "plan"):
        answers = child.plan([ONE, TWO])
        assert [isinstance(one, Outcome) and not one.ok for one in answers] == [True, True]
        plans = planned(child, ONE, TWO)
    elif step == "verify-there":
        child.apply(plans)
        with pytest.raises(UnreachableError):
            child.verify(plans)
    else:
        assert [one.ok for one in child.apply(plans)] == [False, False]
    assert all(one.ok for one in child.undo(plans))
    assert child.observe() == frozenset()
    assert child.starts == 2


@pytest.mark.parametrize("step", ["before-undo", "within-undo"])
def test_an_undo_that_is_cut_short_is_done_by_the_next(child, mood, step):
    plans = planned(child, ONE, TWO)
    child.apply(plans)
    mood(f"die-{step}")
    assert [one.ok for one in child.undo(plans)] == [False, False]
    assert all(one.ok for one in child.undo(plans))
    assert child.observe() == frozenset()


@pytest.mark.parametrize("step", ["plan", "before-apply", "within-apply"])
def test_one_that_hangs_is_killed_in_its_time(tmp_path, mood, step):
    child = child_at(tmp_path, deadline_ms=1500)
    plans = planned(child, ONE, TWO)
    pid = child.pid
    mood(f"hang-{step}")
    answers = child.plan([ONE]) if step == "plan" else child.apply(plans)
    assert not any(isinstance(one, Outcome) and one.ok for one in answers)
    assert "did not answer in time" in answers[0].detail
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert all(one.ok for one in child.undo(plans))
    child.close()


def test_after_a_part_has_failed_the_rest_is_not_tried(tmp_path, mood):
    child = child_at(tmp_path, deadline_ms=1500)
    plans = planned(child, *(deny(f"10.0.0.{i}") for i in range(200)))
    mood("hang-before-apply")
    assert [one.ok for one in child.apply(plans)] == [False] * 200
    assert child.starts == 1
    child.close()


@pytest.mark.parametrize("lie", ["other-action", "huge-recipe", "kernel", "short"])
def test_a_plan_for_something_else_is_not_taken(child, mood, lie):
    planned(child)
    mood(lie)
    answers = child.plan([ONE, TWO])
    assert [isinstance(one, Outcome) and one.ok for one in answers] == [False, False]
    assert not any(isinstance(one, Plan) for one in answers)
    assert child.pid == 0  # one that lies is ended


@pytest.mark.parametrize("lie", ["wrong-operation", "wrong-id"])
def test_an_outcome_of_something_else_is_not_taken(child, mood, lie):
    plans = planned(child)
    mood(lie)
    (outcome,) = child.apply(plans)
    assert not outcome.ok
    assert outcome.action_id == ONE.action_id


def test_what_it_says_is_made_fit_to_be_shown_and_its_word_on_the_effect_is_not_taken(child, mood):
    plans = planned(child)
    mood("verified")
    (outcome,) = child.apply(plans)
    assert outcome.ok
    assert not outcome.verified
    assert "\x1b" not in outcome.detail
    assert len(outcome.detail) <= 1000


def test_names_that_are_no_effects_are_not_taken(child, mood):
    planned(child)
    mood("odd-names")
    with pytest.raises(UnreachableError):
        child.observe()


def test_an_error_of_the_executor_comes_through_and_its_faults_tell_no_secret(child, mood):
    mood("deny")
    assert "today." in child.plan([ONE])[0].detail
    assert "\x1b" not in child.plan([ONE])[0].detail
    mood("raise")
    detail = child.plan([ONE])[0].detail
    assert "ValueError" in detail
    assert "secret" not in detail
    assert child.starts == 1


def test_one_that_cannot_be_made_says_why_each_time(child, mood):
    mood("refuse")
    assert "It cannot be made" in child.plan([ONE])[0].detail
    with pytest.raises(CronosError) as raised:
        child.verify([Plan(ONE, b"x", "a", "b")])
    assert raised.value.code == "respond.test"
    mood("")
    planned(child)


def test_a_command_that_is_not_there_is_a_sentence(tmp_path):
    launch = Launch((str(tmp_path / "none"),), {}, 1000)
    child = ChildExecutor(RecordingExecutor.manifest, launch, BootClock())
    child.start()
    assert "broke off" in child.plan([ONE])[0].detail
    assert child.pid == 0


@pytest.mark.parametrize(
    "script",
    [
        "import os; os.write(0, b'\\xff' * 100)",
        "import os; os.write(0, b'\\0\\0\\0\\1x' * 100); os.read(0, 9)",
        "import os; os.write(0, bytes((0, 0, 0, 5, 148, 5, 144, 144, 144))); os.read(0, 9)",
        "import os, time\nwhile 1: os.write(0, b'\\0'); time.sleep(0.01)",
        "",
    ],
)
def test_a_process_that_speaks_no_frames_is_ended(tmp_path, script, monkeypatch):
    monkeypatch.setattr("cronos.respond.child._START_MS", 1000)
    launch = Launch((sys.executable, "-c", script), {}, 500)
    child = ChildExecutor(RecordingExecutor.manifest, launch, BootClock())
    assert not child.plan([ONE])[0].ok
    assert child.pid == 0


def test_it_ends_with_all_that_it_started(tmp_path):
    script = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))\n"
        "os.read(0, 1); os.read(0, 9)"
    )
    launch = Launch((sys.executable, "-c", script), {"PATH": os.environ["PATH"]}, 500)
    child = ChildExecutor(RecordingExecutor.manifest, launch, BootClock())
    child.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        threading.Event().wait(0.01)
    child.close()
    grandchild = int((tmp_path / "pid").read_text())
    for _ in range(200):
        try:
            state = Path(f"/proc/{grandchild}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        threading.Event().wait(0.01)
    os.kill(grandchild, signal.SIGKILL)
    raise AssertionError("it went on")


def test_it_sees_nothing_of_the_environment_but_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    child = child_at(tmp_path, MINE="yes")
    planned(child)
    seen = Path(f"/proc/{child.pid}/environ").read_bytes()
    assert b"MINE=yes" in seen
    assert b"of-somebody-else" not in seen
    descriptors = [str(one.readlink()) for one in Path(f"/proc/{child.pid}/fd").iterdir()]
    assert not [one for one in descriptors if str(tmp_path) in one]
    child.close()


def test_it_leaves_when_the_enforcer_is_gone_though_it_hangs(tmp_path):
    """What its own restart is about to undo must not be applied after."""
    child = child_at(tmp_path, deadline_ms=60_000)
    planned(child)
    (tmp_path / "mood").write_text("hang-before-apply")
    plans = [Plan(ONE, b'{"was":"open"}', "lock", "unlock")]
    thread = threading.Thread(target=child.apply, args=(plans,))
    thread.start()
    while (tmp_path / "mood").exists():
        threading.Event().wait(0.01)
    child._socket.shutdown(2)  # as the death of the enforcer would
    thread.join(20)
    assert not thread.is_alive()
    assert child.pid == 0
    assert not list((tmp_path / "world").iterdir())
