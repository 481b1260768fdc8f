"""The typed grammar of a protocol, and the check that any grammar must pass before it runs.

A `Grammar` is an ordered choice of message types; each is a tree of nodes. Leaves (`Number`,
`Varint`, `Data`, `Until`, `Checksum`) cover bytes, the others say how leaves follow one another.
Nothing here is executable: the interpreter walks the tree, the exports write it down in other
languages. A size or a tag refers to a number by its name; the number stands before, directly in a
sequence that encloses the reference, so that every language can reach it.

Three words to know: *region*, the bytes that a node may use (a message, or what `Sized` cuts out);
*rest*, what is left of it; *strict*, a leaf whose value must be one of `known`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from cronos.discover.checksums import ALGORITHMS
from cronos.discover.model import Sem
from cronos.errors import InputError

NAME: Final = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
MAX_NAME: Final = 64
MAX_BYTES: Final = 4 << 20  # of a grammar as JSON
MAX_NODES: Final = 5_000
MAX_DEPTH: Final = 32
MAX_RULE_DEPTH: Final = 10  # rules call rules, so this times the calls is the stack
MAX_TYPES: Final = 256
MAX_KNOWN: Final = 256
MAX_SIZE: Final = 1 << 24

Endian: TypeAlias = Literal["be", "le"]


class Size(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many bytes, or how many items.

    ``fixed``: `constant`. ``rest``: what is left of the region less `constant`. ``field``: the
    number `ref`, of it the bits of `mask` (0: all) shifted down to bit 0, times `scale`, plus
    `constant`. With `most` above 0 never more than that.
    """

    of: Literal["fixed", "rest", "field"]
    constant: int = 0
    ref: str = ""
    mask: int = 0
    scale: int = 1
    most: int = 0


class Number(msgspec.Struct, frozen=True, tag="number", forbid_unknown_fields=True):
    """An unsigned integer of 1 to 8 bytes; with `Sem.FLOAT`, the bits of a float of 4 or 8."""

    name: str
    width: int
    sem: Sem = Sem.VALUE
    endian: Endian = "be"
    known: tuple[tuple[int, float], ...] = ()
    """Values seen and the share of each, the most frequent first."""
    strict: bool = False
    confidence: float = 0.0


class Varint(msgspec.Struct, frozen=True, tag="varint", forbid_unknown_fields=True):
    """A number that says its own width: LEB128 (7 bits a byte) or a definite BER length."""

    name: str
    form: Literal["leb128", "ber"]
    sem: Sem = Sem.VALUE
    confidence: float = 0.0


class Data(msgspec.Struct, frozen=True, tag="data", forbid_unknown_fields=True):
    """Bytes or text of a known size."""

    name: str
    size: Size
    sem: Sem = Sem.BYTES
    known: tuple[tuple[bytes, float], ...] = ()
    strict: bool = False
    confidence: float = 0.0
    zeros: float = 0.0
    """Share of zeros among its bytes, where that is evidence; 0 where nobody looks."""


class Until(msgspec.Struct, frozen=True, tag="until", forbid_unknown_fields=True):
    """Bytes before a delimiter; with `include` the delimiter is their end, else it stays."""

    name: str
    delimiter: bytes
    include: bool = False
    sem: Sem = Sem.TEXT
    confidence: float = 0.0


class Checksum(msgspec.Struct, frozen=True, tag="checksum", forbid_unknown_fields=True):
    """A checksum over bytes of the message.

    It begins `start` bytes after the beginning of the message, or of the innermost `Repeat` item
    where `local`. It ends before the checksum itself; with `whole` it runs to the end of the
    message, with the checksum's own bytes taken as zero.
    """

    name: str
    algorithm: str
    endian: Endian = "be"
    start: int = 0
    local: bool = False
    whole: bool = False
    confidence: float = 0.0


class Seq(msgspec.Struct, frozen=True, tag="seq", forbid_unknown_fields=True):
    """One after the other."""

    items: tuple["Node", ...]


class Sized(msgspec.Struct, frozen=True, tag="sized", forbid_unknown_fields=True):
    """A region of its own, which `body` must fill exactly."""

    size: Size
    body: "Node"


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What follows when the tag has one of `values`."""

    values: tuple[int, ...]
    body: "Node"
    probability: float = 0.0


class Switch(msgspec.Struct, frozen=True, tag="switch", forbid_unknown_fields=True):
    """A union by the bits `mask` (0: all) of the number `ref`; without `other` they must match."""

    ref: str
    cases: tuple[Case, ...]
    mask: int = 0
    other: "Node | None" = None


class Repeat(msgspec.Struct, frozen=True, tag="repeat", forbid_unknown_fields=True):
    """Items of at least one byte each.

    As many as `count` says; without it until `sentinel` stands next, which stays; without that to
    the end of the region.
    """

    body: "Node"
    count: Size | None = None
    sentinel: bytes = b""


class Blocks(msgspec.Struct, frozen=True, tag="blocks", forbid_unknown_fields=True):
    """Data cut into blocks up to the end of the region, each followed by its checksum.

    Every block has `size` bytes, the last one 1 to `size`. `body` reads the data in one piece, as
    if no checksums stood in it; where it has checksums of its own, the message is that data.
    """

    size: int
    checksum: Checksum
    body: "Node"


class Maybe(msgspec.Struct, frozen=True, tag="maybe", forbid_unknown_fields=True):
    """There if any byte of the region is left."""

    body: "Node"


class Call(msgspec.Struct, frozen=True, tag="call", forbid_unknown_fields=True):
    """A rule of the grammar, for what contains its like; no reference crosses it."""

    rule: str


Leaf: TypeAlias = Number | Varint | Data | Until | Checksum
Node: TypeAlias = Leaf | Seq | Sized | Switch | Repeat | Blocks | Maybe | Call
LEAVES: Final = (Number, Varint, Data, Until, Checksum)


class MessageType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One alternative; `direction` is ``c2s``, ``s2c``, or empty for both."""

    name: str
    body: Node
    probability: float = 1.0
    direction: Literal["", "c2s", "s2c"] = ""
    count: int = 0
    """How many messages it was learnt from."""
    members: tuple[int, ...] = ()
    """The discovery's message types that it stands for."""
    floor: float = 0.0
    """Bits of evidence that a message needs at least, so that random bytes are refused.

    Below 0 where what the type knows speaks against random bytes far more than that.
    """


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A protocol: the first of `types` that a message fits is its type."""

    name: str
    types: tuple[MessageType, ...]
    rules: dict[str, Node] = {}
    version: int = 1


def encode(grammar: Grammar) -> bytes:
    """Write a grammar as JSON; equal grammars give equal bytes."""
    return msgspec.json.encode(grammar, order="deterministic")


def decode(data: bytes) -> Grammar:
    """Read a grammar from JSON and check it.

    Raises:
        InputError: it is no grammar, or one that may not run; see `check`.
    """
    if len(data) > MAX_BYTES:
        raise _refused(f"{len(data)} bytes are more than {MAX_BYTES}")
    try:
        grammar = msgspec.json.decode(data, type=Grammar)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _refused(str(error)[:200]) from error
    check(grammar)
    return grammar


def children(node: Node) -> tuple[Node, ...]:
    """Give what a node is made of, in order."""
    match node:
        case Seq(items):
            return items
        case Sized() | Repeat() | Maybe():
            return (node.body,)
        case Blocks():
            return node.body, node.checksum
        case Switch():
            other = () if node.other is None else (node.other,)
            return (*(case.body for case in node.cases), *other)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Give the node and all below it, in the order of the message; rules are not entered."""
    stack = [node]
    while stack:
        one = stack.pop()
        yield one
        stack.extend(reversed(children(one)))


def leaves(grammar: Grammar) -> dict[str, Leaf]:
    """Give every leaf by its name, in the order in which they are written down."""
    bodies = [kind.body for kind in grammar.types] + list(grammar.rules.values())
    return {one.name: one for body in bodies for one in walk(body) if isinstance(one, LEAVES)}


def width_of(leaf: Leaf) -> int:
    """Give the width in bytes, 0 where it varies."""
    if isinstance(leaf, Number):
        return leaf.width
    if isinstance(leaf, Checksum):
        return ALGORITHMS[leaf.algorithm].width
    return leaf.size.constant if isinstance(leaf, Data) and leaf.size.of == "fixed" else 0


def shift_of(mask: int) -> int:
    """Give how far the bits of a mask are shifted down."""
    return (mask & -mask).bit_length() - 1 if mask else 0


def rewrite(node: Node, change: Callable[[Node], Node]) -> Node:
    """Give the tree with `change` made to every node, from below."""
    match node:
        case Seq(items):
            node = Seq(tuple([rewrite(one, change) for one in items]))
        case Sized() | Repeat() | Maybe():
            node = msgspec.structs.replace(node, body=rewrite(node.body, change))
        case Blocks():
            leaf = change(node.checksum)
            node = msgspec.structs.replace(
                node,
                body=rewrite(node.body, change),
                checksum=leaf if isinstance(leaf, Checksum) else node.checksum,
            )
        case Switch():
            cases = tuple(
                [
                    msgspec.structs.replace(case, body=rewrite(case.body, change))
                    for case in node.cases
                ]
            )
            other = None if node.other is None else rewrite(node.other, change)
            node = msgspec.structs.replace(node, cases=cases, other=other)
        case _:
            pass
    return change(node)


def rename_node(tree: Node, names: dict[str, str]) -> Node:
    """Give a tree with other names for its leaves; unchecked."""

    def size(one: Size | None) -> Size | None:
        return one and msgspec.structs.replace(one, ref=names.get(one.ref, one.ref))

    def change(node: Node) -> Node:
        if isinstance(node, LEAVES):
            node = msgspec.structs.replace(node, name=names.get(node.name, node.name))
        match node:
            case Data() | Sized():
                return msgspec.structs.replace(node, size=size(node.size))
            case Repeat():
                return msgspec.structs.replace(node, count=size(node.count))
            case Switch():
                return msgspec.structs.replace(node, ref=names.get(node.ref, node.ref))
            case _:
                return node

    return rewrite(tree, change)


def renamed(grammar: Grammar, names: dict[str, str]) -> Grammar:
    """Give the grammar with other names for its leaves; boundaries stay as they are.

    Raises:
        InputError: the new names are no names, or clash.
    """
    new = msgspec.structs.replace(
        grammar,
        types=tuple(
            [msgspec.structs.replace(t, body=rename_node(t.body, names)) for t in grammar.types]
        ),
        rules={name: rename_node(body, names) for name, body in grammar.rules.items()},
    )
    check(new)
    return new


def check(grammar: Grammar) -> None:
    """Refuse a grammar that could cost unbounded work, or that not every export can write.

    Raises:
        InputError: a limit is exceeded, a name or a reference is wrong, a value does not fit.
    """
    if not 0 < len(grammar.types) <= MAX_TYPES or len(grammar.rules) > MAX_TYPES:
        raise _refused(f"{len(grammar.types)} message types and {len(grammar.rules)} rules")
    _named([grammar.name, *(kind.name for kind in grammar.types)])
    _named(list(grammar.rules))
    if len({kind.name for kind in grammar.types}) < len(grammar.types):
        raise _refused("two message types have one name")
    checker = _Checker(frozenset(grammar.rules))
    checker.max_depth, checker.blocks = MAX_RULE_DEPTH, False
    for body in grammar.rules.values():
        checker.names_here = checker.names_of_rules
        checker.visit(body, frozenset(), 0)
    checker.max_depth, checker.blocks = MAX_DEPTH, True
    for kind in grammar.types:
        checker.names_here = set(checker.names_of_rules)
        checker.visit(kind.body, frozenset(), 0)


def _named(names: list[str]) -> None:
    for name in names:
        if len(name) > MAX_NAME or not NAME.fullmatch(name):
            raise _refused(f"{name[:80]!r} is no name")


class _Checker:
    """Walks the trees once; a name may serve again in another message type, for the same kind."""

    def __init__(self, rules: frozenset[str]) -> None:
        self._rules = rules
        self._nodes = 0
        self.max_depth = MAX_DEPTH
        self.blocks = True
        """Whether blocks may stand here: not in rules, and not in other blocks."""
        self._kinds: dict[str, tuple[object, ...]] = {}
        self.names_of_rules: set[str] = set()
        self.names_here: set[str] = set()

    def visit(self, node: Node, scope: frozenset[str], depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > self.max_depth:
            raise _refused(f"it has more than {MAX_NODES} nodes, or is deeper than {MAX_DEPTH}")
        match node:
            case Seq():
                self._sequence(node, scope, depth)
            case Switch():
                self._switch(node, scope, depth)
            case Call(rule):
                if rule not in self._rules:
                    raise _refused(f"there is no rule {rule[:80]!r}")
            case Blocks():
                self._blocks(node, scope, depth)
            case Sized() | Repeat() | Maybe():
                self._sizes(node, scope)
                self.visit(node.body, scope, depth + 1)
            case _:
                self._leaf(node, scope)

    def _sequence(self, node: Seq, scope: frozenset[str], depth: int) -> None:
        for one in node.items:
            self.visit(one, scope, depth + 1)
            if isinstance(one, Number | Varint):
                scope |= {one.name}

    def _sizes(self, node: Sized | Repeat | Maybe, scope: frozenset[str]) -> None:
        if isinstance(node, Sized):
            _sized(node.size, scope)
        elif isinstance(node, Repeat) and node.count is not None:
            if node.count.of == "rest" or node.sentinel:
                raise _refused("a repeat is counted, delimited, or runs to the end")
            _sized(node.count, scope)
        elif isinstance(node, Repeat) and len(node.sentinel) > MAX_NAME:
            raise _refused("a sentinel is too long")

    def _blocks(self, node: Blocks, scope: frozenset[str], depth: int) -> None:
        if not self.blocks:
            raise _refused("blocks stand in rules, or in other blocks")
        if not 1 <= node.size <= MAX_SIZE or node.checksum.start or node.checksum.whole:
            raise _refused("blocks have a size, and checksums over nothing else than they hold")
        self.blocks = False
        self.visit(node.checksum, scope, depth + 1)
        self.visit(node.body, scope, depth + 1)
        self.blocks = True

    def _switch(self, node: Switch, scope: frozenset[str], depth: int) -> None:
        values = [value for case in node.cases for value in case.values]
        if node.ref not in scope or not values or len(values) > MAX_NODES:
            raise _refused(f"a union refers to {node.ref[:80]!r}, or has no cases")
        if len(set(values)) < len(values) or not _fits(min(values), 8) or not _fits(max(values), 8):
            raise _refused("two cases of a union have one value")
        if not _fits(node.mask, 8):
            raise _refused("a mask does not fit")
        for one in children(node):
            self.visit(one, scope, depth + 1)

    def _leaf(self, leaf: Leaf, scope: frozenset[str]) -> None:
        _named([leaf.name])
        if leaf.name in self.names_here:
            raise _refused(f"two fields are called {leaf.name!r}")
        self.names_here.add(leaf.name)
        kind = kind_of(leaf)
        if self._kinds.setdefault(leaf.name, kind) != kind:
            raise _refused(f"the fields called {leaf.name!r} differ in kind")
        _leaf_fits(leaf)
        if isinstance(leaf, Data):
            _sized(leaf.size, scope)


def _leaf_fits(leaf: Leaf) -> None:
    match leaf:
        case Number():
            _number(leaf)
        case Data():
            _data(leaf)
        case Until():
            if not 0 < len(leaf.delimiter) <= MAX_NAME:
                raise _refused("a delimiter has 1 to 64 bytes")
        case Checksum():
            if leaf.algorithm not in ALGORITHMS or not 0 <= leaf.start <= MAX_SIZE:
                raise _refused(f"there is no checksum {leaf.algorithm[:80]!r}")
        case Varint():
            pass


def kind_of(leaf: Leaf) -> tuple[object, ...]:
    """Give what must agree where one name serves in several message types."""
    endian = leaf.endian if isinstance(leaf, Number | Checksum) else ""
    sem = Sem.CHECKSUM if isinstance(leaf, Checksum) else leaf.sem
    return type(leaf), sem, endian, width_of(leaf) if isinstance(leaf, Number) else 0


def _fits(value: int, width: int) -> bool:
    return 0 <= value < 1 << 8 * width


def _number(leaf: Number) -> None:
    if not 1 <= leaf.width <= 8 or len(leaf.known) > MAX_KNOWN:
        raise _refused(f"{leaf.name!r} has a width of {leaf.width}, or too many known values")
    if leaf.sem is Sem.FLOAT and leaf.width not in (4, 8):
        raise _refused(f"{leaf.name!r} is a float of {leaf.width} bytes")
    _shares(leaf)
    if not all(_fits(value, leaf.width) for value, _ in leaf.known):
        raise _refused(f"a known value of {leaf.name!r} does not fit")
    if leaf.strict and not leaf.known:
        raise _refused(f"{leaf.name!r} is strict and knows no value")


def _shares(leaf: Number | Data) -> None:
    """Refuse shares that are none: they would be evidence without end."""
    if not all(0.0 <= share <= 1.0 for _, share in leaf.known):
        raise _refused(f"a share of a known value of {leaf.name!r} is not between 0 and 1")


def _data(leaf: Data) -> None:
    if len(leaf.known) > MAX_KNOWN or sum(len(value) for value, _ in leaf.known) > MAX_SIZE:
        raise _refused(f"{leaf.name!r} knows too many values")
    _shares(leaf)
    if not 0.0 <= leaf.zeros < 1.0:
        raise _refused(f"the share of zeros in {leaf.name!r} is not between 0 and 1")
    if leaf.strict and not leaf.known:
        raise _refused(f"{leaf.name!r} is strict and knows no value")


def _sized(size: Size, scope: frozenset[str]) -> None:
    numbers = size.constant, size.scale, size.most
    if not all(-MAX_SIZE <= one <= MAX_SIZE for one in numbers) or size.scale < 1 or size.most < 0:
        raise _refused("a size is out of bounds")
    if size.of != "field" and (size.constant < 0 or size.ref):
        raise _refused("a size is negative, or refers to a field that it does not use")
    if size.of == "field" and (size.ref not in scope or not _fits(size.mask, 8)):
        raise _refused(f"a size refers to {size.ref[:80]!r}, which does not stand before it")


def _refused(what: str) -> InputError:
    return InputError(
        "discover.grammar_refused",
        f"Not a grammar that may run: {what}.",
        "Take it from `cronos discover`, or correct it.",
    )
