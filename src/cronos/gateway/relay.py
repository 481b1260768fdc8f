"""One connection through the tap: bytes go on first, and are shown to the watcher second.

What one end does the other end sees: bytes, the end of a direction (half-close), a reset. A
side whose peer reads slowly is not read from, so that memory stays bounded by the buffers.
"""

import asyncio
import enum
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol, cast

from cronos.gateway.blocks import Ends
from cronos.link.tapfeed import Direction
from cronos.types import Entity

# l_onoff, l_linger: close sends RST and discards what is queued.
_RESET: Final = struct.pack("ii", 1, 0)


class Stage(enum.Enum):
    """How far a connection has come; it only moves forward."""

    CONNECTING = 1
    OPEN = 2
    ENDED = 3


class Watcher(Protocol):
    """Who is told what happens to connections."""

    def admit(self, relay: "Relay") -> bool:
        """Decide on a new client; False sends it away."""
        ...

    def carried(self, relay: "Relay", direction: Direction, data: bytes) -> None:
        """Learn of bytes that were just forwarded."""
        ...

    def ended(self, relay: "Relay") -> None:
        """Learn that both sides are gone."""
        ...


class Side(asyncio.Protocol):
    """One end of a relay; `direction` is the way of the bytes it reads."""

    def __init__(self, relay: "Relay", direction: Direction) -> None:
        self.relay = relay
        self.direction: Direction = direction
        self.transport: asyncio.Transport | None = None
        self.finished = False  # its peer will send no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are none by class, only by what they do.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.relay.buffer_bytes)
        self.relay.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        self.relay.forward(self, data)

    def eof_received(self) -> bool:
        """Pass the end of this direction on, and stay open for the other."""
        self.relay.finish(self)
        return True

    def pause_writing(self) -> None:
        """Stop reading from the other side: this one takes no more."""
        self.relay.throttle(self, slow=True)

    def resume_writing(self) -> None:
        """Read from the other side again."""
        self.relay.throttle(self, slow=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side the way this one ended."""
        self.relay.lost(self, exc)

    def reset(self) -> None:
        """End at once with a reset, discarding what is queued."""
        if self.transport is None:
            return
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _RESET
        )
        self.transport.abort()


class Relay:
    """A client's connection and the one made for it to the server."""

    def __init__(self, watcher: Watcher, number: int, buffer_bytes: int) -> None:
        self._watcher = watcher
        self.number = number
        self.buffer_bytes = buffer_bytes
        self.client = Side(self, "request")
        self.server = Side(self, "response")
        self.stage = Stage.CONNECTING
        self.ends = Ends("0.0.0.0", 0, "0.0.0.0", 0, "0.0.0.0", 0)  # noqa: S104 - unknown yet
        self.names: tuple[Entity, ...] = ()  # by which it can be blocked
        self.reason = ""
        self.cut_by = ""
        self.bytes_out = 0
        self.bytes_in = 0
        self.last_boot_ns = 0
        self.opened = False
        self._early = bytearray()  # what came before the server's side stood
        self._when_gone: list[Callable[[], None]] = []
        self._alive = 0

    def arrived(self, side: Side) -> None:
        """Take a side whose connection stands."""
        self._alive += 1
        if side is self.client:
            if side.transport is not None:
                side.transport.pause_reading()  # until the server answers
            if not self._watcher.admit(self):
                side.reset()
        elif self.stage is Stage.ENDED:
            side.reset()  # the client left while we were connecting

    def open(self) -> None:
        """Begin to carry bytes: both sides stand."""
        if self.stage is Stage.CONNECTING and self.client.transport is not None:
            self.stage = Stage.OPEN
            self.opened = True
            if self._early:
                self.forward(self.client, bytes(self._early))
                self._early.clear()
            if self.client.finished and self.server.transport is not None:
                self.server.transport.write_eof()
            self.client.transport.resume_reading()

    def forward(self, side: Side, data: bytes) -> None:
        """Write what one side sent to the other, then show it to the watcher."""
        if self.stage is Stage.CONNECTING:
            # Reading is paused, yet a loop may hand over what it had read already.
            self._early += data
            return
        other = self._other(side)
        if other.transport is None or other.transport.is_closing():
            return
        other.transport.write(data)
        if side is self.client:
            self.bytes_out += len(data)
        else:
            self.bytes_in += len(data)
        self._watcher.carried(self, side.direction, data)

    def finish(self, side: Side) -> None:
        """Pass the end of one direction on; after the second one both sides close."""
        side.finished = True
        other = self._other(side)
        if other.transport is not None and not other.transport.is_closing():
            other.transport.write_eof()
        if other.finished:
            self.close("finished")

    def throttle(self, side: Side, slow: bool) -> None:
        """Stop or go on reading from the side that feeds `side`."""
        source = self._other(side).transport
        if source is None or source.is_closing():
            return
        if slow:
            source.pause_reading()
        else:
            source.resume_reading()

    def close(self, reason: str) -> None:
        """End gracefully: what is queued is still sent."""
        self.reason = self.reason or reason
        for side in (self.client, self.server):
            if side.transport is not None:
                side.transport.close()

    def cut(self, reason: str, action_id: str = "") -> None:
        """End both sides at once with a reset."""
        self.reason = self.reason or reason
        self.cut_by = self.cut_by or action_id
        if self.stage is not Stage.ENDED:
            self.client.reset()
            self.server.reset()

    def lost(self, side: Side, error: Exception | None) -> None:
        """Note that a side is gone, and end the other the same way."""
        self._alive -= 1
        side.transport = None
        if error is not None:
            self.cut("reset by the client" if side is self.client else "reset by the server")
        else:
            self.close("closed")
        if self._alive == 0 and self.stage is not Stage.ENDED:
            self.stage = Stage.ENDED
            self._watcher.ended(self)
            for call in self._when_gone:
                call()

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call back once both sides are gone; at once where they are."""
        if self.stage is Stage.ENDED:
            call()
        else:
            self._when_gone.append(call)

    @property
    def half_closed(self) -> bool:
        """Say whether one direction has ended and the other has not."""
        return self.client.finished != self.server.finished

    def _other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client
