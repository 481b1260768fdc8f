"""The ledger process: appends of the reflex process in, positions out.

Whatever has arrived while the last commit was under way becomes one commit: the disk is synced
once for many requests, and a request waits for nothing but its turn. What is asked back from the
ledger is read a piece at a time between commits, so that no append waits for more than a piece.
What nobody waits for, the closed incidents of the day, is read with pauses.
"""

import socket
from collections import deque
from collections.abc import Iterator
from typing import Final

from cronos.errors import CronosError
from cronos.govern.recall import Recollection
from cronos.govern.standing import Standing
from cronos.link.server import Connection, FrameServer
from cronos.ports import Ledger
from cronos.types import Append, Appended, Hello, Recall, Recalled, decode, encode

_MAX_RECORDS: Final = 4_000
_MAX_CONNECTIONS: Final = 16
_MAX_RECALLS: Final = 4
_TURN_S: Final = 0.2
_PAUSE_S: Final = 0.05


class LedgerServer:
    """Serves one ledger on a listening socket, in one thread, until `stopping` is set.

    Args:
        ledger: appended to by this process alone.
        listener: where clients connect.
        standing: where incidents last stood, not loaded yet; kept in memory alone without one.
    """

    def __init__(
        self, ledger: Ledger, listener: socket.socket, standing: Standing | None = None
    ) -> None:
        self._ledger = ledger
        self._standing = standing if standing is not None else Standing()
        self._loaded = False
        self._server = FrameServer(
            listener, self._hear, max_connections=_MAX_CONNECTIONS, max_frames=_MAX_RECORDS
        )
        self._waiting: deque[tuple[Connection, Append]] = deque()
        self._recalls: deque[tuple[Connection, Recollection]] = deque()
        self._answer: Iterator[Recalled] | None = None
        self.stopping = False

    def serve(self) -> None:
        """Serve; what has been read when it stops is still committed and answered."""
        wait_s = _TURN_S
        while not self.stopping:
            self._server.turn(wait_s)
            self._commit()
            wait_s = self._remember()
            if self._standing.due:
                self._standing.write(self._ledger.checkpoint().wall_ns)
        self._server.close()
        self._standing.write(self._ledger.checkpoint().wall_ns)
        self._ledger.close()

    def _hear(self, connection: Connection, body: bytes) -> None:
        """Take a request.

        Raises:
            ValueError: it is none; the client is cut off.
        """
        datum = decode(body)
        if isinstance(datum, Append):
            self._waiting.append((connection, datum))
        elif isinstance(datum, Recall):
            if len(self._recalls) >= _MAX_RECALLS:
                raise ValueError("too many recalls")
            if not self._loaded:
                # Not before: it takes keys, and no record waits for these.
                self._loaded = True
                self._standing.load(self._ledger.checkpoint().size)
            asked = Recollection(self._ledger, datum, standing=self._standing)
            self._recalls.append((connection, asked))
        elif not isinstance(datum, Hello):
            raise ValueError("no message for the ledger")  # noqa: TRY004 - what decode raises

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
                self._standing.appended(position, records)
            except CronosError as refused:
                position, error = 0, str(refused)
            for connection, append in taken:
                # A reflex process that is gone will send the request again.
                connection.send(encode(Appended(append.request_id, position, error)))
                position += 0 if error else len(append.records)

    def _remember(self) -> float:
        """Go on with the first recall, by a piece or a part; give how long to wait then.

        There is nothing to do while its client has the part before to take, or the keys do not
        answer.
        """
        if not self._recalls:
            return _TURN_S
        connection, recollection = self._recalls[0]
        go_on_s = _PAUSE_S if recollection.past else 0.0
        if not connection.gone:
            if not recollection.done:
                return go_on_s if recollection.step() else _TURN_S
            if connection.is_behind:
                return _TURN_S
            self._answer = self._answer or recollection.parts()
            part = next(self._answer)
            connection.send(encode(part))
            if not part.complete:
                return go_on_s
            if (after := recollection.after()) is not None:
                self._recalls.append((connection, after))
        self._recalls.popleft()
        self._answer = None
        return 0.0 if self._recalls else _TURN_S
