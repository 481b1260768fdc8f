"""A small protocol whose grammar is written by hand, and its messages."""

import struct

from cronos.discover import ir
from cronos.discover.model import Sem
from cronos.discover.profile import Profile

GRAMMAR = ir.Grammar(
    "pump",
    (
        ir.MessageType(
            "reading",
            ir.Seq(
                (
                    ir.Number("kind", 1, Sem.ENUM_FLAGS, known=((1, 1.0),), strict=True),
                    ir.Number("size", 2, Sem.LENGTH),
                    ir.Sized(
                        ir.Size("field", ref="size"),
                        ir.Seq(
                            (
                                ir.Number("level", 4, Sem.FLOAT),
                                ir.Data("tag", ir.Size("fixed", 4), Sem.TEXT),
                                ir.Repeat(ir.Seq((ir.Number("sample", 2),))),
                            )
                        ),
                    ),
                    ir.Checksum("sum", "sum8"),
                )
            ),
            probability=0.75,
            count=75,
            members=(0,),
        ),
        ir.MessageType(
            "note",
            ir.Seq(
                (
                    ir.Number("kind", 1, Sem.ENUM_FLAGS, known=((2, 1.0),), strict=True),
                    ir.Data("blob", ir.Size("rest"), Sem.BYTES),
                )
            ),
            probability=0.25,
            count=25,
            members=(1,),
        ),
    ),
)
PROFILE = Profile("pump", GRAMMAR, ("tcp/7000",), messages=100, reparsed=1.0)


def reading(level, tag=b"P-01", samples=(1, 2)):
    body = struct.pack(">f", level) + tag + b"".join(struct.pack(">H", n) for n in samples)
    data = b"\x01" + struct.pack(">H", len(body)) + body
    return data + bytes((sum(data) % 256,))


def note(blob=b"\xca\xfe"):
    return b"\x02" + blob
