"""Freezing and killing processes, locking accounts: how long each takes, from plan to look.

What the enforcer asks of an executor for one order: plan, apply, verify; and undo, beside. The
processes are real, in sessions of their own, and sleep; the accounts lie in a scratch root, and
`usermod -P` locks them. Needs root and cgroup v2. The declared `p99_ms` of each ability is the
`must`.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from report import Report, quantile

from cronos.respond.account import AccountConfig, AccountExecutor
from cronos.respond.process import ProcessConfig, ProcessExecutor
from cronos.types import Action, Entity, EntityKind, Plan, Verb, action_id

ROUNDS = 5
TIMES = 40
CHILDREN = 100
USERS = 300
UID = 64_242
FAMILY = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
if sys.argv[2] != "0":
    os.setuid(int(sys.argv[2]))
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        break
else:
    print(os.getpid(), flush=True)
os.close(1)
os.execv("/bin/sleep", ["sleep", "600"])
"""
Executor = ProcessExecutor | AccountExecutor


def order(point: str, verb: Verb, kind: EntityKind, value: str) -> Action:
    target = Entity(kind, value)
    named = action_id(point, verb, target)
    return Action(named, point, verb, target, "bench", 60_000_000_000)


@contextlib.contextmanager
def family(children: int, user: int = 0) -> Iterator[int]:
    """Give a process with so many children, in a session of its own."""
    command = [sys.executable, "-c", FAMILY, str(children), str(user)]
    starter = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    leader = int(starter.stdout)
    try:
        yield leader
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, 9)


def carried_out(executor: Executor, action: Action) -> tuple[float, Plan]:
    """Plan, apply and look; give the milliseconds it took."""
    began = time.perf_counter()
    (plan,) = executor.plan([action])
    assert isinstance(plan, Plan), plan
    (done,) = executor.apply([plan])
    seen = executor.verify([plan])
    took = (time.perf_counter() - began) * 1e3
    assert done.ok, done.detail
    assert seen == [True]
    return took, plan


def undone(executor: Executor, plan: Plan) -> float:
    began = time.perf_counter()
    (done,) = executor.undo([plan])
    took = (time.perf_counter() - began) * 1e3
    assert done.ok, done.detail
    return took


def frozen(children: int) -> tuple[list[float], list[float]]:
    there, back = [], []
    executor = ProcessExecutor(ProcessConfig(cgroup=f"cronos-bench-{os.getpid()}"))
    with family(children) as leader:
        action = order("process", Verb.CONTAIN, EntityKind.PROCESS, f"localhost/{leader}")
        for _ in range(TIMES):
            took, plan = carried_out(executor, action)
            there.append(took)
            back.append(undone(executor, plan))
    return there, back


def killed() -> list[float]:
    took = []
    for _ in range(TIMES):
        with family(0) as leader:
            action = order("process", Verb.STOP, EntityKind.PROCESS, f"localhost/{leader}")
            took.append(carried_out(ProcessExecutor(ProcessConfig()), action)[0])
    return took


def ended(root: Path) -> list[float]:
    took = []
    for _ in range(TIMES):
        with family(3, UID) as leader:
            action = order("account", Verb.STOP, EntityKind.SESSION, f"localhost/{leader}")
            executor = AccountExecutor(AccountConfig(prefix=str(root)))
            took.append(carried_out(executor, action)[0])
    return took


def locked(root: Path) -> tuple[list[float], list[float]]:
    there, back = [], []
    executor = AccountExecutor(AccountConfig(prefix=str(root), slice=""))
    for i in range(TIMES):
        action = order("account", Verb.CONTAIN, EntityKind.USER, f"user{i}")
        took, plan = carried_out(executor, action)
        there.append(took)
        back.append(undone(executor, plan))
    return there, back


def scratch(root: Path) -> None:
    etc = root / "etc"
    etc.mkdir()
    names = [f"user{i}" for i in range(USERS)]
    lines = [f"{name}:x:{UID + i}:{UID}::/:/bin/sh\n" for i, name in enumerate(names)]
    (etc / "passwd").write_text("".join(lines))
    (etc / "shadow").write_text("".join(f"{name}:$6$a$b:19000:0:99999:7:::\n" for name in names))
    (etc / "group").write_text(f"all:x:{UID}:\n")
    (etc / "gshadow").write_text("all:!::\n")


def main() -> None:
    """Measure and tell."""
    declared = {
        (one.verb, one.kind): f"<= {one.p99_ms}"
        for it in (ProcessExecutor, AccountExecutor)
        for one in it.manifest.abilities
    }
    freeze = declared[Verb.CONTAIN, EntityKind.PROCESS]
    lock = declared[Verb.CONTAIN, EntityKind.USER]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scratch(root)
        works: dict[str, tuple[Callable[[], tuple[list[float], ...] | list[float]], str]] = {
            "a process alone frozen": (lambda: frozen(0), freeze),
            f"a process and {CHILDREN} children frozen": (lambda: frozen(CHILDREN), freeze),
            "a process killed": (killed, declared[Verb.STOP, EntityKind.PROCESS]),
            f"an account of {USERS} locked": (lambda: locked(root), lock),
            "a session of 4 ended": (lambda: ended(root), declared[Verb.STOP, EntityKind.SESSION]),
        }
        taken: dict[str, list[tuple[list[float], ...]]] = {what: [] for what in works}
        for _ in range(ROUNDS):
            for what, (work, _must) in works.items():
                got = work()
                taken[what].append(got if isinstance(got, tuple) else (got,))
    report = Report("containment")
    for what, (_work, must) in works.items():
        for number, name in enumerate(("", ", taken back")[: len(taken[what][0])]):
            rounds = [one[number] for one in taken[what]]
            for q in (0.5, 0.99):
                figures = [quantile(values, q) for values in rounds]
                bound = must if q > 0.9 and not number else ""
                report.add(f"{what}{name}, p{q * 100:.0f}", figures, "ms", TIMES, bound)
    report.show()


if __name__ == "__main__":
    main()
