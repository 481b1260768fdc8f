"""What goes into a frame: packed once for all, signatures after the flood."""

from tests.unit.mesh.mail import SECOND, bulletin
from tests.unit.mesh.test_outbox import outbox

from cronos.mesh import wire
from cronos.mesh.line import Line
from cronos.mesh.outbox import Message
from cronos.mesh.packing import Packing
from cronos.mesh.signing import Signing
from cronos.testing.clock import VirtualClock
from cronos.testing.tasks import InlineTasks
from cronos.types import encode


class Proofs:
    """Stands for what has been signed: one batch with everything in it."""

    def __init__(self, batch):
        self.batch = batch

    def proof(self, position):
        del position
        return self.batch, 0


def made(folder, signing=None):
    clock = VirtualClock()
    box, _ = outbox(folder, clock=clock)
    unsigned = Signing(None, box, InlineTasks(), lambda: None, lambda _error: None)
    return clock, box, Packing(box, signing or unsigned, clock)


def say(box, count, to="", first=1):
    for number in range(first, first + count):
        data = encode(bulletin("one", number))
        box.add(Message(1, data, 60 * SECOND, to))


def items(frame):
    return wire.unpack(frame.data).items


def test_peers_that_stand_alike_get_the_same_bytes_for_as_long_as_these_are_fresh(tmp_path):
    clock, box, packing = made(tmp_path)
    say(box, 40)
    first = packing.messages("b", Line(0))
    assert packing.messages("c", Line(0)) is first
    clock.advance(5_000_000)
    later = packing.messages("d", Line(0))
    assert later is not first
    assert [one.position for one in items(later)] == list(first.positions)
    assert items(first)[0].remaining_ms - items(later)[0].remaining_ms == 5
    box.close()


def test_what_is_for_one_alone_goes_to_that_one_alone(tmp_path):
    _, box, packing = made(tmp_path)
    say(box, 2)
    say(box, 1, to="c", first=3)
    say(box, 1, first=4)
    assert len(items(packing.messages("b", Line(0)))) == 3
    assert len(items(packing.messages("c", Line(0)))) == 4
    box.close()


def test_a_few_fit_a_datagram_and_many_fill_a_frame_each_once(tmp_path):
    _, box, packing = made(tmp_path)
    say(box, 10)
    few = packing.messages("b", Line(0))
    assert 0 < len(few.positions) < 10
    assert len(few.data) <= 1_100
    say(box, 990, first=11)
    line, seen, longest = Line(0), [], 0
    while (frame := packing.messages("b", line)) is not None:
        seen += frame.positions
        longest = max(longest, len(frame.data))
        line.sent = frame.positions[-1]
    assert seen == [one.position for one in box.posted()]
    assert 30_000 < longest <= (48 << 10) + 1_000
    box.close()


def test_signatures_follow_what_is_held_and_wait_for_a_flood_to_pass(tmp_path):
    batch = wire.Signatures(1, bytes(16), 1, b"", (wire.Leaf(1, 0, b""),))
    batch = type("Signed", (), {"paths": (b"",), "batch": batch})
    clock, box, packing = made(tmp_path, Proofs(batch))
    say(box, 17)
    line = Line(0)
    last = packing.messages("b", line).positions[-1]
    assert packing.signatures("b", line) is None  # nothing is held
    box.acknowledge("b", last, 0)
    assert packing.signatures("b", line) is None
    clock.advance(SECOND)
    _, leaves = packing.signatures("b", line)
    assert len(leaves) == 17
    line.signed = last
    assert packing.signatures("b", line) is None
    box.close()


def test_two_peers_that_are_owed_different_messages_between_the_same_get_their_own(tmp_path):
    _, box, packing = made(tmp_path)
    say(box, 2)
    own = {}
    for number, peer in enumerate(("b", "c"), 3):
        say(box, 1, to=peer, first=number)
        own[peer] = list(box.posted())[-1].position
    say(box, 1, first=5)
    for peer, position in own.items():
        found = packing.messages(peer, Line(0)).positions
        assert position in found
        assert len(found) == 4
    box.close()
