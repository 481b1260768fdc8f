"""How soon a bulletin is at every peer, when the network loses packets.

Four processes in network namespaces of their own, with all that a node's links have: mutual TLS,
sealed datagrams, membership. Each sends bulletins to the three others at 50 a second. iptables
drops at random what arrives; its counters are read back, and a round whose loss is more than three
points off counts for nothing. Beside it, in the same run, the streams alone.

The time is from before the sending to the receiver's hands, to the last of the three peers; one
machine, one clock. Loss is independent, without bursts or delay: kinder than a bad link.
Run as root: ``python -m bench.bench_mesh_loss``.
"""

import os
import sys
import time

from bench.mesh_world import World, why_not
from bench.report import Report, quantile

NAMES = ("alpha", "beta", "gamma", "delta")
COUNT = 250
GAP_MS = 20
ROUNDS = 3
DRAIN_S = 40
MUST_MS = {0.0: 10, 0.1: 100, 0.3: 1000}


def one_round(world, share):
    """Send, wait until all came, and give the times to the last peer, with what was lost."""
    for _ in range(3):
        world.lose(share)
        before = {name: len(node.lines) for name, node in world.nodes.items()}
        for node in world.nodes.values():
            node.say(f"send {COUNT} {GAP_MS}")
        time.sleep(COUNT * GAP_MS / 1000 + 0.5)
        came, dropped = world.lost()
        times = wait_for_all(world, before)
        world.lose(0.0)
        if abs(dropped - share) <= 0.03:
            return (*times, came, dropped, false_deaths(world, before))
    raise RuntimeError(f"{came} packets, {dropped:.3f} dropped where {share} was asked for")


def wait_for_all(world, before):
    arrived = {}
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        for node in world.nodes.values():
            node.say("say")
        time.sleep(0.5)
        for name, node in world.nodes.items():
            new, before[name] = node.lines[before[name] :], len(node.lines)
            for line in new:
                if line["what"] == "got":
                    arrived.setdefault((line["peer"], name), []).extend(line["ms"])
        if sum(map(len, arrived.values())) >= COUNT * 12:
            break
    slowest = []
    for sender in NAMES:
        each = [arrived.get((sender, other), []) for other in NAMES if other != sender]
        slowest += [max(times) for times in zip(*each, strict=False)]
    missing = COUNT * 12 - sum(map(len, arrived.values()))
    return slowest, missing


def false_deaths(world, before):
    del before
    return sum(len(node.told("changed", status="dead")) for node in world.nodes.values())


def measure(report, label, share, copies):
    os.environ["CRONOS_BENCH_COPIES"] = "1" if copies else "0"
    p50, p99, most, lost, losses = [], [], [], 0, []
    with World(NAMES) as world:
        world.start_all()
        time.sleep(1)
        for _ in range(ROUNDS):
            times, missing, _, dropped, dead = one_round(world, share)
            p50.append(quantile(times, 0.5))
            p99.append(quantile(times, 0.99))
            most.append(max(times))
            lost += missing
            losses.append(100 * dropped)
            time.sleep(2)
    n = COUNT * len(NAMES) * ROUNDS
    must = f"<= {MUST_MS[share]} ms" if copies else ""
    report.add(f"{label}: to all peers, p50", p50, "ms", n)
    report.add(f"{label}: to all peers, p99", p99, "ms", n, must)
    report.add(f"{label}: to all peers, most", most, "ms", n)
    report.add(f"{label}: packets dropped", losses, "%", n)
    report.add(f"{label}: not arrived {DRAIN_S} s later", [lost], "of all", 3 * n, "0")
    report.add(f"{label}: members falsely dead", [dead], "verdicts", n)
    return max(p99) if copies else 0.0


def main():
    if reason := why_not():
        print(f"bench_mesh_loss: nothing was measured: {reason}", file=sys.stderr)
        return
    report = Report("bench_mesh_loss")
    only = [float(one) for one in sys.argv[1:] if not one.startswith("-")] or list(MUST_MS)
    for share in only:
        measure(report, f"{share:.0%} loss, with datagrams", share, copies=True)
        if share:
            measure(report, f"{share:.0%} loss, streams alone", share, copies=False)
    report.show()


if __name__ == "__main__":
    main()
