"""An incident confirmed by all peers: four nodes, each with all its processes, over mutual TLS.

Three nodes are processes of their own (`cronos node`); the fourth runs in this one, so that
findings can be handed to it. Time runs from a finding's detection to the moment at which this
node's kernel has the last receipt: every peer has the bulletin in its ledger, fsynced, and has said
so in a message that is durable there too. Each peer also decides about the bulletin itself and acts
on it (in the executor `recording`), with lower priority, on the same machine.
"""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace
from report import Report, quantile

from cronos.config import parse
from cronos.front import federated
from cronos.front.compose import Node, run_loop
from cronos.front.federated import NAMES, Federation
from cronos.front.layout import Layout
from cronos.front.settings import read_table
from cronos.runtime.world import SystemClock
from cronos.testing.story import finding
from cronos.types import Report as Findings

SINGLE = 50
AT_ONCE = 1_000
ROUNDS = 3
VIEW = len(NAMES)
TABLE = {
    "policy": {"actions_per_minute": 4_000_000, "flood_incidents": 1_000_000},
    "deadlines": {"confirming_ms": 60_000},
}


def detected(count: int, begin: int) -> tuple:
    now_ns = SystemClock().now().boot_ns
    return tuple(
        replace(
            finding(n, attacker=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"), detected_boot_ns=now_ns
        )
        for n in range(begin, begin + count)
    )


def confirmed_ms(node: Node, since: int, moment: str = "confirmed") -> list[float]:
    times = []
    for incident in node._reflex.incidents()[since:]:
        at = {one.name: one.boot_ns for one in incident.moments}
        whole = incident.view == VIEW and moment in at
        times.append((at[moment] - at["detected"]) / 1e6 if whole else 1e9)
    return times


async def settled(node: Node) -> None:
    # Every look goes through all open cases, on the loop that is measured: not more than needed.
    while not node._reflex.settled():  # noqa: ASYNC110 - a benchmark looks from outside
        await asyncio.sleep(0.01)


def cpu_s(federation: Federation) -> float:
    """Give the processor time that all processes of all nodes have used so far."""
    roots = [os.getpid()]
    roots += [one.process.pid for one in federation.fellows.values() if one.process]
    ticks = 0
    for pid in {*roots, *(child for root in roots for child in federated._below(root))}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def idle(federation: Federation, node: Node) -> None:
    """Wait until the peers have decided about what they were told, too."""
    before = -1.0
    while True:
        await settled(node)
        await asyncio.sleep(1.0)
        told = [await federation.node(name, "status") for name in NAMES[1:]]
        now = sum(one["metrics"].get("records", 0) for one in told if one)
        if now == before:
            return
        before = now


async def measured(folder: Path) -> list[tuple[list[float], list[float], list[float], float]]:
    federation = Federation(folder, TABLE, SystemClock())
    federation.prepare()
    own = federation.fellows[NAMES[0]]
    config = parse(read_table(own.file), str(own.file))
    layout = Layout(own.state, config.node.instance, session=False)
    node = Node(config, layout, (), live=True)
    rounds = []
    try:
        for name in NAMES[1:]:
            await federation.start(name)
        await node.start()
        await federation.ready(*NAMES[1:], view=VIEW)
        while len(node._reflex.kernel.communication._members) != VIEW - 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        number, since = 1, 0
        for _ in range(ROUNDS + 1):
            for _ in range(SINGLE):
                node._reflex.on_report(Findings(1, detected(1, number)), lambda _datum: True)
                number += 1
                await settled(node)
                await asyncio.sleep(0.02)
            single = confirmed_ms(node, since)
            since += SINGLE
            await idle(federation, node)
            before_s = cpu_s(federation)
            node._reflex.on_report(Findings(1, detected(AT_ONCE, number)), lambda _datum: True)
            number += AT_ONCE
            await settled(node)
            used_s = cpu_s(federation) - before_s
            many = confirmed_ms(node, since)
            rounds.append((single, many, confirmed_ms(node, since, "isolated"), used_s))
            since += AT_ONCE
            await idle(federation, node)
    finally:
        await node.stop()
        layout.close()
        await federation.stop(whole=True)
    return rounds[1:]  # the first one warmed everything up


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    report = Report("federation")
    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        rounds = run_loop(measured(Path(folder)))
    for name, q in (("p50", 0.5), ("p99", 0.99)):
        report.add(
            f"one incident confirmed by all four, {name}",
            [quantile(single, q) for single, *_ in rounds], "ms", SINGLE, "<= 300" * (q > 0.9),
        )  # fmt: skip
        report.add(
            f"1,000 at once confirmed by all four, {name}",
            [quantile(many, q) for _, many, *_ in rounds], "ms", AT_ONCE, "<= 300" * (q > 0.9),
        )  # fmt: skip
        report.add(
            f"1,000 at once isolated at the first, {name}",
            [quantile(isolated, q) for _, _, isolated, _ in rounds], "ms", AT_ONCE,
        )  # fmt: skip
    report.add(
        "processor time until all of 1,000 are confirmed",
        [used for *_, used in rounds],
        "s",
        AT_ONCE,
    )
    lost = sum(one >= 1e9 for single, many, *_ in rounds for one in (*single, *many))
    report.add("incidents not confirmed by all four", [float(lost)], "", len(rounds))
    report.show()


if __name__ == "__main__":
    sys.exit(main())
