"""Cut syslog messages out of a TCP stream: octet-counted or ended by a newline.

Source: RFC 6587 section 3.4. The framing may change from message to message: a frame that begins
with a digit other than 0 is counted, since every message itself begins with ``<``.
"""

import re
from typing import Final

_COUNT: Final = re.compile(rb"([1-9]\d{0,8}) ")
_COUNT_BYTES: Final = 10
_DIGITS: Final = b"0123456789"


class Framing:
    """Holds at most one unfinished message of `max_bytes`; a longer one is cut to that."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._buffer = bytearray()
        self._counted = 0  # bytes of a counted message still to come, beyond the buffer
        self._skipping = False  # the rest of an overlong line
        self._lined = False  # the buffer is known to hold the beginning of a line

    @property
    def unfinished(self) -> bool:
        """Say whether a message has begun and not ended."""
        return bool(self._buffer) or self._counted > 0 or self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and give the messages that are whole now."""
        messages: list[bytes] = []
        rest = data
        while rest:
            rest = self._take(rest, messages)
        return messages

    def end(self) -> list[bytes]:
        """Give what the peer left unfinished when it closed."""
        self._lined = False
        left = [] if self._skipping or not self._buffer else [bytes(self._buffer)]
        self._buffer.clear()
        return left

    def _take(self, data: bytes, messages: list[bytes]) -> bytes:
        """Consume some of `data` and give the rest."""
        if self._counted:
            return self._count(data, messages)
        in_line = self._skipping or self._lined
        if not in_line and (self._buffer or data)[:1].strip(_DIGITS) == b"":
            return self._head(data, messages)
        return self._line(data, messages)

    def _count(self, data: bytes, messages: list[bytes]) -> bytes:
        piece, rest = data[: self._counted], data[self._counted :]
        self._counted -= len(piece)
        self._buffer += piece[: max(self._limit - len(self._buffer), 0)]
        if not self._counted:
            messages.append(bytes(self._buffer))
            self._buffer.clear()
        return rest

    def _head(self, data: bytes, messages: list[bytes]) -> bytes:
        """Read the count of a message; digits that are no count are an ordinary line."""
        self._buffer += data[:_COUNT_BYTES]
        rest = data[_COUNT_BYTES:]
        count = _COUNT.match(bytes(self._buffer))
        if count is not None:
            rest = bytes(self._buffer[count.end() :]) + rest
            self._buffer.clear()
            self._counted = int(count[1])
        elif len(self._buffer) >= _COUNT_BYTES or self._buffer.strip(_DIGITS):
            rest = bytes(self._buffer) + rest
            self._buffer.clear()
            return self._line(rest, messages)
        return rest

    def _line(self, data: bytes, messages: list[bytes]) -> bytes:
        piece, newline, rest = data.partition(b"\n")
        if not self._skipping:
            self._buffer += piece[: max(self._limit - len(self._buffer), 0)]
            self._skipping = not newline and len(self._buffer) >= self._limit
            self._lined = not newline
            if newline or self._skipping:
                messages.append(bytes(self._buffer))
                self._buffer.clear()
        elif newline:
            self._skipping = False
        return rest
