"""How two versions of a grammar differ, in words."""

from collections.abc import Iterator
from typing import Final

from cronos.discover import ir

_MAX_LINES: Final = 500


def differences(old: ir.Grammar, new: ir.Grammar) -> tuple[str, ...]:
    """Give what was added, removed and changed; () for grammars that parse alike.

    Probabilities, counts and confidences are left out: they change with every capture.
    """
    before, after = _described(old), _described(new)
    lines = [f"removed: {name}: {before[name]}" for name in before if name not in after]
    lines += [f"added: {name}: {after[name]}" for name in after if name not in before]
    lines += [
        f"changed: {name}: {before[name]} -> {after[name]}"
        for name in before
        if name in after and before[name] != after[name]
    ]
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"and {len(lines) - _MAX_LINES} more"]
    return tuple(lines)


def _described(grammar: ir.Grammar) -> dict[str, str]:
    """Give each type, and each field of each type, with what decides how it is parsed."""
    bodies = {f"rule {name}": body for name, body in grammar.rules.items()}
    bodies |= {f"type {kind.name}": kind.body for kind in grammar.types}
    described: dict[str, str] = {}
    for name, body in bodies.items():
        shape = ", ".join(_shape(body))
        described[name] = shape if len(shape) <= 200 else f"{shape[:199]}…"
        for node in ir.walk(body):
            if isinstance(node, ir.LEAVES):
                described[f"{name}, field {node.name}"] = describe(node)
    return described


def _shape(body: ir.Node) -> Iterator[str]:
    for node in ir.walk(body):
        match node:
            case ir.Sized(size):
                yield f"region of {_size(size)}"
            case ir.Switch(ref, cases):
                values = [str(value) for case in cases for value in case.values]
                yield f"union by {ref} of {'/'.join(values[:16])}"
            case ir.Repeat(_, count, sentinel):
                until = f" until {sentinel.hex()}" if sentinel else ""
                yield f"repeat {_size(count)}" if count else f"repeat{until}"
            case ir.Blocks(size, checksum):
                yield f"blocks of {size} bytes with {checksum.algorithm}"
            case ir.Call(rule):
                yield f"rule {rule}"
            case _:
                if isinstance(node, ir.LEAVES):
                    yield node.name


def describe(leaf: ir.Leaf) -> str:
    """Say in a few words what a field is, and how long."""
    match leaf:
        case ir.Number():
            order = "" if leaf.width == 1 else f", {leaf.endian}"
            values = _strict(leaf)
            return f"{leaf.sem} of {_bytes(leaf.width)}{order}{values}"
        case ir.Varint():
            return f"{leaf.sem} as {leaf.form}"
        case ir.Data():
            fixed = _strict(leaf)
            return f"{leaf.sem} of {_size(leaf.size)}{fixed}"
        case ir.Until():
            return f"{leaf.sem} up to {leaf.delimiter.hex()}"
        case ir.Checksum():
            return f"checksum {leaf.algorithm}, {leaf.endian}, from {leaf.start}"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _size(size: ir.Size) -> str:
    if size.of == "fixed":
        return _bytes(size.constant)
    if size.of == "rest":
        return f"what is left less {size.constant}" if size.constant else "what is left"
    scaled = f" x {size.scale}" if size.scale != 1 else ""
    return f"{size.ref}{scaled}{size.constant:+d}" if size.constant else f"{size.ref}{scaled}"


def _strict(leaf: ir.Number | ir.Data) -> str:
    if not leaf.strict:
        return ""
    return f", one of {len(leaf.known)} values" if len(leaf.known) > 1 else ", one value"
