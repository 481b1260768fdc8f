"""Words of the wire: what is read, what is refused, and which version two nodes use."""

import msgspec
import pytest

from cronos.errors import DeniedError
from cronos.mesh import streams_wire as wire
from cronos.types import MAX_FRAME_BYTES, Lane

LIMITS = (1, 2, 3, 4, 5)
WORDS = [
    wire.Hello(2, "alpha", "alpha-1-mesh1.1", 7, ("beta-1-mesh1.3", 12), LIMITS, bytes(16)),
    wire.Welcome(2, "beta", "beta-1-mesh1.3", 1, ("", 0), LIMITS, (b"leaf", b"issuer")),
    wire.Batch(8, 12, LIMITS, [(0, [b"threat", b""]), (4, [b"bulk"])]),
    wire.Beat(123, answer=True),
    wire.Proof(b"welcome", b"signature"),
]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: type(word).__name__)
def test_words_survive_the_wire(word):
    assert wire.decode(wire.encode(word)) == word


@pytest.mark.parametrize("word", WORDS, ids=lambda word: type(word).__name__)
def test_what_a_later_version_appends_is_left_out(word):
    longer = [*msgspec.msgpack.decode(wire.encode(word)), "something new"]
    assert wire.decode(wire.encode(longer)) == word


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1",
        wire.encode([99, 1]),
        wire.encode([3, -1, 0, LIMITS, []]),
        wire.encode([3, 1, 0, (1, 2, 3, 4), []]),
        wire.encode([3, 1, 0, LIMITS, [(5, [b"no such lane"])]]),
        wire.encode([3, 1, 0, LIMITS, [(0, ["text"])]]),
        wire.encode([3, 1, 0, LIMITS, [(0, [bytes(MAX_FRAME_BYTES + 1)])]]),
        wire.encode([3, 1, 0, LIMITS, [(0, [b""] * (wire.MOST_MESSAGES + 1))]]),
        wire.encode([1, 2, "", "s", 1, ("", 0), LIMITS, bytes(16)]),
        wire.encode([1, 2, "alpha", "s", 1, ("", 0), LIMITS, bytes(15)]),
        b"\x91" * 100_000,
    ],
)
def test_what_is_no_word_is_refused(data):
    with pytest.raises(DeniedError) as refused:
        wire.decode(data)
    assert refused.value.code == "mesh.broken_stream"


def test_the_lanes_stand_in_the_order_of_their_urgency():
    assert wire.LANES[: wire.URGENT] == (Lane.THREAT, Lane.KEYS, Lane.MEMBERS)
    assert wire.LANES[wire.URGENT :] == (Lane.RECORDS, Lane.BULK)


def test_the_lower_version_is_used_and_no_more_than_one_step_is_bridged():
    assert wire.agreed(2, 2) == 2
    assert wire.agreed(2, 1) == 1
    assert wire.agreed(1, 2) == 1
    assert wire.agreed(2, 9) == 2
    assert wire.agreed(3, 2) == 2
    with pytest.raises(DeniedError) as refused:
        wire.agreed(3, 1)
    assert refused.value.code == "mesh.old_version"
