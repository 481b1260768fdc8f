"""Cut a source into numbered lines, in bounded memory, whatever its encoding.

A byte order mark selects UTF-8, UTF-16LE or UTF-16BE; without one the text is taken for UTF-8.
Lines come out as valid UTF-8 without their ending, so that no parser meets a broken character.
"""

import codecs
from collections.abc import Iterator
from typing import Final

from cronos.ports import Source
from cronos.types import Defect

NumberedLine = tuple[int, bytes | None]
"""A line's number and its bytes; None stands for a line above the limit, which was skipped."""

READ_BYTES: Final = 1 << 17
_BOM_BYTES: Final = 3
_PADDING: Final = b"\r\0"
_REPLACED: Final = "\ufffd"


class LineReader:
    """Reads lines from a source; holds at most one unfinished line of `max_line_bytes`.

    Blank lines count but are left out, and so are the zero bytes with which a crashed writer
    pads a file. `replaced` counts the characters put in place of bytes that were not valid.
    """

    def __init__(self, source: Source, max_line_bytes: int) -> None:
        self.replaced = 0
        self._source = source
        self._limit = max_line_bytes
        self._number = source.first
        self._pieces: list[bytes] = []
        self._held = 0
        self._skipping = False

    def __iter__(self) -> Iterator[list[NumberedLine]]:
        """Yield lines in order; an empty list says that nothing is there for now."""
        for text in self._text():
            yield self._cut(text) if text else []
        last = self._finish()
        if last:
            yield last

    def _text(self) -> Iterator[bytes]:
        """Yield UTF-8 as it comes, the byte order mark taken off; empty when idle."""
        head = b""
        while len(head) < _BOM_BYTES:
            data = self._source.read(READ_BYTES)
            if data == b"":
                break
            head += data or b""
            if data is None:
                yield b""
        for encoding, mark in (
            ("utf-16-le", codecs.BOM_UTF16_LE),
            ("utf-16-be", codecs.BOM_UTF16_BE),
        ):
            if head.startswith(mark):
                yield from self._utf16(encoding, head[len(mark) :])
                return
        yield head.removeprefix(codecs.BOM_UTF8)
        yield from self._raw()

    def _raw(self) -> Iterator[bytes]:
        while (data := self._source.read(READ_BYTES)) != b"":
            yield data or b""

    def _utf16(self, encoding: str, head: bytes) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        yield self._encoded(decoder.decode(head))
        for data in self._raw():
            yield self._encoded(decoder.decode(data))
        yield self._encoded(decoder.decode(b"", final=True))

    def _encoded(self, text: str) -> bytes:
        self.replaced += text.count(_REPLACED)
        return text.encode()

    def _cut(self, text: bytes) -> list[NumberedLine]:
        lines: list[NumberedLine] = []
        parts = text.split(b"\n")
        if len(parts) > 1:
            self._end(parts[0], lines)
            self._whole(parts, lines)
        self._hold(parts[-1])
        return lines

    def _whole(self, parts: list[bytes], lines: list[NumberedLine]) -> None:
        """Take the lines that lie between the first and the last newline of one read."""
        number, limit = self._number, self._limit
        for raw in parts[1:-1]:
            line = raw.strip(_PADDING)
            if line and not line.isspace():
                if len(line) > limit:
                    lines.append((number, None))
                else:
                    lines.append((number, line if line.isascii() else self._valid(line)))
            number += 1
        self._number = number

    def _end(self, rest: bytes, lines: list[NumberedLine]) -> None:
        """Finish the line that was held, with `rest` as its last piece."""
        if not self._skipping and self._held + len(rest) <= self._limit + len(_PADDING):
            line = b"".join((*self._pieces, rest)).strip(_PADDING)
            if line and not line.isspace():
                fits = len(line) <= self._limit
                lines.append((self._number, self._valid(line) if fits else None))
        else:
            lines.append((self._number, None))
        self._number += 1
        self._pieces, self._held, self._skipping = [], 0, False

    def _hold(self, piece: bytes) -> None:
        if self._skipping or not piece:
            return
        self._held += len(piece)
        if self._held > self._limit + len(_PADDING):
            self._pieces, self._skipping = [], True
        else:
            self._pieces.append(piece)

    def _finish(self) -> list[NumberedLine]:
        lines: list[NumberedLine] = []
        if self._held:
            self._end(b"", lines)
        return lines

    def _valid(self, line: bytes) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            text = line.decode(errors="replace")
            self.replaced += text.count(_REPLACED)
            return text.encode()
        return line


def too_long(source: Source, number: int, limit: int) -> Defect:
    """Say that a line was skipped for its length."""
    return Defect(
        source.name,
        number,
        f"Line {number} is longer than {limit} bytes.",
        "Raise max_line_bytes for this sensor, or split the record at its writer.",
    )


def first_line(head: bytes) -> bytes:
    """Give the first line of `head` that is not blank, as UTF-8, whatever its encoding."""
    if head.startswith(codecs.BOM_UTF16_LE):
        head = head[2:].decode("utf-16-le", errors="ignore").encode()
    elif head.startswith(codecs.BOM_UTF16_BE):
        head = head[2:].decode("utf-16-be", errors="ignore").encode()
    lines = head.removeprefix(codecs.BOM_UTF8).split(b"\n", 64)
    return next((text for line in lines if (text := line.strip(b"\r\0 "))), b"")
