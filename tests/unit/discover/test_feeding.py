"""Packets become flows, flows go to the library, and the store is open for moments only."""

import asyncio
import contextlib
import itertools
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from tests.unit.discover.pump import PROFILE, reading
from tests.unit.discover.test_jobs import ENVIRONMENT
from tests.unit.discover.wires import CLIENT, SERVER, udp
from tests.unit.sealers import Scrambler

from cronos.discover.feeding import BriefStore, Feed, LibraryConfig, LibraryService, by_flow
from cronos.discover.messages import Message, Service
from cronos.discover.store import ProfileStore
from cronos.errors import DeniedError, InputError
from cronos.link.packetfeed import PacketSender
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock

SCRIPT = """
from cronos.discover import ir
from cronos.discover.child import serve
from cronos.runtime.world import SystemClock
from tests.unit.discover.plain import PARTS
from tests.unit.discover.pump import GRAMMAR

serve(SystemClock(), lambda _: PARTS._replace(infer=lambda _found: ir.encode(GRAMMAR)))
"""
CHILD = (sys.executable, "-c", SCRIPT)


@pytest.fixture
def folder():
    one = Path(tempfile.mkdtemp(prefix="cr-"))
    yield one
    shutil.rmtree(one)


def opened(folder, clock=None):
    @contextlib.contextmanager
    def store():
        one = ProfileStore(folder / "p", Scrambler(), clock or VirtualClock())
        try:
            yield one
        finally:
            one.close()

    return store


def datagram(frames, start_ns=1_700_000_000 * 10**9):
    """Give packets as the feed has them, and as a sender is given them."""
    buffer, packets = b"", []
    for number, frame in enumerate(frames):
        packets.append((start_ns + number * 10**7, 1, len(buffer), len(buffer) + len(frame)))
        buffer += frame
    return packets, buffer


def packed(frames):
    packets, buffer = datagram(frames)
    parts = [
        ns.to_bytes(8, "big") + link.to_bytes(4, "big") + (b - a).to_bytes(4, "big") + buffer[a:b]
        for ns, link, a, b in packets
    ]
    return b"".join(parts)


def readings(count, client=CLIENT):
    return [udp(client, 4_000, SERVER, 9_999, reading(float(n))) for n in range(count)]


class Shelf:
    """Hears what a library would."""

    def __init__(self):
        self.flows = []

    def flow(self, service, messages):
        self.flows.append((service, len(messages)))


# --- the store ---------------------------------------------------------------------------------


def test_the_store_is_free_between_two_questions(folder):
    clock = VirtualClock()
    store = BriefStore(opened(folder), clock, threading.Event())
    assert store.names() == ()
    assert store.add(PROFILE).version == 1
    assert not store.changed()
    with opened(folder)() as other:  # a command of the operator's
        other.promote("pump", 1)
    assert store.names() == ("pump",)
    assert store.changed()  # whatever was asked since
    assert list(store.actives()) == ["pump"]
    assert not store.changed()


def test_what_was_noted_is_written_once_a_minute_or_at_the_end(folder):
    clock = VirtualClock()
    store = BriefStore(opened(folder), clock, threading.Event())
    store.add(PROFILE)
    store.note("pump", 1, parsed=5, failed=1)
    store.note("pump", 1, parsed=5, failed=1)
    store.note("gone", 9, parsed=5, failed=1)
    store.flush()
    with opened(folder)() as other:
        assert other.versions("pump")[0].parsed == 0
    store.flush(now=True)
    with opened(folder)() as other:
        assert other.versions("pump")[0].parsed == 10


def test_a_store_that_stays_in_use_is_said_to_be(folder):
    stopping = threading.Event()
    store = BriefStore(opened(folder), VirtualClock(), stopping)
    stopping.set()  # whoever ends waits for nobody
    with opened(folder)(), pytest.raises(DeniedError) as error:
        store.names()
    assert error.value.code == "discover.store_in_use"


def test_a_store_that_is_in_use_for_a_moment_is_waited_for(folder):
    store = BriefStore(opened(folder), VirtualClock(), threading.Event())
    with opened(folder)() as held:
        other = threading.Timer(0.3, held.close)
        other.start()
        assert store.names() == ()
        other.join()


# --- flows ---------------------------------------------------------------------------------------


def test_packets_of_a_window_become_the_flows_of_services():
    shelf, clock = Shelf(), VirtualClock()
    feed = Feed(shelf, LibraryConfig(window_s=2), clock)
    assert not feed.due
    assert feed.look() == 0
    feed.take(packed(readings(5)))
    feed.take(packed(readings(3, "10.0.0.77")))
    assert not feed.due
    clock.advance(2_500_000_000)
    assert feed.due
    assert feed.look() == 2
    assert sorted(shelf.flows) == [("udp/9999", 3), ("udp/9999", 5)]
    assert not feed.due


def test_a_window_that_is_full_is_looked_at_and_broken_packets_are_refused():
    feed = Feed(Shelf(), LibraryConfig(window_mb=1), VirtualClock())
    large = [udp(CLIENT, 4_000, SERVER, 9_999, bytes(1_000))] * 50
    for _ in range(30):
        feed.take(packed(large))
    assert feed.due
    with pytest.raises(InputError):
        feed.take(b"broken")


@pytest.mark.parametrize(("seconds", "each_ns"), [(1, 1_500_000_000), (3_600, 45_000_000_000)])
def test_a_look_that_takes_too_long_leaves_the_rest_out_and_counts_it(seconds, each_ns):
    clock = VirtualClock()

    class Slow(Shelf):
        def flow(self, service, messages):
            super().flow(service, messages)
            clock.advance(each_ns)

    shelf = Slow()
    feed = Feed(shelf, LibraryConfig(window_s=seconds), clock)
    for host in range(9):
        feed.take(packed(readings(2, f"10.0.0.{100 + host}")))

    assert feed.look() == len(shelf.flows) == 2
    assert feed.missed == 7


def test_whoever_wants_it_to_end_waits_for_no_look():
    shelf = Shelf()
    feed = Feed(shelf, LibraryConfig(), VirtualClock(), lambda: len(shelf.flows) == 2)
    for host in range(9):
        feed.take(packed(readings(2, f"10.0.0.{100 + host}")))

    assert feed.look() == 2


def test_of_too_many_flows_the_first_are_taken_and_empty_messages_never():
    messages = [Message(b"x", f"f{n}") for n in range(3_000)] + [Message(b"", "f1")]
    flows = by_flow(Service("udp/1", tuple(messages)))
    assert len(flows) == 2_000
    assert all(len(of) == 1 for of in flows)


# --- the service ---------------------------------------------------------------------------------


def played(folder, story, store=None, **config):
    """Run the service while `story` goes on; give what it reported."""
    said = []

    async def main():
        tasks = AsyncTasks(lambda task, error: said.append((task, repr(error))))
        service = LibraryService(
            LibraryConfig(window_s=1, nice=0, **config),
            clock=SystemClock(), tasks=tasks,
            report=lambda level, event, **more: said.append((event, more)),
            learning=(store or opened(folder, SystemClock()), (CHILD, ENVIRONMENT)),
            control=folder / "control.sock",
        )  # fmt: skip
        await service.start()
        try:
            await asyncio.to_thread(story, service)
            return await service.health()
        finally:
            await service.stop()

    return asyncio.run(main()), said


def until(condition):
    for _ in range(1_500):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came true")


def gauges(folder):
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / "library.gauges").read_bytes())
    return {}


def test_an_unknown_service_becomes_a_candidate_and_what_is_promoted_is_recognised(folder):
    sender = PacketSender(folder / "library.sock")
    ports = itertools.count(5_000)

    def send():
        client = next(ports)
        frames = [udp(CLIENT, client, SERVER, 700, reading(float(n))) for n in range(30)]
        sender(*datagram(frames))

    def story(_service):
        send()
        until(lambda: gauges(folder).get("discover.learned") == 1)
        with opened(folder, SystemClock())() as store:
            (name,) = store.names()
            (one,) = store.versions(name)
            assert (name, one.profile.status, one.profile.services) == (
                "udp_700", "candidate", ("udp/700",)
            )  # fmt: skip
            store.promote(name, 1)
        send()
        until(lambda: gauges(folder).get("discover.flows.known") == 1)
        send()
        until(lambda: gauges(folder).get("discover.flows.cached") == 1)
        assert 0.0 < gauges(folder)["discover.hit_rate"] < 1.0

    with contextlib.closing(sender):
        health, said = played(folder, story, least_messages=20)
    assert health == "ok"
    assert [event for event, _ in said] == ["profile.learnt"]
    assert not (folder / "library.sock").exists()
    assert not (folder / "library.gauges").exists()


def test_without_keys_it_waits_and_says_once_why(folder):
    tries = []

    def away():
        tries.append(1)
        raise DeniedError("crypto.away", "The keys are away.", "Unlock them.")

    sender = PacketSender(folder / "library.sock")

    def story(_service):
        sender(*datagram(readings(40)))
        until(lambda: len(tries) > 2)

    with contextlib.closing(sender):
        health, said = played(folder, story, store=away)
    assert health == "The keys are away."
    assert [event for event, _ in said] == ["library.failed"]
    assert gauges(folder) == {}


def test_a_fault_ends_no_learning_and_quotes_nothing(folder, monkeypatch):
    sender = PacketSender(folder / "library.sock")
    wrong = []

    def take(feed, datagram, _as_it_is=Feed.take):
        if not wrong:
            wrong.append(1)
            raise ValueError(datagram)
        _as_it_is(feed, datagram)

    monkeypatch.setattr(Feed, "take", take)

    def story(service):
        sender(*datagram(readings(3)))
        until(lambda: wrong)
        until(lambda: gauges(folder))
        sender(*datagram(readings(3)))
        until(lambda: gauges(folder).get("discover.flows.waiting") == 1)

    with contextlib.closing(sender):
        health, said = played(folder, story)
    assert health == "ok"
    ((event, more),) = said
    assert event == "library.failed"
    assert "ValueError (test_feeding.py, line " in more["detail"]
    assert len(more["detail"]) < 100


def test_a_socket_that_cannot_be_made_is_a_sentence(folder):
    with pytest.raises(InputError) as error:
        played(folder / ("x" * 120), lambda _: None)
    assert error.value.code == "discover.no_feed"
