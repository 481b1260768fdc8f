"""The enrolment service of a federation on one machine: a thread of the process that keeps it.

With it the certificates of its nodes are renewed at half their life for as long as it runs. On
several machines `cronos pki serve` is the same, in a process of its own.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from cronos.front import plugins
from cronos.ports import Clock

SERVICE: Final = "certificate-renewal"
_END_S: Final = 5.0


class Enrolling:
    """Serves an authority on a free port of loopback.

    Attributes:
        address: where; it takes connections from the beginning, and answers once it has started.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.address = f"{host}:{port}"
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(
        self, authority: Any, clock: Clock, grace_s: int, report: Callable[[str, str], None]
    ) -> None:
        """Answer from now on.

        Args:
            authority: who issues.
            clock: the time.
            grace_s: for how long after its end a certificate is still renewed.
            report: told what was asked, and by whom.

        Raises:
            CronosError: the authority gives the service no certificate.
        """
        make = plugins.load("entry", "enrolment-server")
        self._server = make(authority, self._listener, clock, report, grace_s)
        self._thread = threading.Thread(target=self._server.serve, name="enrolment", daemon=True)
        self._thread.start()

    def settings(self) -> dict[str, Any]:
        """Give what a node has to be told to be renewed here."""
        return {"addresses": [self.address]}

    def stop(self) -> None:
        """End; more than once is harmless."""
        if self._server is not None:
            self._server.stopping = True
        if self._thread is not None:
            self._thread.join(_END_S)
        self._listener.close()
