"""News for each neighbour: told until acknowledged, the troubled first, never too much."""

from cronos.mesh.gossip import MAX_UPDATE_BYTES, MAX_UPDATES, Gossip, size_of
from cronos.types import Peer, PeerStatus, Ping, encode


def gossip(**status):
    def told(name):
        return Peer(name, f"{name}:1", status=status.get(name, PeerStatus.ALIVE))

    made = Gossip(told)
    made.follow(("b", "c"))
    return made


def names(picked):
    return [peer.instance for peer in picked[0]]


def test_news_is_told_to_each_neighbour_until_it_acknowledges():
    news = gossip()
    news.changed("d")

    told, carried = news.pick("b", ["a"])
    news.acknowledged("b", carried)

    assert [peer.instance for peer in told] == ["a", "d"]
    assert names(news.pick("b", ["a"])) == ["a"]
    assert names(news.pick("c", ["a"])) == ["a", "d"]
    assert not news.waits("b")
    assert news.waits("c")


def test_what_changed_meanwhile_is_told_again():
    news = gossip()
    news.changed("d")
    _, carried = news.pick("b", [])
    news.changed("d")

    news.acknowledged("b", carried)

    assert names(news.pick("b", [])) == ["d"]


def test_the_troubled_come_first_and_a_datagram_is_never_overfull():
    news = gossip(x40=PeerStatus.SUSPECT)
    for n in range(60):
        news.changed(f"x{n}")

    told, _ = news.pick("b", ["a"])

    assert [peer.instance for peer in told][:2] == ["a", "x40"]
    assert len(told) == MAX_UPDATES


def test_long_names_make_fewer_updates_and_the_message_still_fits():
    def told(name):
        return Peer(name, "h" * 200 + ":7443", 1 << 61, PeerStatus.SUSPECT, (), True, bytes(16))

    news = Gossip(told)
    news.follow(("b",))
    for n in range(20):
        news.changed("n" * 60 + str(n))

    updates, _ = news.pick("b", ["m" * 63])

    assert 1 < len(updates) < MAX_UPDATES
    assert len(encode(Ping(1 << 62, "m" * 63, updates))) <= MAX_UPDATE_BYTES + 100
    assert all(len(encode(one)) <= size_of(one) for one in updates)


def test_who_is_no_neighbour_any_more_costs_nothing_and_a_new_one_begins_empty():
    news = gossip()
    news.changed("d")

    news.follow(("c", "e"))

    assert not news.waits("b")
    assert not news.waits("e")
    assert news.waits("c")
    news.drop("d")
    assert not news.waits("c")
