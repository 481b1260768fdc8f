"""What is given to discovery becomes services: a capture, JSON lines, either of them gzipped."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from cronos.discover.captures import MESSAGE_BYTES, READ_SHARE, Bounds, read_capture
from cronos.discover.filters import compile_filter
from cronos.discover.jsonl import read_lines
from cronos.discover.messages import Message, Service
from cronos.discover.unpack import GZIP_MAGIC, Readable, Unpacked
from cronos.errors import InputError
from cronos.link.capture import MAGICS, PCAPNG_MAGIC

_STANDARD: Final = "-"
_MAX_TOLD: Final = 5
_CAPTURES: Final = (*MAGICS, PCAPNG_MAGIC)


class Opened(NamedTuple):
    """An input with its first bytes read, unpacked where it was packed."""

    source: Readable
    head: bytes
    name: str

    @property
    def capture(self) -> bool:
        """Whether it is a capture; else it is taken for JSON lines."""
        return self.head[:4] in _CAPTURES


@contextmanager
def opened(given: str) -> Generator[Opened]:
    """Open a file, or standard input for ``-``.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    name = "standard input" if given == _STANDARD else Path(given).name
    try:
        raw = sys.stdin.buffer if given == _STANDARD else Path(given).open("rb")  # noqa: SIM115
    except OSError as error:
        raise _unreadable(given, error.strerror or str(error)) from error
    with raw:
        try:
            source: Readable = raw
            head = raw.read(4)
            if head[:2] == GZIP_MAGIC:
                source = Unpacked(raw, head)
                head = source.read(4)
            if not head:
                raise InputError(
                    "discover.empty", f"{name} is empty.", "Give a capture or JSON lines."
                )
            yield Opened(source, head, name)
        except (OSError, EOFError) as error:
            raise _unreadable(given, str(error)) from error


def read_input(given: str, filter_text: str = "", bounds: Bounds | None = None) -> list[Service]:
    """Read an input to its end, or to its bounds; the service with most messages comes first.

    Args:
        given: a path, or ``-`` for standard input.
        filter_text: which packets of a capture are meant; see `cronos.discover.filters`.
        bounds: how much is kept.

    Raises:
        InputError: it cannot be read, holds no message, or the filter has an error.
    """
    with opened(given) as found:
        return services_of(found, filter_text, bounds)


def services_of(
    found: Opened, filter_text: str = "", bounds: Bounds | None = None
) -> list[Service]:
    """Read an opened input; see `read_input`."""
    wanted = compile_filter(filter_text)
    bounds = bounds or Bounds()
    if found.capture:
        return read_capture(found.source, found.head, wanted, bounds)
    if filter_text:
        raise InputError(
            "discover.filter_of_lines",
            f"{found.name} is no capture, and only packets can be filtered.",
            "Leave --filter out.",
        )
    return [_service_of(found, bounds)]


class _InTime:
    """A source that ends when the time to read is up."""

    def __init__(self, source: Readable, bounds: Bounds) -> None:
        self._source = source
        self._bounds = bounds
        self.late = False

    def read(self, size: int = -1, /) -> bytes:
        """See `Readable.read`."""
        self.late = self._bounds.late(READ_SHARE)
        return b"" if self.late else self._source.read(size)


def _service_of(found: Opened, bounds: Bounds) -> Service:
    """Read JSON lines: all of one service, since nothing in them says otherwise."""
    messages: list[Message] = []
    numbers: list[int] = []
    remarks: list[str] = []
    kept = bad = 0
    source = _InTime(found.source, bounds)
    for number, one in enumerate(read_lines(source, found.head)):
        if isinstance(one, str):
            bad += 1
            if bad <= _MAX_TOLD:
                remarks.append(one)
            continue
        kept += len(one.payload) + 4 * len(one.flow) + MESSAGE_BYTES
        if kept > bounds.max_bytes or len(messages) >= bounds.max_messages:
            remarks.append(f"Only the first {number} lines were read: more are too many.")
            break
        messages.append(one)
        numbers.append(number)
    if source.late:
        remarks.append("The time was up: lines that follow these were not read.")
    if bad > _MAX_TOLD:
        remarks.append(f"{bad} lines in all are no messages.")
    if not messages:
        why = remarks[0] if remarks else "It has no lines."
        raise InputError(
            "discover.no_messages",
            f"{found.name} holds no message. {why}",
            'Give a pcap or pcapng file, or JSON lines like {"payload_hex": "0001"}.',
        )
    name = found.name.removesuffix(".gz").removesuffix(".jsonl")
    return Service(name, tuple(messages), tuple(numbers), remarks=tuple(remarks))


def _unreadable(given: str, why: str) -> InputError:
    return InputError(
        "discover.unreadable",
        f"{given} cannot be read: {why}.",
        "Give the path of a readable capture or JSON lines file.",
    )
