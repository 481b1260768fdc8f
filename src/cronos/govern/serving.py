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
_PAUSE_NS: Final = 50_000_000
# The keys may stay away for so many turns and so long, before the file is done without.
_PATIENCE: Final = 50
_PATIENCE_NS: Final = 5_000_000_000
_HOURS: Final = 24  # what a successor will ask for


class _Asked:
    """What somebody waits for; nobody, where the connection is None."""

    def __init__(
        self,
        connection: Connection | None,
        recall: Recall,
        reading: Recollection | None = None,
    ) -> None:
        self.connection = connection
        self.recall = recall
        self.reading = reading
        self.answer: Iterator[Recalled] | None = None

    @property
    def gone(self) -> bool:
        """Say whether its client has hung up."""
        return self.connection is not None and self.connection.gone

    @property
    def idle(self) -> bool:
        """Say whether it may be kept waiting."""
        return self.connection is None or (self.reading is not None and self.reading.past)


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
        self._patience = _PATIENCE
        self._asked_ns = self._paused_ns = 0
        self._server = FrameServer(
            listener, self._hear, max_connections=_MAX_CONNECTIONS, max_frames=_MAX_RECORDS
        )
        self._waiting: deque[tuple[Connection, Append]] = deque()
        self._recalls: deque[_Asked] = deque()
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
            elif self._standing.lacking and not self._recalls:
                # Nobody has asked this process: it reads back what its successor has to know.
                self._standing.wait()
                self._recalls.append(_Asked(None, Recall(0, _HOURS)))
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
            self._recalls = deque(one for one in self._recalls if not one.gone)
            if len(self._recalls) >= _MAX_RECALLS:
                raise ValueError("too many recalls")
            idle = (number for number, one in enumerate(self._recalls) if one.idle)
            self._recalls.insert(next(idle, len(self._recalls)), _Asked(connection, datum))
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
            except CronosError as refused:
                position, error = 0, str(refused)
            else:
                self._standing.appended(position, records)
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
        asked = self._recalls[0]
        if asked.gone:
            return self._next()
        if asked.idle and (pause_s := self._pause_s()) > 0:
            return pause_s
        reading = asked.reading
        if reading is None:
            return self._begin(asked)
        if not reading.done:
            went_on = reading.step()
            self._paused_ns = self._ledger.checkpoint().wall_ns
            return 0.0 if went_on else _TURN_S
        return self._next() if asked.connection is None else self._tell(asked.connection, reading)

    def _begin(self, asked: _Asked) -> float:
        if not self._loaded:
            # Not before somebody asks: it takes keys, and no record waits for these.
            now_ns = self._ledger.checkpoint().wall_ns
            self._patience -= 1
            self._asked_ns = self._asked_ns or now_ns
            late = self._patience <= 0 and not 0 <= now_ns - self._asked_ns < _PATIENCE_NS
            self._loaded = self._standing.load() or late
            if not self._loaded:
                return _TURN_S
        known, idle = self._standing, asked.idle
        asked.reading = Recollection(self._ledger, asked.recall, standing=known, idle=idle)
        return 0.0

    def _tell(self, connection: Connection, reading: Recollection) -> float:
        """Send the next part of what was found."""
        if connection.is_behind:
            return _TURN_S
        asked = self._recalls[0]
        asked.answer = asked.answer or reading.parts()
        part = next(asked.answer)
        connection.send(encode(part))
        if not part.complete:
            return 0.0
        if (after := reading.after()) is not None:
            # Behind all who wait to begin.
            self._recalls.append(_Asked(connection, asked.recall, after))
        return self._next()

    def _next(self) -> float:
        self._recalls.popleft()
        return 0.0 if self._recalls else _TURN_S

    def _pause_s(self) -> float:
        """Give for how long what nobody waits for has to wait, however often others are served."""
        since_ns = self._ledger.checkpoint().wall_ns - self._paused_ns
        return (_PAUSE_NS - since_ns) / 1e9 if 0 <= since_ns < _PAUSE_NS else 0.0
