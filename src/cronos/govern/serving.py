"""The ledger process: appends of the reflex process in, positions out.

Whatever has arrived while the last commit was under way becomes one commit: the disk is synced
once for many requests, and a request waits for nothing but its turn.
"""

import selectors
import socket
from contextlib import suppress
from typing import Final

from cronos.errors import CronosError
from cronos.link.frames import FrameSocket, require_same_user
from cronos.ports import Ledger
from cronos.types import Append, Appended, Hello, decode, encode

_MAX_RECORDS: Final = 4_000
_MAX_CONNECTIONS: Final = 16


class LedgerServer:
    """Serves one ledger on a listening socket, in one thread, until `stopping` is set."""

    def __init__(self, ledger: Ledger, listener: socket.socket) -> None:
        self._ledger = ledger
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._waiting: list[tuple[FrameSocket, Append]] = []
        self.stopping = False

    def serve(self) -> None:
        """Serve; what has been read when it stops is still committed and answered."""
        while not self.stopping:
            for key, _ in self._selector.select(0.2):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, FrameSocket):
                    self._drain(key.fileobj)
            self._commit()
        self._close()
        self._ledger.close()

    def _close(self) -> None:
        """Hang up on everyone."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, FrameSocket):
                self._drop(key.fileobj)
        self._selector.close()

    def _accept(self) -> None:
        connected, _ = self._listener.accept()
        try:
            require_same_user(connected)
        except CronosError:
            connected.close()
            return
        if len(self._selector.get_map()) > _MAX_CONNECTIONS:
            connected.close()
            return
        self._selector.register(FrameSocket(connected), selectors.EVENT_READ)

    def _drain(self, connection: FrameSocket) -> None:
        """Take the requests that have arrived; who talks nonsense is cut off."""
        try:
            for _ in range(_MAX_RECORDS):
                frame = connection.receive(0)
                if frame is None:
                    return
                datum = decode(frame)
                if isinstance(datum, Append):
                    self._waiting.append((connection, datum))
                elif not isinstance(datum, Hello):
                    self._drop(connection)
                    return
        except (CronosError, ValueError):
            self._drop(connection)

    def _drop(self, connection: FrameSocket) -> None:
        self._selector.unregister(connection)
        connection.close()

    def _commit(self) -> None:
        """Append what waits, in commits of bounded size, and answer each request."""
        while self._waiting:
            taken: list[tuple[FrameSocket, Append]] = []
            records: list[bytes] = []
            while self._waiting and (not taken or len(records) < _MAX_RECORDS):
                taken.append(self._waiting.pop(0))
                records += taken[-1][1].records
            try:
                position, error = self._ledger.append(records), ""
            except CronosError as refused:
                position, error = 0, str(refused)
            for connection, append in taken:
                answer = Appended(append.request_id, position, error)
                # A reflex process that is gone will send the request again.
                with suppress(CronosError):
                    connection.send(encode(answer))
                position += 0 if error else len(append.records)
