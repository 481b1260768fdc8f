"""What memberships say over streams: read back as written, bounded, and refused when it is not."""

import pytest

from cronos.errors import InputError
from cronos.mesh.memberwire import (
    MAX_HAVE,
    MAX_WANT,
    VERSION,
    Agreed,
    Card,
    Confirmed,
    Have,
    Holding,
    Notes,
    Offer,
    Want,
    pack,
    unpack,
)
from cronos.types import MAX_FRAME_BYTES, Ack, Peer, Ping

EACH = [
    Card(b"card"),
    Have((Holding("alpha", 7),)),
    Want(("alpha", "beta")),
    Notes(Ping(0, "alpha", (Peer("beta", "b:1", claim=b"x"),))),
    Notes(Ack(3, "alpha")),
    Offer(bytes(1665), 5, bytes(4627)),
    Agreed(b"packet"),
    Confirmed(b"1234"),
]


@pytest.mark.parametrize("message", EACH, ids=lambda one: type(one).__name__)
def test_each_is_read_back(message):
    assert unpack(pack(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes((VERSION,)),
        b"\x02" + pack(Card(b"x"))[1:],
        pack(Card(b"x"))[:-1],
        pack(Card(b"x")) + b"\0",
        pack(Card(bytes(100_000))),
        pack(Want(tuple(f"m{n}" for n in range(MAX_WANT + 1)))),
        pack(Have(tuple(Holding(f"m{n}", 1) for n in range(MAX_HAVE + 1)))),
        pack(Have((Holding("m" * 64, 1),))),
        pack(Have((Holding("m", -1),))),
        pack(Offer(b"short", 5, bytes(4627))),
        bytes((VERSION,)) + b"\x91" * 2000,
        bytes((VERSION,)) + bytes(MAX_FRAME_BYTES),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(InputError) as refused:
        unpack(data)

    assert refused.value.code == "mesh.bad_frame"
