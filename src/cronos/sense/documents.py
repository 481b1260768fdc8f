"""Cut records out of JSON that is not one object a line: an array, or a document around a list.

Works token by token over the lines, so a file of any size needs the memory of one record.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from cronos.ports import Reading
from cronos.sense.lines import NumberedLine
from cronos.sense.records import Build, RecordReader

_WRAPPER: Final = re.compile(rb'\{\s*"(?:Records|records|value)"\s*:\s*\[')
_BEGINNINGS: Final = (b"[", b"{", b"[{")
_TOKEN: Final = re.compile(rb'["{}\[\]]')
# In one way: a string of backslashes must not make the search quadratic.
_STRING: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def looks_like_documents(first: bytes) -> bool:
    """Say whether the first line begins an array, a document over lines or a list of records."""
    line = first.strip()
    return line in _BEGINNINGS or line.startswith(b"[") or _WRAPPER.match(line) is not None


class Documents:
    """Finds the records of a document and numbers them; lines mean nothing to their numbers.

    Args:
        first: the number of the first record.
        max_record_bytes: a longer record is left out as a defect, in bounded memory.
    """

    def __init__(self, first: int, max_record_bytes: int) -> None:
        self._number = first
        self._limit = max_record_bytes
        self._base = 0  # the depth at which a record opens
        self._depth = 0
        self._pieces: list[bytes] | None = None  # of the record that is open
        self._held = 0

    def read(
        self,
        lines: list[NumberedLine],
        more: Iterator[list[NumberedLine]],
        reader: RecordReader,
        build: Build,
    ) -> Iterator[Sequence[Reading]]:
        """Yield the readings of `lines` and of all that follow."""
        self._base = _base(lines[0][1] or b"")
        yield reader.readings(self.cut(lines), build)
        for chunk in more:
            yield reader.readings(self.cut(chunk), build)
        if self._pieces is not None:
            yield reader.readings([(self._number, b"".join(self._pieces))], build)

    def cut(self, lines: list[NumberedLine]) -> list[NumberedLine]:
        """Give the records that end within these lines; None stands for one above the limit."""
        records: list[NumberedLine] = []
        for _, line in lines:
            if line is None:
                records.append((self._number, None))
                self._number += 1
                self._pieces, self._depth = None, self._base
            else:
                self._scan(line, records)
        return records

    def _scan(self, line: bytes, records: list[NumberedLine]) -> None:
        at = begin = 0
        while (token := _TOKEN.search(line, at)) is not None:
            at = token.end()
            mark = token[0]
            if mark == b'"':
                string = _STRING.match(line, at)
                at = string.end() if string else len(line)
            elif mark in b"{[":
                if mark == b"{" and self._depth == self._base and self._pieces is None:
                    self._pieces, self._held, begin = [], 0, token.start()
                self._depth += 1
            else:
                self._depth = max(self._depth - 1, 0)
                if mark == b"}" and self._depth == self._base and self._pieces is not None:
                    self._hold(line[begin:at])
                    self._close(records)
        if self._pieces is not None:
            self._hold(line[begin:] + b"\n")

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._pieces is not None and self._held <= self._limit:
            self._pieces.append(piece)

    def _close(self, records: list[NumberedLine]) -> None:
        fits = self._held <= self._limit
        records.append((self._number, b"".join(self._pieces or ()) if fits else None))
        self._number += 1
        self._pieces = None


def _base(first: bytes) -> int:
    line = first.strip()
    if line.startswith(b"["):
        return 1
    return 2 if _WRAPPER.match(line) is not None else 0
