"""Names of leaves: working names while a grammar is inferred, then names that say what and where.

A field at a fixed place is called by its meaning and offset (`length_4`), another by its meaning
and a number (`value_x3`). The same name in two message types means the same kind of field.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from cronos.discover import ir
from cronos.discover.model import Sem

_SHORT: Final = {Sem.ID_SEQ: "id", Sem.ENUM_FLAGS: "kind", Sem.TIMESTAMP: "time"}
L = TypeVar("L", ir.Number, ir.Varint, ir.Data, ir.Until, ir.Checksum)


class Names:
    """Gives working names, and remembers at which offset of the message each leaf stands."""

    def __init__(self) -> None:
        self.count = 0
        self.places: dict[str, int] = {}

    def put(self, leaf: L, sem: Sem, place: int) -> L:
        """Give the leaf with a working name; `place` is -1 where it has no fixed offset."""
        self.count += 1
        name = f"t{self.count}"
        self.places[name] = place
        if isinstance(leaf, ir.Checksum):
            return msgspec.structs.replace(leaf, name=name)
        return msgspec.structs.replace(leaf, name=name, sem=sem)

    def move(self, known: int, change: Callable[[int], int]) -> None:
        """Move what was named since there were `known` names: it stands in blocks, say."""
        for number in range(known + 1, self.count + 1):
            place = self.places[f"t{number}"]
            self.places[f"t{number}"] = change(place) if place >= 0 else place


def ber_rule() -> ir.Node:
    """Give the rule of BER elements (X.690, definite lengths): what is constructed holds others."""
    value = ir.Switch(
        "ber_tag",
        (ir.Case((1,), ir.Repeat(ir.Call("ber")), 0.5),),
        0x20,
        ir.Data("ber_value", ir.Size("rest")),
    )
    return ir.Seq(
        (
            ir.Number("ber_tag", 1, Sem.ENUM_FLAGS),
            ir.Varint("ber_length", "ber", Sem.LENGTH),
            ir.Sized(ir.Size("field", 0, "ber_length"), value),
        )
    )


def named(
    bodies: Sequence[ir.Node], places: dict[str, int], taken: ir.Grammar | None = None
) -> list[ir.Node]:
    """Give the bodies with their final names, which agree with those of the grammar `taken`."""
    kinds: dict[str, tuple[object, ...]] = {}
    if taken is not None:
        kinds = {name: ir.kind_of(leaf) for name, leaf in ir.leaves(taken).items()}
    return [_named(body, places, kinds) for body in bodies]


def _named(body: ir.Node, places: dict[str, int], kinds: dict[str, tuple[object, ...]]) -> ir.Node:
    names: dict[str, str] = {}
    used: set[str] = set()
    loose = 0
    for node in ir.walk(body):
        if not isinstance(node, ir.LEAVES):
            continue
        sem = Sem.CHECKSUM if isinstance(node, ir.Checksum) else node.sem
        place = places.get(node.name, -1)
        if place < 0:
            loose += 1
        base = f"{_SHORT.get(sem, sem.value)}_{place if place >= 0 else f'x{loose}'}"
        kind = ir.kind_of(node)
        name, number = base, 1
        while name in used or kinds.get(name, kind) != kind:
            number += 1
            name = f"{base}_{number}"
        used.add(name)
        kinds[name] = kind
        names[node.name] = name
    return ir.rename_node(body, names)
