"""What nodes say about bulk comes back as it was, and whatever else is written is refused."""

import random

import pytest

from cronos.errors import InputError
from cronos.mesh.enginewire import (
    BEGIN,
    LANES,
    MAGIC,
    MORE,
    WHOLE,
    Arrived,
    Hello,
    Keys,
    Notice,
    Part,
    pack,
    unpack,
)
from cronos.types import Lane

SAID = [
    Hello(0),
    Hello((1 << 64) - 1),
    Keys(b""),
    Keys(b"\x01frame"),
    *(Notice(lane, 3, 9) for lane in LANES),
    Arrived(Lane.BULK, 1 << 62, 7),
    Part(Lane.RECORDS, 5, 0, BEGIN, b""),
    Part(Lane.BULK, 5, 1, MORE, bytes(range(256))),
    Part(Lane.BULK, 5, 2, WHOLE, b"end"),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
def test_what_is_said_comes_back_as_it_was(said):
    assert unpack(pack(said)) == said


def test_what_is_cut_or_lengthened_is_refused_save_where_bytes_follow():
    for said in SAID:
        frame = pack(said)
        for end in range(len(MAGIC) + 1):
            with pytest.raises(InputError):
                unpack(frame[:end])
        if isinstance(said, Hello | Notice | Arrived):
            for other in (frame[:-1], frame + b"\0"):
                with pytest.raises(InputError):
                    unpack(other)


def test_no_bytes_of_strangers_break_it():
    drawn = random.Random(6)
    for _ in range(5_000):
        body = drawn.randbytes(drawn.randrange(40))
        try:
            said = unpack(MAGIC + body)
        except InputError:
            continue
        assert unpack(pack(said)) == said
