"""A seeded week of mixed traffic: most flows need no learning, and nothing is learnt twice.

Boundaries are taken from the truth of the drawn protocols, so that this is about recognising,
remembering and proving; `bench/bench_profile_hits.py` runs such weeks with the engine that ships.
"""

import pytest
from bench.week_generator import week
from tests.unit.sealers import Scrambler

from cronos.discover.child import carried_out
from cronos.discover.learned import Verdict
from cronos.discover.library import How, Library, Policy
from cronos.discover.model import Discovery, Field, Sem
from cronos.discover.parts import parts_of
from cronos.discover.phases import Known
from cronos.discover.statistics import summarise
from cronos.discover.store import ProfileStore
from cronos.discover.synthetic import samples
from cronos.link.metrics import MemoryMetrics
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock

SEED, FLOWS, PROTOCOLS = 3, 500, 4
MINUTE_NS = 60 * 10**9


def truth():
    """Give the fields of every message of the week's own protocols."""
    known = {}
    for number in range(PROTOCOLS + 1):
        for one in samples(100 * SEED + number, 1_500):
            known[one.payload] = (one.message_type, one.fields)
    return known


class Oracle:
    """A queue whose answers come a minute later, with boundaries that are true."""

    def __init__(self, clock):
        self.clock, self.known, self.asks, self.answers = clock, truth(), [], {}
        self.parts = parts_of({})._replace(
            classify=self.classify, first=self.found, discover=lambda found, *_: self.found(found)
        )

    def classify(self, messages):
        even = summarise(messages).entropy_bits > 7.5
        return Known(Verdict.ENCRYPTED if even else Verdict.UNKNOWN)

    def found(self, messages):
        kinds, fields = [], []
        for message in messages:
            kind, true = self.known.get(message.payload, ("?", ()))
            kinds.append(hash(kind) % 1_000)
            fields.append(tuple(Field(f.offset, f.length, Sem(f.sem), 1.0) for f in true))
        return Discovery(tuple(messages), tuple(kinds), tuple(fields), ())

    def submit(self, ask):
        self.asks.append(ask)
        answer = carried_out(ask, SystemClock(), lambda _: self.parts, lambda *_: None)
        self.answers[len(self.asks)] = (self.clock.now().boot_ns + MINUTE_NS, answer)
        return len(self.asks)

    def step(self, _timeout_s):
        pass

    def answer(self, number):
        due_ns, answer = self.answers.get(number, (0, None))
        return answer if self.clock.now().boot_ns >= due_ns else None


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    clock = VirtualClock()
    store = ProfileStore(tmp_path_factory.mktemp("week"), Scrambler(), clock)
    queue = Oracle(clock)
    library = Library(store, queue, clock, MemoryMetrics(), Policy(promote_first=True))
    before_s, seen = 0.0, []
    for flow in week(SEED, FLOWS, PROTOCOLS):
        clock.advance(int((flow.at_s - before_s) * 1e9))
        before_s = flow.at_s
        library.step()
        seen.append((flow, library.flow(flow.service, flow.messages)))
    yield library, queue, store, seen
    library.close()
    store.close()


def test_at_least_82_flows_in_a_hundred_need_no_learning(played):
    library, _, _, _ = played

    assert library.hit_rate >= 0.82


def test_no_service_is_learnt_more_than_once_a_day(played):
    _, queue, _, _ = played
    names = [ask.service.name for ask in queue.asks]

    assert len(names) <= 3 * (PROTOCOLS + 1)
    assert max(names.count(name) for name in names) <= 7


def test_encrypted_flows_are_given_to_no_profile_and_their_service_becomes_opaque(played):
    _, queue, _, seen = played
    hows = [one.how for flow, one in seen if flow.truth == "encrypted"]

    assert How.OPAQUE in hows
    assert {How.KNOWN, How.CACHED}.isdisjoint(hows)
    assert all(queue.asks.count(ask) == 1 for ask in queue.asks)


def test_hardly_a_flow_is_taken_by_the_profile_of_another_protocol(played):
    """Two protocols of one encoding (here two of BER) may be told apart by hardly a thing."""
    _, _, store, seen = played
    first, wrong = {}, 0
    for flow, one in seen:
        if one.profile:
            wrong += first.setdefault(one.profile, flow.truth) != flow.truth
    taken = sum(bool(one.profile) for _, one in seen)

    assert set(first) <= set(store.names())
    assert wrong <= 0.1 * taken
