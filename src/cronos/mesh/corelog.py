"""What gRPC's core says of handshakes that failed, heard where it says it: on its standard error.

gRPC tells Python nothing of a connection that never becomes a stream. Its core writes of it, and
only there it is known why one failed and who it was. So in the mesh process file descriptor 2 is a
pipe with this module at its other end, and what Python writes goes where it went before.

Rule 1: nobody waits for this end: a full pipe refuses, and what is refused is lost; what is asked
for is only of handshakes and of calls that failed. Rule 2: this end reads so much in so much time
and no more, whatever strangers do. Rule 3: of what is said only a reason out of a fixed list and an
address are taken; no text goes on. Rule 4: what gRPC did not write is passed on.

What it writes is no interface: `tests/integration/test_strangers.py` meets the pinned version.
"""

import asyncio
import faulthandler
import fcntl
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple, TextIO
from urllib.parse import unquote

_SETTINGS: Final = {"GRPC_VERBOSITY": "INFO", "GRPC_TRACE": "handshaker,call_error"}
_QUIET: Final = {"GRPC_VERBOSITY": "NONE"}
_STDERR: Final = 2
_PIPE_BYTES: Final = 1 << 20
# A handshake that fails is written of in some 6 KB: so some 400 of them in a second are heard.
_TURN_BYTES: Final = 256 << 10
_TURN_S: Final = 0.1
_MOST_PASSED: Final = 4_096
_SET_PIPE_SIZE: Final = 1031

# absl's head of a message, for instance: I1129 14:26:08.795713    3816 handshaker.cc:155]
_HEAD: Final = re.compile(
    rb"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w.]{1,60}:\d+\] ", re.MULTILINE
)
_ENDED: Final = re.compile(rb"CallNextHandshakerLocked: error=(?!OK)")
_FROM: Final = re.compile(
    rb"grpc\.internal\.endpoint_peer_address=ipv[46]:([0-9A-Za-z:.%\[\]]{2,64}),"
)
_WITHIN: Final = 1_900
_MOST_ERROR: Final = 600
_FATAL: Final = b"F"
_TOO_LONG: Final = re.compile(
    rb"CancelWithError SVR RESOURCE_EXHAUSTED:[^\n]{0,40}Received message larger than max"
)
LONG: Final = "mesh.long_frame"
# Only a server's handshake has these; of what this node dials it is told without us.
_SERVER: Final = b"grpc.internal.server_credentials="
_WHY: Final = (
    (rb"_ALERT_|read failed|timed out|Socket closed", "mesh.unfinished"),
    (rb"WRONG_VERSION_NUMBER|HTTP_REQUEST|HTTPS_PROXY|UNEXPECTED_RECORD|DECODE", "mesh.no_tls"),
    (rb"NO_SHARED_CIPHER|NO_SHARED_GROUP|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION", "mesh.old_tls"),
    (rb"DID_NOT_RETURN_A_CERTIFICATE", "mesh.no_certificate"),
    (rb"CERTIFICATE", "mesh.foreign_certificate"),
)
_REASONS: Final = tuple((re.compile(pattern), reason) for pattern, reason in _WHY)


class Failed(NamedTuple):
    """Who was refused, and why: one of `strangers.REASONS`, or `LONG`."""

    reason: str
    host: str
    port: int


def failures(text: bytes) -> Iterator[Failed]:
    """Find what a server refused in what gRPC has written; of a long message not whose it was."""
    for message in messages(text):
        if _TOO_LONG.search(message):
            yield Failed(LONG, "", 0)
            continue
        found = _ENDED.search(message)
        if found is None or _SERVER not in message:
            continue
        # Not in one pattern: that would look for each end of the error anew.
        begins = found.end()
        whose = _FROM.search(message, begins, begins + _WITHIN)
        place = None if whose is None else place_of(b"ip:" + whose[1])
        if whose is not None and place is not None:
            error = message[begins : min(whose.start(), begins + _MOST_ERROR)]
            yield Failed(_reason(error.partition(b"\n")[0]), *place)


def messages(text: bytes) -> Iterator[bytes]:
    """Cut what gRPC has written into its messages; what stands before the first is left out."""
    starts = [found.start() for found in _HEAD.finditer(text)]
    for at, end in itertools.pairwise([*starts, len(text)]):
        yield text[at:end]


def place_of(address: bytes) -> tuple[str, int] | None:
    """Read an address as gRPC writes it: ``ipv4:192.0.2.1:80``, ``ipv6:%5B::1%5D:80``.

    Without its zone, if it has one.
    """
    _, _, place = address.partition(b":")
    host, _, port = place.decode("ascii", "replace").rpartition(":")
    host = unquote(host).strip("[]").partition("%")[0]
    if not host or not (port.isascii() and port.isdigit()) or len(port) > 5:
        return None
    return host.removeprefix("::ffff:"), int(port)


def _reason(error: bytes) -> str:
    # BoringSSL's reason stands behind its name; where there is none, these are gRPC's words.
    known = error.rpartition(b"OPENSSL_internal:")[2]
    known = known if known is error else known.partition(b":")[0]
    return next((why for one, why in _REASONS if one.search(known)), "mesh.handshake_failed")


def core_settings() -> dict[str, str]:
    """Give what gRPC's core is to be told of its log, before it is imported."""
    return _SETTINGS if CoreLog.made else _QUIET


class CoreLog:
    """The end of the pipe; to be made before gRPC is imported, once in a process.

    Attributes:
        told: takes each failure that is heard; set before `listen`.
    """

    made: ClassVar[bool] = False

    def __init__(self) -> None:
        self.told: Callable[[Failed], None] = lambda _failed: None
        self._kept = os.dup(_STDERR)
        self._end, writer = os.pipe()
        for end in (self._end, writer):
            os.set_blocking(end, False)
        with suppress(OSError):  # then it has the usual 64 KiB: less is heard in a flood
            fcntl.fcntl(writer, _SET_PIPE_SIZE, _PIPE_BYTES)
        os.dup2(writer, _STDERR)
        os.close(writer)
        self.stream: TextIO = os.fdopen(self._kept, "w", buffering=1, closefd=False)
        sys.stderr = self.stream
        faulthandler.enable(self.stream)
        CoreLog.made = True
        self._rest = b""

    def listen(self) -> None:
        """Begin to hear, on the running event loop; what was said until now is left out."""
        for _ in range(_PIPE_BYTES // _TURN_BYTES):
            self._drained()
        self._rest = b""
        self._again()

    def _again(self) -> None:
        asyncio.get_running_loop().add_reader(self._end, self._ready)

    def _ready(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._end)
        self.take(self._drained())
        loop.call_later(_TURN_S, self._again)

    def _drained(self) -> bytes:
        try:
            return os.read(self._end, _TURN_BYTES)
        except BlockingIOError:
            return b""

    def take(self, data: bytes) -> None:
        """Take what was written; the last message may still be going on."""
        text = self._rest + data
        starts = [found.start() for found in _HEAD.finditer(text)]
        self._pass_on(text[: starts[0]] if starts else text)
        # A message is written in one piece, so only one that the turn's end has cut goes on.
        cut = starts[-1] if starts and len(data) == _TURN_BYTES else len(text)
        self._rest = text[cut:][:_PIPE_BYTES]
        for message in messages(text[:cut]):
            if message.startswith(_FATAL):
                self._pass_on(message)
        for failed in failures(text[:cut]):
            self.told(failed)

    def _pass_on(self, text: bytes) -> None:
        if text.strip():
            self.stream.write(text[:_MOST_PASSED].decode("utf-8", "replace"))
