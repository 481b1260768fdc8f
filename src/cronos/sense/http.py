"""HTTP/1 requests: the head of each, in a stream of them.

A body of stated length is passed over. After one of unstated length (chunked, upgraded) the next
line that reads like a request line begins a request: a body that holds such a line on purpose
is told as a request, which it then is to a confused server as well.

Source: RFC 9112 §3 (request line), §6.3 (length).
"""

import re
from typing import Final

from cronos.types import Scalar

_MAX_HEAD_BYTES: Final = 16_384
_MAX_VALUE_CHARS: Final = 2_048
_LINE: Final = rb"([A-Z]{3,16}) (\S{1,8192}) HTTP/1\.[01]\r?\n"
_REQUEST: Final = re.compile(_LINE)
_LATER_REQUEST: Final = re.compile(rb"(?<=\n)" + _LINE)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_HEADERS: Final = {"host": "url.hostname", "user-agent": "http_request.user_agent"}


class HttpStream:
    """The client's side of one connection; holds at most one unfinished head."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[dict[str, Scalar]]:
        """Take the next bytes and give the requests whose heads are whole now."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return []
        buffer = self._buffer + data[self._skip :]
        self._skip = 0
        found: list[dict[str, Scalar]] = []
        at = 0
        while request := _REQUEST.match(buffer, at) or _LATER_REQUEST.search(buffer, at):
            end = _HEAD_END.search(buffer, request.end() - 2)
            if end is None:
                at = request.start()
                break
            fields, body = _head(request, buffer[request.end() : end.start()])
            found.append(fields)
            at = end.end() + body
            if at >= len(buffer):
                self._skip = at - len(buffer)
                break
        else:
            # No request line is whole: keep what may be the beginning of one.
            at = max(at, buffer.rfind(b"\n", at))
        self._buffer = buffer[at:] if len(buffer) - at <= _MAX_HEAD_BYTES else b""
        return found

    def reset(self) -> None:
        """Forget what is unfinished: bytes after it were lost."""
        self._buffer, self._skip = b"", 0


def _head(request: re.Match[bytes], lines: bytes) -> tuple[dict[str, Scalar], int]:
    """Give the fields of a head and the length of the body that follows it."""
    fields: dict[str, Scalar] = {
        "http_request.http_method": _text(request[1]),
        "http_request.url.path": _text(request[2]),
    }
    body = 0
    for line in lines.splitlines():
        name, _, value = line.partition(b":")
        key = name.decode("latin-1").lower()
        if key in _HEADERS:
            fields.setdefault(_HEADERS[key], _text(value.strip()))
        elif key == "content-length" and re.fullmatch(rb"\s*\d{1,15}\s*", value):
            body = int(value)
    return fields, body


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")[:_MAX_VALUE_CHARS]
