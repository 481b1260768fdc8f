"""Parsed messages as columns: Arrow's stream format, or Parquet.

A field that can stand more than once in a message is a column of lists. Rows are written in
batches, so that memory does not grow with the input.
"""

import io
import os
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, TypeAlias, cast

# Arrow's own allocator takes a gibibyte of addresses for its first bytes, and what limits this
# process counts them: `--max-memory` would be used up by a table of three rows.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs] - it has none
from pyarrow import parquet as pq  # pyright: ignore[reportMissingTypeStubs]

from cronos.discover import ir
from cronos.discover.model import Sem
from cronos.discover.parsing import Row
from cronos.discover.profile import Profile

arrow = cast("Any", pa)
parquet = cast("Any", pq)

_BATCH: Final = 4_096
_BUFFER_BYTES: Final = 1 << 18
_WIDEST: Final = 1 << 64
_FIXED: Final = ("i", "ts", "flow", "direction", "type", "refused")

Column: TypeAlias = tuple[str, str, bool]
"""A field's name, ``number``, ``float``, ``text`` or ``bytes``, and whether it repeats."""


class Sink(Protocol):
    """Takes some of the bytes, and says how many."""

    def write(self, data: memoryview, /) -> int:
        """Write."""
        ...


class _Raw(io.RawIOBase):
    """A sink as Python's buffered files know one."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._sink.write(memoryview(data))


def write_columns(profile: Profile, rows: Iterable[Row], sink: Sink, form: str) -> Iterator[Row]:
    """Write rows and yield each again, once it is on its way.

    Args:
        profile: says which columns there are.
        rows: what is written.
        sink: where to.
        form: ``arrow`` or ``parquet``.
    """
    columns = columns_of(profile.grammar)
    schema = _schema(columns)
    with (
        io.BufferedWriter(_Raw(sink), _BUFFER_BYTES) as file,
        _writer(file, schema, form) as writer,
    ):
        batch: list[Row] = []
        for row in rows:
            batch.append(row)
            yield row
            if len(batch) >= _BATCH:
                writer.write_batch(_batch(batch, columns, schema))
                batch.clear()
        if batch:
            writer.write_batch(_batch(batch, columns, schema))


def columns_of(grammar: ir.Grammar) -> list[Column]:
    """Give a column for each leaf, in the grammar's order."""
    repeated: set[str] = set()
    bodies = [*grammar.rules.values(), *(kind.body for kind in grammar.types)]
    for number, body in enumerate(bodies):
        for node in ir.walk(body):
            inside = ir.walk(node) if isinstance(node, ir.Repeat) else ()
            if isinstance(node, ir.Blocks):
                repeated.add(node.checksum.name)
            repeated |= {one.name for one in inside if isinstance(one, ir.LEAVES)}
            if number < len(grammar.rules) and isinstance(node, ir.LEAVES):
                repeated.add(node.name)  # a rule may be called any number of times
    return [(name, _kind(leaf), name in repeated) for name, leaf in ir.leaves(grammar).items()]


def _kind(leaf: ir.Leaf) -> str:
    if isinstance(leaf, ir.Number):
        return "float" if leaf.sem is Sem.FLOAT and leaf.width in (4, 8) else "number"
    if isinstance(leaf, ir.Varint | ir.Checksum):
        return "number"
    return "text" if leaf.sem is Sem.TEXT else "bytes"


def _schema(columns: list[Column]) -> Any:
    kinds = {
        "number": arrow.uint64(),
        "float": arrow.float64(),
        "text": arrow.string(),
        "bytes": arrow.binary(),
    }
    fields = [arrow.field("i", arrow.int64()), arrow.field("ts", arrow.float64())]
    fields += [arrow.field(name, arrow.string()) for name in _FIXED[2:]]
    for name, kind, repeats in columns:
        form = arrow.list_(kinds[kind]) if repeats else kinds[kind]
        # A field may be called like one of ours; its column then says that it is a field.
        fields.append(arrow.field(f"field.{name}" if name in _FIXED else name, form))
    return arrow.schema(fields)


def _writer(file: Any, schema: Any, form: str) -> Any:
    if form == "parquet":
        return parquet.ParquetWriter(file, schema, compression="zstd")
    return arrow.ipc.new_stream(file, schema)


def _batch(rows: list[Row], columns: list[Column], schema: Any) -> Any:
    given: list[list[Any]] = [[getattr(row, name) for row in rows] for name in _FIXED]
    found = [_values(row) for row in rows]
    for name, kind, repeats in columns:
        values = [[_value(kind, one) for one in of[name]] if name in of else None for of in found]
        given.append(values if repeats else [one[0] if one else None for one in values])
    arrays = [
        arrow.array(column, type=field.type) for column, field in zip(given, schema, strict=True)
    ]
    return arrow.record_batch(arrays, schema=schema)


def _values(row: Row) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for field in row.fields:
        values.setdefault(field.name, []).append(field.value)
    return values


def _value(kind: str, value: Any) -> Any:
    if kind == "bytes":
        return bytes.fromhex(value)
    # A number that no column holds (a varint may be of any width) is left out.
    return None if kind == "number" and value >= _WIDEST else value
