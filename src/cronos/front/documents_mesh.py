"""The JSON documents of the federation."""

import msgspec

from cronos.front.result import DemoStep, LedgerView


class LoadView(msgspec.Struct, frozen=True):
    """How busy a node says it is: messages that wait at it, MiB that it keeps of others' ledgers.

    `health` is how late it runs and how little it hears, from 0, well, to 8.
    """

    queued: int = 0
    kept_mib: int = 0
    health: int = 0


class PeerView(msgspec.Struct, frozen=True):
    """A member as a running node sees it."""

    instance: str
    address: str
    status: str
    incarnation: int
    linked: bool
    roles: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    # The last round trip; 0 where none is known.
    rtt_ms: float = 0.0
    # What is on its way there and not acknowledged.
    queued: int = 0
    held: int = 0
    signed: int = 0
    # The roles that it holds just now: its own, and those that it took over.
    holds: tuple[str, ...] = ()
    # Of the link: "open" where dialling has failed for a while, and why it failed last.
    breaker: str = ""
    trouble: str = ""
    # None where it has said nothing of it (yet): it is no neighbour, or of an older version.
    load: LoadView | None = None


class MeshDocument(msgspec.Struct, frozen=True):
    """The document of `cronos mesh --json`."""

    node: str
    address: str
    incarnation: int
    # How many nodes an incident has to be held by at present, this one included.
    view: int
    roles: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    peers: tuple[PeerView, ...] = ()
    counts: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    # Up to where this node's records are acknowledged (durable here) and replicated (at a peer).
    records: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    left: bool = False
    # "ok", or what is wrong with whom.
    health: str = "ok"
    load: LoadView | None = None
    # The roles that this node holds just now.
    holds: tuple[str, ...] = ()
    schema: str = "cronos.mesh/1"


class RecoveredDocument(msgspec.Struct, frozen=True):
    """The document of `cronos mesh recover --json`: what came back, and from whom."""

    node: str
    peer: str
    records: int
    head: str
    # How many records each peer that was asked keeps; those of `contradicts` are of another chain.
    kept: dict[str, int]
    contradicts: tuple[str, ...]
    ledger: str
    schema: str = "cronos.mesh-recover/1"


class FellowView(msgspec.Struct, frozen=True):
    """One node of a federation on this machine."""

    name: str
    address: str
    state: str
    pid: int = 0


class FederatedDocument(msgspec.Struct, frozen=True):
    """The document of `cronos up --federated --json`, printed when it has been stopped."""

    domain: str
    nodes: tuple[FellowView, ...]
    restarts: int
    schema: str = "cronos.federated/1"


class FederatedDemoDocument(msgspec.Struct, frozen=True):
    """The document of `cronos demo --federated --json`."""

    passed: bool
    steps: tuple[DemoStep, ...]
    # How many nodes confirmed the first incident, and the last node's alone.
    view: int
    ledgers: tuple[LedgerView, ...]
    schema: str = "cronos.demo-federated/1"
