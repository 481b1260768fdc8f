"""How many flows of a week need no learning: hit rate of the profiles and their cache.

Usage: python bench/bench_profile_hits.py [--json] [FLOWS]

Five weeks of `week_generator`, each from nothing: a library without a profile that learns in the
background with the engine that ships, and puts the proved first version of a new protocol into use
(the policy `promote_first`). A hit is a flow whose profile was remembered or found among the stored
ones. Encrypted flows, once they are known to be, are neither hit nor miss; flows of a one-off
protocol are misses. What is learnt arrives a minute of the week later.
"""

import sys
import tempfile
from pathlib import Path

from report import Report
from week_generator import Flow, week

from cronos.discover.child import carried_out
from cronos.discover.library import How, Library, Policy
from cronos.discover.parts import parts_of
from cronos.discover.store import ProfileStore
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.link.metrics import MemoryMetrics
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock

FLOWS = 4_000
SEEDS = (1, 2, 3, 4, 5)
MINUTE_NS = 60_000_000_000


class Queue:
    """Carries asks out in this process; an answer is there a minute of the week later."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.asks = 0
        self._answers: dict[int, tuple[int, object]] = {}

    def submit(self, ask) -> int:
        """Carry it out."""
        self.asks += 1
        answer = carried_out(ask, SystemClock(), parts_of, lambda *_: None)
        self._answers[self.asks] = (self.clock.now().boot_ns + MINUTE_NS, answer)
        return self.asks

    def step(self, _timeout_s: float) -> None:
        """Do nothing: all is done."""

    def answer(self, number: int):
        """Give the answer once it is due."""
        due_ns, answer = self._answers.get(number, (0, None))
        if answer is None or self.clock.now().boot_ns < due_ns:
            return None
        return self._answers.pop(number)[1]


def played(seed: int, flows: int, protocols: int = 12) -> tuple[Library, Queue, dict[str, int]]:
    """Play one week; give the library, its queue and how flows were named wrongly."""
    clock = VirtualClock()
    queue = Queue(clock)
    wrong = {"of": 0, "two protocols under one profile": 0}
    whose: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = ProfileStore(Path(folder), PlaintextSealer(PlaintextConfig()), clock)
        library = Library(store, queue, clock, MemoryMetrics(), Policy(promote_first=True))
        before_s = 0.0
        for flow in week(seed, flows, protocols):
            clock.advance(int((flow.at_s - before_s) * 1e9))
            before_s = flow.at_s
            library.step()
            _count(library.flow(flow.service, flow.messages), flow, whose, wrong)
        library.close()
        store.close()
    return library, queue, wrong


def _count(seen, flow: Flow, whose: dict[str, str], wrong: dict[str, int]) -> None:
    if seen.how in (How.CACHED, How.KNOWN):
        wrong["of"] += 1
        wrong["two protocols under one profile"] += (
            whose.setdefault(seen.profile, flow.truth) != flow.truth
        )


def main() -> None:
    """Play the weeks and tell."""
    words = [word for word in sys.argv[1:] if word.isdecimal()]
    flows = int(words[0]) if words else FLOWS
    report = Report("hits: flows of a week that need no learning")
    weeks = [played(seed, flows) for seed in SEEDS]
    report.add("hit rate", [one.hit_rate * 100 for one, _, _ in weeks], "%", flows, ">= 82")
    for how in How:
        report.add(f"flows: {how}", [one.counts[how] for one, _, _ in weeks], "", flows)
    report.add("discoveries", [queue.asks for _, queue, _ in weeks], "", flows)
    shares = [
        100 * wrong["two protocols under one profile"] / max(1, wrong["of"])
        for _, _, wrong in weeks
    ]
    report.add("flows under another protocol's profile", shares, "%", flows)
    report.show()


if __name__ == "__main__":
    main()
