"""The control socket: where people's commands reach a running node, on its event loop.

Frames of `ControlCall` in, one `ControlReply` for each, in order. Rule 1: only this user or root
is heard. Rule 2: one client waits for nobody else's signature to be checked, and the kernel for
none at all: who called is found out in a thread beside. Rule 3: all that is kept for a client is
bounded. Who breaks the protocol is cut off, and nobody else notices.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, cast

from cronos.errors import CronosError
from cronos.link.asking import KINDS
from cronos.link.clerk import Caller, Clerk
from cronos.link.frames import FrameSplitter, frame, listen, require_same_user
from cronos.types import ControlCall, ControlReply, decode, encode

_MAX_CLIENTS: Final = 16
_MAX_CALLS: Final = 16  # of one client that wait for their turn
_MAX_UNTAKEN_BYTES: Final = 4 << 20


class Authority(Protocol):
    """Who knows the operators."""

    def identify(self, call: ControlCall, uid: int) -> Caller:
        """Say who called; `uid` is the user of the process at the other end. In any thread.

        Raises:
            DeniedError: the signature does not hold, or not for this node and this call.
        """
        ...


class ControlServer:
    """Serves the control socket on the running event loop.

    Args:
        path: of the socket; only this user may use it.
        clerk: does what is asked, on the loop.
        authority: finds out who asks, in a thread.
        report: hears the name of a fault of ours, for the log.
    """

    def __init__(
        self,
        path: Path,
        clerk: Clerk,
        authority: Authority,
        report: Callable[[str], None] = lambda _fault: None,
    ) -> None:
        self.path = path
        self.clerk = clerk
        self.authority = authority
        self.report = report
        # One thread: signatures are checked one after the other, whoever sends how many.
        self.checking = ThreadPoolExecutor(1, "control")
        self.clients: list[_Client] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin; returns once it serves.

        Raises:
            InputError: the socket cannot be made.
        """
        loop = asyncio.get_running_loop()
        listener = listen(self.path)
        self._server = await loop.create_unix_server(lambda: _Client(self), sock=listener)

    async def stop(self) -> None:
        """End; what is being checked is not carried out any more. More than once is harmless."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for client in list(self.clients):
            client.hang_up()
        self.checking.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        return "ok" if self._server is not None else "The control socket is not served."

    def make_room(self) -> bool:
        """Drop a client that only holds its place; False where there is none."""
        idle = next((one for one in self.clients if not one.spoke), None)
        if idle is not None:
            idle.hang_up()
        return idle is not None


class _Client(asyncio.Protocol):
    """One connection; its calls are answered one after the other."""

    def __init__(self, server: ControlServer) -> None:
        self.spoke = False
        self._server = server
        self._splitter = FrameSplitter()
        self._calls: deque[ControlCall] = deque()
        self._busy = False
        self._transport: asyncio.Transport | None = None
        self._uid = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it."""
        # asyncio promises a stream transport here; uvloop's does not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        connected = cast("socket.socket", transport.get_extra_info("socket"))
        clients = self._server.clients
        try:
            require_same_user(connected)
            self._uid = _user_of(connected)
        except (CronosError, OSError):
            self._transport.abort()
            return
        if len(clients) >= _MAX_CLIENTS and not self._server.make_room():
            self._transport.abort()
            return
        clients.append(self)

    def data_received(self, data: bytes) -> None:
        """Take what is complete; whoever says anything but calls is cut off."""
        try:
            for one in self._splitter.feed(data):
                self._calls.append(_call(one))
        except (CronosError, ValueError):
            self.hang_up()
            return
        if len(self._calls) > _MAX_CALLS and self._transport is not None:
            self._transport.pause_reading()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget it; a call that is being checked is not carried out."""
        self._transport = None
        self._calls.clear()
        if self in self._server.clients:
            self._server.clients.remove(self)

    def hang_up(self) -> None:
        """End the connection at once."""
        if self in self._server.clients:
            self._server.clients.remove(self)
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        if self._busy or not self._calls or self._transport is None:
            return
        self._busy = self.spoke = True
        call = self._calls.popleft()
        loop = asyncio.get_running_loop()
        identify = self._server.authority.identify
        checked = loop.run_in_executor(self._server.checking, identify, call, self._uid)
        checked.add_done_callback(lambda done: self._answer(call, done))

    def _answer(self, call: ControlCall, checked: "asyncio.Future[Caller]") -> None:
        self._busy = False
        if self._transport is None or checked.cancelled():
            return
        self._send(self._reply(call, checked))
        if self._transport.get_write_buffer_size() > _MAX_UNTAKEN_BYTES:
            self.hang_up()  # it asks and does not listen
            return
        if len(self._calls) <= _MAX_CALLS:
            with contextlib.suppress(RuntimeError):  # it was not paused
                self._transport.resume_reading()
        self._next()

    def _reply(self, call: ControlCall, checked: "asyncio.Future[Caller]") -> ControlReply:
        try:
            result = self._server.clerk.hear(call, checked.result())
        except CronosError as error:
            kind = next((name for name, one in KINDS.items() if isinstance(error, one)), b"null")
            return ControlReply(call.request_id, kind, error.code, error.sentence, error.remedy)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the kernel's loop
            self._server.report(f"{call.verb[:64]}: {error!r:.300}")
            fault = f"The node failed at it: {type(error).__name__}."
            return ControlReply(call.request_id, b"null", "control.fault", fault, "See its log.")
        return ControlReply(call.request_id, result)

    def _send(self, reply: ControlReply) -> None:
        if self._transport is not None:
            self._transport.write(frame(encode(reply)))


def _call(body: bytes) -> ControlCall:
    call = decode(body)
    if not isinstance(call, ControlCall):
        raise ValueError("not a call")  # noqa: TRY004 - what bytes say, not how we were called
    return call


def _user_of(connected: socket.socket) -> int:
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[1])
