"""Whatever a peer sends of the membership, it is read, or refused in Cronos' own words."""

from hypothesis import example, given
from hypothesis import strategies as st

from cronos.errors import CronosError
from cronos.mesh import copywire, memberwire, relay
from cronos.mesh.membership import Membership, Terms
from cronos.mesh.seeds import sound_seeds
from cronos.mesh.udp import split
from cronos.types import Ack, Now, Peer, PeerStatus, Ping

NAMES = st.sampled_from(["a", "b", "c", "d", "x", "y"])
PEERS = st.builds(
    Peer,
    NAMES,
    st.text(max_size=20),
    st.one_of(st.integers(-2, 5), st.integers(-(1 << 63), (1 << 64) - 1)),
    st.sampled_from(PeerStatus),
    st.just(()),
    st.booleans(),
    st.binary(max_size=16),
)
UPDATES = st.lists(PEERS, max_size=20).map(tuple)
MESSAGES = st.one_of(
    st.builds(Ping, st.integers(0, 1 << 63), NAMES, UPDATES),
    st.builds(Ack, st.integers(0, 30), NAMES, UPDATES),
)


@given(st.binary(max_size=300))
@example(b"\x01\x92\xa1w\x91\xa0")
def test_frames_datagrams_and_requests_are_read_or_refused(data):
    for read in (memberwire.unpack, copywire.unpack, relay.unwrap):
        try:
            read(data)
        except CronosError:
            continue


@given(st.data())
def test_a_damaged_frame_is_read_or_refused(data):
    good = bytearray(memberwire.pack(memberwire.Notes(Ping(0, "a", (Peer("b", "b:1"),)))))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    try:
        memberwire.unpack(bytes(good))
    except CronosError:
        return


@given(st.text(max_size=60))
def test_addresses_of_strangers_are_taken_or_left(text):
    found = split(text)
    assert found is None or 0 < found[1] < 65536
    assert len(sound_seeds([text])) <= 1


@given(st.lists(st.tuples(st.sampled_from("bcd"), MESSAGES), max_size=30))
def test_a_machine_survives_whatever_its_peers_say_and_keeps_its_bounds(said):
    machine = Membership(Peer("a", "a:1", 3), Terms(), 1)
    for name in "bcd":
        machine.join(Peer(name, f"{name}:1"), Now(1, 0))
    now_ns = 1_000_000_000
    for sender, message in said:
        now_ns += 10_000_000
        machine.receive(sender, message, Now(now_ns, 0))
        machine.tick(Now(now_ns, 0))
        assert 3 <= machine.me.incarnation <= 1 << 62
        assert "a" not in machine.peers
        assert set(machine.near()) <= set(machine.peers)
        assert machine.due_ns() <= now_ns + 1_000_000_000


@given(st.lists(st.tuples(st.just("b"), MESSAGES), max_size=40))
def test_one_liar_alone_buries_and_invents_nobody(said):
    machine = Membership(Peer("a", "a:1", 3), Terms(), 1)
    for name in "bcd":
        machine.join(Peer(name, f"{name}:1"), Now(1, 0))
    for n, (liar, message) in enumerate(said):
        now = Now(1_000_000_000 + n * 1_000_000, 0)
        machine.receive(liar, message, now)
        for honest in "cd":
            machine.receive(honest, Ack(0, honest, (Peer(honest, f"{honest}:1"),)), now)
        assert machine.peers["c"].status in (PeerStatus.ALIVE, PeerStatus.SUSPECT)
        assert machine.peers["d"].status in (PeerStatus.ALIVE, PeerStatus.SUSPECT)
        assert set(machine.peers) == {"b", "c", "d"}
        assert machine.peers["c"].incarnation == 0
