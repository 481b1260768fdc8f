"""The tap's feed as a source: frames that the tap keeps until they are no longer needed.

What a restarted parser still needs is more than what is not yet acknowledged: a message may
begin in one frame and end in a later one. The sensor therefore tells the source from which
frame on it must be given again (`TapFeedSource.parsed`), and the tap keeps those.
"""

import contextlib
import time
from collections import deque
from pathlib import Path
from typing import ClassVar

from cronos.config import Positive, Section
from cronos.errors import UnreachableError
from cronos.link.frames import FrameSocket, connect, frame
from cronos.link.tapfeed import TapAck, TapHello, pack, unpack
from cronos.types import Manifest, Provenance


class TapFeedConfig(Section, frozen=True):
    """Where the tap's feed is."""

    socket: str
    linger_ms: Positive = 5
    greeting_ms: Positive = 5_000


class TapFeedSource:
    """Reads one session of a tap; survives the loss of the connection, not of the tap.

    Raises:
        UnreachableError: no tap answers on the socket.
        InputError: what answers is no tap.
    """

    manifest: ClassVar[Manifest] = Manifest("tap-feed", "The frames of a forwarding tap.")
    config_type: ClassVar[type[Section]] = TapFeedConfig

    def __init__(self, config: TapFeedConfig) -> None:
        self._config = config
        self._link: FrameSocket | None = None
        self._session = ""
        self._ended = False
        self._buffer = b""
        self._delivered = 0  # the last frame given out
        self._parsed: deque[tuple[int, int]] = deque()  # frame, last observation up to it
        self._needed_from = 1
        self._acknowledged = 0
        self._sent = 0
        self.provenance = Provenance.AUTHENTICATED  # a process of our own user says so
        self.first = 1
        hello = self._connect()
        self._session = hello.session
        self.name = f"tap:{hello.listen}@{hello.session}"

    def read(self, size: int) -> bytes | None:
        """Give up to `size` bytes of frames; ``b""`` once the tap has begun another session."""
        if not self._buffer and not self._ended:
            self._buffer = self._receive(size)
        if not self._buffer:
            return b"" if self._ended else None
        piece, self._buffer = self._buffer[:size], self._buffer[size:]
        return piece

    def acknowledge(self, seq: int) -> None:
        """Let the tap forget the frames of which only observations up to `seq` were made."""
        self._acknowledged = max(self._acknowledged, seq)
        self._settle()

    def parsed(self, frame_seq: int, last_observation: int, needed_from: int) -> None:
        """Learn that a frame was parsed, the last observation so far, and what is still needed."""
        if self._parsed and self._parsed[-1][1] == last_observation:
            self._parsed.pop()
        self._parsed.append((frame_seq, last_observation))
        self._needed_from = needed_from
        self._settle()

    def close(self) -> None:
        """End the connection; the tap keeps what was not acknowledged."""
        self._ended = True
        self._drop()

    def _settle(self) -> None:
        done = 0
        while self._parsed and self._parsed[0][1] <= self._acknowledged:
            done = self._parsed.popleft()[0]
        if done:
            # Put back: with a later `needed_from` this frame may become free.
            self._parsed.appendleft((done, self._acknowledged))
        self._send_ack(min(done, self._needed_from - 1))

    def _send_ack(self, seq: int) -> None:
        if seq <= self._sent or self._link is None:
            return
        try:
            self._link.send(pack(TapAck(seq)))
            self._sent = seq
        except UnreachableError:
            self._drop()

    def _receive(self, size: int) -> bytes:
        """Wait a few milliseconds for frames; reconnect where the connection is gone."""
        wait_s = self._config.linger_ms / 1000
        if self._link is None:
            self._reconnect()
            if self._link is None:
                time.sleep(wait_s)
                return b""
        gathered: list[bytes] = []
        length = 0
        try:
            body = self._link.receive(wait_s)
            while body is not None:
                gathered.append(self._fresh(body))
                length += len(body)
                more = length < size and self._link.pending()
                body = self._link.receive(0) if more else None
        except UnreachableError:
            self._drop()
        return b"".join(gathered)

    def _fresh(self, body: bytes) -> bytes:
        """Frame a message that was not given out before; an older one gives nothing."""
        message = unpack(body)
        if isinstance(message, TapHello) or message.seq <= self._delivered:
            return b""
        self._delivered = message.seq
        return frame(body)

    def _reconnect(self) -> None:
        with contextlib.suppress(UnreachableError):
            self._ended = self._connect().session != self._session
        if self._ended:
            self._drop()
        self._sent = 0
        self._settle()

    def _connect(self) -> TapHello:
        link = connect(Path(self._config.socket))
        body = link.receive(self._config.greeting_ms / 1000)
        hello = unpack(body) if body is not None else None
        if not isinstance(hello, TapHello):
            link.close()
            raise UnreachableError(
                "sense.no_tap",
                f"{self._config.socket} does not greet like a tap.",
                "Give the path of a running tap's feed as `socket`.",
            )
        self._link = link
        return hello

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
