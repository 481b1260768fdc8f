"""Events that people write: findings or a snapshot as JSON, each datum an object of its fields.

The names are those of `types.py`. Unlike canonical bytes nothing depends on the order of fields,
and a name that is not known is refused: a misspelt field must not become a default.
"""

import sys
import types as python_types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from cronos.errors import InputError
from cronos.link.text import plain
from cronos.types import Datum, Finding, Snapshot

MAX_EVENT_BYTES: Final = 1 << 20
MAX_FINDINGS: Final = 1_000
_STANDARD: Final = "-"
DatumT = TypeVar("DatumT", bound=Datum)

Table = dict[str, Any]


def read_event(source: str) -> Snapshot | list[Finding]:
    """Read the event of a file, or of standard input where `source` is "-".

    Raises:
        InputError: it cannot be read, is no JSON, or none of the forms.
    """
    data = _bytes(source)
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(source, f"it is no JSON: {error}") from error
    try:
        return _event(document)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise _refused(source, str(error)) from error


def _bytes(source: str) -> bytes:
    try:
        if source == _STANDARD:
            data = sys.stdin.buffer.read(MAX_EVENT_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_EVENT_BYTES + 1)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            "front.event_unreadable",
            f"{plain(source, 200)} cannot be read: {told}.",
            "Give the path of a readable JSON file, or - for standard input.",
        ) from error
    if len(data) > MAX_EVENT_BYTES:
        raise _refused(source, "it is longer than 1 MiB")
    return data


def _event(document: object) -> Snapshot | list[Finding]:
    if _is_table(document) and "options" in document:
        return _checked_snapshot(build(Snapshot, document))
    told = document if _is_list(document) else [document]
    if not told or len(told) > MAX_FINDINGS:
        raise ValueError(f"it holds {len(told)} findings; 1 to {MAX_FINDINGS} are decided about")
    return [_finding(one, n) for n, one in enumerate(told, 1)]


def _finding(told: object, n: int) -> Finding:
    if not _is_table(told):
        raise ValueError(f"finding {n} is no object")
    given = {"finding_id": f"event:{n}", "explanation": "", "time_ns": 0, **told}
    found = build(Finding, {"title": given.get("detector", ""), **given})
    if not 0.0 <= found.confidence <= 1.0 or not 1 <= found.severity <= 5:
        raise ValueError(f"finding {n} wants a confidence from 0 to 1 and a severity from 1 to 5")
    return found


def _checked_snapshot(found: Snapshot) -> Snapshot:
    if not 0.0 <= found.confidence <= 1.0:
        raise ValueError("the confidence of a snapshot lies from 0 to 1")
    return found


def build(kind: type[DatumT], table: Table) -> DatumT:
    """Make a datum of its fields by name, and what it holds of theirs.

    Raises:
        ValueError: a field is unknown, missing, or of another type.
    """
    return msgspec.convert(_arrayed(kind, table), kind)


def _arrayed(kind: type[Datum], table: Table) -> list[Any]:
    """Put fields into their order, as canonical bytes have them."""
    table = {name: value for name, value in table.items() if (name, value) != _tag(kind)}
    fields = msgspec.structs.fields(kind)
    hints = get_type_hints(kind)
    unknown = sorted(set(table) - {field.name for field in fields})
    if unknown:
        raise ValueError(f"a {kind.__name__} has no `{plain(unknown[0], 60)}`")
    ordered: list[Any] = [kind.__name__]
    for field in fields:
        if field.name in table:
            ordered.append(_value(hints[field.name], table[field.name]))
        elif field.default is not msgspec.NODEFAULT:
            ordered.append(msgspec.to_builtins(field.default))
        elif field.default_factory is not msgspec.NODEFAULT:
            ordered.append(msgspec.to_builtins(field.default_factory()))
        else:
            raise ValueError(f"a {kind.__name__} wants `{field.name}`")
    return ordered


def _tag(kind: type[Datum]) -> tuple[str, str]:
    """Give the entry that an object may say its class by."""
    return "type", kind.__name__


def _value(hint: Any, value: Any) -> Any:
    held = next(_data_in(hint), None)
    if held is None:
        return value
    if _is_table(value):
        return _arrayed(held, value)
    if _is_list(value):
        return [_value(hint, one) for one in value]
    return value


def _data_in(hint: Any) -> Iterator[type[Datum]]:
    """Find the class of datum that a field holds: by itself, or none, or many."""
    if isinstance(hint, type) and not get_origin(hint) and issubclass(hint, Datum):
        yield hint
    elif get_origin(hint) in (tuple, Union, python_types.UnionType):
        for part in get_args(hint):
            yield from _data_in(part)


def _is_table(value: object) -> TypeGuard[Table]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _refused(source: str, why: str) -> InputError:
    return InputError(
        "front.no_event",
        f"{plain(source, 200)} is no event: {plain(why, 300)}.",
        "docs/formats.md shows the forms: a finding, a list of findings, or a snapshot.",
    )
