import pytest
from tests.unit.mesh.mail import SECOND
from tests.unit.mesh.test_journal import file_limit
from tests.unit.sealers import Away

from cronos.errors import DeniedError, UnreachableError
from cronos.mesh.outbox import Message, Outbox, OutboxConfig
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer

HOUR_NS = 3600 * SECOND


def outbox(folder, *, clock=None, incarnation=1, sealer=None, config=None, signs=False):
    made = Outbox(
        config or OutboxConfig(),
        folder,
        sealer or MemorySealer(),
        clock or VirtualClock(),
        incarnation,
        signs=signs,
    )
    return made, made.open()


def say(box, data=b"x", **given):
    return box.add(Message(1, data, given.pop("ttl_ns", HOUR_NS), **given))


def stored(box):
    box.store(box.take_pending())


def positions(box, peer, after=0):
    return [one.position for one in box.due(peer, after, 100)[1]]


def test_what_was_stored_is_there_after_a_restart_under_higher_numbers(tmp_path):
    box, _ = outbox(tmp_path)
    first = say(box, b"first")
    stored(box)
    lost = say(box, b"never stored")
    box.close()
    again, remarks = outbox(tmp_path, incarnation=2)
    assert remarks == []
    assert [one.data for one in again.posted()] == [b"first"]
    assert again.stream == 1
    assert say(again).position > lost.position > first.position


def test_a_number_that_was_sent_is_not_used_again_however_often_it_restarts(tmp_path):
    used = set()
    for incarnation in range(1, 6):
        box, _ = outbox(tmp_path, incarnation=incarnation)
        position = say(box).position
        assert position not in used
        used.add(position)
        box.close()


def test_a_lost_outbox_begins_another_stream(tmp_path):
    assert outbox(tmp_path / "a", incarnation=3)[0].stream == 3


def test_a_peer_is_given_what_is_for_it_and_what_stood_before(tmp_path):
    box, _ = outbox(tmp_path)
    one, two, three = say(box), say(box, to="b"), say(box, to="a")
    assert positions(box, "a") == [one.position, three.position]
    assert positions(box, "b", one.position) == [two.position]
    assert box.due("a", one.position, 5)[0] == one.position
    assert box.due("b", 0, 5)[0] == 0
    assert box.due("c", one.position, 5) == (one.position, [])
    assert box.waiting("a") == 2


def test_a_later_receipt_supersedes_the_one_before(tmp_path):
    box, _ = outbox(tmp_path)
    for sequence in range(10):
        last = say(box, b"%d" % sequence, to="b", replaces="receipt b 1")
    other = say(box, to="b", replaces="receipt b 2")
    assert positions(box, "b") == [last.position, other.position]
    stored(box)
    box.close()
    assert positions(outbox(tmp_path)[0], "b") == [last.position, other.position]


@pytest.mark.parametrize("signs", [False, True])
def test_what_a_peer_alone_gets_goes_when_it_has_it(tmp_path, signs):
    box, _ = outbox(tmp_path, signs=signs)
    own, every = say(box, to="b"), say(box)
    box.acknowledge("b", every.position, 0)
    assert (box.find(own.position) is None) == (not signs)
    box.acknowledge("b", every.position, every.position)
    assert box.find(own.position) is None
    assert box.find(every.position) is not None
    assert box.waiting("b") == 0


def test_a_peer_may_say_that_it_holds_less_than_before(tmp_path):
    box, _ = outbox(tmp_path)
    every = say(box)
    box.acknowledge("b", 1 << 60, 1 << 60)
    assert box.told("b").held == every.position
    box.acknowledge("b", 0, 0)
    assert box.waiting("b") == 1


def test_what_expired_is_dropped_and_counted_where_somebody_lacks_it(tmp_path):
    clock = VirtualClock()
    box, _ = outbox(tmp_path, clock=clock)
    say(box, ttl_ns=SECOND)
    kept = say(box)
    box.know(["b"])
    clock.advance(2 * SECOND)
    assert box.expire() == 1
    assert positions(box, "b") == [kept.position]
    stored(box)
    box.close()
    clock.advance(2 * HOUR_NS)
    assert list(outbox(tmp_path, clock=clock)[0].posted()) == []


def test_it_is_bounded_and_gives_up_first_what_all_have(tmp_path):
    box, _ = outbox(tmp_path, config=OutboxConfig(max_messages=10))
    for _ in range(10):
        last = say(box)
    box.know(["b", "c"])
    with pytest.raises(DeniedError, match="no more fit"):
        say(box)
    box.acknowledge("b", last.position, 0)
    with pytest.raises(DeniedError):
        say(box)
    box.acknowledge("c", last.position - 1, 0)
    say(box)
    assert box.size[0] == 2


def test_bytes_are_bounded_too(tmp_path):
    box, _ = outbox(tmp_path, config=OutboxConfig(max_bytes=10_000))
    box.know(["b"])
    for _ in range(8):
        say(box, bytes(1000))
    with pytest.raises(DeniedError):
        say(box, bytes(1000))
    assert box.size[1] <= 10_000


def test_the_file_is_written_anew_when_most_of_it_is_past(tmp_path):
    clock = VirtualClock()
    box, _ = outbox(tmp_path, clock=clock)
    for _ in range(30):
        for _ in range(10):
            say(box, bytes(8000), ttl_ns=SECOND)
        stored(box)
    assert (tmp_path / "outbox").stat().st_size > 2 << 20
    clock.advance(2 * SECOND)
    box.expire()
    kept = say(box)
    stored(box)
    assert (tmp_path / "outbox").stat().st_size < 10_000
    box.close()
    assert [one.position for one in outbox(tmp_path, clock=clock)[0].posted()] == [kept.position]


def test_after_a_store_that_failed_the_next_one_stores_everything(tmp_path):
    box, _ = outbox(tmp_path)
    first = say(box)
    with file_limit(30), pytest.raises(DeniedError):
        stored(box)
    box.stale()
    assert box.unwritten
    second = say(box)
    stored(box)
    assert not box.unwritten
    box.close()
    again, _ = outbox(tmp_path)
    assert [one.position for one in again.posted()] == [first.position, second.position]


def test_with_a_full_disk_it_opens_all_the_same_and_reuses_no_number(tmp_path):
    box, _ = outbox(tmp_path)
    position = say(box).position
    stored(box)
    box.close()
    clock = VirtualClock()
    with file_limit(10):
        box, remarks = outbox(tmp_path, clock=clock)
        assert [one.code for one in remarks] == ["mesh.journal_unwritable"]
        first = say(box).position
        box.close()
        clock.advance(SECOND)
        box, _ = outbox(tmp_path, clock=clock)
        assert say(box).position > first > position
    stored(box)
    box.close()
    assert len(list(outbox(tmp_path, clock=clock)[0].posted())) == 2


def test_a_damaged_outbox_opens_says_so_and_goes_on(tmp_path):
    box, _ = outbox(tmp_path)
    for n in range(3):
        say(box, b"%d" % n)
        stored(box)
    box.close()
    path = tmp_path / "outbox"
    data = bytearray(path.read_bytes())
    data[data.find(b"CRJ1", 60) + 30] ^= 1
    path.write_bytes(data)
    box, remarks = outbox(tmp_path)
    assert [one.code for one in remarks] == ["mesh.journal_damaged"]
    assert (tmp_path / "outbox.damaged").read_bytes() == data
    assert len(list(box.posted())) == 2
    box.close()
    assert outbox(tmp_path)[1] == []


def test_keys_that_are_away_are_said_and_nothing_is_lost(tmp_path):
    sealer = Away()
    box, _ = outbox(tmp_path, sealer=sealer)
    say(box)
    stored(box)
    box.close()
    sealer.here = False
    box = Outbox(OutboxConfig(), tmp_path, sealer, VirtualClock(), 2)
    with pytest.raises(UnreachableError):
        box.open()
    sealer.here = True
    assert box.open() == []
    assert len(list(box.posted())) == 1


def test_who_left_is_forgotten_for_good(tmp_path):
    box, _ = outbox(tmp_path)
    say(box, to="b")
    box.know(["b", "c"])
    box.acknowledge("b", 1, 1)
    box.forget("b")
    stored(box)
    box.close()
    again, _ = outbox(tmp_path)
    assert "b" not in again.known()
    assert list(again.posted()) == []


def test_what_ends_first_is_looked_for_when_it_ends(tmp_path):
    clock = VirtualClock()
    box, _ = outbox(tmp_path, clock=clock)
    for ttl_s in (60, 20, 40):
        say(box, ttl_ns=ttl_s * SECOND)
    left = []
    for _ in range(6):
        box.expire()
        clock.advance(10 * SECOND)
        left.append(len(list(box.posted())))
    assert left == [3, 3, 2, 2, 1, 1]
    say(box, ttl_ns=SECOND)
    clock.advance(1 * SECOND)
    box.expire()
    assert not list(box.posted())
    box.close()


@pytest.mark.parametrize("lives", [1, 3_000])
def test_a_peer_that_takes_receipts_and_no_signatures_fills_no_room_of_others(tmp_path, lives):
    config = OutboxConfig(max_messages=2_000)
    box, _ = outbox(tmp_path, signs=True, config=config)
    box.know(["b", "c"])
    for number in range(3_000):
        last = say(box, to="b", replaces=f"receipt b {number % lives}").position
        box.sent["b"] = last
        box.acknowledge("b", last, 0)
    told = say(box)
    assert box.find(told.position) is not None
    assert box.find(last) is not None
    assert box.size[0] < 1_100
    box.close()


def test_what_is_superseded_gives_way_to_what_is_told_to_all(tmp_path):
    box, _ = outbox(tmp_path, signs=True, config=OutboxConfig(max_messages=20))
    box.know(["b", "c"])
    for _ in range(15):
        last = say(box, to="b", replaces="receipt b 1").position
        box.sent["b"] = last
    for _ in range(19):
        say(box)
    assert [one.position for one in box.posted() if one.to] == [last]
    box.close()
