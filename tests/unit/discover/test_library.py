"""Adaptive learning: what is known, what is learnt, and who decides what is used."""

import random

import pytest
from msgspec.structs import replace
from tests.unit.discover import plain
from tests.unit.discover.pump import PROFILE, reading
from tests.unit.sealers import Scrambler

from cronos.discover import library
from cronos.discover.child import carried_out
from cronos.discover.learned import Validation, Verdict
from cronos.discover.library import How, Library, Policy
from cronos.discover.messages import Message
from cronos.discover.phases import Known
from cronos.discover.store import ProfileStore
from cronos.errors import DeniedError, InputError
from cronos.link.metrics import MemoryMetrics
from cronos.testing.clock import VirtualClock

HOUR_NS = 3_600_000_000_000
PUMP = [Message(reading(float(n)), ts=float(n)) for n in range(40)]


class Desk:
    """A queue that carries its asks out when it is stepped, in this process."""

    def __init__(self, parts=plain.PARTS):
        self.parts, self.asks, self.answers, self.full = parts, {}, {}, False

    def submit(self, ask):
        if self.full:
            raise DeniedError("discover.queue_full", "Full.", "Wait.")
        number = len(self.asks) + 1
        self.asks[number] = ask
        return number

    def step(self, _timeout_s):
        for number, ask in self.asks.items():
            if number not in self.answers:
                self.answers[number] = carried_out(
                    ask, VirtualClock(), lambda _: self.parts, lambda *_: None
                )

    def answer(self, number):
        return self.answers.get(number)


@pytest.fixture
def world(tmp_path):
    class World:
        clock, metrics = VirtualClock(), MemoryMetrics()
        store = ProfileStore(tmp_path / "p", Scrambler(), clock)

        def library(self, desk=None, **policy):
            self.desk = desk or Desk()
            policy = Policy(**{"least_messages": 20, "least_failures": 10, **policy})
            return Library(self.store, self.desk, self.clock, self.metrics, policy)

        def known(self):
            self.store.add(PROFILE)
            self.store.promote("pump", 1)

    one = World()
    yield one
    one.store.close()


def test_a_known_protocol_is_recognised_once_and_then_remembered(world):
    world.known()
    shelf = world.library()

    assert shelf.flow("tcp/1 a", PUMP)[:3] == (How.KNOWN, "pump", 40)
    assert shelf.flow("tcp/1 a", PUMP)[:3] == (How.CACHED, "pump", 40)
    assert shelf.flow("tcp/1 b", PUMP).how is How.KNOWN
    assert shelf.hit_rate == 1.0
    assert world.desk.asks == {}
    assert world.metrics.read()["discover.flows.cached"] == 1


def test_what_is_remembered_ages(world):
    world.known()
    shelf = world.library()
    shelf.flow("tcp/1 a", PUMP)
    world.clock.advance(25 * HOUR_NS)

    assert shelf.flow("tcp/1 a", PUMP).how is How.KNOWN


def test_a_service_that_speaks_something_else_now_is_looked_at_anew(world):
    world.known()
    shelf = world.library()
    shelf.flow("tcp/1 a", PUMP)
    strange = [Message(b"\x77" * 9)] * 5

    assert shelf.flow("tcp/1 a", strange).how is How.WAITING
    assert shelf.flow("tcp/1 a", PUMP).how is How.KNOWN


def test_an_unknown_protocol_is_kept_until_there_is_enough_then_learnt_as_a_candidate(world):
    shelf = world.library()
    seen = [shelf.flow("tcp/9 a", PUMP[at : at + 8]).how for at in (0, 8, 16, 24)]
    assert seen == [How.WAITING, How.WAITING, How.LEARNING, How.LEARNING]
    assert shelf.learning == 1
    (stored,) = shelf.step()

    assert (stored.name, stored.status, stored.version) == ("tcp_9_a", "candidate", 1)
    assert world.store.actives() == {}
    assert shelf.hit_rate == 0


def test_while_a_candidate_waits_for_an_operator_its_service_is_not_learnt_again(world):
    shelf = world.library()
    shelf.flow("tcp/9 a", PUMP)
    shelf.step()
    for _ in range(9):
        assert shelf.flow("tcp/9 a", PUMP).how is How.WAITING
    assert len(world.desk.asks) == 1
    world.known()
    shelf.reload()
    assert shelf.flow("tcp/9 a", PUMP)[:2] == (How.KNOWN, "pump")
    world.clock.advance(25 * HOUR_NS)
    strange = [Message(b"\x77" + bytes((n,))) for n in range(30)]
    assert shelf.flow("tcp/9 a", strange).how is How.LEARNING


def test_a_stated_policy_puts_a_proved_new_protocol_into_use(world):
    shelf = world.library(promote_first=True)
    for at in (0, 10, 20):
        shelf.flow("tcp/9 a", PUMP[at : at + 10])
    (stored,) = shelf.step()

    assert stored.status == "active"
    assert list(world.store.actives()) == ["tcp_9_a"]


def test_what_was_not_proved_is_not_put_into_use_whatever_the_policy_says(world):
    unproved = plain.PARTS._replace(verify=lambda *_: Validation(10, 0.5, 0.5, 1.0))
    shelf = world.library(Desk(unproved), promote_first=True)
    for at in (0, 10, 20):
        shelf.flow("tcp/9 a", PUMP[at : at + 10])

    assert [one.status for one in shelf.step()] == ["candidate"]


def test_failed_parses_are_learnt_from_in_the_background_and_never_promoted_by_themselves(world):
    world.known()
    shelf = world.library(promote_first=True)
    shelf.flow("tcp/1 a", PUMP)
    mixed = PUMP[:10] + [Message(b"\x05" + bytes(9))] * 3
    for _ in range(5):
        shelf.flow("tcp/1 a", mixed)

    (ask,) = world.desk.asks.values()
    payloads = {message.payload for message in ask.service.messages}
    assert b"\x05" + bytes(9) in payloads
    assert PUMP[0].payload in payloads
    (stored,) = shelf.step()
    assert (stored.name, stored.version, stored.status) == ("pump", 2, "candidate")
    assert world.store.actives()["pump"].version == 1


def test_a_promoted_version_serves_after_reloading(world):
    world.known()
    shelf = world.library()
    shelf.flow("tcp/1 a", PUMP)
    world.store.add(replace(PROFILE, messages=7))
    world.store.promote("pump", 2)
    shelf.reload()

    assert shelf.flow("tcp/1 a", PUMP).how is How.KNOWN
    shelf.close()
    first, second = world.store.versions("pump")
    assert (first.parsed, second.parsed) == (40, 40)


def test_how_a_profile_does_is_written_down(world):
    world.known()
    shelf = world.library()
    shelf.flow("tcp/1 a", [*PUMP, Message(b"\x05")])
    shelf.close()

    (stored,) = world.store.versions("pump")
    assert (stored.parsed, stored.failed) == (40, 1)
    assert stored.success == pytest.approx(40 / 41)


def test_what_is_encrypted_is_remembered_and_not_asked_about_again(world):
    opaque = plain.PARTS._replace(classify=lambda _: Known(Verdict.ENCRYPTED, "Random."))
    shelf = world.library(Desk(opaque))
    rng = random.Random(1)
    noise = [Message(rng.randbytes(40)) for _ in range(30)]
    assert shelf.flow("tcp/443 a", noise).how is How.LEARNING
    assert shelf.step() == ()

    assert shelf.flow("tcp/443 a", noise).how is How.OPAQUE
    assert shelf.counts[How.OPAQUE] == 1
    assert len(world.desk.asks) == 1


def test_a_discovery_that_failed_leaves_nothing_behind(world):
    shelf = world.library()
    shelf.flow("tcp/9 a", PUMP)
    world.desk.answers[1] = InputError("discover.stopped", "Stopped.", "Allow more.")

    assert shelf.step() == ()
    assert shelf.learning == 0
    assert world.metrics.read()["discover.failed"] == 1


def test_when_the_queue_is_full_messages_wait(world):
    shelf = world.library()
    world.desk.full = True
    assert shelf.flow("tcp/9 a", PUMP).how is How.WAITING
    world.desk.full = False

    assert shelf.flow("tcp/9 a", PUMP[:1]).how is How.LEARNING


def test_two_services_of_one_port_get_names_of_their_own(world):
    shelf = world.library()
    for service in ("tcp/9", "tcp_9"):
        shelf.flow(service, PUMP)
    names = [one.name for one in shelf.step()]

    assert names == ["tcp_9", "tcp_9_2"]


def test_what_waits_is_bounded_in_services_and_bytes(world, monkeypatch):
    monkeypatch.setattr(library, "_MAX_PENDING_SERVICES", 50)
    monkeypatch.setattr(library, "_MAX_PENDING_BYTES", 100_000)
    shelf = world.library()
    for number in range(300):
        shelf.flow(f"tcp/{number}", [Message(bytes(3_000))] * 3)

    assert len(shelf._pending) <= 50
    assert shelf._pending_bytes <= 100_000
    assert shelf._pending_bytes == sum(one.bytes for one in shelf._pending.values())


def test_one_service_cannot_fill_the_memory(world):
    shelf = world.library(least_messages=10_000)
    for _ in range(30):
        shelf.flow("tcp/9", [Message(bytes(60_000))] * 10)

    assert shelf._pending_bytes <= 1 << 20


def test_what_was_not_proved_is_learnt_from_twice_as_many_messages_and_becomes_a_version(world):
    proofs = iter([Validation(6, 0.9, 0.9, 1.0), Validation(13, 1.0, 1.0, 1.0)])
    shelf = world.library(
        Desk(plain.PARTS._replace(verify=lambda *_: next(proofs))), promote_first=True
    )
    shelf.flow("tcp/9 a", PUMP[:20])
    (first,) = shelf.step()
    seen = [shelf.flow("tcp/9 a", PUMP[at : at + 10]).how for at in (20, 30)]
    (second,) = shelf.step()

    assert seen == [How.WAITING, How.LEARNING]
    assert (first.name, first.version, first.status) == ("tcp_9_a", 1, "candidate")
    assert (second.name, second.version, second.status) == ("tcp_9_a", 2, "active")
    assert len(world.desk.asks[2].service.messages) == 40


def test_trying_again_ends_where_no_more_messages_are_kept(world, monkeypatch):
    monkeypatch.setattr(library, "_KEPT_MESSAGES", 100)
    unproved = plain.PARTS._replace(verify=lambda *_: Validation(10, 0.5, 0.5, 1.0))
    shelf = world.library(Desk(unproved), promote_first=True)
    for _ in range(40):
        shelf.flow("tcp/9 a", PUMP[:10])
        shelf.step()

    assert [len(ask.service.messages) for ask in world.desk.asks.values()] == [20, 40, 80]
    assert shelf.flow("tcp/9 a", PUMP[:10]).how is How.WAITING


def test_strangers_at_its_port_do_not_hide_who_speaks_a_known_protocol(world):
    world.known()
    opaque = plain.PARTS._replace(classify=lambda _: Known(Verdict.ENCRYPTED, "Random."))
    shelf = world.library(Desk(opaque))
    noise = [Message(random.Random(1).randbytes(40)) for _ in range(30)]
    shelf.flow("tcp/1", noise)
    shelf.step()

    assert shelf.flow("tcp/1", PUMP)[:3] == (How.KNOWN, "pump", 40)
    assert shelf.flow("tcp/1", noise).how is How.OPAQUE
    assert len(world.desk.asks) == 1


def test_what_strangers_mix_into_a_known_service_is_learnt_once_and_not_again_and_again(world):
    world.known()
    shelf = world.library()
    for number in range(9):
        assert shelf.flow("tcp/1", PUMP).how in (How.KNOWN, How.CACHED)
        shelf.flow("tcp/1", [Message(b"\x77" + bytes((number, n))) for n in range(30)])
        shelf.step()

    services = [ask.service.name for ask in world.desk.asks.values()]
    assert services.count("tcp/1") == 1  # once more for the failures of the profile in use


def test_strangers_cannot_fill_the_store(world, monkeypatch):
    monkeypatch.setattr(library, "_MAX_UNUSED", 3)
    shelf = world.library()
    for port in range(20):
        shelf.flow(f"tcp/{port}", PUMP)
    shelf.step()
    for port in range(20, 40):
        assert shelf.flow(f"tcp/{port}", PUMP).how is How.WAITING
        shelf.step()

    assert shelf.unused == len(world.store.names()) == 3
    assert shelf._pending_bytes == 0
    world.store.forget("tcp_0")
    shelf.reload()
    assert shelf.flow("tcp/50", PUMP).how is How.LEARNING


def test_a_stated_policy_puts_no_more_than_so_many_into_use(world, monkeypatch):
    monkeypatch.setattr(library, "_MAX_PROMOTED", 2)
    # None of them takes another's messages, so that each is learnt.
    shelf = world.library(promote_first=True)
    monkeypatch.setattr(shelf._matcher.__class__, "match", lambda *_: None)
    for port in range(5):
        shelf.flow(f"tcp/{port}", PUMP)
        shelf.step()

    assert sorted(world.store.actives()) == ["tcp_0", "tcp_1"]
    assert len(world.store.names()) == 5


def test_what_waits_to_be_learnt_is_bounded_in_bytes(world, monkeypatch):
    monkeypatch.setattr(library, "_MAX_RUNNING_BYTES", 200_000)
    shelf = world.library()
    for port in range(40):
        shelf.flow(f"tcp/{port}", [Message(bytes(2_000))] * 20)

    held = sum(len(m.payload) for ask in world.desk.asks.values() for m in ask.service.messages)
    assert held <= 200_000
    assert shelf.learning == len(world.desk.asks) == 4


def test_small_messages_count_what_they_cost(world, monkeypatch):
    monkeypatch.setattr(library, "_MAX_PENDING_BYTES", 100_000)
    shelf = world.library(least_messages=1_000)
    for port in range(200):
        shelf.flow(f"tcp/{port}", [Message(b"\x77")] * 10)

    assert sum(len(one.messages) for one in shelf._pending.values()) <= 250


def test_failures_that_go_on_are_learnt_from_less_and_less_often(world):
    world.known()
    shelf = world.library()
    mixed = PUMP[:10] + [Message(b"\x05" + bytes(9))] * 10
    shelf.flow("tcp/1", PUMP)
    for _ in range(60):  # an hour
        shelf.flow("tcp/1", mixed)
        shelf.step()
        world.clock.advance(HOUR_NS // 60)

    assert 2 <= len(world.desk.asks) <= 6
