"""The mesh process's own socket: the reflex process speaks here, and a person's command may ask.

Frames of canonical bytes. Who greets as ``reflex`` is the reflex process, the first one for good:
what it says is carried in its order, and when it hangs up the process is over. Anybody else asks
with a `ControlCall` and gets one `ControlReply`. Only this user, or root, is heard.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from cronos.errors import CronosError
from cronos.link.asking import KINDS
from cronos.link.frames import FrameSplitter, frame, listen, require_same_user
from cronos.ports import Tasks
from cronos.types import ControlCall, ControlReply, Datum, Hello, Unknown, decode, encode

SOCKET_NAME: Final = "mesh.sock"
REFLEX: Final = "reflex"
_MAX_CLIENTS: Final = 8
_MAX_SAID: Final = 2_000  # carried together; the reflex process waits when more is under way
_PAUSE_AT: Final = 20_000
_PRESSED: Final = 256 << 10
_MOST_UNREAD: Final = 16 << 20  # what the reflex process has not read yet, of what peers said

Hear = Callable[[Sequence[Datum]], Awaitable[None]]
Answer = Callable[[ControlCall], Awaitable[Any]]


class MeshServer:
    """Serves the socket on the running event loop.

    Args:
        path: of the socket.
        tasks: carries what was said.
        hear: takes what the reflex process said, in its order.
        answer: gives a person's answer, as JSON can hold it.
        gone: called when the reflex process has hung up.

    Attributes:
        met: set once the reflex process has greeted.
    """

    def __init__(
        self, path: Path, tasks: Tasks, hear: Hear, answer: Answer, gone: Callable[[], None]
    ) -> None:
        self.met = asyncio.Event()
        self.gone = gone
        self.reflex: _Client | None = None
        self.clients: list[_Client] = []
        self._path = path
        self._tasks = tasks
        self._hear = hear
        self._answer = answer
        self._said: list[Datum] = []
        self._more = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin; returns once it serves.

        Raises:
            InputError: the socket cannot be made.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Client(self), sock=listen(self._path))
        self._tasks.spawn(self._carry(), "carry")

    async def stop(self) -> None:
        """End; more than once is harmless."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for client in list(self.clients):
                client.hang_up()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def tell(self, datum: Datum) -> None:
        """Give the reflex process a datum; before it is there nothing is told."""
        if self.reflex is not None:
            self.reflex.send(datum)

    def crowded(self) -> bool:
        """Say whether the reflex process reads less than it is told."""
        return self.reflex is not None and self.reflex.unread > _MOST_UNREAD

    def pressed(self) -> bool:
        """Say whether it is behind: then no peer should be heard at another's cost."""
        return self.reflex is not None and self.reflex.unread > _PRESSED

    def said(self, datum: Datum) -> None:
        """Queue what the reflex process said."""
        self._said.append(datum)
        self._more.set()
        if len(self._said) >= _PAUSE_AT and self.reflex is not None:
            self.reflex.pause()

    def ask(self, client: "_Client", call: ControlCall) -> None:
        """Answer a person's command, beside all else."""
        self._tasks.spawn(self._reply(client, call), "mesh-call")

    async def _carry(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._said:
                batch = self._said[:_MAX_SAID]
                del self._said[:_MAX_SAID]
                await self._hear(batch)
            if self.reflex is not None:
                self.reflex.go_on()

    async def _reply(self, client: "_Client", call: ControlCall) -> None:
        try:
            result = msgspec.json.encode(await self._answer(call))
            reply = ControlReply(call.request_id, result)
        except CronosError as error:
            kind = next((name for name, one in KINDS.items() if isinstance(error, one)), b"null")
            reply = ControlReply(call.request_id, kind, error.code, error.sentence, error.remedy)
        client.send(reply)


class _Client(asyncio.Protocol):
    """One connection: the reflex process's, or that of a command."""

    def __init__(self, server: MeshServer) -> None:
        self._server = server
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._frames: list[bytes] = []
        self._bytes = 0  # in these frames

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it."""
        self._transport = cast("asyncio.Transport", transport)
        connected = cast("socket.socket", transport.get_extra_info("socket"))
        try:
            require_same_user(connected)
        except (CronosError, OSError):
            self._transport.abort()
            return
        if len(self._server.clients) >= _MAX_CLIENTS:
            self._transport.abort()
            return
        self._server.clients.append(self)

    def data_received(self, data: bytes) -> None:
        """Take what is complete; whoever does not speak our language is cut off."""
        try:
            for one in self._splitter.feed(data):
                self._take(decode(one))
        except (CronosError, ValueError):
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget a command; without the reflex process there is nothing left to do."""
        self._transport = None
        if self in self._server.clients:
            self._server.clients.remove(self)
        if self._server.reflex is self:
            self._server.gone()

    def send(self, datum: Datum) -> None:
        """Send a frame, with all that are given in this turn of the loop; who is gone misses it."""
        if self._transport is None:
            return
        self._frames.append(frame(encode(datum)))
        self._bytes += len(self._frames[-1])
        if len(self._frames) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        frames, self._frames, self._bytes = self._frames, [], 0
        if self._transport is not None:
            self._transport.writelines(frames)

    @property
    def unread(self) -> int:
        """How many bytes wait to be sent."""
        if self._transport is None:
            return 0
        return self._bytes + self._transport.get_write_buffer_size()

    def pause(self) -> None:
        """Read no more until `go_on`."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def hang_up(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, datum: Datum | Unknown) -> None:
        server = self._server
        if isinstance(datum, Hello) and datum.role == REFLEX and server.reflex is None:
            server.reflex = self
            server.met.set()
        elif isinstance(datum, ControlCall):
            server.ask(self, datum)
        elif server.reflex is self and isinstance(datum, Datum):
            server.said(datum)
        else:
            raise ValueError("neither the reflex process nor a call")
