"""Parts of a discovery that find next to nothing, quickly: for tests of what surrounds them."""

import sys

from msgspec.structs import replace

from cronos.discover import ir
from cronos.discover.child import serve
from cronos.discover.learned import Validation, Verdict
from cronos.discover.model import Claim, Discovery, Field, Sem
from cronos.discover.phases import Known, Parts
from cronos.runtime.world import SystemClock

GRAMMAR = ir.Grammar(
    "plain",
    (
        ir.MessageType(
            "message",
            ir.Seq(
                (
                    ir.Number("kind", 1, Sem.ENUM_FLAGS, known=((1, 0.5), (2, 0.5)), strict=True),
                    ir.Data("body", ir.Size("rest")),
                )
            ),
            members=(7,),
        ),
    ),
)


def classify(_messages):
    return Known(Verdict.UNKNOWN)


def discover(messages, limits, clock, progress):
    """One byte, then the rest; typed by the first byte."""
    progress("boundaries and meaning", 0.5)
    fields = []
    for message in messages:
        first = Field(0, 1, Sem.ENUM_FLAGS, 0.9, 0)
        rest = Field(1, len(message.payload) - 1, Sem.BYTES, 0.4)
        fields.append((first, rest) if rest.length else (first,))
    claim = Claim("keyword", Sem.ENUM_FLAGS, tuple((0, 1) for _ in messages), 1.0, 1e-6)
    kinds = tuple(message.payload[0] for message in messages)
    return Discovery(tuple(messages), kinds, tuple(fields), (claim,), ("A plain remark.",))


def first(messages):
    return discover(messages, None, None, lambda *_: None)


def infer(_found):
    return ir.encode(GRAMMAR)


def export(grammar):
    return {"parser.txt": grammar[:9]}


def verify(_grammar, _found):
    return Validation(10, 1.0, 1.0, 1.0)


PARTS = Parts(classify, first, discover, infer, export, verify)


def slow(_messages, _limits, _clock, _progress):
    while True:
        pass


def greedy(_messages, _limits, _clock, _progress):
    return bytearray(8 << 30)


def broken(_messages, _limits, _clock, _progress):
    raise LookupError("secret")


def broken_first(_messages):
    raise LookupError("secret")


def unsound(messages, _limits, _clock, _progress):
    found = first(messages)
    return replace(found, types=found.types[1:])


def dying(_messages, _limits, _clock, _progress):
    import os  # noqa: PLC0415

    os._exit(9)


if __name__ == "__main__":
    engine = sys.argv[1]
    chosen = (
        {"first": broken_first} if engine == "broken_first" else {"discover": globals()[engine]}
    )
    serve(SystemClock(), lambda _: PARTS._replace(**chosen))
