"""Any action and any recipe: planning never raises, plans nothing beyond its form, does no harm."""

import contextlib
import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.catalog import CATALOG
from cronos.config import Config
from cronos.errors import CronosError
from cronos.front.plugins import make
from cronos.respond.freezer import find_mount, group_of
from cronos.respond.nftables import NftablesConfig, NftablesExecutor
from cronos.testing.memory_respond import MemoryWorkflow
from cronos.types import Action, Entity, EntityKind, Outcome, Plan, Verb, action_id

SAMPLES = [
    "localhost/1", f"localhost/{os.getpid()}", f"localhost/{os.getppid()}",
     "nobody", "root", "daemon", "192.0.2.7", "192.0.2.0/24", "::/0", "0.0.0.0/0", "cell",
     "tcp/192.0.2.7:22", "tcp/192.0.2.7:1>192.0.2.8:2", "billing", "c1", "-h", "../../etc"
]  # fmt: skip
names = st.sampled_from(SAMPLES)
values = (
    names
    | st.text(max_size=80)
    | st.text("tcpudlocahst/0123456789abcdef.:>{};\\ \n%-", max_size=80)
)
actions = st.builds(
    lambda point, verb, kind, value, lease: Action(
        action_id(point, verb, Entity(kind, value)), point, verb, Entity(kind, value), "i", lease
    ),
    st.sampled_from(sorted(CATALOG["executor"])),
    st.sampled_from(Verb),
    st.sampled_from(EntityKind),
    values,
    st.integers(1, 1 << 62),
)
recipes = (
    st.binary(max_size=120)
    | st.text('{}[]":,0123456789/.-members', max_size=120).map(str.encode)
    | st.just(b"[" * 5000)
    | st.lists(
        st.tuples(st.integers(-5, 1 << 40), st.integers(), st.text(max_size=20)), max_size=4
    ).map(lambda members: msgspec.json.encode({"members": members}))
    | st.builds(
        lambda user, expire, password: msgspec.json.encode(
            {"user": user, "expire": expire, "password": password}
        ),
        values,
        st.text(max_size=8),
        st.booleans(),
    )
    | st.builds(
        lambda hook, workload, step, undo, former: msgspec.json.encode(
            {"hook": hook, "workload": workload, "step": step, "undo": undo, "former": former}
        ),
        st.sampled_from(["memory", "command", ""]),
        values,
        st.sampled_from(["pause", "reroute", "restore", "", "rm"]),
        st.sampled_from(["restore", "pause", ""]),
        st.text(max_size=8),
    )
    | st.builds(
        lambda table, name, element: msgspec.json.encode(
            {"table": table, "set": name, "element": element, "action_id": name, "target": element}
        ),
        values,
        st.sampled_from(["deny4", "segments", "x; flush ruleset"]),
        values,
    )
)


def planner(tmp):
    """An nftables executor that only plans: the kernel needs a namespace, see its own tests."""
    executor = NftablesExecutor.__new__(NftablesExecutor)
    executor._config = NftablesConfig(segments={"cell": ("10.0.0.0/24",)})
    executor._segments = {}
    return executor


class Noting(MemoryWorkflow):
    """Notes what it was asked for."""

    def __init__(self):
        super().__init__(SAMPLES)
        self.asked = set()

    def adjust(self, workload, verb):
        self.asked.add(workload)
        return super().adjust(workload, verb)


class Netfilter:
    """A double of library and kernel: notes the commands, and holds nothing."""

    def __init__(self):
        self.commands = []

    def run(self, commands):
        self.commands.append(commands)
        return '{"nftables": []}'

    def add(self, members):
        self.commands.append(str(members))
        return True

    def held(self, _name, _keys):
        return []

    def stand(self):
        return True

    def expect(self):
        pass

    learn = expect


def carried_out(plan):
    """Give all commands that the steps of a plan come to."""
    executor = planner(None)
    executor._nft = executor._elements = netfilter = Netfilter()
    executor._rates, executor._prefixes = {}, set()
    for step in (executor.apply, executor.verify, executor.renew, executor.undo):
        assert len(step([plan])) == 1
    return netfilter.commands


def local(tmp):
    """The executors of this machine, on a scratch root, with groups that nobody has."""
    settings_of = {
        "account": {"prefix": str(tmp), "sessions": str(tmp), "slice": ""},
        "process": {"cgroup": f"cronos-fuzz-{os.getpid()}"},
        "workflow": {"hook": "memory"},
        "tap": {"control_socket": str(tmp / "nobody")},
    }
    made = {"nftables": planner(tmp)}
    hooks = {"memory": Noting()}
    for name in ("recording", "workflow", "process", "account", "tap"):
        given = settings_of.get(name)
        made[name] = make("executor", name, Config(), given=given, hooks=hooks)
    return made


@pytest.fixture(scope="module")
def executors(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("root")
    (tmp / "etc").mkdir()
    (tmp / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\nann:x:64242:1::/:/bin/sh\n")
    (tmp / "etc" / "shadow").write_text("root:*:1::::::\nann:$6$a$b:1::::::\n")
    return local(tmp), tmp


@given(st.lists(actions, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_planning_never_raises_and_never_goes_beyond_what_the_manifest_says(executors, batch):
    for name, executor in executors[0].items():
        answers = executor.plan(batch)
        assert len(answers) == len(batch)
        able = {(one.verb, one.kind) for one in executor.manifest.abilities}
        for action, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Outcome):
                assert not answer.ok
                assert answer.detail
                continue
            assert answer.action == action
            # The dry run plans whatever it is told.
            assert name == "recording" or (action.verb, action.target.kind) in able
            own = {f"localhost/{pid}" for pid in (1, os.getpid(), os.getppid())}
            assert name != "process" or action.target.value not in {*own, "root"}
            # A session may bear the number of a process; here are none.
            gone = answer.summary.startswith("gone already: session ")
            assert name != "account" or gone or action.target.value == "ann"


@given(actions, recipes)
@settings(max_examples=300, deadline=None)
def test_a_recipe_from_a_damaged_book_does_no_harm(executors, action, recipe):
    tmp = executors[1]
    # New ones, so that none remembers what was planned: nothing may be killed on a recipe alone.
    made = local(tmp)
    before = (tmp / "etc" / "shadow").read_bytes()
    mine = group_of(os.getpid())
    plan = Plan(action, recipe, "s", "u")
    for name in ("process", "account", "tap", "workflow", "recording"):
        executor = made[name]
        for step in (executor.verify, executor.undo, executor.apply, executor.renew, executor.undo):
            with contextlib.suppress(CronosError):
                assert len(step([plan])) == 1
    # Workload and element are those of the action, whatever a recipe says.
    assert made["workflow"]._hooks["memory"].asked <= {action.target.value}
    assert carried_out(plan) == carried_out(Plan(action, b"{}", "s", "u"))
    assert (tmp / "etc" / "shadow").read_bytes() == before
    assert group_of(os.getpid()) == mine
    mount = find_mount()
    assert mount is None or not (mount / f"cronos-fuzz-{os.getpid()}").exists()
