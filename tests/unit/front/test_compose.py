"""The composition root: a node from names, its workers around it, and their words heard."""

import asyncio
import os
import signal
import subprocess
import sys

import msgspec
import pytest

from cronos.config import Config, Mesh, Policy, SourceEntry
from cronos.config import Node as NodeConfig
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.front.compose import Node, run_loop, verify_ledger
from cronos.front.layout import Layout
from cronos.runtime.reflex import Reflex
from cronos.types import Defect, Kill, Report

LINE = (
    "<13>Nov 14 22:13:{:02d} host sshd[1]: Failed password for root from 192.0.2.66 port 1 ssh2\n"
)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "state", "local", session=True)
    yield layout
    layout.close()


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "auth.log"
    file.write_text("".join(LINE.format(second) for second in range(30)))
    return SourceEntry("file", "", {"path": str(file)})


def test_a_node_reads_its_source_to_the_end_and_leaves_a_ledger_that_verifies(layout, source):
    async def story():
        node = Node(Config(), layout, [source], live=False)
        try:
            await node.start()
            running = node.workers()
            await node.finish(lambda: None)
        finally:
            await node.stop()
        return node, running

    node, running = run_loop(story())
    assert {"keys", "ledger", "enforcer", "scorer"} <= set(running)
    assert node.workers() == {}
    assert list(node.processed.values()) == [30]
    (incident,) = node.incidents()
    assert incident.title == "Password guessing"
    assert node.restarts == 0
    assert verify_ledger(layout.ledger).size == incident.ledger.last


def node_of(layout, *, live=False, sources=(), config=None):
    return Node(config or Config(), layout, sources, live=live, log_level="error")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("DeniedError", DeniedError),
        ("UnreachableError", UnreachableError),
        ("InputError", InputError),
        ("", CronosError),
    ],
)
def test_a_workers_own_words_keep_their_kind(layout, kind, expected):
    told = {"kind": kind, "code": "a.b", "sentence": "It is wrong.", "remedy": "Correct it."}
    (layout.run / "ledger.error").write_bytes(msgspec.json.encode(told))
    with pytest.raises(CronosError) as raised:
        node_of(layout)._raise_failure()
    assert type(raised.value) is expected
    assert raised.value.sentence == "It is wrong."


def test_a_worker_that_could_not_even_write_why_it_ended_is_said(layout):
    (layout.run / "ledger.error").touch()
    with pytest.raises(DeniedError, match="The ledger process ended"):
        node_of(layout)._raise_failure()


def test_a_node_waits_as_long_as_its_ledger_is_being_sealed_and_not_longer(layout, monkeypatch):
    monkeypatch.setattr("cronos.front.compose._READY_S", 0.03)
    progress = layout.run / "ledger.progress"
    steps = iter(["1/9", "2/9", "3/9", "3/9"])
    node = node_of(layout)
    seen: list[str] = []

    def sealing():
        progress.write_text(next(steps))
        seen.append(progress.read_text())
        return seen[-1]

    monkeypatch.setattr(node, "_sealing", sealing)
    with pytest.raises(UnreachableError, match="did not answer"):
        run_loop(node._until_ready())
    assert seen == ["1/9", "2/9", "3/9", "3/9"]


def test_how_far_a_ledger_is_sealed_is_what_its_worker_wrote_down(layout):
    node = node_of(layout)
    assert node._sealing() == ""
    (layout.run / "ledger.progress").write_text("10/20")
    assert node._sealing() == "10/20"


def test_plaintext_starts_no_key_agent(layout, source):
    async def story():
        node = node_of(layout, sources=[source], config=Config(sealer="plaintext"))
        try:
            await node.start()
            return set(node.workers())
        finally:
            await node.stop()

    assert "keys" not in run_loop(story())
    assert not layout.keys.exists()


def test_files_share_the_configured_parsers_and_live_sources_have_their_own(layout):
    sources = [SourceEntry("file", "", {"path": str(number)}) for number in range(5)]
    config = Config(pipeline=msgspec.structs.replace(Config().pipeline, parsers=2))
    files = node_of(layout, sources=sources, config=config)._shares()
    assert [len(share) for share in files] == [3, 2]
    live = node_of(layout, sources=sources, live=True)._shares()
    assert [len(share) for share in live] == [1] * 5


def test_a_defect_told_twice_is_listed_once(layout, monkeypatch):
    monkeypatch.setattr(Reflex, "on_report", lambda *_: None)
    node = node_of(layout)
    defects = (Defect("log", 3, "torn", "Copy it."), Defect("log", 0, "it ends", "Copy it."))
    for number in (1, 2):
        node._on_scorer(Report(number, (), defects, {"log": 7}, ("log",)))
    assert [one.position for one in node.defects] == [3, 0]
    assert node.broken == {"log"}
    assert node.processed == {"log": 7}
    assert node.ended == {"log"}


def test_the_list_of_defects_is_bounded(layout):
    node = node_of(layout)
    for number in range(1, 3_000):
        node._add_defect(Defect("log", number, "torn", "Copy it."))
    assert len(node.defects) == 1_000


def test_the_port_of_a_service_is_none_until_it_listens(layout):
    node = node_of(layout)
    assert node.port("forwarding-tap") is None
    (layout.run / "forwarding-tap.port").write_text("4711")
    assert node.port("forwarding-tap") == 4711


def test_a_worker_that_is_given_up_is_a_failure_and_a_parser_only_a_defect(layout):
    class Lost:
        restarts = 9

        def __init__(self, name):
            self.name = name

    node = node_of(layout)
    node._gave_up(Lost("parser-0"))
    node._raise_failure()
    assert node.defects[0].source == "parser-0"
    node._gave_up(Lost("scorer"))
    with pytest.raises(UnreachableError) as lost:
        node._raise_failure()
    assert "scorer" in lost.value.sentence


def test_a_ledger_that_is_not_there_does_not_verify(tmp_path):
    with pytest.raises(CronosError):
        verify_ledger(tmp_path)


def test_the_loop_gives_what_its_work_gives():
    async def work():
        await asyncio.sleep(0)
        return 42

    assert run_loop(work()) == 42


@pytest.mark.parametrize(("allowed", "told"), [(False, 1), (True, 0)])
def test_a_node_that_must_wait_its_turn_says_so(layout, monkeypatch, capsys, allowed, told):
    monkeypatch.setattr("cronos.front.compose.take_priority", lambda: allowed)
    node = Node(Config(), layout, (), live=True, log_level="info")

    node.hurry()

    assert capsys.readouterr().err.count("node.ordinary_priority") == told


@pytest.mark.parametrize(
    "config",
    [
        Config(node=NodeConfig(realtime=False)),
        Config(policy=Policy(budget_share=0.25), mesh=Mesh(listen="127.0.0.1:0")),
    ],
    ids=["told not to", "hears peers"],
)
def test_a_node_does_not_ask_for_priority(layout, monkeypatch, config):
    monkeypatch.setattr("cronos.front.compose.take_priority", lambda: pytest.fail("asked"))

    Node(config, layout, (), live=True).hurry()


def test_sigterm_ends_the_work_in_order():
    ended = []

    async def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with pytest.raises(SystemExit) as left:
        run_loop(work())
    assert left.value.code == 143
    assert ended


def test_a_kill_reaches_an_enforcer_that_was_away_before_any_order_does(layout, monkeypatch):
    node, sent = node_of(layout), []
    monkeypatch.setattr(node._enforcer, "send", lambda datum: bool(sent.append(datum)))
    monkeypatch.setattr(node._reflex, "resend_orders", lambda: sent.append("orders"))
    kill = Kill(7, engaged=True)
    node._hear(kill)
    sent.clear()
    node._enforcer_up()

    assert sent[1:] == [kill, "orders"]


def test_the_kernel_knows_of_the_kill_switch_before_the_first_worker_starts(layout, monkeypatch):
    (layout.state / "KILL").touch()

    async def story():
        node = node_of(layout, live=True)
        known = []

        def work(*_):
            known.append(node._reflex.kernel.people.killed)
            raise UnreachableError("test.over", "Enough.", "None.")

        monkeypatch.setattr(node, "_work", work)
        with pytest.raises(UnreachableError):
            await node.start()
        assert known == [True]

    run_loop(story())


ASKS = "from cronos.link.urgency import take_priority; print(take_priority())"


def test_the_enforcer_of_a_live_node_goes_first_where_that_is_allowed(layout):
    allowed = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, check=True)

    async def story():
        node = node_of(layout, live=True)
        try:
            await node.start()
            return os.sched_getscheduler(node.workers()["enforcer"])
        finally:
            await node.stop()

    real_time = run_loop(story()) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    assert real_time == (allowed.stdout.strip() == b"True")
