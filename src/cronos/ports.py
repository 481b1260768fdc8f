"""What Cronos asks of the world: one protocol for each kind of foreign system.

A real system, its in-memory twin in `cronos.testing` and a recorder are peers: all pass the
conformance suite of their port (`cronos.testing.conformance`). Nothing here imports a library.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from cronos.types import (
    Action,
    Answer,
    Assessment,
    Checkpoint,
    Defect,
    Finding,
    Incident,
    KeyInfo,
    Lane,
    Manifest,
    Now,
    Observation,
    Option,
    Outcome,
    Peer,
    Plan,
    Provenance,
    Question,
)

Reading = Observation | Defect
Linked = Callable[[str, bool], None]


class Source(Protocol):
    """Bytes to parse: a file, standard input, a followed file, a socket, an interface.

    A source can be opened again from its first byte, which is how nothing is lost when a worker
    crashes. One that cannot (a socket, a pipe) spools what it read until `acknowledge` frees it.
    """

    name: str
    """Stays the same when the same bytes are opened again; a rotated file gets a new one."""
    provenance: Provenance
    """The most that the transport vouches for; a sensor may only lower it."""
    first: int
    """The number of the first record (line) that will be read: 1, or later after a trim."""

    def read(self, size: int) -> bytes | None:
        """Give up to `size` bytes; ``b""`` at the end, None when nothing is there for now.

        None comes only after waiting a few milliseconds, so that a reader may call at once again.

        Raises:
            InputError: the source broke (truncated gzip, a directory, permission).
        """
        ...

    def acknowledge(self, seq: int) -> None:
        """Forget what only observations up to `seq` were made of."""
        ...

    def close(self) -> None:
        """Release what is held; more than once is harmless."""
        ...


class Sensor(Protocol):
    """Turns the bytes of one source into observations.

    Sequence numbers begin at `Source.first`, rise strictly, and are the same at every reading of
    the same bytes, however `Source.read` cuts them; where a record is a line, they are its
    number. A record that cannot be read becomes a `Defect`; nothing in the bytes makes `read`
    raise anything but `InputError`, and that only where no record can follow. Memory stays
    bounded whatever comes.
    """

    manifest: Manifest

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Say how surely `head` (up to 64 KiB, uncompressed) begins this format, in [0, 1]."""
        ...

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield readings in order; an empty sequence says that nothing is there for now."""
        ...


class Detector(Protocol):
    """Judges observations.

    Deterministic: the same observations give the same findings, however they are batched. State
    is bounded and survives `snapshot` and `restore`. One that cannot use all it was given (rules
    it does not understand) names each in an attribute `remarks`, a sequence of `Defect`.
    """

    manifest: Manifest

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Take the next observations and give what they amount to."""
        ...

    def snapshot(self) -> bytes:
        """Give the whole state."""
        ...

    def restore(self, state: bytes) -> None:
        """Go back to a state that `snapshot` gave.

        Raises:
            ValueError: `state` is not one.
        """
        ...


class Analyst(Protocol):
    """Explains an incident to people, in the deliberate lane; it can only advise."""

    manifest: Manifest

    async def assess(self, incident: Incident, findings: Sequence[Finding]) -> Assessment:
        """Give advice; a deterministic analyst stands in wherever no language model does."""
        ...


class Executor(Protocol):
    """Changes the world at one enforcement point, in batches, and can take it back.

    Each method gives one entry per argument, in order. A refusal of the world is an
    `Outcome(ok=False)`; nothing raises for it.
    """

    manifest: Manifest

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Work out what would change and how to undo it, changing nothing; or why not."""
        ...

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Put plans into effect; applying one twice leaves one effect."""
        ...

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Say whether each effect is really there, by looking."""
        ...

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Begin each lease anew, without a gap in its effect."""
        ...

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Take effects back; one that is gone already is a success."""
        ...

    def observe(self) -> frozenset[str]:
        """Give the action ids of all effects that are there, whoever put them there."""
        ...


class Planner(Protocol):
    """Proposes what else to do about an incident, and learns what became of it.

    Pure: the same incident and history give the same answer. What it gives is decided by the
    matrix and its guardrails like anything else; it names only targets that the incident or the
    site's configuration holds.
    """

    manifest: Manifest

    def plan(self, incident: Incident, history: Sequence[Outcome | Answer]) -> Sequence[Option]:
        """Give the steps that are due now; () when there are none, or the plan has ended."""
        ...


class Mesh(Protocol):
    """Carries bytes to peers, in order for each peer and lane; at most 1 MiB a message.

    An urgent lane overtakes the ones below it, as far as they have not left yet. Nothing is lost
    or repeated while two processes live and can reach each other, whatever becomes of their
    connections. What a process had taken in when it was killed is lost: who needs more resends.
    """

    async def start(
        self, receive: Callable[[str, Lane, bytes], Awaitable[None]], linked: Linked
    ) -> None:
        """Begin; `linked` says of a peer that it can be reached, or no more.

        `receive` gets a message and the sender's instance, each lane in order, urgent lanes
        beside the others. What it raises is reported and counts as received.
        """
        ...

    def connect(self, peer: str, address: str) -> None:
        """Keep a link to `peer` at `address` until it is forgotten, dialling as often as need be.

        Where `peer` is empty, whoever is certified there is it: a seed.
        """
        ...

    def forget(self, peer: str) -> None:
        """Drop the link and what waits for it; the peer may dial again, unless it was revoked."""
        ...

    async def send(self, peer: str, lane: Lane, data: bytes) -> None:
        """Send to one peer, now or once it is linked; waits for room on `records` and `bulk`.

        Raises:
            UnreachableError: neither connected to nor linked, or too much waits for it.
            InputError: longer than 1 MiB.
        """
        ...

    def peers(self) -> tuple[str, ...]:
        """Give the instances that are linked now, sorted, this one left out."""
        ...

    async def stop(self) -> None:
        """Drain what is queued and end."""
        ...


class Registry(Protocol):
    """A service in which nodes enter themselves and find others, as ``name@host:port``.

    It is believed nothing: who is found there still has to show its certificate. Each call may
    wait for the service for some seconds and raises `UnreachableError` where it does not answer,
    `DeniedError` where it does not let us or egress is closed.
    """

    manifest: Manifest

    def enter(self, me: Peer) -> None:
        """Enter this node, or renew what was entered; it lapses by itself unless renewed."""
        ...

    def found(self) -> tuple[str, ...]:
        """Give the seeds that are entered now, sorted, at most 256; leave out what is none."""
        ...

    def withdraw(self, me: Peer) -> None:
        """Take this node out; once it is out, that is no error."""
        ...


class Ledger(Protocol):
    """Keeps records for good, in order, each chained to all before it."""

    def append(self, records: Sequence[bytes]) -> int:
        """Store canonical bytes durably; give the position of the first, counted from 1.

        Raises:
            CronosError: nothing was stored (disk full, read-only, corrupt).
        """
        ...

    def read(self, first: int, count: int) -> Sequence[bytes]:
        """Give the opened records from position `first`, at most `count`."""
        ...

    def checkpoint(self) -> Checkpoint:
        """Give size and head."""
        ...

    def verify(self) -> Checkpoint:
        """Recompute every hash and give size and head.

        Raises:
            CronosError: a record was changed, removed or added outside the chain; names it.
        """
        ...

    def close(self) -> None:
        """Flush and release; more than once is harmless."""
        ...


class Sealer(Protocol):
    """Keeps bytes at rest from other eyes; `sealing` names how, and is shown to people."""

    sealing: str
    seal_version: int

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Give bytes to store; `context` must be the same when they are opened.

        What names a `subject` (a person, an address) can be erased later: see `shred`.
        """
        ...

    def seal_all(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        """Seal many at once: plain bytes, context and subject of each, as for `seal`."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give the plain bytes.

        Raises:
            DeniedError: not sealed by this key, for this context, or changed since; or, with the
                code ``crypto.shredded``, its subject was shredded.
        """
        ...

    def shred(self, subject: str) -> bool:
        """Destroy the key of a subject, for good; False when nothing was sealed for it.

        What was sealed for it stays where it is and never opens again; durable on return.
        """
        ...


class RootKey(Protocol):
    """What a keystore is locked with: a passphrase, a file, a token, a service.

    `protection` says in one phrase what a thief would need besides the keystore.
    """

    manifest: Manifest
    protection: str

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Encrypt a secret of at most 64 bytes; `context` must be the same at unwrapping."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back.

        Raises:
            DeniedError: another root key, another context, or changed bytes.
            UnreachableError: the token or service does not answer.
        """
        ...


class KeyProvider(Protocol):
    """Wraps data keys and signs, with keys that never leave it.

    A key is named by its id (``state.2``), by its name alone (``state``: the active version), or
    by its fingerprint in hex, which is how packets name it.
    """

    def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """Encrypt a data key of at most 64 bytes to the active key `key_id`.

        Raises:
            InputError: no such key, or one that does not encrypt.
            DeniedError: it is not active.
        """
        ...

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Give the data key back.

        Raises:
            DeniedError: another key, another context, changed bytes, or a destroyed key.
        """
        ...

    def sign(self, key_id: str, message: bytes, context: bytes) -> bytes:
        """Sign `message` in `context` with ML-DSA.

        Raises:
            InputError: no such key, or one that does not sign.
            DeniedError: it is not active, or may not sign in this context.
        """
        ...

    def public(self, key_id: str) -> bytes:
        """Give the public half of `key_id`.

        Raises:
            InputError: no such key.
        """
        ...

    def rotate(self, key_id: str) -> str:
        """Make a successor, active at once, and give its id; the old one still unwraps."""
        ...

    def listed(self) -> Sequence[KeyInfo]:
        """Give all keys, the destroyed ones too, sorted by name and version."""
        ...


class Model(Protocol):
    """A trained model that scores rows of numbers."""

    manifest: Manifest

    def score(self, rows: Sequence[Sequence[float]]) -> Sequence[float]:
        """Give one score per row, higher for more anomalous."""
        ...


class Stream(Protocol):
    """A log of messages under a subject, for bulk; never on the threat path."""

    async def publish(self, subject: str, data: bytes) -> int:
        """Append; give the message's position under `subject`, from 1."""
        ...

    async def fetch(self, subject: str, after: int, count: int) -> Sequence[bytes]:
        """Give at most `count` messages that follow position `after`."""
        ...


class Sink(Protocol):
    """Takes incidents out of Cronos: a file, a SIEM, a ticket."""

    manifest: Manifest

    def write(self, incidents: Sequence[Incident]) -> None:
        """Hand incidents over; the same incident and version twice is one."""
        ...


class Workflow(Protocol):
    """Work that depends on an asset: paused or moved while the asset is isolated."""

    manifest: Manifest

    def adjust(self, workload: str, verb: str) -> str:
        """Carry out ``pause``, ``reroute`` or ``restore``; give a sentence on what was done.

        Raises:
            CronosError: the hook failed or was not answered in time.
        """
        ...


class Egress(Protocol):
    """The one gate that every outward call passes."""

    def permit(self, host: str, port: int, purpose: str) -> None:
        """Return when the call may be made.

        Raises:
            DeniedError: `host` is not on the allow-list.
        """
        ...


class Metrics(Protocol):
    """Counts and measures, in this process."""

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float) -> None:
        """Add one measurement to a distribution."""
        ...


class Service(Protocol):
    """Something that runs beside the kernel until it is stopped."""

    manifest: Manifest

    async def start(self) -> None:
        """Begin; returns once it serves."""
        ...

    async def stop(self) -> None:
        """End gracefully; more than once is harmless."""
        ...

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        ...


class Asker(Protocol):
    """Puts a question to a person and waits for the answer, at most until its deadline."""

    async def ask(self, question: Question) -> Answer:
        """Give the answer; silence is `granted=False`, never an exception."""
        ...


class Clock(Protocol):
    """The only way to learn the time."""

    def now(self) -> Now:
        """Give boot and wall time; boot time never goes back."""
        ...

    def boot_id(self) -> str:
        """Name this boot: leases of another boot are reconciled, not counted down."""
        ...


class Ids(Protocol):
    """The only way to draw an identifier."""

    def next(self, kind: str) -> str:
        """Give ``<instance>-<incarnation>-<kind><sequence>``, never the same twice."""
        ...


class Tasks(Protocol):
    """The only way to start concurrent work: keeps the reference, reports the error."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` beside the caller."""
        ...

    async def cancel(self) -> None:
        """Cancel all that runs and wait for it to end."""
        ...


class Transport(Protocol):
    """Frames between two processes of one node, in order, each way; at most 1 MiB each."""

    def send(self, data: bytes) -> None:
        """Send one frame, waiting while the other side is busy.

        Raises:
            UnreachableError: the other side is gone.
        """
        ...

    def receive(self, timeout_s: float | None) -> bytes | None:
        """Give the next frame, or None after `timeout_s`.

        Raises:
            UnreachableError: the other side is gone, or sent what is no frame.
        """
        ...

    def close(self) -> None:
        """End; more than once is harmless."""
        ...
