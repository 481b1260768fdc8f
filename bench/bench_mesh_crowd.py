"""Membership of many: a thousand simulated members, and as many processes as are asked for.

The simulation runs the real machines in virtual time, with the default timing and a delay of one
millisecond: what they send when nothing happens, how soon the death of one is everywhere, how many
are suspected or dead that are not, also while the network loses packets. Then real processes in
network namespaces (root; 20, or ``--processes N,M``), each with gRPC streams, sealed datagrams and
at most 16 links, and beside them the simulation of as many: messages for each member and second
while nothing happens, how soon a `kill -9` is known to half and to the last, false verdicts: while
they start, where some twenty processes share two processors, and from then on.
``--no-thousand`` leaves the thousand out; ``--apart S`` starts the processes S seconds apart.
"""

import signal
import sys
import time

from bench.members_node import boot_ns
from bench.mesh_world import World, why_not
from bench.report import Report, quantile

from cronos.mesh.simulation import Simulation

MEMBERS = 1000
S_NS = 1_000_000_000
QUIET_S = 5


def simulated(report, loss, seeds, members=MEMBERS):
    rates, half, last, false, dead, degree = [], [], [], [], [], 0
    for seed in seeds:
        world = Simulation(seed)
        names = [f"n{n:03}" for n in range(members)]
        world.acquaint(names)
        world.loss = round(loss * 1000)
        world.run(S_NS)
        world.sent.clear()
        world.run(QUIET_S * S_NS)
        rates.append(sum(world.sent.values()) / members / QUIET_S)
        before = len(world.changes)
        victim = names[members // 2]
        world.kill(victim)
        killed_ns = world.boot_ns
        world.run(3 * S_NS)
        heard = {
            one.observer: (one.at_ns - killed_ns) / 1e6
            for one in reversed(world.changes[before:])
            if one.peer.instance == victim and one.peer.status == "dead"
        }
        half.append(quantile(list(heard.values()), 0.5))
        last.append(max(heard.values()) if len(heard) == members - 1 else float("inf"))
        others = [one for one in world.changes if one.peer.instance != victim]
        false.append(
            len({(one.observer, one.peer) for one in others if one.peer.status == "suspect"})
            / members
        )
        dead.append(len([one for one in others if one.peer.status == "dead"]))
        degree = max(degree, *(len(world.member(name).near()) for name in world.names()))
    label = f"{members:,} simulated, {loss:.0%} loss"
    n = members * len(seeds)
    report.add(f"{label}: messages per member and second", rates, "", n)
    report.add(f"{label}: links of the busiest", [degree], "", n, "<= 16")
    report.add(f"{label}: a death known to half after", half, "ms", n)
    report.add(f"{label}: to the last after", last, "ms", n, "<= 2000 ms")
    report.add(f"{label}: false suspicions, each member heard of", false, "", n)
    report.add(f"{label}: false deaths", dead, "verdicts", n, "0")


def sent_by_all(world, names):
    """Give how many messages each member has sent, and how many neighbours it has."""
    for name in names:
        world.nodes[name].say("say")
    until = time.monotonic() + 20
    before = {name: len(world.nodes[name].told("said")) for name in names}
    while time.monotonic() < until:
        if all(len(world.nodes[name].told("said")) > before[name] for name in names):
            break
        time.sleep(0.05)
    return {name: world.nodes[name].told("said")[-1] for name in names}


def calmed(world, names):
    """Wait until nobody has told of a change for three seconds, a minute at most; give when."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        now_ns = boot_ns()
        told = [one["at"] for name in names for one in world.nodes[name].told("changed")]
        if now_ns - max(told, default=0) >= 3 * S_NS:
            break
        time.sleep(0.5)
    return boot_ns()


def real(report, count, apart_s):
    names = [f"m{number:02}" for number in range(count)]
    with World(names) as world:
        began = time.monotonic()
        world.start_all(within_s=300, apart_s=apart_s)
        met_s = time.monotonic() - began
        calm_ns = calmed(world, names)
        before = sent_by_all(world, names)
        time.sleep(QUIET_S)
        after = sent_by_all(world, names)
        rates = [
            (after[name]["sent"] - before[name]["sent"])
            / ((after[name]["at"] - before[name]["at"]) / S_NS)
            for name in names
        ]
        degree = max(one["near"] for one in after.values())
        killed_ns = boot_ns()
        world.nodes[names[-1]].signal(signal.SIGKILL)
        survivors = names[:-1]
        until = time.monotonic() + 20
        heard = {}
        while time.monotonic() < until and len(heard) < len(survivors):
            time.sleep(0.05)
            for name in survivors:
                told = world.nodes[name].told("changed", killed_ns, peer=names[-1], status="dead")
                if told:
                    heard[name] = (told[0]["at"] - killed_ns) / 1e6
        suspected = {
            (name, one["peer"])
            for name in survivors
            for one in world.nodes[name].told("changed", calm_ns, status="suspect")
            if one["peer"] != names[-1]
        }
        false = [
            one["at"] >= calm_ns
            for name in survivors
            for one in world.nodes[name].told("changed", status="dead")
            if one["peer"] != names[-1]
        ]
    label = f"{count} processes" + (f", started {apart_s:g} s apart" if apart_s else "")
    last = max(heard.values()) if len(heard) == len(survivors) else float("inf")
    half = quantile(list(heard.values()), 0.5) if heard else float("inf")
    report.add(f"{label}: started until all see all", [met_s], "s", count)
    report.add(f"{label}: messages per member and second", [sum(rates) / count], "", count)
    report.add(f"{label}: links of the busiest", [degree], "", count, "<= 16")
    report.add(f"{label}: a kill -9 known to half after", [half], "ms", count)
    report.add(f"{label}: to the last after", [last], "ms", count, "<= 2000 ms")
    report.add(
        f"{label}: false suspicions, each member heard of", [len(suspected) / count], "", count
    )
    report.add(f"{label}: falsely dead while they start", [false.count(False)], "verdicts", count)
    report.add(f"{label}: falsely dead after that", [false.count(True)], "verdicts", count, "0")


def main():
    report = Report("bench_mesh_crowd")
    counts = [20]
    if "--processes" in sys.argv:
        counts = [int(one) for one in sys.argv[sys.argv.index("--processes") + 1].split(",")]
    apart_s = 0.0
    if "--apart" in sys.argv:
        apart_s = float(sys.argv[sys.argv.index("--apart") + 1])
    if "--no-thousand" not in sys.argv:
        for loss in (0.0, 0.1):
            simulated(report, loss, seeds=(11, 12))
    if reason := why_not():
        print(f"bench_mesh_crowd: no processes: {reason}", file=sys.stderr)
        counts = []
    for count in filter(None, counts):
        simulated(report, 0.0, seeds=(11, 12, 13), members=count)
        real(report, count, apart_s)
    report.show()


if __name__ == "__main__":
    main()
