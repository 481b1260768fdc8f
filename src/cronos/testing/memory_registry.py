"""A registry of nodes in memory: several clients of one service, as a test holds it."""

from cronos.types import Manifest, Peer


class MemoryRegistry:
    """Keeps who is entered; `client` gives another that sees the same."""

    manifest = Manifest("memory-registry", "Keeps nodes in memory")

    def __init__(self, entered: dict[str, str] | None = None) -> None:
        self._entered: dict[str, str] = {} if entered is None else entered

    def client(self) -> "MemoryRegistry":
        """Give another client of the same service."""
        return MemoryRegistry(self._entered)

    def enter(self, me: Peer) -> None:
        """Enter a node."""
        self._entered[me.instance] = f"{me.instance}@{me.address}"

    def found(self) -> tuple[str, ...]:
        """Give who is entered."""
        return tuple(sorted(self._entered.values()))[:256]

    def withdraw(self, me: Peer) -> None:
        """Take a node out."""
        self._entered.pop(me.instance, None)
