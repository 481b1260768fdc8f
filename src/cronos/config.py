"""The core's configuration: one frozen tree, safe defaults, unknown keys refused.

`cronos.toml` has this shape; a plug-in's own table stands under ``[plugin.<catalogue name>]``
and is read by the plug-in. Units end each name. Nothing else reads files or the environment.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from cronos.errors import InputError

Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
# The most is 2**32: as seconds it still is a time that can be written down in nanoseconds.
Positive = Annotated[int, Meta(ge=1, le=4_294_967_296)]
SectionT = TypeVar("SectionT", bound=msgspec.Struct)
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table of the configuration."""


class Node(Section, frozen=True):
    """Who this node is."""

    instance: Name = "local"
    # Ask for real-time priority for the reflex process and the enforcer.
    realtime: bool = True


def _blast_per_minute() -> dict[str, int]:
    return {"identity": 60, "service": 20, "host": 20, "fleet": 4}


class Policy(Section, frozen=True):
    """What may be done without asking, to whom, and how often."""

    version: Positive = 1
    # Addresses, networks (CIDR), hosts or services that no action may name.
    protected: tuple[str, ...] = ("127.0.0.1", "::1")
    # The autonomy dial: "observe" only records, "ask" asks a person, "act" follows the matrix.
    autonomy: Literal["observe", "ask", "act"] = "act"
    # The same for one class of actions, over the above: "deny:address" = "ask".
    dial: dict[str, Literal["observe", "ask", "act"]] = {}
    # Actions that may start in any minute; the rest asks. Blast radius has a budget.
    actions_per_minute: Positive = 2000
    # The same for what takes away more than one address or session, by blast class.
    blast_per_minute: dict[str, Positive] = msgspec.field(default_factory=_blast_per_minute)
    # This node's part of the budgets in a federation: split in advance, never borrowed.
    budget_share: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    # Open cases about one asset, beyond which further ones are one case: a flood.
    flood_incidents: Positive = 10_000
    analyst_deadline_s: Positive = 300
    manager_deadline_s: Positive = 900
    max_open_incidents: Positive = 100_000
    # Cases that wait for the enforcer's word; findings beyond wait, the gravest first.
    max_active_incidents: Positive = 10_000

    def __post_init__(self) -> None:
        """Keep the budgets that a site does not name: naming one class must free no other."""
        every = {**_blast_per_minute(), **self.blast_per_minute}
        msgspec.structs.force_setattr(self, "blast_per_minute", every)


class LeaseTerms(Section, frozen=True):
    """How long an isolation lasts without anyone's word."""

    default_s: Positive = 300
    # Without a person, no incident holds a target longer than this.
    max_s: Positive = 3600


class Deadlines(Section, frozen=True):
    """How long an incident may stay in a state before its default transition is taken."""

    isolating_ms: Positive = 5_000
    confirming_ms: Positive = 5_000
    observed_s: Positive = 300
    releasing_ms: Positive = 5_000
    failed_s: Positive = 300


class Pipeline(Section, frozen=True):
    """Bounds of the queues between processes."""

    batch_observations: Positive = 256
    parsers: Positive = 1
    restart_backoff_ms: Positive = 100
    max_restarts_per_minute: Positive = 8


class Workload(Section, frozen=True):
    """Work that depends on an asset, and what to do with it while the asset is isolated."""

    name: Name
    assets: tuple[str, ...]  # addresses or hosts
    on_isolated: Literal["pause", "reroute"] = "pause"
    lease_s: Positive = 3600


class Asset(Section, frozen=True):
    """A system of the site: what it is worth, what hangs on it, what the law says of it."""

    name: Name
    addresses: tuple[str, ...]  # addresses, networks or host names
    criticality: Annotated[int, Meta(ge=1, le=5)] = 3
    # Legacy systems fail in ways nobody knows any more: touching them is riskier.
    legacy: bool = False
    downtime_per_hour: Annotated[float, Meta(ge=0.0)] = 1_000.0
    # One successful attack's cost in the site's money: least, likeliest, most (FAIR, PERT).
    loss: tuple[float, float, float] = (1_000.0, 20_000.0, 200_000.0)
    attacks_per_year: Annotated[float, Meta(ge=0.0)] = 1.0
    depends_on: tuple[str, ...] = ()
    # Classes of data: personal, health, card, essential; regulatory clocks follow from them.
    data: tuple[Literal["personal", "health", "card", "essential"], ...] = ()
    # Weekly windows in UTC in which people work on it: "sun 02:00-04:00".
    maintenance: tuple[str, ...] = ()


Role = Literal["defense", "operations", "audit", "communication"]


class Mesh(Section, frozen=True):
    """The federation that this node belongs to."""

    # Where peers reach this node, HOST:PORT, TCP and UDP; "" is a node that stands alone.
    listen: str = ""
    # Peers to begin with; the others are learnt from them.
    join: tuple[str, ...] = ()
    # What this node does for all by itself; what nobody does is taken over, if certified.
    roles: tuple[Role, ...] = ("defense", "operations", "audit", "communication")
    # What a peer's word is worth at first, and at most; a peer that is wrong is believed less.
    trust: Ratio = 0.9
    # A registry in which nodes enter themselves and find others: its catalogue name; "" for none.
    registry: str = ""
    # How many peers keep a copy of each of this node's records.
    copies: Annotated[int, Meta(ge=1, le=16)] = 1
    # What carries records and bulk: nodes' own streams, or a stream of the catalogue.
    bulk: str = "grpc"


class SourceEntry(Section, frozen=True):
    """A source to read, and the sensor that reads it; "" recognises the format from its bytes."""

    kind: str
    sensor: str = ""
    # What the source itself is told, over its own table under [plugin.<kind>].
    given: dict[str, Any] = {}


class EgressRule(Section, frozen=True):
    """One destination that outward calls may reach."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)]


class Config(Section, frozen=True):
    """The whole of `cronos.toml`."""

    node: Node = Node()
    policy: Policy = Policy()
    lease: LeaseTerms = LeaseTerms()
    deadlines: Deadlines = Deadlines()
    pipeline: Pipeline = Pipeline()
    workload: tuple[Workload, ...] = ()
    asset: tuple[Asset, ...] = ()
    # Networks that can be cut off by name: [segments] cell-3 = ["10.1.3.0/24"].
    segments: dict[str, tuple[str, ...]] = {}
    # Where a planner's steps after an isolation come from; each is decided like anything else.
    planners: tuple[str, ...] = ()
    egress: tuple[EgressRule, ...] = ()
    # Catalogue names of what runs, each configured under [plugin.<name>].
    detectors: tuple[str, ...] = ("scan", "brute-force", "first-seen", "modbus-policy", "sigma")
    # Enforcement points. "recording" is a dry run: nothing is changed until this is.
    executors: tuple[str, ...] = ("recording",)
    # How state lies at rest: "epochs" seals it, "plaintext" leaves it readable.
    sealer: Literal["epochs", "plaintext"] = "epochs"
    # What `cronos up` reads and runs.
    source: tuple[SourceEntry, ...] = ()
    mesh: Mesh = Mesh()
    services: tuple[str, ...] = ()
    plugin: dict[str, dict[str, Any]] = {}


def parse(table: dict[str, Any], origin: str) -> Config:
    """Check a table read from `origin` and give the configuration.

    Raises:
        InputError: a key is unknown, a value of the wrong type or out of its range.
    """
    config = convert(table, Config, origin)
    if config.lease.default_s > config.lease.max_s:
        raise InputError(
            "config.invalid",
            f"{origin}: an isolation would last {config.lease.default_s} s, and may last "
            f"{config.lease.max_s} s without a person.",
            "Set default_s under [lease] to at most max_s.",
        )
    return config


def convert(table: dict[str, Any], kind: type[SectionT], origin: str) -> SectionT:
    """Check a table against a section; plug-ins use it for their own."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise InputError(
            "config.invalid",
            f"{origin} is not a valid configuration: {error}.",
            "Correct or remove that key; `cronos config explain` lists every key and its default.",
        ) from error
