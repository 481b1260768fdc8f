"""What discovery finds out."""

import msgspec

from cronos.discover.messages import Message
from cronos.discover.model import Claim, Discovery, Field, Limits, Sem


def test_the_meanings_are_those_that_predictions_may_name():
    assert [sem.value for sem in Sem] == (
        [
            "length",
            "checksum",
            "timestamp",
            "count",
            "id_seq",
            "enum_flags",
            "address",
            "text",
            "float",
            "value",
            "bytes",
        ]
    )
    assert all(sem.name == sem.value.upper() for sem in Sem)


def test_a_discovery_survives_its_encoding():
    claim = Claim(
        "length.rest", Sem.LENGTH, ((0, 1), None), 0.5, 1e-9, {"endian": "be", "width": 1}
    )
    found = Discovery(
        messages=(Message(b"\x01a"), Message(b"b")),
        types=(0, 1),
        fields=((Field(0, 1, Sem.LENGTH, 0.9, 0), Field(1, 1, Sem.TEXT, 0.5)), ()),
        claims=(claim,),
        remarks=("One message was left out.",),
    )

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Discovery) == found


def test_limits_have_the_defaults_that_the_command_line_shows():
    assert Limits() == Limits(max_seconds=30.0, max_memory_mb=1024, max_messages=1000)
