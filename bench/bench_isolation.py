"""Detection to isolation: real nftables, real ledger, real enforcer process.

Runs in a user and network namespace of its own, so that it needs no privilege and touches no
firewall but its own. Time runs from a finding's detection to the moment at which the enforcer
has seen the element in the kernel's set. Beside it, in the same run: an `nft` process for each
block, as scripts do it. In the end 5,000 addresses more are blocked, and single incidents measured
again: what is held must not hold up what comes.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace
from report import Report, quantile

from cronos.config import Config, Policy
from cronos.front.compose import Node, run_loop
from cronos.front.layout import Layout
from cronos.runtime.world import SystemClock
from cronos.testing.story import finding
from cronos.types import Report as Findings

SINGLE = 200
AT_ONCE = 1_000
ROUNDS = 5
HELD = 5_000
CONFIG = Config(
    executors=("nftables",), policy=Policy(actions_per_minute=1_000_000, flood_incidents=1_000_000)
)


def detected(count: int, begin: int) -> tuple:
    now_ns = SystemClock().now().boot_ns
    return tuple(
        replace(
            finding(n, attacker=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"), detected_boot_ns=now_ns
        )
        for n in range(begin, begin + count)
    )


def isolation_ms(node: Node, since: int) -> list[float]:
    times = []
    for incident in node._reflex.incidents()[since:]:
        at = {moment.name: moment.boot_ns for moment in incident.moments}
        times.append((at["isolated"] - at["detected"]) / 1e6 if "isolated" in at else 1e9)
    return times


async def settled(node: Node) -> None:
    while not node._reflex.settled():  # noqa: ASYNC110 - a benchmark looks from outside
        await asyncio.sleep(0.001)


async def blocks(folder: Path) -> tuple[list[tuple[list[float], list[float]]], list[float]]:
    layout = Layout(folder, "bench", session=True)
    node = Node(CONFIG, layout, (), live=True)
    rounds = []
    try:
        await node.start()
        number, since = 1, 0
        for _ in range(ROUNDS + 1):
            for _ in range(SINGLE):
                node._reflex.on_report(Findings(1, detected(1, number)), lambda _datum: True)
                number += 1
                await settled(node)
            single = isolation_ms(node, since)
            since += SINGLE
            node._reflex.on_report(Findings(1, detected(AT_ONCE, number)), lambda _datum: True)
            number += AT_ONCE
            await settled(node)
            rounds.append((single, isolation_ms(node, since)))
            since += AT_ONCE
        for begin in range(number, number + HELD, AT_ONCE):
            node._reflex.on_report(Findings(1, detected(AT_ONCE, begin)), lambda _datum: True)
            await settled(node)
        number, since = number + HELD, since + HELD
        for _ in range(5 * SINGLE):
            node._reflex.on_report(Findings(1, detected(1, number)), lambda _datum: True)
            number += 1
            await settled(node)
        held = isolation_ms(node, since)
    finally:
        await node.stop()
        layout.close()
    return rounds[1:], held  # the first one warmed everything up


def subprocess_ms(count: int) -> list[float]:
    nft = shutil.which("nft") or "nft"
    subprocess.run(
        [nft, "add table inet peer; add set inet peer s { type ipv4_addr; flags timeout; }"],
        check=True,
    )
    times = []
    for n in range(count):
        began = time.perf_counter()
        element = f"10.200.{n >> 8}.{n & 255} timeout 300s"
        subprocess.run([nft, f"add element inet peer s {{ {element} }}"], check=True)
        times.append((time.perf_counter() - began) * 1e3)
    return times


def inside() -> None:
    report = Report("isolation")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    with tempfile.TemporaryDirectory() as folder:
        rounds, held = run_loop(blocks(Path(folder)))
    peer = [subprocess_ms(SINGLE) for _ in range(ROUNDS)]
    for name, q in (("p50", 0.5), ("p99", 0.99)):
        singles = [quantile(single, q) for single, _ in rounds]
        report.add(f"single incident, {name}", singles, "ms", SINGLE, "<= 50" * (q > 0.9))
        many = [quantile(at_once, q) for _, at_once in rounds]
        report.add(f"1,000 at once, {name}", many, "ms", AT_ONCE, "<= 100" * (q > 0.9))
        while_held = [quantile(held[n::5], q) for n in range(5)]
        report.add(
            f"single while {len(held) + HELD:,} and more are held, {name}", while_held, "ms", SINGLE
        )
        report.add(
            f"peer: an nft process each, {name}", [quantile(p, q) for p in peer], "ms", SINGLE
        )
    report.show()


def main() -> None:
    if "--inside" in sys.argv:
        inside()
        return
    command = ["unshare", "-Urn", sys.executable, __file__, "--inside", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env={**os.environ}, check=False).returncode)


if __name__ == "__main__":
    main()
