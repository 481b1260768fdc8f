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

names = st.sampled_from(
    ["localhost/1", f"localhost/{os.getpid()}", f"localhost/{os.getppid()}",
     "nobody", "root", "daemon", "192.0.2.7", "192.0.2.0/24", "::/0", "0.0.0.0/0", "cell",
     "tcp/192.0.2.7:22", "tcp/192.0.2.7:1>192.0.2.8:2", "billing", "c1", "-h", "../../etc"]
)  # fmt: skip
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
)


def planner(tmp):
    """An nftables executor that only plans: the kernel needs a namespace, see its own tests."""
    executor = NftablesExecutor.__new__(NftablesExecutor)
    executor._config = NftablesConfig(segments={"cell": ("10.0.0.0/24",)})
    executor._segments = {}
    return executor


def local(tmp):
    """The executors of this machine, on a scratch root, with groups that nobody has."""
    settings_of = {
        "account": {"prefix": str(tmp), "sessions": str(tmp), "slice": ""},
        "process": {"cgroup": f"cronos-fuzz-{os.getpid()}"},
        "workflow": {"hook": "memory"},
        "tap": {"control_socket": str(tmp / "nobody")},
    }
    made = {"nftables": planner(tmp)}
    for name in ("recording", "workflow", "process", "account", "tap"):
        hooks = {"memory": MemoryWorkflow(["billing"])}
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
            assert name not in ("process", "account") or action.target.value not in {*own, "root"}


@given(actions, recipes)
@settings(max_examples=300, deadline=None)
def test_a_recipe_from_a_damaged_book_does_no_harm(executors, action, recipe):
    tmp = executors[1]
    # New ones, so that none remembers what was planned: nothing may be killed on a recipe alone.
    made = local(tmp)
    before = (tmp / "etc" / "shadow").read_bytes()
    mine = group_of(os.getpid())
    plan = Plan(action, recipe, "s", "u")
    for name in ("process", "account"):
        executor = made[name]
        for step in (executor.verify, executor.undo, executor.apply, executor.renew, executor.undo):
            with contextlib.suppress(CronosError):
                assert len(step([plan])) == 1
    assert (tmp / "etc" / "shadow").read_bytes() == before
    assert group_of(os.getpid()) == mine
    mount = find_mount()
    assert mount is None or not (mount / f"cronos-fuzz-{os.getpid()}").exists()
