"""The key log: what was done with keys, one line each, chained and vouched for by the keystore.

A line is ``<mac> <event>``: an event as JSON, and before it the HMAC-SHA384 of the head before
and the event, in hex, under a key that only the keystore has. The head is the SHA-384 of the head
before and the line; that of an empty log is 48 zeros. The keystore names size and head, so that a
cut log is found too. An event is durable before the keystore that it tells of.
"""

import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cronos.crypto.durable import read_bounded, write_all

HEAD_BYTES: Final = 48
NO_HEAD: Final = bytes(HEAD_BYTES)
MAX_LOG_BYTES: Final = 64 << 20
_MAX_LINE: Final = 4096
_MAC_HEX: Final = 96
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

Mac = Callable[[bytes], bytes]


class KeyEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that was done.

    Attributes:
        what: created, activated, rotated, destroyed, exported, imported, protected,
            recovered or log-broken.
        generation: of the keystore that it led to.
        wall_ns: Unix time, as the keystore saw it.
    """

    what: str
    key_id: str
    kid: str
    generation: int
    wall_ns: int
    detail: str = ""


_DECODER: Final = msgspec.json.Decoder(KeyEvent)


class LogRead(msgspec.Struct, frozen=True):
    """What a key log holds as far as it holds: events, the head after each, and where each ends.

    Attributes:
        heads: one more than events; the first is that of an empty log.
        ends: likewise; the first is 0.
        torn: True where bytes follow that are no whole line.
        broken: the number of the first line that does not belong here, or 0.
    """

    events: tuple[KeyEvent, ...]
    heads: tuple[bytes, ...]
    ends: tuple[int, ...]
    torn: bool
    broken: int

    def holds(self, size: int, head: bytes) -> bool:
        """Say whether the log led to `head` after `size` events."""
        return size < len(self.heads) and hmac.compare_digest(self.heads[size], head)


def lines(events: Sequence[KeyEvent], head: bytes, mac: Mac) -> tuple[bytes, bytes]:
    """Give the lines of events that follow `head`, and the head after them."""
    written: list[bytes] = []
    for event in events:
        body = msgspec.json.encode(event)
        line = mac(head + body).hex().encode() + b" " + body
        head = _next(head, line)
        written.append(line + b"\n")
    return b"".join(written), head


def read(path: Path, mac: Mac) -> LogRead:
    """Read a key log up to its end, or to the first line that does not belong there.

    One of more than 64 MiB is not read: none of its lines counts as belonging there.

    Raises:
        DeniedError: it cannot be read, or is no regular file.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_size > MAX_LOG_BYTES:
            return LogRead((), (NO_HEAD,), (0,), torn=False, broken=1)
    data = read_bounded(path, MAX_LOG_BYTES) or b""
    events: list[KeyEvent] = []
    heads, ends = [NO_HEAD], [0]
    while (end := data.find(b"\n", ends[-1])) >= 0:
        line = data[ends[-1] : end]
        event = _event(line, heads[-1], mac)
        if event is None:
            return LogRead(tuple(events), tuple(heads), tuple(ends), False, len(heads))
        events.append(event)
        heads.append(_next(heads[-1], line))
        ends.append(end + 1)
    torn = ends[-1] < len(data)
    return LogRead(tuple(events), tuple(heads), tuple(ends), torn, 0)


def append(path: Path, written: bytes, end: int) -> None:
    """Append lines after position `end`, durably; what a crash left half written there goes.

    Raises:
        OSError: nothing was appended.
    """
    handle = os.open(path, _APPEND, 0o600)
    try:
        os.ftruncate(handle, end)
        write_all(handle, written)
        os.fsync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, end)
        raise
    finally:
        os.close(handle)


def cut(path: Path, end: int) -> None:
    """Take back what was appended after `end`, as far as the disk lets us."""
    with contextlib.suppress(OSError):
        os.truncate(path, end)


def _event(line: bytes, head: bytes, mac: Mac) -> KeyEvent | None:
    if not _MAC_HEX < len(line) <= _MAX_LINE:
        return None
    body = line[_MAC_HEX + 1 :]
    if not hmac.compare_digest(line[: _MAC_HEX + 1], mac(head + body).hex().encode() + b" "):
        return None
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _next(head: bytes, line: bytes) -> bytes:
    return hashlib.sha384(head + line).digest()
