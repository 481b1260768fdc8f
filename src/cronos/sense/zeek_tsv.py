"""Read Zeek's tab-separated form: headers that may change mid-file, types, sets and vectors.

Source: Zeek's ASCII writer (``#separator``, ``#set_separator``, ``#empty_field``,
``#unset_field``, ``#path``, ``#fields``, ``#types``).
"""

import re
from typing import Any, Final

from cronos.sense.normal import integer
from cronos.sense.records import Record

HEADER_MARK: Final = b"#"
_MAX_COLUMNS: Final = 1024
_MAX_ELEMENTS: Final = 65_536
_ESCAPE: Final = re.compile(r"\\x([0-9a-fA-F]{2})")
_NUMBERS: Final = frozenset(("count", "int", "port"))
_REALS: Final = frozenset(("time", "interval", "double"))


class TsvReader:
    """Turns rows into records by the header last seen; what is unset is left out.

    Values are as in Zeek's JSON: numbers, booleans, text, lists for sets and vectors.
    """

    def __init__(self) -> None:
        self.path = ""
        self._separator = "\t"
        self._set_separator = ","
        self._empty = "(empty)"
        self._unset = "-"
        self._fields: list[str] = []
        self._types: list[str] = []

    @property
    def begun(self) -> bool:
        """Say whether a header told the columns."""
        return bool(self._fields)

    def header(self, raw: bytes) -> None:
        """Take a line that begins with ``#``; an unknown one is a comment."""
        line = raw.decode(errors="replace")
        if line.startswith("#separator "):
            self._separator = _unescape(line[len("#separator ") :])[:8] or "\t"
            return
        name, _, rest = line[1:].partition(self._separator)
        if name == "fields":
            # The types of the last header are those of other columns.
            self._fields, self._types = rest.split(self._separator)[:_MAX_COLUMNS], []
        elif name == "types":
            self._types = rest.split(self._separator)[:_MAX_COLUMNS]
        elif name == "path":
            self.path = rest[:64]
        elif name == "set_separator":
            self._set_separator = _unescape(rest)[:8] or ","
        elif name == "empty_field":
            self._empty = rest
        elif name == "unset_field":
            self._unset = rest

    def row(self, raw: bytes) -> Record | str:
        """Give the record of a row, or what is wrong with it, to follow “line 7 …”."""
        values = raw.decode(errors="replace").split(self._separator)
        if not self._fields:
            return "stands before any #fields header"
        if len(values) != len(self._fields):
            return f"has {len(values)} columns where its header names {len(self._fields)}"
        types = self._types or ["string"] * len(self._fields)
        if len(types) != len(self._fields):
            return "follows a header whose #types do not match its #fields"
        unset = self._unset
        return {
            field: self._value(value, kind)
            for field, value, kind in zip(self._fields, values, types, strict=True)
            if value != unset
        }

    def _value(self, value: str, kind: str) -> Any:
        if kind.endswith("]"):
            return self._several(value, kind.partition("[")[2][:-1])
        if kind in _NUMBERS:
            number = integer(value)
            return value if number is None else number
        if kind in _REALS:
            return _real(value)
        if kind == "bool":
            return value == "T"
        if value == self._empty:
            return ""
        return _unescape(value) if "\\x" in value else value

    def _several(self, value: str, kind: str) -> list[Any]:
        if value == self._empty:
            return []
        parts = value.split(self._set_separator, _MAX_ELEMENTS)[:_MAX_ELEMENTS]
        return [None if item == self._unset else self._value(item, kind) for item in parts]


def _real(value: str) -> float | str:
    try:
        number = float(value)
    except ValueError:
        return value
    return number if number - number == 0.0 else value


def _unescape(value: str) -> str:
    r"""Put back what the writer escaped as ``\x09``; bytes that form no UTF-8 become U+FFFD."""
    if "\\x" not in value:
        return value
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
    try:
        return raw.encode("latin-1").decode(errors="replace")
    except UnicodeEncodeError:
        return raw
