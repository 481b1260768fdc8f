"""Where in the ledger each open incident last stood, so that a start need not read the day back.

Whoever writes the ledger notes each record as it is appended: the last one of every incident that
is open, and the bulletins of peers that may still be told again. Now and then that is written down
beside the ledger, sealed like it. A start then reads what came after, and the records that are
named; until it has, a node acts on nothing, so that its time must not grow with the ledger.

It is a hint and no truth. What it names is read from the ledger and has to be there; where the
file is absent, damaged, ahead of the ledger or of another one, the ledger is read back as if there
never had been one. Records may be noted in any order, and more than once: versions tell.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from cronos.crypto.durable import read_bounded, write_synced
from cronos.errors import CronosError
from cronos.ports import Sealer
from cronos.types import AuditRecord, Bulletin, Datum, Incident, State, Unknown, decode

# The records whose body is an incident as it stood.
KINDS: Final = frozenset({"state", "closed", "evicted"})
EVERY: Final = 4_096
"""Records after which it is written down: about what a start reads in a third of a second."""
MAX_OPEN: Final = 200_000
MAX_CLOSED: Final = 10_000
# As many as a kernel remembers, and how long a name is told by.
MAX_BULLETINS: Final = 100_000
LONGEST: Final = 255
_MAGIC: Final = b"CRST\x01"
_CONTEXT: Final = b"ledger/standing"
_MAX_BYTES: Final = 64 << 20
# A peer counts what is left of a message by its own clock, and wall clocks are stepped.
_SLACK_NS: Final = 600_000_000_000


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The position of the record that tells an incident's latest version."""

    position: int
    version: int


class _Written(msgspec.Struct, frozen=True, array_like=True):
    upto: int
    open: dict[str, Place]
    heard: list[tuple[str, str, int]]


class Standing:
    """What is known of a ledger's end.

    Args:
        folder: the ledger's; None keeps it in memory alone.
        sealer: how the file lies at rest.

    Attributes:
        upto: records up to here are accounted for; 0 where nothing is known yet.
        open: incident -> where it last stood.
        heard: (origin, digest) of bulletins -> until what wall time they may be told again.
    """

    def __init__(self, folder: Path | None = None, sealer: Sealer | None = None) -> None:
        self.upto = 0
        self.open: dict[str, Place] = {}
        self.heard: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._path = folder / "standing" if folder is not None else None
        self._sealer = sealer
        self._closed: OrderedDict[str, int] = OrderedDict()  # -> its version
        self._whole = False
        self._unwritten = 0

    def load(self, size: int) -> None:
        """Read what an earlier process wrote of a ledger of so many records, if that is usable.

        What has been noted already is newer.
        """
        if self._path is None or self._sealer is None:
            return
        with suppress(CronosError, msgspec.DecodeError):
            data = read_bounded(self._path, _MAX_BYTES)
            version = bytes((self._sealer.seal_version,))
            if data is None or not data.startswith(_MAGIC + version):
                return
            plain = self._sealer.open(data[len(_MAGIC) + 1 :], _CONTEXT)
            written = msgspec.msgpack.decode(plain, type=_Written)
            within = all(0 < one.position <= written.upto for one in written.open.values())
            if 0 < written.upto <= size and len(written.open) <= MAX_OPEN and within:
                self.upto = written.upto
                for name, place in written.open.items():
                    self._place(name, place)
                for origin, digest, until_ns in written.heard:
                    self._hear((origin, digest), until_ns)

    def clear(self) -> None:
        """Trust nothing of it any more."""
        self.upto, self._whole = 0, False
        self.open.clear()
        self.heard.clear()

    # --- noting ------------------------------------------------------------------------------

    def appended(self, first: int, records: Sequence[bytes]) -> None:
        """Note records that have just become durable, the first at this position."""
        for position, record in enumerate(records, first):
            told = decoded(record)
            if isinstance(told, AuditRecord) and (told.kind in KINDS or told.kind == "bulletin"):
                self.note(position, told, decoded(told.body))
        if self._whole:
            self.upto = max(self.upto, first + len(records) - 1)
        self._unwritten += len(records)

    def note(self, position: int, record: AuditRecord, body: Datum | Unknown | None) -> None:
        """Note a record by its place and what its body says."""
        if record.kind == "bulletin" and isinstance(body, Bulletin):
            until_ns = record.wall_ns + 2 * body.ttl_ns + _SLACK_NS
            self._hear((body.origin[:LONGEST], digest_of(record.body)), until_ns)
        elif record.kind in KINDS and isinstance(body, Incident):
            self._stand(position, body)

    def _stand(self, position: int, incident: Incident) -> None:
        name, version = incident.incident_id, incident.version
        if incident.state is not State.CLOSED:
            self._place(name, Place(position, version))
        elif self._is_news(name, version):
            self.open.pop(name, None)
            self._closed[name] = version
            if len(self._closed) > MAX_CLOSED:
                self._closed.popitem(last=False)

    def _place(self, name: str, place: Place) -> None:
        if len(name) <= LONGEST and self._is_news(name, place.version):
            self.open[name] = place
            if len(self.open) > MAX_OPEN:
                del self.open[next(iter(self.open))]

    def _is_news(self, name: str, version: int) -> bool:
        known = self.open.get(name)
        before = self._closed.get(name, -1) if known is None else known.version
        return version > before

    def _hear(self, name: tuple[str, str], until_ns: int) -> None:
        self.heard[name] = max(until_ns, self.heard.pop(name, 0))
        if len(self.heard) > MAX_BULLETINS:
            self.heard.popitem(last=False)

    def forget(self, name: str) -> None:
        """Take an incident out: its record was erased."""
        self.open.pop(name, None)

    def settle(self, upto: int) -> None:
        """Account for all records up to here: whoever read the ledger back has noted them."""
        self.upto, self._whole = max(self.upto, upto), True
        self._unwritten = EVERY

    # --- the file ----------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Say whether it should be written down."""
        return self._whole and self._unwritten >= EVERY

    def write(self, wall_ns: int) -> None:
        """Write it down; a failure leaves the file before, and is tried again with more records.

        Args:
            wall_ns: the time; bulletins that nobody tells again are left out.
        """
        self._unwritten = 0
        if self._path is None or self._sealer is None or not self._whole:
            return
        over = [name for name, until_ns in self.heard.items() if until_ns < wall_ns]
        for name in over:
            del self.heard[name]
        heard = [(origin, digest, until_ns) for (origin, digest), until_ns in self.heard.items()]
        plain = msgspec.msgpack.encode(_Written(self.upto, self.open, heard))
        with suppress(CronosError, OSError):
            sealed = self._sealer.seal(plain, _CONTEXT)
            new = self._path.with_name(self._path.name + ".new")
            write_synced(new, _MAGIC + bytes((self._sealer.seal_version,)) + sealed)
            new.replace(self._path)


def digest_of(bulletin: bytes) -> str:
    """Name a bulletin by all that it says: a peer may use an id again, for another story."""
    return blake2b(bulletin, digest_size=16).hexdigest()


def decoded(data: bytes) -> Datum | Unknown | None:
    """Read canonical bytes; None where they are none, as in the place of an erased record."""
    try:
        return decode(data)
    except ValueError:
        return None
