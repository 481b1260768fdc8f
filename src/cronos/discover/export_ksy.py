"""Writes a grammar down as a Kaitai Struct specification (.ksy).

Kaitai cannot try one type after another, so the root takes the first whose strict values at fixed
places are there; each message type is also a type of its own (`type_0`, ...), to be used where one
knows better, by direction for instance. It knows structure and strict values; evidence and
checksums are the interpreter's. Needs Kaitai Struct 0.10 or newer.

Source: Kaitai Struct user guide (seq, repeat, switch-on, valid, _io, _parent).
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import yaml

from cronos.discover import ir
from cronos.discover.model import Sem
from cronos.errors import InputError

Spec: TypeAlias = dict[str, Any]

_LEFT: Final = "_io.size - _io.pos"
_BER: Final[Spec] = {
    "seq": [
        {"id": "first", "type": "u1", "valid": {"expr": "_ < 0x80 or (_ > 0x80 and _ < 0x85)"}},
        {"id": "more", "size": "first & 0x7f", "if": "first >= 0x80"},
    ],
    "instances": {
        "value": {
            "value": "first < 0x80 ? first : first == 0x81 ? more[0] : "
            "first == 0x82 ? more[0] * 256 + more[1] : "
            "first == 0x83 ? (more[0] * 256 + more[1]) * 256 + more[2] : "
            "((more[0] * 256 + more[1]) * 256 + more[2]) * 256 + more[3]"
        }
    },
}
_LEB128: Final[Spec] = {
    "seq": [{"id": "groups", "type": "u1", "repeat": "until", "repeat-until": "_ < 0x80"},
            {"id": "check", "size": 0, "valid": {"expr": "groups.size < 10"}}],
    "instances": {
        "value": {
            "value": " + ".join(
                [f"(groups.size > {n} ? (groups[{n}] & 0x7f) * {1 << 7 * n} : 0)" for n in range(9)]
            )
        }
    },
}  # fmt: skip


def render(grammar: ir.Grammar) -> str:
    """Give the specification as YAML.

    Raises:
        InputError: the grammar may not run, or an item that repeats may be empty.
    """
    return yaml.safe_dump(document(grammar), sort_keys=False, allow_unicode=False, width=100)


def document(grammar: ir.Grammar) -> Spec:
    """Give the specification as a tree of plain values."""
    ir.check(grammar)
    names = _names(grammar)
    writer = _Writer(names)
    for name, body in grammar.rules.items():
        writer.whole(f"rule_{name}", body, closed=False)
    guards: list[tuple[str, dict[str, Spec]]] = []
    for index, kind in enumerate(grammar.types):
        writer.whole(f"type_{index}", kind.body, closed=True)
        guards.append(_guard(kind.body))
    chosen = str(len(guards) - 1)
    for index in reversed(range(len(guards) - 1)):
        chosen = f"({guards[index][0]}) ? {index} : ({chosen})"
    places = {name: place for _, found in guards[:-1] for name, place in found.items()}
    cases = {index: f"type_{index}" for index in range(len(guards))}
    message: Spec = {"id": "message", "type": {"switch-on": "kind", "cases": cases}}
    return {
        "meta": {
            "id": _identifier(grammar.name),
            "title": f"{grammar.name}, learnt by Cronos",
            "endian": "be",
        },
        "seq": [message],
        "instances": {**places, "kind": {"value": chosen}},
        "types": writer.types,
    }


def _identifier(name: str) -> str:
    return name if name[0].isalpha() else f"x{name}"


def _names(grammar: ir.Grammar) -> dict[str, str]:
    """Give each leaf an identifier: letters first, and none twice."""
    taken: set[str] = set()
    names: dict[str, str] = {}
    for name in ir.leaves(grammar):
        one = _identifier(name)
        while one in taken:
            one += "_"
        taken.add(one)
        names[name] = one
    return names


def _guard(body: ir.Node) -> tuple[str, dict[str, Spec]]:
    """Give the condition that a type's strict values at fixed places make, and what it looks at."""
    tests: list[str] = []
    places: dict[str, Spec] = {}
    for leaf, at in _fixed(body):
        width = ir.width_of(leaf)
        if not leaf.strict:
            continue
        name = f"bytes_at_{at}_{width}"
        places[name] = {"pos": at, "size": width}
        known = " or ".join([f"{name} == {_array(value)}" for value in _raw(leaf)])
        tests.append(f"_io.size >= {at + width} and ({known})")
    return " and ".join(tests) or "true", places


def _fixed(body: ir.Node) -> Iterator[tuple[ir.Number | ir.Data, int]]:
    at, node = 0, body
    while isinstance(node, ir.Seq):
        inner: ir.Node = ir.Data("none", ir.Size("fixed"))
        for one in node.items:
            if isinstance(one, ir.Sized):
                inner = one.body
            if not isinstance(one, ir.Number | ir.Data) or not ir.width_of(one):
                break
            yield one, at
            at += ir.width_of(one)
        node = inner


def _raw(leaf: ir.Number | ir.Data) -> list[bytes]:
    """Give the known values as bytes."""
    if isinstance(leaf, ir.Data):
        return [value for value, _ in leaf.known]
    order: Final = "big" if leaf.endian == "be" else "little"
    return [value.to_bytes(leaf.width, order) for value, _ in leaf.known]


def _array(value: bytes) -> str:
    return f"[{', '.join(map(str, value))}]"


def _least(node: ir.Node) -> int:
    """Give the fewest bytes that a node can take, as far as it can be told."""
    match node:
        case ir.Number() | ir.Checksum():
            return ir.width_of(node)
        case ir.Varint() | ir.Call():
            return 1
        case ir.Data() | ir.Sized():
            return node.size.constant if node.size.of == "fixed" else 0
        case ir.Until():
            return len(node.delimiter) if node.include else 0
        case ir.Seq():
            return sum([_least(one) for one in node.items])
        case _:
            return 0


class _Writer:
    """Writes types; a frame holds the numbers of one type, the outermost first."""

    def __init__(self, names: dict[str, str]) -> None:
        self.types: dict[str, Spec] = {}
        self._names = names
        self._frames: list[dict[str, str]] = []
        self._spec: Spec = {}
        self._count = 0

    def whole(self, name: str, body: ir.Node, *, closed: bool) -> str:
        """Write a type; a `closed` one must use up its stream."""
        outer = self._spec
        spec: Spec = {"seq": []}
        self._spec = spec
        self.types[name] = spec
        self._frames.append({})
        self._node(body)
        if closed:
            self._put({"id": "all_is_used", "size": 0, "valid": {"expr": "_io.eof"}})
        self._frames.pop()
        self._spec = outer
        return name

    def _put(self, attribute: Spec) -> None:
        self._spec["seq"].append(attribute)

    def _instance(self, name: str, what: Spec) -> None:
        self._spec.setdefault("instances", {})[name] = what

    def _part(self, body: ir.Node, *, closed: bool) -> str:
        self._count += 1
        return self.whole(f"part_{self._count}", body, closed=closed)

    def _ref(self, name: str) -> str:
        for up, frame in enumerate(reversed(self._frames)):
            if name in frame:
                return "_parent." * up + frame[name]
        raise InputError(
            "discover.grammar_refused", f"{name} is out of reach.", "Correct the grammar."
        )

    def _node(self, node: ir.Node) -> None:  # noqa: C901 - one case for each kind of node
        match node:
            case ir.Seq():
                for one in node.items:
                    self._node(one)
            case ir.Sized():
                kind = self._part(node.body, closed=True)
                self._put({"id": kind, "type": kind, **self._size(node.size)})
            case ir.Switch():
                self._switch(node)
            case ir.Repeat():
                self._repeat(node)
            case ir.Blocks():
                self._blocks(node)
            case ir.Maybe():
                kind = self._part(node.body, closed=False)
                self._put({"id": kind, "type": kind, "if": "not _io.eof"})
            case ir.Call():
                self._count += 1
                self._put({"id": f"call_{self._count}", "type": f"rule_{node.rule}"})
            case _:
                self._leaf(node)

    def _blocks(self, node: ir.Blocks) -> None:
        """Tell blocks, not what they hold: Kaitai reads no stream that is made of parts of one."""
        self._count += 1
        kind, width = f"block_{self._count}", ir.width_of(node.checksum)
        rest = f"({_LEFT} - {width})"
        size = f"{rest} > {node.size} ? {node.size} : {rest}"
        outer, self._spec = self._spec, {"seq": []}
        self.types[kind] = self._spec
        self._put({"id": "data_of_block", "size": size, "valid": {"expr": "_.length > 0"}})
        self._frames.append({})
        self._leaf(node.checksum)
        self._frames.pop()
        self._spec = outer
        told = (
            f"Data in blocks of {node.size} bytes, each followed by a checksum. Kaitai cannot read"
            " across blocks, so the fields of the data are not told here: see the other exports."
        )
        self._put({"id": kind, "type": kind, "repeat": "eos", "doc": told})

    def _bits(self, ref: str, mask: int) -> str:
        value = self._ref(ref)
        return f"(({value} & {mask}) >> {ir.shift_of(mask)})" if mask else value

    def _count_of(self, size: ir.Size) -> str:
        value = f"{self._bits(size.ref, size.mask)} * {size.scale} + ({size.constant})"
        most = size.most or ir.MAX_SIZE
        return f"({value}) > {most} ? {most} : ({value})"

    def _size(self, size: ir.Size) -> Spec:
        if size.of == "fixed":
            return {"size": size.constant}
        if size.of == "field":
            return {"size": self._count_of(size)}
        if not size.constant and not size.most:
            return {"size-eos": True}
        rest = f"({_LEFT} - {size.constant})"
        return {"size": f"{rest} > {size.most} ? {size.most} : {rest}" if size.most else rest}

    def _leaf(self, leaf: ir.Leaf) -> None:
        name = self._names[leaf.name]
        match leaf:
            case ir.Number() | ir.Checksum():
                self._number(leaf, name)
            case ir.Varint():
                kind = "ber_number" if leaf.form == "ber" else "leb128_number"
                self.types[kind] = _BER if leaf.form == "ber" else _LEB128
                self._put({"id": name, "type": kind})
                self._frames[-1][leaf.name] = f"{name}.value"
            case ir.Data():
                self._put({"id": name, **self._size(leaf.size), **_valid(leaf)})
            case ir.Until():
                self._until(leaf, name)

    def _number(self, leaf: ir.Number | ir.Checksum, name: str) -> None:
        width, reference = ir.width_of(leaf), name
        if width in (1, 2, 4, 8):
            letter = "f" if isinstance(leaf, ir.Number) and leaf.sem is Sem.FLOAT else "u"
            order = "" if width == 1 else leaf.endian
            spec: Spec = {"id": name, "type": f"{letter}{width}{order}"}
        else:
            spec = {"id": name, "size": width}
            reference = f"number_of_{name}"
            places = range(width) if leaf.endian == "be" else reversed(range(width))
            terms = [f"{name}[{p}] * {256 ** (width - 1 - n)}" for n, p in enumerate(places)]
            self._instance(reference, {"value": " + ".join(terms)})
        if isinstance(leaf, ir.Number):
            spec |= _valid(leaf)
            self._frames[-1][leaf.name] = reference
        self._put(spec)

    def _until(self, leaf: ir.Until, name: str) -> None:
        size = len(leaf.delimiter)
        if size == 1 and not leaf.include:
            self._put({"id": name, "terminator": leaf.delimiter[0], "consume": False})
            return
        # Kaitai looks for a terminator of several bytes only at multiples of its size, and with
        # `include` its JavaScript runtime (0.11) moves one byte too far: search instead.
        self._count += 1
        kind = f"search_{self._count}"
        last = " and ".join(
            [f"bytes[bytes.size - {size - n}] == {b}" for n, b in enumerate(leaf.delimiter)]
        )
        until = f"bytes.size >= {size} and {last}"
        search = {"id": "bytes", "type": "u1", "repeat": "until", "repeat-until": until}
        self.types[kind] = {"seq": [search]}
        self._instance(kind, {"pos": "_io.pos", "type": kind})
        less = 0 if leaf.include else size
        self._put({"id": name, "size": f"{kind}.bytes.size - {less}"})

    def _switch(self, node: ir.Switch) -> None:
        self._count += 1
        number = self._count
        cases: dict[int | str, str] = {}
        for case in node.cases:
            kind = self._part(case.body, closed=False)
            cases |= dict.fromkeys(case.values, kind)
        if node.other is not None:
            cases["_"] = self._part(node.other, closed=False)
        else:
            values = " or ".join([f"tag_{number} == {value}" for value in cases])
            self._put({"id": f"known_{number}", "size": 0, "valid": {"expr": values}})
        self._instance(f"tag_{number}", {"value": self._bits(node.ref, node.mask)})
        chosen: Spec = {"switch-on": f"tag_{number}", "cases": cases}
        self._put({"id": f"union_{number}", "type": chosen})

    def _repeat(self, node: ir.Repeat) -> None:
        if _least(node.body) < 1:
            raise InputError(
                "discover.not_exportable",
                "An item that repeats may be empty: Kaitai would read it for ever.",
                "Use the interpreter, or another export.",
            )
        count = None if node.count is None else self._count_of(node.count)
        kind = self._part(node.body, closed=False)
        if count is not None:
            self._put({"id": kind, "type": kind, "repeat": "expr", "repeat-expr": count})
        elif node.sentinel:
            size, mark = len(node.sentinel), _array(node.sentinel)
            self.types[kind].setdefault("instances", {})["next"] = {"pos": "_io.pos", "size": size}
            self._instance(f"before_{kind}", {"pos": "_io.pos", "size": size})
            self._put(
                {"id": kind, "type": kind, "repeat": "until", "repeat-until": f"_.next == {mark}",
                 "if": f"before_{kind} != {mark}"}
            )  # fmt: skip
        else:
            self._put({"id": kind, "type": kind, "repeat": "eos"})


def _valid(leaf: ir.Number | ir.Data) -> Spec:
    if not leaf.strict:
        return {}
    if isinstance(leaf, ir.Number) and leaf.width in (1, 2, 4):
        return {"valid": {"any-of": [value for value, _ in leaf.known]}}
    if isinstance(leaf, ir.Number) and leaf.width == 8:
        return {"valid": {"any-of": [f"0x{value:x}" for value, _ in leaf.known]}}
    return {"valid": {"any-of": [_array(value) for value in _raw(leaf)]}}
