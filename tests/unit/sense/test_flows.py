"""Conversations, packet by packet, and what they prove."""

import struct

from cronos.link.packets import reverse
from cronos.sense.flows import Event, FlowTable, Loss

SYN, ACK, FIN, RST, DATA = 0x02, 0x10, 0x01, 0x04, 0x18
SECOND = 1_000_000_000
A, B = bytes((192, 0, 2, 7)), bytes((198, 51, 100, 2))


def key(port: int = 443, client_port: int = 40_000, client: bytes = A) -> bytes:
    return client + B + struct.pack("!HH", client_port, port)


class Wire:
    """A table fed packet after packet, a millisecond apart."""

    def __init__(self, max_flows: int = 100) -> None:
        self.table = FlowTable(max_flows, 3 * SECOND)
        self.time_ns = 1000 * SECOND
        self.told: list[Event | Loss] = []

    def send(self, key: bytes, flags: int, seq: int, ack: int = 0, data: bytes = b"") -> None:
        self.time_ns += 1_000_000
        self.table.packet += 1
        self.table.advance(self.time_ns)
        self.table.segment((6, key, seq, ack, flags, len(data), data))

    def datagram(self, key: bytes, data: bytes = b"", protocol: int = 17) -> None:
        self.table.packet += 1
        self.table.advance(self.time_ns)
        self.table.datagram((protocol, key, 0, 0, 0, len(data), data))

    def handshake(self, key: bytes) -> None:
        self.send(key, SYN, 100)
        self.send(reverse(key), SYN | ACK, 500, 101)
        self.send(key, ACK, 101, 501)

    def statuses(self) -> list[tuple[object, bool]]:
        self.told += self.table.events
        self.table.events = []
        return [(e.fields.get("status"), e.proven) for e in self.told if isinstance(e, Event)]


def test_a_completed_handshake_is_open_and_proven_and_its_end_has_totals() -> None:
    wire = Wire()
    wire.handshake(key())
    wire.send(key(), DATA, 101, 501, b"x" * 10)
    wire.send(reverse(key()), DATA, 501, 111, b"y" * 30)
    wire.send(key(), DATA | FIN, 111, 531, b"z")
    wire.send(reverse(key()), FIN | ACK, 531, 113, b"bye")
    wire.send(key(), ACK, 113, 535)
    assert wire.statuses() == [("open", True), ("closed", True)]
    closed = wire.told[-1]
    assert isinstance(closed, Event)
    assert closed.key == key()
    assert closed.fields["traffic.bytes_out"] == 11
    assert closed.fields["traffic.bytes_in"] == 33


def test_a_forged_source_that_guesses_the_last_acknowledgement_proves_nothing() -> None:
    wire = Wire()
    wire.send(key(), SYN, 100)
    wire.send(reverse(key()), SYN | ACK, 500, 101)
    wire.send(key(), ACK, 101, 999)
    wire.send(key(), DATA, 101, 502, b"attack")
    assert wire.statuses() == []
    wire.send(key(), RST, 101)
    assert wire.statuses() == [("closed", False)]


def test_a_reset_answers_only_the_syn_it_acknowledges() -> None:
    wire = Wire()
    wire.send(key(), SYN, 100)
    wire.send(reverse(key()), RST | ACK, 0, 77)
    assert wire.statuses() == []
    wire.send(reverse(key()), RST | ACK, 0, 101)
    assert wire.statuses() == [("refused", False)]


def test_silence_is_told_when_the_capture_has_waited_long_enough_and_dated_to_the_syn() -> None:
    wire = Wire()
    wire.send(key(), SYN, 100)
    asked_ns = wire.time_ns
    wire.time_ns += 2 * SECOND
    wire.send(key(port=81), SYN, 100)
    assert wire.statuses() == []
    wire.time_ns += 1 * SECOND
    wire.send(key(port=82), SYN, 100)
    assert wire.statuses() == [("no_answer", False)]
    event = wire.told[0]
    assert isinstance(event, Event)
    assert (event.time_ns, event.packet) == (asked_ns, 1)
    wire.table.finish()
    assert len(wire.statuses()) == 3


def test_a_jump_of_the_capture_clock_gives_up_what_waits_and_goes_on() -> None:
    wire = Wire()
    wire.send(key(), SYN, 100)
    wire.time_ns -= 500 * SECOND
    wire.handshake(key(port=81))
    assert wire.statuses() == [("no_answer", False), ("open", True)]


def test_a_step_back_of_some_milliseconds_is_ordinary() -> None:
    wire = Wire()
    wire.send(key(), SYN, 100)
    wire.time_ns -= 50_000_000
    wire.send(reverse(key()), SYN | ACK, 500, 101)
    wire.send(key(), ACK, 101, 501)
    assert wire.statuses() == [("open", True)]


def test_a_connection_captured_from_its_middle_is_proven_by_what_its_client_received() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.send(reverse(plc), DATA, 9000, 50, b"\0" * 4)
    wire.send(plc, DATA, 50, 9003)
    assert wire.statuses() == []
    wire.send(plc, ACK, 50, 9004)
    assert wire.statuses() == [("open", True)]
    assert isinstance(wire.told[0], Event)
    assert wire.told[0].key == plc


def test_a_syn_alone_does_not_disturb_a_living_connection_but_its_answer_begins_another() -> None:
    wire = Wire()
    wire.handshake(key())
    wire.send(key(), SYN, 7000)
    wire.send(reverse(key()), ACK, 501, 101)
    wire.send(key(), DATA, 101, 501, b"still here")
    assert wire.statuses() == [("open", True)]
    wire.send(reverse(key()), SYN | ACK, 800, 7001)
    wire.send(key(), ACK, 7001, 801)
    assert wire.statuses() == [("open", True), ("open", True)]


def test_a_port_used_again_after_the_end_is_a_new_connection() -> None:
    wire = Wire()
    for _ in range(2):
        wire.handshake(key())
        wire.send(reverse(key()), RST, 501)
    assert wire.statuses() == [("open", True), ("closed", True)] * 2


def modbus(value: int) -> bytes:
    return struct.pack(">HHHBBHH", value, 0, 6, 1, 6, 3, value)


def activities(wire: Wire) -> list[tuple[str, object]]:
    wire.statuses()
    return [
        (e.activity, e.fields.get("modbus.value"))
        for e in wire.told
        if isinstance(e, Event) and e.activity == "modbus"
    ]


def test_modbus_out_of_order_and_repeated_is_told_once_in_order() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 113, 501, modbus(2))
    wire.send(plc, DATA, 101, 501, modbus(1))
    wire.send(plc, DATA, 101, 501, modbus(9))
    wire.send(plc, DATA, 125, 501, modbus(3))
    assert activities(wire) == [("modbus", 1), ("modbus", 2), ("modbus", 3)]
    assert all(e.proven for e in wire.told if isinstance(e, Event))


def test_a_segment_missing_from_the_capture_is_a_loss_and_reading_goes_on() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 113, 501, modbus(2))
    wire.time_ns += 2 * SECOND
    wire.send(plc, DATA, 125, 501, modbus(3))
    assert activities(wire) == [("modbus", 2), ("modbus", 3)]
    losses = [one for one in wire.told if isinstance(one, Loss)]
    assert [loss.reason for loss in losses] == [
        "12 bytes of the client are missing from the capture."
    ]


def test_what_waits_behind_a_hole_is_read_when_the_capture_ends() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 113, 501, modbus(2))
    wire.table.finish()
    assert activities(wire) == [("modbus", 2)]


def test_data_sent_blindly_into_an_unanswered_handshake_is_not_read() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.send(plc, SYN, 100)
    wire.send(reverse(plc), SYN | ACK, 500, 101)
    wire.send(plc, DATA, 101, 4242, modbus(1))
    assert activities(wire) == []


def test_a_flow_of_another_protocol_does_not_fill_the_report() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    for number in range(50):
        wire.send(plc, DATA, 101 + 100 * number, 501, b"\xff" * 100)
    wire.statuses()
    assert len([one for one in wire.told if isinstance(one, Loss)]) == 8


def test_a_datagram_flow_is_told_once_and_never_proven() -> None:
    wire = Wire()
    for one in (key(), reverse(key()), key()):
        wire.datagram(one)
    wire.datagram(A + B, protocol=1)
    wire.datagram(B + A, protocol=1)
    assert wire.statuses() == [("datagram", False)] * 2


def test_a_dns_answer_names_the_server_even_if_its_question_was_not_captured() -> None:
    wire = Wire()
    answer = struct.pack(">HHHHHH", 7, 0x8180, 1, 0, 0, 0) + b"\1x\0" + struct.pack(">HH", 1, 1)
    wire.datagram(reverse(key(port=53)), answer)
    wire.statuses()
    assert [e.activity for e in wire.told if isinstance(e, Event)] == [
        "network_activity",
        "dns_activity",
    ]
    assert all(e.key == key(port=53) for e in wire.told)


def test_a_flood_of_syns_keeps_the_table_at_its_bound_and_loses_none() -> None:
    wire = Wire(max_flows=50)
    for number in range(500):
        wire.send(key(client_port=1000 + number), SYN, number)
        wire.datagram(key(client_port=1000 + number))
    assert len(wire.table) == 50
    assert wire.statuses().count(("no_answer", False)) == 450
    wire.table.finish()
    assert wire.statuses().count(("no_answer", False)) == 500
    assert len(wire.table) == 0


def test_more_connections_than_decoders_are_still_read_each_from_where_it_is() -> None:
    wire = Wire(max_flows=10_000)
    keys = [key(port=502, client_port=1000 + n) for n in range(5000)]
    for one in keys:
        wire.handshake(one)
        wire.send(one, DATA, 101, 501, modbus(1))
    for one in keys:
        wire.send(one, DATA, 113, 501, modbus(2))
    assert len(activities(wire)) == 10_000
    assert not [one for one in wire.told if isinstance(one, Loss)]


def told_modbus(wire: Wire) -> list[tuple[object, bool]]:
    wire.statuses()
    return [
        (e.fields.get("modbus.value"), e.proven)
        for e in wire.told
        if isinstance(e, Event) and e.activity == "modbus"
    ]


def test_one_who_only_names_the_client_speaks_for_nobody_and_disturbs_nothing() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 101, 501, modbus(1))
    wire.send(reverse(plc), DATA, 501, 113, modbus(1))
    for number in range(64):
        wire.send(plc, DATA, number << 26, number << 25, modbus(666))
        wire.send(plc, DATA, (number << 26) + 9, 0, modbus(666))
    wire.time_ns += 2 * SECOND
    wire.send(plc, DATA, 113, 513, modbus(2))
    wire.send(reverse(plc), DATA, 513, 125, modbus(2))
    wire.table.finish()
    assert told_modbus(wire) == [(1, True), (1, True), (2, True), (2, True)]


def test_a_forger_inside_the_window_still_needs_what_the_server_sent() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 113, 501 + (1 << 24), modbus(666))
    wire.time_ns += 2 * SECOND
    wire.send(plc, DATA, 101, 501, modbus(1))
    wire.send(plc, DATA, 113, 501, modbus(2))
    wire.table.finish()
    assert told_modbus(wire) == [(1, True), (2, True)]


def test_bytes_behind_a_hole_are_doubted_until_the_server_took_what_lies_there() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 113, 501, modbus(2))
    wire.time_ns += 2 * SECOND
    wire.send(plc, DATA, 125, 501, modbus(3))
    wire.send(plc, DATA, 137, 501, modbus(4))
    wire.send(reverse(plc), ACK, 501, 149)
    wire.send(plc, DATA, 149, 501, modbus(5))
    wire.send(plc, DATA, 161, 501, modbus(6))
    assert told_modbus(wire) == [(2, False), (3, False), (4, False), (5, False), (6, True)]


def test_what_the_capture_lost_and_the_server_took_is_no_doubt_and_no_wait() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 113, 501, modbus(2))
    wire.send(reverse(plc), ACK, 501, 125)
    assert told_modbus(wire) == [(2, True)]
    far = 125 + (8 << 20)
    wire.send(plc, DATA, far, 501, modbus(3))
    wire.send(reverse(plc), ACK, 501, far + 12)
    assert told_modbus(wire) == [(2, True), (3, True)]


def test_a_hole_that_the_server_still_waits_for_is_not_passed_over() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 102, 501, modbus(666)[1:])
    wire.send(reverse(plc), ACK, 501, 101)
    wire.time_ns += 2 * SECOND
    wire.send(plc, DATA, 101, 501, modbus(1)[:1])
    assert [proven for _, proven in told_modbus(wire)] == [True]


def test_a_forged_reset_or_end_does_not_end_a_connection_that_is_read() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 101, 501, modbus(1))
    for flags in (RST, FIN | ACK):
        wire.send(plc, flags, 999_999, 77)
        wire.send(reverse(plc), flags, 999_999, 77)
    wire.send(plc, RST, 113)  # in order, but it may never have arrived
    wire.send(plc, SYN, 9)
    wire.send(plc, DATA, 113, 501, modbus(2))
    assert told_modbus(wire) == [(1, True), (2, True)]


def test_nothing_after_the_end_of_a_connection_is_proven() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, FIN | ACK, 101, 501)
    wire.send(reverse(plc), FIN | ACK, 501, 102)
    wire.send(plc, DATA, 101, 502, modbus(1))
    assert wire.statuses()[:2] == [("open", True), ("closed", True)]
    assert told_modbus(wire) == [(1, False)]


def test_a_packet_before_the_answer_does_not_keep_a_handshake_from_being_proven() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.send(plc, SYN, 100)
    wire.send(plc, ACK, 99_999)
    wire.send(reverse(plc), SYN | ACK, 500, 101)
    wire.send(plc, ACK, 101, 501)
    for number in range(3):
        wire.send(plc, DATA, 101 + 12 * number, 500 + 12 * number, modbus(number))
        wire.send(reverse(plc), DATA, 501 + 12 * number, 113 + 12 * number, modbus(number))
    assert told_modbus(wire) == [(n, True) for n in (0, 0, 1, 1, 2, 2)]


def test_a_client_that_never_takes_the_last_byte_is_proven_by_the_server() -> None:
    wire = Wire()
    plc = key(port=502)
    wire.send(plc, DATA, 101, 500, modbus(1))
    wire.send(reverse(plc), DATA, 501, 113, modbus(1))
    wire.send(plc, DATA, 113, 512, modbus(2))
    assert told_modbus(wire) == [(1, False), (1, True), (2, True)]


def test_a_connection_whose_decoder_made_room_goes_on_just_where_it_was() -> None:
    wire = Wire(max_flows=10_000)
    plc = key(port=502)
    wire.handshake(plc)
    wire.send(plc, DATA, 101, 501, modbus(1))
    for number in range(4096):
        other = key(port=502, client_port=1000 + number)
        wire.handshake(other)
        wire.send(other, DATA, 101, 501, modbus(9))
    wire.send(plc, DATA, 5_000_000, 0, modbus(666))
    wire.send(plc, DATA, 113, 501, modbus(2))
    told = told_modbus(wire)
    assert (666, True) not in told
    assert told[-1] == (2, True)
