"""What runs and watches a node, in memory: the egress gate, metrics and a service."""

from typing import ClassVar

from cronos.errors import DeniedError
from cronos.types import Manifest


class MemoryEgress:
    """Permits the destinations it was given; closed by default.

    Attributes:
        asked: every ``(host, port, purpose)``, permitted or not.
    """

    def __init__(self, *allowed: tuple[str, int]) -> None:
        self._allowed = frozenset(allowed)
        self.asked: list[tuple[str, int, str]] = []

    def permit(self, host: str, port: int, purpose: str) -> None:
        """Return when the call may be made.

        Raises:
            DeniedError: the destination is not on the list.
        """
        self.asked.append((host, port, purpose))
        if (host, port) not in self._allowed:
            raise DeniedError(
                "testing.egress_denied",
                f"A call to {host}:{port} ({purpose}) is not allowed.",
                "Give the destination to MemoryEgress.",
            )


class MemoryService:
    """A service whose health is what the test says it is.

    Attributes:
        ailment: a sentence on what is wrong; empty while all is well.
    """

    manifest: ClassVar[Manifest] = Manifest("memory-service", "Runs, and does nothing.")

    def __init__(self) -> None:
        self.ailment = ""
        self.running = False

    async def start(self) -> None:
        """Begin."""
        self.running = True

    async def stop(self) -> None:
        """End; more than once is harmless."""
        self.running = False

    async def health(self) -> str:
        """Give ``ok``, or what is wrong."""
        if not self.running:
            return "The service does not run."
        return self.ailment or "ok"
