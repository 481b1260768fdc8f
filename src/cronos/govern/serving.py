"""The ledger process: appends of the reflex process in, positions out.

Whatever has arrived while the last commit was under way becomes one commit: the disk is synced
once for many requests, and a request waits for nothing but its turn.
"""

import socket
from collections import deque
from typing import Final

from cronos.errors import CronosError
from cronos.link.server import Connection, FrameServer
from cronos.ports import Ledger
from cronos.types import Append, Appended, Hello, decode, encode

_MAX_RECORDS: Final = 4_000
_MAX_CONNECTIONS: Final = 16
_TURN_S: Final = 0.2


class LedgerServer:
    """Serves one ledger on a listening socket, in one thread, until `stopping` is set."""

    def __init__(self, ledger: Ledger, listener: socket.socket) -> None:
        self._ledger = ledger
        self._server = FrameServer(
            listener, self._hear, max_connections=_MAX_CONNECTIONS, max_frames=_MAX_RECORDS
        )
        self._waiting: deque[tuple[Connection, Append]] = deque()
        self.stopping = False

    def serve(self) -> None:
        """Serve; what has been read when it stops is still committed and answered."""
        while not self.stopping:
            self._server.turn(_TURN_S)
            self._commit()
        self._server.close()
        self._ledger.close()

    def _hear(self, connection: Connection, body: bytes) -> None:
        """Take a request.

        Raises:
            ValueError: it is none; the client is cut off.
        """
        datum = decode(body)
        if isinstance(datum, Append):
            self._waiting.append((connection, datum))
        elif not isinstance(datum, Hello):
            raise ValueError("neither Append nor Hello")  # noqa: TRY004 - what decode raises

    def _commit(self) -> None:
        """Append what waits, in commits of bounded size, and answer each request."""
        while self._waiting:
            taken: list[tuple[Connection, Append]] = []
            records: list[bytes] = []
            while self._waiting and (not taken or len(records) < _MAX_RECORDS):
                taken.append(self._waiting.popleft())
                records += taken[-1][1].records
            try:
                position, error = self._ledger.append(records), ""
            except CronosError as refused:
                position, error = 0, str(refused)
            for connection, append in taken:
                # A reflex process that is gone will send the request again.
                connection.send(encode(Appended(append.request_id, position, error)))
                position += 0 if error else len(append.records)
