"""A small server of frames: many connections on one Unix socket, one thread, nobody in the way.

Rule 1: only this user (or root) is heard. Rule 2: nothing waits for one client, neither for the
rest of its frame nor for it to take its answers. Rule 3: every client has a turn, and in a turn
only so many frames. Rule 4: what is kept for a client is bounded. Who breaks the protocol is cut
off, and nobody else notices.
"""

import errno
import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from cronos.errors import CronosError
from cronos.link.frames import FrameSplitter, frame, require_same_user

_READ_BYTES: Final = 1 << 18
_NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)
# More answers than this, not taken, and a client is cut off.
_MAX_UNTAKEN_BYTES: Final = 16 << 20


class Connection:
    """One client: frames it has sent that were not heard yet, answers it has not taken yet."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.frames: deque[bytes] = deque()
        self.spoke = False
        self.gone = False
        self._splitter = FrameSplitter()
        self._untaken = bytearray()

    @property
    def is_behind(self) -> bool:
        """Say whether it has answers to take first; until then nothing more is read of it."""
        return bool(self._untaken)

    def send(self, data: bytes) -> None:
        """Answer with one frame; never waits. Who is gone misses it."""
        if self.gone:
            return
        self._untaken += frame(data)
        self.flush()
        if len(self._untaken) > _MAX_UNTAKEN_BYTES:
            self._lose()

    def flush(self) -> None:
        """Hand over what it takes now."""
        try:
            while self._untaken:
                del self._untaken[: self.socket.send(self._untaken)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lose()

    def read(self) -> None:
        """Take what has arrived; the end, or a length no frame has, makes it gone."""
        try:
            data = self.socket.recv(_READ_BYTES)
            self.frames += self._splitter.feed(data)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, CronosError):
            data = b""
        self.gone = not data

    def _lose(self) -> None:
        self.gone = True
        self._untaken.clear()


class FrameServer:
    """Hears the frames of many clients on a listening socket.

    Args:
        listener: a listening Unix socket; the caller closes it.
        hear: takes a connection and one of its frames; it may answer at once or later, with
            `Connection.send`. What raises `CronosError` or `ValueError` cuts the client off.
        max_connections: when they are all taken, one that has said nothing yet, or that does not
            take its answers, gives way; if there is none, the new one is refused.
        max_frames: how many frames of one client are heard in a turn.
        quiet_give_way: if there is none, the one that was quiet for longest gives way instead;
            for clients that connect again by themselves.
    """

    def __init__(
        self,
        listener: socket.socket,
        hear: Callable[[Connection, bytes], None],
        *,
        max_connections: int,
        max_frames: int,
        quiet_give_way: bool = False,
    ) -> None:
        self._listener = listener
        self._hear = hear
        self._max_connections = max_connections
        self._max_frames = max_frames
        self._quiet_give_way = quiet_give_way
        self._connections: dict[int, Connection] = {}  # the one heard last comes last
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def turn(self, timeout_s: float) -> None:
        """Wait for something to arrive, at most `timeout_s`, and hear each client once."""
        if any(one.frames and not one.is_behind for one in self._connections.values()):
            timeout_s = 0
        for key, events in self._selector.select(timeout_s):
            if key.data is None:
                self._accept()
            elif events & selectors.EVENT_WRITE:
                key.data.flush()
            elif not key.data.frames:
                key.data.read()
        for connection in list(self._connections.values()):
            self._attend(connection)

    def close(self) -> None:
        """Hang up on everyone."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.close()

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                self._make_room()  # else the one that waits would be asked for again and again
            return
        try:
            require_same_user(connected)
        except CronosError:
            connected.close()
            return
        if len(self._connections) >= self._max_connections and not self._make_room():
            connected.close()
            return
        connection = Connection(connected)
        self._connections[connected.fileno()] = connection
        self._selector.register(connected, selectors.EVENT_READ, connection)

    def _make_room(self) -> bool:
        """Drop one that only holds its place; False when there is none."""
        idle = [one for one in self._connections.values() if not one.spoke or one.is_behind]
        if not idle and self._quiet_give_way:
            idle = list(self._connections.values())
        if idle:
            self._drop(idle[0])
        return bool(idle)

    def _attend(self, connection: Connection) -> None:
        """Hear a client's next frames, and choose what to wait for."""
        try:
            for _ in range(self._max_frames):
                if not connection.frames or connection.is_behind:
                    break
                self._hear(connection, connection.frames.popleft())
                connection.spoke = True
                number = connection.socket.fileno()
                self._connections[number] = self._connections.pop(number)
        except (CronosError, ValueError):
            connection.gone = True
            connection.frames.clear()
        if connection.gone and not connection.frames:
            self._drop(connection)
            return
        waits = selectors.EVENT_WRITE if connection.is_behind else selectors.EVENT_READ
        if self._selector.get_key(connection.socket).events != waits:
            self._selector.modify(connection.socket, waits, connection)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.socket.fileno()]
        self._selector.unregister(connection.socket)
        connection.socket.close()
        connection.gone = True
