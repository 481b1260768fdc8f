"""The vocabulary: every datum that crosses a boundary, in the order in which it is born.

Three words to know: an `Observation` is what a sensor saw, a `Finding` is what a detector makes
of it, an `Incident` is what the kernel decides about. All are immutable. `encode` and `decode`
give and take canonical bytes: ``version u8 | tag length u8 | tag | msgpack array``. Fields are
only ever appended, and a tag this version does not know survives a round trip as `Unknown`.
"""

import enum
import hashlib
from typing import Any, Final, Literal, TypeAlias

import msgspec

CANONICAL_VERSION: Final = 1
MAX_FRAME_BYTES: Final = 1 << 20

_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")

Scalar: TypeAlias = str | int | float | bool | None


class Term(enum.StrEnum):
    """Base of the closed lists: hashed as the string it is, which spares a Python call."""

    __hash__ = str.__hash__


class Datum(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of everything in the vocabulary; encoded as ``[tag, field, field, …]``."""


class Now(Datum, frozen=True):
    """The time, as an argument: the kernel reads no clock.

    `boot_ns` counts since boot, suspended time included (CLOCK_BOOTTIME): deadlines and leases.
    `wall_ns` is Unix time, right within `wall_uncertainty_ns`: certificates and display only.
    """

    boot_ns: int
    wall_ns: int
    wall_uncertainty_ns: int = 0


# --- sense -------------------------------------------------------------------------------------


class EntityKind(Term):
    """What an `Entity` names; the value's form stands beside each kind."""

    ADDRESS = "address"  # 192.0.2.7 or 2001:db8::7, without port or zone
    NETWORK = "network"  # 192.0.2.0/24 or 2001:db8::/64
    SEGMENT = "segment"  # a name from the table of segments
    FLOW = "flow"  # tcp/192.0.2.7:40312>198.51.100.2:502, client first
    HOST = "host"  # a host name, lower case
    USER = "user"  # DOMAIN\name or name, as the source spells it
    SESSION = "session"  # a login, as its system names it
    CREDENTIAL = "credential"  # a key's public name, never its secret
    PROCESS = "process"  # host/pid
    POD = "pod"  # namespace/name
    MACHINE = "machine"  # a machine of a cluster, by the cluster's name for it
    SERVICE = "service"  # tcp/198.51.100.2:502
    WORKLOAD = "workload"  # a name from the table of workloads


class Entity(Datum, frozen=True):
    """A thing that acts, is acted upon, or is isolated."""

    kind: EntityKind
    value: str


def action_id(enforcement_point: str, verb: str, target: Entity) -> str:
    """Name an effect: the same on every node, so that two nodes' isolations are one.

    SHA-256 of the canonical (enforcement point, verb, target), its first 16 bytes in hex.
    """
    # A term is encoded faster as the bare string that `"" +` makes of it.
    named = _ENCODER.encode((enforcement_point, "" + verb, "" + target.kind, target.value))
    return hashlib.sha256(named).hexdigest()[:32]


def flow_entity(protocol: str, client: str, client_port: int, server: str, port: int) -> Entity:
    """Name a flow, client first: ``tcp/192.0.2.7:40312>198.51.100.2:502``."""
    return Entity(EntityKind.FLOW, f"{protocol}/{client}:{client_port}>{server}:{port}")


class Provenance(Term):
    """How far the source of an observation can be trusted not to be someone else's voice."""

    AUTHENTICATED = "authenticated"  # the operating system or a verified peer said so
    BIDIRECTIONAL = "bidirectional"  # a completed exchange: both ends answered
    SPOOFABLE = "spoofable"  # one-way packets, UDP syslog, log text that others write


class Observation(Datum, frozen=True):
    """One event as a sensor saw it.

    `source` and `seq` identify it: reading the same source again gives the same numbers, which
    is what makes redelivery after a crash harmless. `activity` is an OCSF class in snake case
    (``network_activity``, ``authentication``, ``process_activity`` …) or ``modbus``. `fields`
    holds the normalised view under OCSF's dotted names; `native` the source's own names.
    """

    source: str
    seq: int
    time_ns: int
    activity: str
    provenance: Provenance
    actor: Entity | None = None
    target: Entity | None = None
    fields: dict[str, Scalar] = {}
    native: dict[str, Any] = {}
    position: int = 0  # line or packet number in the source, from 1
    sensed_boot_ns: int = 0  # when the sensor had it whole; 0 where nobody waits


class Defect(Datum, frozen=True):
    """A record that could not be read; the good ones around it were."""

    source: str
    position: int
    reason: str
    remedy: str


# --- detect ------------------------------------------------------------------------------------


class EvidenceClass(Term):
    """What kind of claim a finding makes; it decides who may act on it."""

    DECLARED = "declared"  # a stated rule was broken: may act from the first day
    STATISTICAL = "statistical"  # unusual: only observes until calibrated on this site


class Finding(Datum, frozen=True):
    """A detector's claim. `confidence` is a probability in [0, 1]; `severity` runs from 1 to 5.

    `finding_id` derives from detector, source and sequence, so a redelivered observation yields
    the same finding and coalesces. `references` name rules, authors and documents.
    """

    finding_id: str
    detector: str
    title: str
    explanation: str
    evidence: EvidenceClass
    provenance: Provenance
    confidence: float
    severity: int
    time_ns: int
    techniques: tuple[str, ...] = ()
    actor: Entity | None = None
    target: Entity | None = None
    flow: Entity | None = None
    observations: tuple[str, ...] = ()  # "source#seq", at most 16
    references: tuple[str, ...] = ()
    sensed_boot_ns: int = 0
    detected_boot_ns: int = 0


# --- decide ------------------------------------------------------------------------------------


# The enforcement point of workloads: what acts there adjusts work instead of isolating anyone.
WORKFLOW_POINT: Final = "workflow"


class Verb(Term):
    """What an action does to its target; OpenC2's verbs."""

    DENY = "deny"  # drop the traffic of a flow, an address, a network; refuse a credential
    LIMIT = "limit"  # let through no more than a rate
    CONTAIN = "contain"  # isolate a system, a process, an account
    PAUSE = "pause"  # stop a workload for a while
    REDIRECT = "redirect"  # move a workload elsewhere
    UPDATE = "update"  # replace a credential
    RESTORE = "restore"  # put a workload back as it was declared
    STOP = "stop"  # end a process or a session: cannot be taken back
    DELETE = "delete"  # remove an object: cannot be taken back


class Reversal(Term):
    """Who takes an effect back."""

    KERNEL = "kernel"  # the operating system, by its own timer
    LEASED = "leased"  # the enforcer, by the plan's recipe
    NONE = "none"  # nobody can: it takes two persons, and never happens by itself


class Blast(Term):
    """How much an action takes away at most; each has a budget of its own."""

    NARROW = "narrow"  # one flow, one address, one session, one process
    IDENTITY = "identity"  # one account or credential, wherever it is used
    SERVICE = "service"  # one service, whoever uses it
    HOST = "host"  # one system and all on it
    FLEET = "fleet"  # many systems: a network, a segment


class Ability(Datum, frozen=True):
    """One thing an executor can do: `verb` to a target of `kind`.

    `openc2` is the OpenC2 target's name (``ipv4_net``), `d3fend` the id of the countermeasure
    (``D3-NTF``), `p99_ms` how long it takes at most, nearly always. The rest lies in [0, 1]:
    what it risks, but never less than its blast class does; how surely it ends an attack, 0 where
    no finding leads to it but only a planner; what part of its target's work it disturbs.
    """

    verb: Verb
    kind: EntityKind
    openc2: str
    d3fend: str
    reversal: Reversal
    blast: Blast
    p99_ms: int
    risk: float = 0.0
    efficacy: float = 0.0
    disruption: float = 0.5


class Disposition(Term):
    """What the matrix and its guardrails say; ordered from the boldest to the most careful."""

    EXECUTE = "execute"
    AUTO_APPROVE = "auto_approve"  # executed, and queued for review
    ASK_ANALYST = "ask_analyst"
    ASK_MANAGER = "ask_manager"
    OBSERVE = "observe"
    REFUSED = "refused"


class Dial(Term):
    """How far a class of actions may go by itself."""

    ACT = "act"  # as the matrix says
    ASK = "ask"
    OBSERVE = "observe"


class Option(Datum, frozen=True):
    """One thing that could be done, and what it would be worth. `risk` lies in [0, 1).

    `loss` is what the attack would cost, `disruption` what the action costs if the finding is
    wrong, both in the site's money; `budget` is how many of its blast class may still start.
    """

    enforcement_point: str
    verb: Verb
    target: Entity
    risk: float
    utility: float
    efficacy: float = 0.0
    disruption: float = 0.0
    reversal: Reversal = Reversal.LEASED
    blast: Blast = Blast.NARROW
    dial: Dial = Dial.ACT
    protected: bool = False
    budget: int = 1


class Evidence(Datum, frozen=True):
    """The strongest claim of one detector about an incident; `confidence` is calibrated."""

    detector: str
    confidence: float
    evidence: EvidenceClass
    provenance: Provenance


class Loss(Datum, frozen=True):
    """What losing an asset costs, simulated outside (FAIR): one event's mean and 90th percentile.

    `annual` is the mean over a year at the estimated frequency.
    """

    asset: str
    mean: float
    p90: float
    annual: float


class LossTable(Datum, frozen=True):
    """Loss by asset; `digest` names the inputs, the seed and the result (SHA-256, hex)."""

    digest: str = ""
    rows: tuple[Loss, ...] = ()


class Impact(Datum, frozen=True):
    """What is at stake: the attacked asset, as the asset model knows it.

    `criticality` runs from 1 to 5; `data` names the classes of data it holds (``personal``,
    ``health``, ``card``, ``essential``), from which regulatory clocks follow.
    """

    asset: str = ""
    criticality: int = 3
    legacy: bool = False
    maintenance: bool = False
    dependents: int = 0
    data: tuple[str, ...] = ()
    loss_mean: float = 0.0
    loss_p90: float = 0.0
    loss_digest: str = ""


class Action(Datum, frozen=True):
    """An option made concrete. `action_id` is the same for the same effect on every node.

    `approvals` are the signed orders of the persons who approved exactly this action.
    """

    action_id: str
    enforcement_point: str
    verb: Verb
    target: Entity
    incident_id: str
    lease_ns: int
    epoch: int = 1
    approvals: tuple[bytes, ...] = ()


def digest_of(action: Action) -> str:
    """Name exactly this action: what an approval binds. SHA-256 of its canonical bytes, in hex.

    Epoch and approvals are left out: neither changes what is done to whom, and for how long.
    """
    named = (action.action_id, action.incident_id, action.lease_ns)
    return hashlib.sha256(b"approve" + _ENCODER.encode(named)).hexdigest()


class Snapshot(Datum, frozen=True):
    """Everything `decide` reads: recorded, so that a decision can be replayed byte for byte.

    `options` begin with the one of the highest utility, and `protected` says that it names a
    protected asset; `budget` is how many actions may still start in this minute.
    """

    now: Now
    incident_id: str
    confidence: float
    severity: int
    evidence: EvidenceClass
    provenance: Provenance
    options: tuple[Option, ...]
    protected: bool
    autonomy: str
    killed: bool
    budget: int
    lease_ns: int
    policy_version: int = 1
    claims: tuple[Evidence, ...] = ()
    techniques: tuple[str, ...] = ()
    impact: Impact = Impact()
    epoch: int = 1  # that of the action: the highest wins at each enforcement point


class Decision(Datum, frozen=True):
    """What was decided, and each reason for it: `decide` gives the same for the same snapshot.

    `proposal` would be worth more than `action`, which holds meanwhile, and is asked about.
    `would` is what would have happened with every dial at `act`: shadow mode is scored by it.
    `persons` have to approve `proposal`, or `action` where there is none.
    """

    incident_id: str
    disposition: Disposition
    confidence: float
    risk: float
    cell: str  # "0.95-1.00/medium"
    action: Action | None
    reasons: tuple[str, ...]
    policy_version: int = 1
    proposal: Action | None = None
    would: Disposition = Disposition.OBSERVE
    persons: int = 1


class State(Term):
    """Where an incident stands; `kernel/incident.py` holds the table of transitions."""

    DETECTED = "detected"
    ISOLATING = "isolating"
    ISOLATED = "isolated"
    CONFIRMED = "confirmed"
    WAITING = "waiting"
    OBSERVED = "observed"
    RELEASING = "releasing"
    FAILED = "failed"
    CLOSED = "closed"


class Moment(Datum, frozen=True):
    """One step of an incident's path."""

    name: str
    boot_ns: int


class Incident(Datum, frozen=True):
    """All that is known of one case. Replaced, never changed; `version` counts replacements."""

    incident_id: str
    state: State
    actor: Entity | None
    target: Entity | None
    title: str
    confidence: float
    severity: int
    evidence: EvidenceClass
    provenance: Provenance
    techniques: tuple[str, ...]
    findings: tuple[str, ...]  # ids, the first 16
    finding_count: int
    opened_wall_ns: int
    deadline_boot_ns: int
    version: int
    moments: tuple[Moment, ...] = ()
    decision: Decision | None = None
    view: int = 0  # live members that had to confirm
    lease_until_boot_ns: int = 0
    why: str = ""
    asked: int = 0  # how many audiences have been asked: analyst, manager, pager
    claims: tuple[Evidence, ...] = ()  # the strongest of each detector, the first 16
    beside: tuple[Action, ...] = ()  # carried out besides the decision's own
    proposed: tuple[Action, ...] = ()  # asked about while something else holds
    granted: tuple[str, ...] = ()  # who has approved so far, where one person is not enough
    approvals: tuple[bytes, ...] = ()
    verdict: str = ""  # what people made of it: "malicious" or "benign"


# --- respond -----------------------------------------------------------------------------------


class Operation(Term):
    """What is asked of the enforcer for an action."""

    APPLY = "apply"
    RENEW = "renew"
    UNDO = "undo"


class Plan(Datum, frozen=True):
    """An action made ready: `recipe` (JSON) is all that undoing it needs, whoever undoes it.

    `kernel_timeout` says that the operating system ends the effect by itself.
    """

    action: Action
    recipe: bytes
    summary: str
    undo_summary: str
    kernel_timeout: bool = False


class Lease(Datum, frozen=True):
    """The time an applied plan may last; durable before the effect is."""

    plan: Plan
    boot_id: str
    granted_boot_ns: int
    expires_boot_ns: int
    applied: bool = False


class Order(Datum, frozen=True):
    """What the kernel's shell sends to the enforcer; answered by one outcome per action."""

    order_id: int
    operation: Operation
    actions: tuple[Action, ...]


class Outcome(Datum, frozen=True):
    """What became of an action. The world's refusals are data: `ok=False` and a sentence."""

    action_id: str
    incident_id: str
    operation: Operation
    ok: bool
    verified: bool
    detail: str
    undo: str = ""
    dry_run: bool = False
    at_boot_ns: int = 0


class Outcomes(Datum, frozen=True):
    """The enforcer's answer to an order; `order_id` 0 announces what it did by itself."""

    order_id: int
    outcomes: tuple[Outcome, ...]


# --- mesh --------------------------------------------------------------------------------------


class Lane(Term):
    """By which way a message goes to a peer, the most urgent first: it overtakes all below it."""

    THREAT = "threat"
    KEYS = "keys"
    MEMBERS = "members"
    RECORDS = "records"
    BULK = "bulk"


class BulletinKind(Term):
    """What a bulletin tells: evidence for its receivers, never a command."""

    ISOLATED = "isolated"
    RELEASED = "released"
    OBSERVED = "observed"


class Bulletin(Datum, frozen=True):
    """What one node tells all others about an incident; expires `ttl_ns` after it was sent.

    `confidence` is of what the node saw itself, 0 where it only repeats others.
    """

    bulletin_id: str
    kind: BulletinKind
    origin: str
    incident_id: str
    sequence: int
    actor: Entity | None
    target: Entity | None
    techniques: tuple[str, ...]
    confidence: float
    action: Action | None
    ttl_ns: int
    severity: int = 3


class Receipt(Datum, frozen=True):
    """A peer's word that it holds every bulletin of `origin` up to `sequence`: cumulative.

    Sequences begin with the origin's incarnation, shifted by 32 bits.
    """

    peer: str
    origin: str
    sequence: int


class PeerStatus(Term):
    """SWIM's view of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


class Peer(Datum, frozen=True):
    """A member of the federation as this node sees it.

    `firsthand` says that whoever tells this found it out itself; `claim` names the signed card
    with its roles, and between nodes `roles` is empty: only a verified card fills it.
    """

    instance: str
    address: str
    incarnation: int = 0
    status: PeerStatus = PeerStatus.ALIVE
    roles: tuple[str, ...] = ()
    firsthand: bool = False
    claim: bytes = b""


class Ping(Datum, frozen=True):
    """SWIM: are you there? `updates` gossips what the sender knows."""

    sequence: int
    sender: str
    updates: tuple[Peer, ...] = ()


class Ack(Datum, frozen=True):
    """SWIM: `sender` is there; answers the ping of that sequence."""

    sequence: int
    sender: str
    updates: tuple[Peer, ...] = ()


# --- the deliberate lane -----------------------------------------------------------------------


class Assessment(Datum, frozen=True):
    """An analyst's advice. Text for people: nothing here is read by `decide`."""

    incident_id: str
    analyst: str
    summary: str
    severity_shown: int
    proposals: tuple[str, ...] = ()


Audience: TypeAlias = Literal["analyst", "manager", "pager"]


class Question(Datum, frozen=True):
    """Something a person must decide before `deadline_ns` from now has passed."""

    question_id: str
    incident_id: str
    audience: Audience
    text: str
    action: Action
    deadline_ns: int
    digest: str = ""
    persons: int = 1


class Answer(Datum, frozen=True):
    """A person's word on a question; `granted=False` also stands for silence at the deadline."""

    question_id: str
    incident_id: str
    action_id: str
    granted: bool
    subject: str
    digest: str = ""  # of exactly the action that was asked about; see `digest_of`
    approval: bytes = b""  # the signed order, where there is one


class Verdict(Datum, frozen=True):
    """What a person made of an incident: `malicious`, or a false alarm."""

    incident_id: str
    subject: str
    malicious: bool


# --- govern ------------------------------------------------------------------------------------


class AuditRecord(Datum, frozen=True):
    """One step, as the ledger keeps it. `body` is the canonical bytes of the datum it tells of."""

    node: str
    kind: str
    wall_ns: int
    boot_ns: int
    incident_id: str
    body: bytes


class Checkpoint(Datum, frozen=True):
    """The ledger's size and the hash that commits to everything before it."""

    size: int
    head: bytes
    sealing: str
    wall_ns: int


class KeyState(Term):
    """Where a key is in its life; it only ever moves down this list."""

    PENDING = "pending"  # made, not used yet
    ACTIVE = "active"  # wraps, signs, unwraps
    DECRYPT_ONLY = "decrypt-only"  # replaced: unwraps what it wrapped, verifies what it signed
    DESTROYED = "destroyed"  # its secret is gone; its name is never used again


class KeyInfo(Datum, frozen=True):
    """What may be known of a key; `key_id` is ``<name>.<version>``, versions count from 1.

    `kid` is the 16-byte fingerprint that packets carry. Times are Unix time; 0 means never.
    """

    key_id: str
    algorithm: str
    state: KeyState
    kid: bytes
    public: bytes
    created_wall_ns: int
    expires_wall_ns: int = 0


class KeyCall(Datum, frozen=True):
    """A request to the key agent: `verb` is a method of `KeyProvider`.

    `proof` answers the agent's challenge where the call changes or gives away keys.
    """

    request_id: int
    verb: str
    key_id: str = ""
    data: bytes = b""
    context: bytes = b""
    proof: bytes = b""


class KeyReply(Datum, frozen=True):
    """The answer of the key agent; with a `code` it is the error that the call ended in."""

    request_id: int
    data: bytes = b""
    keys: tuple[KeyInfo, ...] = ()
    code: str = ""
    sentence: str = ""
    remedy: str = ""


class FieldSpec(Datum, frozen=True):
    """One field of a learnt message type: `length` 0 runs to the end of the message."""

    name: str
    offset: int
    length: int
    meaning: str
    confidence: float


class Grammar(Datum, frozen=True):
    """A learnt protocol; `message_types` holds the fields of each type in order."""

    name: str
    version: int
    message_types: tuple[tuple[FieldSpec, ...], ...]


class Unknown(msgspec.Struct, frozen=True):
    """A datum from a later version, kept as it came."""

    tag: str
    raw: bytes


# --- events and effects of the kernel ----------------------------------------------------------


class Deadline(Datum, frozen=True):
    """An incident has been in one state long enough; stale versions are ignored."""

    incident_id: str
    version: int


class Again(Datum, frozen=True):
    """A case that only lacked budget may be decided again; stale versions are ignored."""

    incident_id: str
    version: int


class Renewal(Datum, frozen=True):
    """A third of a lease has passed."""

    incident_id: str
    action_id: str


class Release(Datum, frozen=True):
    """A person's order to end the isolation of an incident."""

    incident_id: str
    subject: str


class Kill(Datum, frozen=True):
    """The kill switch: from `generation` on nothing is executed; `release_all` undoes the rest."""

    generation: int
    engaged: bool
    release_all: bool = False
    subject: str = ""


class Propose(Datum, frozen=True):
    """What a planner thinks should be done besides; each is decided like anything else.

    An option's target must be an entity of the incident, or of the site's own configuration.
    """

    incident_id: str
    options: tuple[Option, ...]
    origin: str


class Unanswered(Datum, frozen=True):
    """A proposal has waited for an answer as long as its audience had."""

    incident_id: str
    action_id: str
    asked: int


class Recall(Datum, frozen=True):
    """Asks the ledger for the incidents of the last hours, as they last stood."""

    request_id: int
    hours: int


class Recalled(Datum, frozen=True):
    """Incidents from the ledger and when each was written down; the last part is `complete`.

    `bulletins` that it holds, each by its origin and BLAKE2b-128 of its canonical bytes. Given to a
    kernel that has just started, before anything else; but what is `past`, closed incidents alone
    and the newest first, may come at any time.
    """

    request_id: int
    incidents: tuple[Incident, ...]
    written_wall_ns: tuple[int, ...]
    complete: bool = True
    bulletins: tuple[tuple[str, str], ...] = ()
    past: bool = False


class Members(Datum, frozen=True):
    """The instances that are alive, this one left out, sorted.

    `roles` are those that a member takes by itself, `allowed` those that its certificate lets it
    take; this node's own stand there too. `addresses` are where they say that they are reached.
    """

    instances: tuple[str, ...]
    roles: dict[str, tuple[str, ...]] = {}
    allowed: dict[str, tuple[str, ...]] = {}
    addresses: tuple[str, ...] = ()


class Roles(Datum, frozen=True):
    """What this node does for all: by itself, and because nobody else is left to do it."""

    held: tuple[str, ...]
    assumed: tuple[str, ...]
    epoch: int


class Reproach(Datum, frozen=True):
    """A peer did what no peer may do, or was wrong; `trust` is what it is believed from now on."""

    peer: str
    why: str
    trust: float = 0.0


class Restart(Datum, frozen=True):
    """What the enforcer still holds, told at each connection; the last part is `complete`."""

    leases: tuple[Lease, ...]
    complete: bool = True


class Do(Datum, frozen=True):
    """Carry an operation out at the action's enforcement point."""

    operation: Operation
    action: Action


class Publish(Datum, frozen=True):
    """Send to one peer, or to all of them where `to` is empty."""

    message: Bulletin | Receipt
    to: str = ""


class Confirm(Datum, frozen=True):
    """So many nodes hold the bulletin, this one among them; `silent` are members that do not."""

    incident_id: str
    view: int
    silent: tuple[str, ...] = ()


class Note(Datum, frozen=True):
    """Append a record of `body` to the ledger; the shell adds node and time and encodes it."""

    kind: str
    incident_id: str
    body: Datum


class Ask(Datum, frozen=True):
    """Put a question to a person; the answer comes back as an event."""

    question: Question


class After(Datum, frozen=True):
    """Give the kernel `event` once `delay_ns` has passed."""

    delay_ns: int
    event: Deadline | Renewal | Again | Unanswered | Finding


Event: TypeAlias = (
    Finding
    | Outcome
    | Bulletin
    | Receipt
    | Confirm
    | Answer
    | Deadline
    | Renewal
    | Again
    | Release
    | Kill
    | Members
    | Reproach
    | Defect
    | Restart
    | Verdict
    | Propose
    | Unanswered
    | Recalled
)
Effect: TypeAlias = Do | Publish | Confirm | Note | Ask | After


# --- between this node's processes ---------------------------------------------------------------


class Hello(Datum, frozen=True):
    """The first frame of a connection: who calls, in which process."""

    role: str
    pid: int


class Resume(Datum, frozen=True):
    """How far each source has been processed and need not be sent again."""

    sources: dict[str, int]


class Batch(Datum, frozen=True):
    """Observations of one source in order, and the defects met between them.

    `last_seq` is the sequence of the last observation so far; `ended` closes the source.
    """

    source: str
    last_seq: int
    observations: tuple[Observation, ...]
    defects: tuple[Defect, ...] = ()
    ended: bool = False


class Acknowledged(Datum, frozen=True):
    """Everything of `source` up to `seq` is safe; `ended` when the whole source is."""

    source: str
    seq: int
    ended: bool = False


class Report(Datum, frozen=True):
    """What the scorer tells the reflex process: findings, and how far it has come."""

    report_id: int
    findings: tuple[Finding, ...]
    defects: tuple[Defect, ...] = ()
    processed: dict[str, int] = {}  # source -> observations so far
    ended: tuple[str, ...] = ()


class Reported(Datum, frozen=True):
    """The report's findings are acknowledged: recorded durably, or known already."""

    report_id: int


class Append(Datum, frozen=True):
    """Records for the ledger, each as canonical bytes."""

    request_id: int
    records: tuple[bytes, ...]


class Appended(Datum, frozen=True):
    """The records are durable; the first stands at position `first`."""

    request_id: int
    first: int
    error: str = ""


class ControlCall(Datum, frozen=True):
    """What a person's command asks of a running node: `verb`, and its argument as JSON.

    `order` is the same, signed by an operator, where the verb or the node wants that.
    """

    request_id: int
    verb: str
    argument: bytes = b"{}"
    order: bytes = b""


class ControlReply(Datum, frozen=True):
    """The node's answer as JSON; with a `code` it is the error that the call ended in."""

    request_id: int
    result: bytes = b"null"
    code: str = ""
    sentence: str = ""
    remedy: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What a plug-in says of itself: its catalogue name, what it offers, what it is bound by."""

    name: str
    summary: str
    capabilities: tuple[str, ...] = ()
    limits: dict[str, int] = {}
    abilities: tuple[Ability, ...] = ()  # an executor's: what it can do to what


# --- canonical bytes ----------------------------------------------------------------------------

_TYPES: Final[dict[str, type[Datum]]] = {kind.__name__: kind for kind in Datum.__subclasses__()}
_HEADERS: Final[dict[type[Datum], bytes]] = {
    kind: bytes((CANONICAL_VERSION, len(name))) + name.encode() for name, kind in _TYPES.items()
}
_DECODERS: Final = {header: msgspec.msgpack.Decoder(kind) for kind, header in _HEADERS.items()}


def encode(datum: Datum | Unknown) -> bytes:
    """Give the canonical bytes of a datum: the same bytes for the same value, everywhere."""
    if isinstance(datum, Unknown):
        return datum.raw
    return _HEADERS[type(datum)] + _ENCODER.encode(datum)


def decode(data: bytes) -> Datum | Unknown:
    """Read canonical bytes; what a later version wrote comes back as `Unknown`.

    Raises:
        ValueError: `data` is not canonical bytes.
    """
    if len(data) < 2 or len(data) < 2 + data[1]:
        raise ValueError("canonical bytes end within their header")
    end = 2 + data[1]
    decoder = _DECODERS.get(data[:end])
    if decoder is None:
        return Unknown(data[2:end].decode("ascii", errors="replace"), data)
    try:
        return decoder.decode(data[end:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"a {decoder.type.__name__} does not decode: {error}") from error
