"""Connections: who is the client, what follows what, and what was lost."""

from cronos.discover.conversations import Connection, Ports
from cronos.link.packets import ACK, SYN, TCP, UDP

KEY = bytes((10, 0, 0, 9, 10, 0, 0, 1)) + (40_000).to_bytes(2, "big") + (502).to_bytes(2, "big")
BACK = bytes((10, 0, 0, 1, 10, 0, 0, 9)) + (502).to_bytes(2, "big") + (40_000).to_bytes(2, "big")


def packet(key, seq, data=b"", flags=ACK, ack=0):
    return TCP, key, seq, ack, flags, len(data), data


def said(connection, forward=True):
    return [
        (run.side, b"".join(segment.data for segment in run.segments))
        for run in connection.runs(0, forward=forward)
    ]


def test_the_handshake_says_who_the_client_is_whoever_is_seen_first():
    seen_first = Connection(KEY)
    seen_first.segment(packet(KEY, 5, flags=SYN), 0.0)
    answering = Connection(BACK)
    answering.segment(packet(BACK, 9, flags=SYN | ACK), 0.0)

    assert seen_first.client_first is True
    assert answering.client_first is False
    assert Connection(KEY).client_first is None


def test_retransmissions_and_packets_out_of_order_change_nothing():
    connection = Connection(KEY)
    for seq, data in ((1, b"ab"), (5, b"ef"), (3, b"cd"), (1, b"ab"), (3, b"cdef"), (7, b"g")):
        connection.segment(packet(KEY, seq, data), 1.0)

    assert said(connection) == [("c2s", b"abcdefg")]


def test_behind_a_hole_a_new_run_begins():
    connection = Connection(KEY)
    connection.segment(packet(KEY, 1, b"ab"), 1.0)
    connection.segment(packet(KEY, 10, b"cd"), 1.1)
    connection.finish(2.0)

    assert said(connection) == [("c2s", b"ab"), ("c2s", b"cd")]
    assert connection.sides[0].holes == 1


def test_what_the_receiver_acknowledged_is_not_waited_for():
    connection = Connection(KEY)
    connection.segment(packet(BACK, 1, b"x"), 0.9)
    connection.segment(packet(KEY, 1, b"ab"), 1.0)
    connection.segment(packet(KEY, 10, b"cd"), 1.1)
    connection.segment(packet(BACK, 2, ack=12), 1.2)

    assert ("c2s", b"cd") in said(connection)


def test_a_segment_that_follows_an_answer_takes_its_turn():
    connection = Connection(KEY)
    for key, seq, data in ((KEY, 1, b"a"), (KEY, 2, b"b"), (BACK, 1, b"x"), (KEY, 3, b"c")):
        connection.segment(packet(key, seq, data), 1.0)
    there, back = connection.runs(0, forward=True)

    assert [segment.turn for segment in there.segments] == [True, False, True]
    assert [segment.turn for segment in back.segments] == [True]
    assert (back.number, back.side) == (1, "s2c")


def test_a_later_handshake_between_the_same_ends_is_another_connection():
    connection = Connection(KEY)
    opening = packet(KEY, 5, flags=SYN)
    connection.segment(opening, 0.0)
    assert not connection.starts_anew(opening)
    connection.segment(packet(KEY, 6, b"ab"), 0.1)

    assert connection.starts_anew(packet(KEY, 900, flags=SYN))
    assert not connection.starts_anew(packet(BACK, 900, flags=SYN | ACK))


def test_the_server_is_whom_many_speak_to_or_who_has_a_services_port_or_spoke_second():
    ports = Ports()
    for client in range(3):
        key = (
            bytes((10, 0, 1, client, 10, 0, 0, 1))
            + (8_000).to_bytes(2, "big")
            + (9_000).to_bytes(2, "big")
        )
        ports.note(UDP, key)

    assert ports.server_second(UDP, key)
    assert not ports.server_second(UDP, key[4:8] + key[:4] + key[10:] + key[8:10])
    like = KEY[:8] + (5_000).to_bytes(2, "big") + (4_000).to_bytes(2, "big")
    assert Ports().server_second(TCP, like)
    assert Ports().server_second(TCP, KEY)
    assert not Ports().server_second(TCP, BACK)
