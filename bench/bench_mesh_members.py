"""How soon the end of a node is noticed, and declared by the last of those that remain.

Four processes in network namespaces of their own, with all that a node's links have, each sending
50 bulletins a second to the others. One, two or three of them are killed (SIGKILL), stopped
(SIGSTOP) or cut off (iptables drops all that they send and get). *Noticed* is when the last
survivor is told that its stream is gone; *dead* when the last survivor declares the last victim.
Then all come back, and *whole again* is when each sees all others alive and linked.
Run as root: ``python -m bench.bench_mesh_members``.
"""

import signal
import sys
import time

from bench.members_node import boot_ns
from bench.mesh_world import World, why_not
from bench.report import Report

NAMES = ("alpha", "beta", "gamma", "delta")
ROUNDS = 5
CASES = [(how, count) for how in ("kill", "stop", "drop") for count in (1, 2, 3)]


class Case:
    """One way to lose nodes, and what the survivors said."""

    def __init__(self, world, how, count):
        self.world = world
        self.how = how
        self.victims = NAMES[-count:]
        self.survivors = NAMES[:-count]
        self.noticed, self.dead, self.whole = [], [], []
        self.false = self.alone = 0

    def round(self):
        """Lose the victims once, and have them back."""
        nodes = self.world.nodes
        for node in nodes.values():
            node.say("send 400 20")
        time.sleep(1)
        began_ns = boot_ns()
        for name in self.victims:
            self.hit(name)
        until = time.monotonic() + 10
        while time.monotonic() < until and not self.all_declared(began_ns):
            time.sleep(0.02)
        self.dead.append(self.last(began_ns, "changed", status="dead"))
        if self.how == "kill":
            self.noticed.append(self.last(began_ns, "broken"))
        for name in self.survivors:
            told = nodes[name].told("changed", began_ns, status="dead")
            self.false += sum(one["peer"] in self.survivors for one in told)
            self.alone += sum(one["unwitnessed"] for one in told)
        time.sleep(0.5)
        healed_ns = boot_ns()
        for name in self.victims:
            self.mend(name)
        self.world.settle()
        self.whole.append((boot_ns() - healed_ns) / 1e6)
        time.sleep(2)

    def hit(self, name):
        """Lose a node."""
        if self.how == "drop":
            self.world.cut_off(name)
        else:
            number = signal.SIGKILL if self.how == "kill" else signal.SIGSTOP
            self.world.nodes[name].signal(number)

    def mend(self, name):
        """Have it back."""
        if self.how == "drop":
            self.world.heal(name)
        elif self.how == "stop":
            self.world.nodes[name].signal(signal.SIGCONT)
        else:
            self.world.nodes[name].end()
            self.world.start(name, (self.world.address(NAMES[0]),))

    def first(self, survivor, victim, began_ns, what, **wanted):
        """Give when a survivor was first told so of a victim, None for never."""
        told = self.world.nodes[survivor].told(what, began_ns, peer=victim, **wanted)
        return told[0]["at"] - began_ns if told else None

    def all_declared(self, began_ns):
        """Say whether every survivor has declared every victim."""
        return None not in self.times(began_ns, "changed", status="dead")

    def times(self, began_ns, what, **wanted):
        """Give `first` for every survivor and victim."""
        return [
            self.first(survivor, victim, began_ns, what, **wanted)
            for survivor in self.survivors
            for victim in self.victims
        ]

    def last(self, began_ns, what, **wanted):
        """Give milliseconds until the last of them was told; 10 s where one never was."""
        return (
            max(10e9 if one is None else one for one in self.times(began_ns, what, **wanted)) / 1e6
        )


def main():
    if reason := why_not():
        print(f"bench_mesh_members: nothing was measured: {reason}", file=sys.stderr)
        return
    report = Report("bench_mesh_members")
    chosen = [one for one in sys.argv[1:] if not one.startswith("-")]
    for how, count in CASES:
        if chosen and how not in chosen:
            continue
        with World(NAMES) as world:
            world.start_all()
            time.sleep(1)
            case = Case(world, how, count)
            for _ in range(ROUNDS):
                case.round()
        label = f"{how} {count} of 4"
        if case.noticed:
            report.add(f"{label}: noticed by the last", case.noticed, "ms", ROUNDS, "<= 50 ms")
        report.add(f"{label}: dead to the last", case.dead, "ms", ROUNDS, "<= 2000 ms")
        report.add(f"{label}: survivors falsely dead", [case.false], "verdicts", ROUNDS, "0")
        report.add(f"{label}: verdicts unwitnessed", [case.alone], "verdicts", ROUNDS)
        report.add(f"{label}: whole again after", case.whole, "ms", ROUNDS)
    report.show()


if __name__ == "__main__":
    main()
