"""Builds a message from its fields again: the way back from the interpreter.

Lengths and checksums are worked out anew from what they cover, so a field may be changed and the
message stays one that the grammar's parser takes. Where nothing was changed the bytes are those
that were parsed; a test holds every parsed message to that. A count decides and is not derived:
nothing else says how many items were meant.
"""

from typing import Final

from cronos.discover import ir
from cronos.discover.checksums import function_of
from cronos.discover.interpreter import (
    BYTES_A_STEP,
    MAX_CALLS,
    MAX_STEPS,
    Occurrence,
    Parsed,
    Value,
    whole,
    write_varint,
)
from cronos.errors import InputError


def build(grammar: ir.Grammar, parsed: Parsed) -> bytes:
    """Give the message of these fields.

    Raises:
        InputError: the fields are not such as this type's grammar makes.
    """
    if not 0 <= parsed.type < len(grammar.types):
        raise _unbuildable("there is no such message type")
    try:
        return _Builder(grammar, parsed).message()
    except (IndexError, OverflowError, StopIteration, TypeError, ValueError) as error:
        raise _unbuildable("a field is missing, or does not fit its width") from error


class _Piece:
    """A leaf while its message is built: the bytes may still change as lengths become known."""

    __slots__ = ("leaf", "raw", "value")

    def __init__(self, leaf: ir.Leaf, value: Value, raw: bytes) -> None:
        self.leaf = leaf
        self.value = value
        self.raw = raw


class _Blocked:
    """Data in blocks while its message is built: as long as it will be, cut when it is known."""

    __slots__ = ("_node", "_pieces")

    def __init__(self, node: ir.Blocks, pieces: "list[_Piece | _Blocked]") -> None:
        self._node = node
        self._pieces = pieces

    @property
    def raw(self) -> bytes:
        """Give the blocks with their checksums."""
        data = b"".join([piece.raw for piece in self._pieces])
        size, leaf = self._node.size, self._node.checksum
        over = function_of(leaf.algorithm)
        out: list[bytes] = []
        for begin in range(0, len(data), size):
            block = data[begin : begin + size]
            out += [block, _written(leaf, over(block), ir.width_of(leaf))]
        return b"".join(out)


class _Builder:
    """Walks a type's tree as the parser does, and takes the fields one after the other."""

    def __init__(self, grammar: ir.Grammar, parsed: Parsed) -> None:
        self._rules = grammar.rules
        self._body = grammar.types[parsed.type].body
        self._fields = list(reversed(whole(parsed.fields)))
        self._shape = iter(parsed.shape)
        self._steps = MAX_STEPS
        self._calls = 0
        self._pieces: list[_Piece | _Blocked] = []
        self._env: dict[str, _Piece] = {}
        self._local = 0
        self._sums: list[tuple[int, int]] = []  # piece, and the piece where its item begins
        self._between = ""  # what the checksums between blocks are called, while in some
        self._blocks: list[tuple[list[_Piece | _Blocked], list[tuple[int, int]]]] = []

    def message(self) -> bytes:
        self._node(self._body)
        if self._fields:
            raise _unbuildable(f"{len(self._fields)} fields are left over")
        for pieces, sums in [*self._blocks, (self._pieces, self._sums)]:
            for index, begins in sums:
                self._seal(pieces, index, begins)
        return b"".join([piece.raw for piece in self._pieces])

    def _node(self, node: ir.Node) -> None:  # noqa: C901 - one case for each kind of node
        self._steps -= 1
        if self._steps <= 0:
            raise _unbuildable("it takes too many steps")
        match node:
            case ir.Seq():
                for one in node.items:
                    self._node(one)
            case ir.Sized():
                self._sized(node.size, node.body)
            case ir.Switch():
                self._switch(node)
            case ir.Call():
                self._call(node.rule)
            case ir.Maybe():
                if next(self._shape):
                    self._node(node.body)
            case ir.Repeat():
                self._repeat(node.body, node.count)
            case ir.Blocks():
                self._blocked(node)
            case _:
                self._leaf(node)

    def _blocked(self, node: ir.Blocks) -> None:
        """Build the data in one piece; what its own checksums cover is that data alone."""
        outer = self._pieces, self._sums, self._local
        self._pieces, self._sums, self._local = [], [], 0
        self._between = node.checksum.name
        self._node(node.body)
        while self._fields and self._fields[-1].name == self._between:
            self._fields.pop()
        self._between = ""
        self._blocks.append((self._pieces, self._sums))
        blocked = _Blocked(node, self._pieces)
        self._pieces, self._sums, self._local = outer
        self._pieces.append(blocked)

    def _take(self) -> Occurrence:
        """Give the next field, whole; the checksums between blocks are worked out anew."""
        while self._fields and self._fields[-1].name == self._between:
            self._fields.pop()
        return self._fields.pop()

    def _call(self, rule: str) -> None:
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise _unbuildable("rules within rules go too deep")
        self._node(self._rules[rule])
        self._calls -= 1

    def _switch(self, node: ir.Switch) -> None:
        tag = self._env[node.ref].value
        bits = (int(tag) & (node.mask or -1)) >> ir.shift_of(node.mask)
        for case in node.cases:
            if bits in case.values:
                return self._node(case.body)
        if node.other is None:
            raise _unbuildable(f"no case for {node.ref} = {bits}")
        return self._node(node.other)

    def _sized(self, size: ir.Size, body: ir.Node) -> None:
        first = len(self._pieces)
        outer = self._env
        self._env = dict(outer)
        self._node(body)
        self._env = outer
        self._measure(size, sum([len(piece.raw) for piece in self._pieces[first:]]))

    def _repeat(self, body: ir.Node, count: ir.Size | None) -> None:
        outer, local = self._env, self._local
        times = next(self._shape) if count is None else self._count(count)
        for _ in range(times):
            self._env = dict(outer)
            self._local = len(self._pieces)
            self._node(body)
        self._env, self._local = outer, local

    def _count(self, size: ir.Size) -> int:
        if size.of == "fixed":
            return size.constant
        value = int(self._env[size.ref].value)
        bits = (value & (size.mask or -1)) >> ir.shift_of(size.mask)
        return min(size.most or ir.MAX_SIZE, bits * size.scale + size.constant)

    def _measure(self, size: ir.Size, length: int) -> None:
        """Write a length into the number that says it, where it says another one."""
        if size.of != "field":
            return
        piece = self._env[size.ref]
        scaled, odd = divmod(length - size.constant, size.scale)
        shift = ir.shift_of(size.mask)
        value = int(piece.value)
        if min(size.most or ir.MAX_SIZE, self._count(size)) == length:
            return
        if odd or scaled < 0:
            raise _unbuildable(f"{size.ref} cannot say {length} bytes")
        if size.mask:
            if scaled > size.mask >> shift:
                raise _unbuildable(f"{size.ref} cannot say {length} bytes")
            scaled = value & ~size.mask | scaled << shift
        piece.value = scaled
        piece.raw = _written(piece.leaf, scaled, len(piece.raw))

    def _leaf(self, leaf: ir.Leaf) -> None:
        field = self._take()
        if field.name != leaf.name:
            raise _unbuildable(f"{field.name} stands where {leaf.name} must")
        piece = _Piece(leaf, field.value, _written(leaf, field.value, field.length))
        self._pieces.append(piece)
        match leaf:
            case ir.Number() | ir.Varint():
                self._env[leaf.name] = piece
            case ir.Data():
                self._measure(leaf.size, len(piece.raw))
            case ir.Checksum():
                self._sums.append((len(self._pieces) - 1, self._local if leaf.local else 0))
            case ir.Until():
                _delimited(leaf, piece.raw)

    def _seal(self, pieces: "list[_Piece | _Blocked]", index: int, begins: int) -> None:
        piece = pieces[index]
        if isinstance(piece, _Blocked) or not isinstance(piece.leaf, ir.Checksum):
            return
        leaf = piece.leaf
        before = b"".join([one.raw for one in pieces[begins:index]])[leaf.start :]
        after = b""
        if leaf.whole:
            after = bytes(len(piece.raw)) + b"".join([o.raw for o in pieces[index + 1 :]])
        self._steps -= 1 + (len(before) + len(after)) // BYTES_A_STEP
        if self._steps <= 0:
            raise _unbuildable("it takes too many steps")
        value = function_of(leaf.algorithm)(before + after)
        piece.raw = _written(leaf, value, len(piece.raw))


def _delimited(leaf: ir.Until, raw: bytes) -> None:
    found = raw.find(leaf.delimiter)
    if found != (len(raw) - len(leaf.delimiter) if leaf.include else -1):
        raise _unbuildable(f"{leaf.name} holds its delimiter, or does not end with it")


def _written(leaf: ir.Leaf, value: Value, length: int) -> bytes:
    match leaf:
        case ir.Number() | ir.Checksum():
            order: Final = "big" if leaf.endian == "be" else "little"
            return int(value).to_bytes(ir.width_of(leaf), order)
        case ir.Varint():
            return write_varint(leaf.form, int(value), length)
        case _:
            if not isinstance(value, bytes):
                raise _unbuildable(f"{leaf.name} wants bytes")
            return value


def _unbuildable(what: str) -> InputError:
    return InputError(
        "discover.unbuildable",
        f"No message can be built of these fields: {what}.",
        "Start from a parsed message and change values, not their order.",
    )
