"""A federation under random kills, for as long as is asked: what share of requests was served.

``python -m bench.soak_mesh [MINUTES] [SEED] [GAP_MS] [KEPT]`` (60, 1 and 250), as root. Four whole
nodes as in `bench.story_world`, each handed a finding every GAP_MS. Two processors that carry four
nodes and start three of them at a time are busy at four findings a second; what is late then is
late for that. Every few seconds something befalls one to three of them, drawn from a seed: all
processes killed, the mesh process alone killed, all stopped, or cut off, for up to five seconds. A
*request* is a finding at a node that lives for a second after it; it was *served* when within that
second it was isolated in the node's kernel and every peer that lived, linked, all the while, had it
durably in its ledger and said so. Of the others it is told what was under way: something had
befallen nodes, they were coming back (with the machine's processors shared by all four), or nothing
was. In the end the checker of `bench.mesh_history` looks at everything, ledgers too. Leases are
short here, so that they are renewed and end while nodes are killed. It ends with 1 where the
checker found anything; all that was recorded, and the nodes' logs, are then written to KEPT, JSON
in gzip.
"""

import gzip
import json
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from bench.bench_mesh_stories import Stage, checked, ledgers_of
from bench.mesh_world import why_not
from bench.report import quantile
from bench.story_world import StoryWorld

SECOND = 1_000_000_000
LEASE_S = 60
GAP_MS = 250
PER_NODE = 1 << 19
_NEVER = 9 * SECOND


class Soak(Stage):
    """Loads nodes without end, and lets things befall them."""

    def __init__(self, world, seed, gap_ms=GAP_MS):
        super().__init__(world)
        self.gap_ms = gap_ms
        self.drawn = random.Random(seed)
        self.next = {name: n * PER_NODE for n, name in enumerate(world.members)}
        # node -> [(from, to)]: while it was there for its peers, in nanoseconds.
        self.up = {name: [] for name in world.members}
        self.since = {}
        self.events = []
        # (how, how many, begun, ended, all met again) of each, in nanoseconds.
        self.times = []
        self.misses = Counter()

    def feed(self, name):
        """Have a node load itself for as long as it lives; numbers go on where they were."""
        used = [one["n"] for node, _, one in self.history().told("sent", name)]
        first = max(used, default=self.next[name] - 1) + 1
        self.world.nodes[name].say(f"load {first} {PER_NODE} {self.gap_ms}")

    def rise(self, *names):
        """Count nodes as there from now on."""
        for name in names:
            self.since[name] = time.time_ns()

    def fall(self, name):
        """Count a node as gone from now on."""
        if name in self.since:
            self.up[name].append((self.since.pop(name), time.time_ns()))

    def run(self, minutes):
        """Go on for so long."""
        world = self.world
        world.settle()
        for name in world.members:
            self.feed(name)
        self.rise(*world.members)
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            time.sleep(self.drawn.uniform(4, 12))
            self.befall()
        for name in world.members:
            self.fall(name)
            world.nodes[name].say("rest")

    def befall(self):
        """Let one thing happen, and end."""
        world = self.world
        how = self.drawn.choice(("kill", "kill", "kill", "mesh", "stop", "drop"))
        count = self.drawn.choice((1, 1, 1, 2, 3))
        victims = self.drawn.sample(list(world.members), count)
        lasts = self.drawn.uniform(0.5, 5.0)
        self.events.append((how, count))
        begun = time.time_ns()
        print(f"{begun} {how} {victims}", file=sys.stderr)
        for name in victims:
            self.fall(name)
            self.hit(how, name)
        time.sleep(lasts)
        ended = time.time_ns()
        for name in victims:
            self.mend(how, name)
        try:
            world.settle(120)
        except RuntimeError as error:
            self.wrong.append(f"after {how} of {victims}: {error}"[:2_000])
        self.times.append((how, count, begun, ended, time.time_ns()))
        if how == "kill":
            for name in victims:
                self.feed(name)
        self.rise(*victims)

    def hit(self, how, name):
        """Let it befall a node."""
        world = self.world
        match how:
            case "kill":
                world.kill(name)
            case "mesh":
                world.end_worker(name, "mesh")
            case "stop":
                world.every(name, signal.SIGSTOP)
            case _:
                world.cut_off(name)

    def mend(self, how, name):
        """End it."""
        world = self.world
        match how:
            case "kill":
                world.start(name)
            case "stop":
                world.every(name, signal.SIGCONT)
            case "drop":
                world.heal(name)
            case _:
                pass

    def served(self):
        """Give, of requests: how many, served, isolated in time; and the times of all."""
        history = self.history()
        receipts, isolated, told = {}, {}, {}
        for node, life, one in history.told("receipt"):
            receipts.setdefault((node, life, one["peer"]), []).append((one["at"], one["sequence"]))
        for node, _, one in history.told("outcome"):
            if one["ok"] and one["operation"] == "apply":
                isolated.setdefault((node, one["n"]), one["at"])
        for node, life, one in history.told("told"):
            told.setdefault((node, one["n"]), (life, one["sequence"]))
        served = quick = 0
        times = []
        for node, _, one in history.told("sent"):
            at, number = one["at"], one["n"]
            if not self.lived(node, at, at + SECOND):
                continue
            done = isolated.get((node, number), at + _NEVER)
            life, sequence = told.get((node, number), (-1, 0))
            peers = [one for one in self.world.members if one != node]
            ends = [
                _reached(receipts.get((node, life, peer), ()), sequence, at)
                for peer in peers
                if self.lived(peer, at, at + SECOND)
            ]
            last = max(done, *ends) if ends else done
            quick += done <= at + SECOND
            served += last <= at + SECOND
            if last > at + SECOND:
                what = "peers" if done <= at + SECOND else "isolation"
                self.misses[f"{self.under_way(at)}: {what}"] += 1
            times.append((last - at) / 1e6)
        return len(times), served, quick, times

    def under_way(self, at):
        """Say what was going on in the second after a moment."""
        for how, count, begun, ended, met in self.times:
            if begun - SECOND < at < met:
                when = f"{how} of {count}"
                return f"after {when}, coming back" if at > ended - SECOND else f"during {when}"
        return "nothing"

    def lived(self, name, begin, end):
        """Say whether a node was there all the while."""
        return any(a <= begin and end <= b for a, b in self.up[name])


def _reached(receipts, sequence, at):
    """Give when a peer first said that it holds up to a number."""
    first = next((when for when, held in receipts if held >= sequence), at + _NEVER)
    return first if sequence else at + _NEVER


def keep(path, world, soak, history):
    """Write down all that was recorded, for whoever looks for what went wrong."""
    recorded = {
        "lives": history.lives,
        "samples": [(at, name, sorted(found)) for at, name, found in world.samples],
        "events": soak.times,
        "ledgers": {name: list(counts) for name, (counts, _) in history.ledgers.items()},
        "logs": {name: world.said(name) for name in world.members},
    }
    path.write_bytes(gzip.compress(json.dumps(recorded).encode()))


def main():
    if reason := why_not():
        print(f"soak_mesh: nothing was run: {reason}", file=sys.stderr)
        return 0
    words = [one for one in sys.argv[1:] if not one.startswith("-")]
    minutes, seed, gap_ms = map(float, (words + ["60", "1", str(GAP_MS)][len(words) :])[:3])
    kept = words[3] if len(words) > 3 else ""
    with StoryWorld(lease_s=LEASE_S, longest_s=4 * LEASE_S) as world:
        world.start_all()
        soak = Soak(world, int(seed), int(gap_ms))
        soak.run(minutes)
        total, served, quick, times = soak.served()
        soak.drain_all()
        ledgers, _ = ledgers_of(world)
        history = soak.history(ledgers)
        wrong = soak.wrong + checked(history)
        if wrong and kept:
            keep(Path(kept), world, soak, history)
    lost = history.lost()
    acknowledged = len(history.acknowledged())
    figures = {
        "minutes": minutes,
        "seed": int(seed),
        "gap_ms": int(gap_ms),
        "events": {how: sum(one == how for one, _ in soak.events) for how, _ in soak.events},
        "hit": sum(count for _, count in soak.events),
        "requests": total,
        "served within 1 s": served,
        "share": round(served / total, 6) if total else 0,
        "isolated within 1 s": round(quick / total, 6) if total else 0,
        "p50_ms": round(quantile(times, 0.5), 1) if times else 0,
        "p99_ms": round(quantile(times, 0.99), 1) if times else 0,
        "missed": dict(soak.misses.most_common()),
        "acknowledged": acknowledged,
        "acknowledged and lost": len(lost),
        "wrong": wrong[:50],
    }
    print(json.dumps({"schema": "cronos.bench/1", "name": "soak_mesh", **figures}, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
