"""Stories of a cluster, as data: `tests/scripts/mesh` has them, and what each step means."""

import pathlib
import re

import pytest
from msgspec.structs import replace

from cronos.mesh.simulation import Simulation
from cronos.types import Peer, PeerStatus

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts" / "mesh"
FILES = sorted(SCRIPTS.glob("*.txt"))
UNITS = {"ms": 1_000_000, "s": 1_000_000_000}


def nanoseconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()
    return int(number) * UNITS[unit]


class Telling:
    """One story, told to one simulation."""

    def __init__(self, seed):
        self.world = Simulation(seed)
        self.marks = {}

    def step(self, line):
        word, *rest = line.split()
        getattr(self, f"do_{word}")(*rest)
        if word in ("kill", "pause", "cut", "partition"):
            self.marks[word] = self.world.boot_ns

    def do_acquainted(self, *names):
        self.world.acquaint(names)

    def do_start(self, name, *rest):
        options = dict(zip(rest[::2], rest[1::2], strict=True))
        seeds = options.get("seeds", "").split(",")
        self.world.start(name, filter(None, seeds), int(options.get("incarnation", 0)))

    def do_run(self, text):
        self.world.run(nanoseconds(text))

    def do_kill(self, name):
        self.world.kill(name)

    def do_leave(self, name):
        self.world.leave(name)

    def do_pause(self, name, text):
        self.world.pause(name, nanoseconds(text))

    def do_cut(self, one, other):
        self.world.cut(one, other)

    def do_partition(self, *islands):
        self.world.partition(*(frozenset(one.split(",")) for one in islands))

    def do_heal(self):
        self.world.partition()

    def do_lose(self, share):
        self.world.loss = int(share.rstrip("%")) * 10

    def do_slow(self, name, text):
        self.world.slow_ns[name] = nanoseconds(text)

    def do_honest(self):
        self.world.lie = None

    def do_liar(self, liar, verb, *rest):
        if verb == "invents":
            made = [Peer(name, f"{name}:7443") for name in rest]

            def lie(teller, listener, update):
                if teller == liar and update.instance != liar:
                    return made[hash_of(update.instance + listener) % len(made)]
                return update

            self.world.lie = lie
            # News for a to spread: without any it has nobody to speak of.
            machine = self.world.member(liar)
            for name in machine.near():
                machine._gossip.changed(name)
            return
        status, subject = PeerStatus(rest[0]), rest[1]
        ahead = int(rest[3]) if len(rest) > 3 else None

        def twisted(teller, _listener, update):
            if teller != liar or update.instance != subject:
                return update
            incarnation = update.incarnation if ahead is None else ahead
            return replace(update, status=status, incarnation=incarnation, firsthand=True)

        self.world.lie = twisted
        self.insist = (liar, subject)

    def keep_lying(self):
        """A liar never tires: what it has told once it tells again."""
        if self.world.lie is not None:
            liar, subject = getattr(self, "insist", (None, None))
            if liar in self.world.names():
                machine = self.world.member(liar)
                for name in [subject] if subject else machine.near():
                    machine._gossip.changed(name)

    def do_expect(self, *words):  # noqa: C901 - a table of what can be expected
        match words:
            case (observers, "see", subject, status):
                for one in self.those(observers, but=subject):
                    assert (one, self.world.status(one, subject)) == (one, status)
            case (subject, "buried", "by", observers, "within", text, "of", mark):
                buried = {one.observer: one.at_ns for one in self.told(subject, "dead")}
                for one in self.those(observers):
                    assert 0 <= buried[one] - self.marks[mark] <= nanoseconds(text)
            case ("never", subject, status):
                assert self.told(subject, status) == []
            case ("somebody", subject, status):
                assert self.told(subject, status) != []
            case (subject, "unwitnessed"):
                alone = {one.peer.instance for one in self.world.changes if one.unwitnessed}
                assert alone == set() if subject == "none" else subject in alone
            case (subject, "incarnation", side, number):
                incarnation = self.world.member(subject).me.incarnation
                assert (incarnation > int(number)) == (side == "above")
            case _:
                raise AssertionError(f"no such step: expect {' '.join(words)}")

    def told(self, subject, status):
        """List when anyone came to believe this, the latest first."""
        return [
            one
            for one in reversed(self.world.changes)
            if one.peer.instance == subject and one.peer.status == status
        ]

    def those(self, names, but=""):
        chosen = self.world.names() if names == "all" else names.split(",")
        return [name for name in chosen if name != but]


def hash_of(text):
    return sum(text.encode())


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_story_ends_as_it_says(file, seed):
    telling = Telling(seed)
    for number, line in enumerate(file.read_text().splitlines(), 1):
        step = line.partition("#")[0].strip()
        if step.startswith("run") and telling.world.lie is not None:
            for _ in range(nanoseconds(step.split()[1]) // 200_000_000):
                telling.keep_lying()
                telling.step("run 200ms")
        elif step:
            try:
                telling.step(step)
            except AssertionError as error:
                raise AssertionError(f"{file.name}:{number}: {step}: {error}") from error


def test_the_issue_s_stories_are_all_there():
    told = {file.stem for file in FILES}

    assert {"join", "leave", "flap", "partition", "old_incarnation", "liar_buries"} <= told
