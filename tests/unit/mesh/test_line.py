import asyncio

from cronos.mesh.line import RESEND_NS, Line


def test_what_is_held_is_on_its_way_no_more():
    line = Line(7)
    assert line.up
    assert line.wake.is_set()
    assert (line.since_ns, line.moved_ns, line.patience_ns) == (7, 7, RESEND_NS)
    line.flying.extend([3, 5, 9])
    line.landed(5)
    assert list(line.flying) == [9]


def test_a_line_that_begins_again_sends_and_announces_all_from_there():
    line = Line(0)
    line.sent, line.signed = 9, 8
    line.flying.append(9)
    line.kids.add(b"key")
    line.rewind(4, 2)
    assert (line.sent, line.signed) == (4, 2)
    assert not line.flying
    assert not line.kids
    assert isinstance(line.wake, asyncio.Event)


def test_a_flood_passes_when_nothing_comes_and_holds_up_nothing_for_long():
    line, ms = Line(0), 1_000_000
    assert not line.is_flooded(5 * ms)
    line.flooded(1_000 * ms)
    assert line.is_flooded(1_299 * ms)
    assert not line.is_flooded(1_300 * ms)
    for now in range(1_100, 3_000, 100):
        line.flooded(now * ms)
    assert line.is_flooded(2_499 * ms)
    assert not line.is_flooded(2_500 * ms)
    line.flooded(4_000 * ms)
    assert line.is_flooded(4_001 * ms)
