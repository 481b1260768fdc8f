"""Between the reflex process and the peers: nothing in another's name, nothing out of order."""

import asyncio

from cronos.mesh.courier import FORGED, Courier
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import (
    Bulletin,
    BulletinKind,
    Lane,
    Members,
    Peer,
    PeerStatus,
    Publish,
    Receipt,
    Reproach,
    Roles,
)


def bulletin(number=1, origin="a"):
    return Bulletin(
        f"{origin}-1-{number}-isolated", BulletinKind.ISOLATED, origin, f"{origin}-1-{number}",
        number, None, None, (), 0.97, None, 300,
    )  # fmt: skip


class Post:
    """A delivery that only remembers."""

    def __init__(self):
        self.posted = []
        self.received = []
        self.links = []
        self.known = []

    async def post(self, message, to=""):
        self.posted.append((message, to))

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
        self.claims = []
        self.seeds = None

    def join(self, seeds):
        self.seeds = seeds

    def members(self):
        return self.peers

    def allowed(self):
        return {peer.instance: ("audit",) for peer in self.peers}

    def claim(self, roles):
        self.claims.append(roles)


class Stage:
    def __init__(self, *peers):
        self.told = []
        self.network = MemoryNetwork()
        self.mesh = self.network.join("a")
        self.courier = Courier(Peer("a", "127.0.0.1:1"), self.mesh, self.told.append)
        self.post = self.courier.delivery = Post()
        self.book = self.courier.members = Book(*peers)


def test_what_the_reflex_says_is_posted_in_its_order_and_said_to_be_durable_after():
    stage = Stage()
    said = [Publish(bulletin(n)) for n in (4, 5)] + [Publish(Receipt("a", "b", 9), "b")]
    asyncio.run(stage.courier.hear([*said, Roles(("audit",), (), 1)]))

    assert stage.post.posted == [(one.message, one.to) for one in said]
    assert stage.told == [Receipt("a", "a", 5)]
    assert stage.book.claims == [("audit",)]


def test_a_peer_speaks_for_itself_alone():
    stage = Stage()
    stage.courier.heard("b", bulletin(origin="b"), True)
    stage.courier.heard("b", Receipt("b", "a", 1), True)
    stage.courier.heard("b", bulletin(origin="c"), True)
    stage.courier.heard("b", Receipt("c", "a", 1), False)
    stage.courier.heard("b", Members(("mallory",)), True)

    assert stage.told == [
        bulletin(origin="b"), Receipt("b", "a", 1), Reproach("b", FORGED), Reproach("b", FORGED)
    ]  # fmt: skip


def test_the_view_is_told_once_whenever_it_changes():
    alive, dead = Peer("b", "", roles=("audit",)), Peer("c", "", status=PeerStatus.DEAD)
    stage = Stage(alive, dead)
    for _ in range(3):
        stage.courier.changed(alive, False)

    assert stage.told == [Members(("b",), {"b": ("audit",)}, {"b": ("audit",), "c": ("audit",)})]
    assert stage.post.known == [("b",)]


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
        await stage.courier.stop()
        return stage

    stage = asyncio.run(story())
    assert stage.book.seeds == ["127.0.0.1:9"]
    assert {lane for _, lane, _ in stage.book.received} == {Lane.KEYS, Lane.MEMBERS}
    assert {lane for _, lane, _ in stage.post.received} == {Lane.THREAT, Lane.RECORDS, Lane.BULK}
    assert stage.post.links[0] == stage.book.links[0] == ("b", True)
