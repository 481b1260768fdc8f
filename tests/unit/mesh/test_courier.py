"""Between the reflex process and the peers: nothing in another's name, nothing out of order."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.mesh.nodes import until

from cronos.errors import DeniedError, InputError
from cronos.mesh import courier
from cronos.mesh.courier import FORGED, Courier
from cronos.mesh.memberwire import Load
from cronos.mesh.replica import Positions
from cronos.mesh.shared import Board
from cronos.mesh.standing import Counts, Standing
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import (
    Bulletin,
    BulletinKind,
    ControlCall,
    Entity,
    EntityKind,
    Lane,
    Members,
    Peer,
    PeerStatus,
    Publish,
    Receipt,
    Reproach,
)


def bulletin(number=1, origin="a"):
    return Bulletin(
        f"{origin}-1-{number}-isolated", BulletinKind.ISOLATED, origin, f"{origin}-1-{number}",
        number, None, None, (), 0.97, None, 300,
    )  # fmt: skip


class Post:
    """A delivery that only remembers."""

    counts = Counts(sent=3)

    def __init__(self):
        self.posted = []
        self.received = []
        self.links = []
        self.known = []
        self.forgotten = []
        self.running = False
        self.refuses = None
        self.before = []

    async def start(self):
        self.running = True

    async def stop(self):
        self.running = False

    def forget(self, peer):
        self.forgotten.append(peer)

    def positions(self):
        return Positions(9, 7)

    def standings(self):
        return (Standing("b", True, 4, 3, 2),)

    async def post_all(self, messages):
        if self.refuses is not None:
            raise self.refuses
        self.posted += messages

    def own(self):
        return iter(self.before)

    async def post_again(self, messages):
        await self.post_all(messages)

    async def receive(self, peer, lane, data):
        self.received.append((peer, lane, data))

    def linked(self, peer, up):
        self.links.append((peer, up))

    def members(self, instances):
        self.known.append(instances)


class Book(Post):
    """A membership that only remembers."""

    def __init__(self, *peers):
        super().__init__()
        self.peers = peers
        self.left = False
        self.seeds = None

    def join(self, seeds):
        self.seeds = seeds

    def members(self):
        return self.peers

    def allowed(self):
        return {peer.instance: ("audit",) for peer in self.peers}

    def rtt_ns(self, peer):
        return 700_000

    def own_load(self):
        return Load(2, 0, 1)

    @property
    def loads(self):
        return {"b": Load(5, 1, 4)}

    async def leave(self):
        self.left = True


class Stage:
    def __init__(self, *peers):
        self.told = []
        self.network = MemoryNetwork()
        self.mesh = self.network.join("a")
        me = Peer("a", "127.0.0.1:1", roles=("defense",))
        self.courier = Courier(me, self.mesh, self.told.append, Board(VirtualClock()))
        self.post = self.courier.delivery = Post()
        self.book = self.courier.members = Book(*peers)


def test_what_the_reflex_says_is_posted_in_its_order_and_said_to_be_durable_after():
    stage = Stage()
    said = [Publish(bulletin(n)) for n in (4, 5)] + [Publish(Receipt("a", "b", 9), "b")]
    asyncio.run(stage.courier.hear(said))

    assert stage.post.posted == [(one.message, one.to) for one in said]
    assert stage.told == [Receipt("a", "a", 5)]


def test_what_is_refused_is_not_said_to_be_durable_and_is_posted_again(monkeypatch):
    monkeypatch.setattr(courier, "_AGAIN_S", 0.01)

    async def story():
        stage = Stage()
        again = asyncio.ensure_future(stage.courier.post_again())
        await stage.courier.hear([Publish(bulletin(1))])
        stage.post.refuses = DeniedError("mesh.outbox_full", "It is full.", "Wait.")
        with pytest.raises(DeniedError):
            await stage.courier.hear([Publish(bulletin(2)), Publish(bulletin(3))])
        stage.post.refuses = None
        await stage.courier.hear([Publish(bulletin(4))])
        assert stage.told == [Receipt("a", "a", 1)]
        await until(lambda: len(stage.told) == 2)
        assert stage.told[1] == Receipt("a", "a", 4)
        assert [one.sequence for one, _ in stage.post.posted] == [1, 4, 2, 3]
        again.cancel()

    asyncio.run(story())


def test_a_peer_speaks_for_itself_alone():
    stage = Stage()
    stage.courier.heard("b", bulletin(origin="b"), True)
    stage.courier.heard("b", bulletin(origin="b"), False)
    stage.courier.heard("b", Receipt("b", "a", 1), False)
    stage.courier.heard("b", Receipt("b", "a", 1), True)
    stage.courier.heard("b", bulletin(origin="c"), True)
    stage.courier.heard("b", Receipt("c", "a", 1), False)
    stage.courier.heard("b", Members(("mallory",)), True)

    assert stage.told == [
        bulletin(origin="b"),
        *(Receipt("b", "a", 1), Reproach("b", FORGED), Reproach("b", FORGED)),
    ]  # fmt: skip


def test_an_id_that_another_said_first_silences_nobody():
    stage = Stage()
    stage.courier.heard(
        "mallory", replace(bulletin(origin="mallory"), bulletin_id="b-1-1-isolated"), False
    )
    stage.courier.heard("b", bulletin(origin="b"), False)

    assert stage.told[-1] == bulletin(origin="b")


def test_the_view_is_told_once_whenever_it_changes():
    alive, dead = Peer("b", "", roles=("audit",)), Peer("c", "", status=PeerStatus.DEAD)
    stage = Stage(alive, dead)
    stage.courier.changed(alive, False)
    assert stage.told == []
    stage.courier.started = True
    for _ in range(3):
        stage.courier.changed(alive, False)

    roles = {"b": ("audit",), "a": ("defense",)}
    assert stage.told == [Members(("b",), roles, {"b": ("audit",), "c": ("audit",)})]
    assert stage.post.known == [("b",)]


def test_who_has_left_is_waited_for_no_more():
    gone = Peer("c", "", status=PeerStatus.LEFT)
    stage = Stage(gone)
    stage.courier.changed(gone, False)

    assert stage.post.forgotten == ["c"]


def test_each_machine_gets_what_is_its_own():
    async def story():
        stage = Stage()
        await stage.courier.start(["127.0.0.1:9"])
        other = stage.network.join("b")

        async def ignore(*_):
            pass

        await other.start(ignore, lambda *_: None)
        other.connect("a", "a")
        for lane in Lane:
            await other.send("a", lane, lane.value.encode())
        await stage.courier.leave()
        return stage

    stage = asyncio.run(story())
    assert stage.book.seeds == ["127.0.0.1:9"]
    assert {lane for _, lane, _ in stage.book.received} == {Lane.KEYS, Lane.MEMBERS}
    assert {lane for _, lane, _ in stage.post.received} == {Lane.THREAT, Lane.RECORDS, Lane.BULK}
    assert stage.post.links[0] == stage.book.links[0] == ("b", True)


def ask(stage, verb):
    return asyncio.run(stage.courier.answer(ControlCall(1, verb)))


def test_a_person_is_told_how_each_member_stands():
    stage = Stage(Peer("b", "127.0.0.1:2", 5, roles=("audit",)))
    told = ask(stage, "status")

    assert (told["node"], told["view"], told["counts"]["sent"]) == ("a", 1, 3)
    assert told["records"] == {"acknowledged": 9, "replicated": 7}
    (peer,) = told["peers"]
    assert peer == {
        "instance": "b", "address": "127.0.0.1:2", "status": "alive", "incarnation": 5,
        "linked": False, "roles": ("audit",), "allowed": ("audit",), "rtt_ms": 0.7, "queued": 2,
        "held": 4, "signed": 3, "breaker": "", "trouble": "",
        "load": {"queued": 5, "kept_mib": 1, "health": 4},
    }  # fmt: skip
    assert told["health"] == "b busy"
    assert told["load"] == {"queued": 2, "kept_mib": 0, "health": 1}
    with pytest.raises(InputError):
        ask(stage, "dance")


class Kept:
    """A book that only remembers."""

    def __init__(self):
        self.kept = []

    async def open(self):
        return (Reproach("b", "", 0.4),)

    def keep(self, said):
        self.kept.append(said)

    async def flush(self):
        self.kept.append("flushed")


def test_what_peers_words_are_worth_is_told_before_any_peer_is_heard_and_kept_when_it_changes():
    async def story():
        stage = Stage()
        stage.courier.book = Kept()
        await stage.courier.start([])
        await stage.courier.hear([Reproach("b", "it lied", 0.2)])
        await stage.courier.leave()
        return stage

    stage = asyncio.run(story())
    assert stage.told[0] == Reproach("b", "", 0.4)
    assert stage.courier.book.kept == [Reproach("b", "it lied", 0.2), "flushed"]


def test_what_was_told_and_heard_is_shared_as_indicators():
    stage = Stage()
    heard = replace(
        bulletin(origin="b"), actor=Entity(EntityKind.ADDRESS, "192.0.2.1"), ttl_ns=10**12
    )
    stage.courier.heard("b", heard, False)
    patterns = [one.get("pattern") for one in ask(stage, "indicators")["objects"]]

    assert "[ipv4-addr:value = '192.0.2.1']" in patterns


def test_who_leaves_says_good_bye_and_goes_on_alone():
    async def story():
        stage = Stage(Peer("b", ""))
        await stage.courier.start([])
        told = await stage.courier.answer(ControlCall(1, "leave"))
        return stage, told

    stage, told = asyncio.run(story())
    assert stage.book.left
    assert not stage.post.running
    assert (told["left"], told["view"], told["peers"]) == (True, 1, [])
    assert stage.told[-1].instances == ()


def test_what_an_earlier_life_told_is_given_to_the_reflex_process_before_any_peer_is_heard():
    async def story():
        stage = Stage()
        stage.post.before = [bulletin(1), bulletin(2)]
        await stage.courier.start(())
        assert stage.told[:2] == [bulletin(1), bulletin(2)]
        await stage.courier.leave()

    asyncio.run(story())
