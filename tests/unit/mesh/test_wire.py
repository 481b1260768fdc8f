import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.mesh.mail import bulletin

from cronos.errors import InputError
from cronos.mesh import wire
from cronos.types import MAX_FRAME_BYTES

KID, HASH = bytes(16), bytes(32)
ORIGIN = wire.Origin(2, "one", 0, HASH)
EVERY = [
    wire.Parcels(1, 0, (wire.Item(5, 1, 60_000, b"data"), wire.Item(6, 1, 60_000, b"", 3))),
    wire.Acked(1, 5, 4),
    wire.Signatures(1, KID, 3, bytes(4627), (wire.Leaf(5, 0, bytes(96)),)),
    wire.SigningKey(bytes(2592)),
    wire.Offer(ORIGIN, anew=True),
    wire.Offer(None),
    wire.Standing(ORIGIN, 7, HASH, "full", {"epochs": HASH}),
    wire.Rows(1, (b"\x01sealed",), HASH),
    wire.Piece("epochs", HASH, 10, 0, bytes(10)),
    wire.Give(1, "epochs"),
]


@pytest.mark.parametrize("message", EVERY, ids=lambda one: type(one).__name__)
def test_every_message_survives_its_frame(message):
    assert wire.unpack(wire.pack(message)) == message


def packed(*fields):
    return b"\x01" + msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x02" + wire.pack(EVERY[1])[1:],
        b"\x01\xc1",
        packed("z", 1),
        packed("a", -1, 0, 0),
        packed("a", 1 << 63, 0, 0),
        packed("p", 1, 0, ()),
        packed("p", 1, 0, ((1, 1, 1, bytes(wire.MAX_MESSAGE_BYTES + 1), 0),)),
        packed("p", 1, 0, ((1, 1, 1, b"", 0),) * (wire.MAX_ITEMS + 1)),
        packed("s", 1, bytes(15), 1, b"", ((1, 0, b""),)),
        packed("s", 1, KID, 1, b"", ((1, 1 << 16, b""),)),
        packed("k", bytes(2591)),
        packed("t", None, 0, bytes(31)),
        packed("r", 1, (), HASH),
        packed("f", "x" * 201, HASH, 0, 0, b""),
        b"\x01" + b"\x91" * 5_000,
        bytes([1]) + bytes(MAX_FRAME_BYTES),
    ],
)
def test_what_is_beyond_a_bound_is_no_message(data):
    with pytest.raises(InputError) as caught:
        wire.unpack(data)
    assert caught.value.code == "mesh.bad_frame"


def test_fields_that_a_later_version_appends_are_passed_over():
    assert wire.unpack(packed("a", 1, 5, 4, "later")) == wire.Acked(1, 5, 4)


def test_the_largest_frames_fit_the_mesh():
    leaves = tuple(wire.Leaf(1 << 61, 65_535, bytes(768)) for _ in range(wire.MAX_LEAVES))
    largest = wire.Signatures(1 << 62, KID, 1 << 16, bytes(4627), leaves)
    assert len(wire.pack(largest)) <= MAX_FRAME_BYTES


def test_a_bulletin_is_its_speakers_under_ids_that_can_be_remembered():
    own = bulletin("two", 1)
    assert wire.is_own(own, "two")
    assert not wire.is_own(own, "one")
    # Under these a member would write into, or release, what another one has opened.
    for theirs in ("one-1-1", "two-more-1-1", ""):
        assert not wire.is_own(replace(own, incident_id=theirs), "two")
    for field in ("bulletin_id", "incident_id"):
        assert not wire.is_own(replace(own, **{field: "two-1-" + 200 * "1"}), "two")
