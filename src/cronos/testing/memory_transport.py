"""Two ends of a wire in one process, for what runs in threads or takes turns."""

from queue import Empty, SimpleQueue

from cronos.errors import InputError, UnreachableError
from cronos.types import MAX_FRAME_BYTES


class MemoryTransport:
    """One end; `memory_pair` makes both."""

    def __init__(
        self, inbox: "SimpleQueue[bytes | None]", outbox: "SimpleQueue[bytes | None]"
    ) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._closed = False
        self._peer_closed = False

    def send(self, frame: bytes) -> None:
        """Send one frame.

        Raises:
            InputError: it is longer than 1 MiB.
            UnreachableError: this end is closed, or the other was seen to be.
        """
        if self._closed or self._peer_closed:
            raise _gone()
        if len(frame) > MAX_FRAME_BYTES:
            raise InputError("testing.frame_too_long", "A frame exceeds 1 MiB.", "Cut it.")
        self._outbox.put(frame)

    def receive(self, timeout_s: float | None) -> bytes | None:
        """Give the next frame, or None after `timeout_s`.

        Raises:
            UnreachableError: the other end is closed, and all it sent has been received.
        """
        if self._closed or self._peer_closed:
            raise _gone()
        try:
            # A timeout of 0 is a look, not a wait.
            frame = self._inbox.get(block=timeout_s != 0, timeout=timeout_s or None)
        except Empty:
            return None
        if frame is None:
            self._peer_closed = True
            raise _gone()
        return frame

    def close(self) -> None:
        """End; more than once is harmless."""
        if not self._closed:
            self._closed = True
            self._outbox.put(None)


def memory_pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Give two ends that are connected with each other."""
    there: SimpleQueue[bytes | None] = SimpleQueue()
    back: SimpleQueue[bytes | None] = SimpleQueue()
    return MemoryTransport(there, back), MemoryTransport(back, there)


def _gone() -> UnreachableError:
    return UnreachableError("testing.closed", "The other end is gone.", "Make a new pair.")
