"""Where in the ledger each open incident last stood, so that a start need not read the day back.

Whoever writes the ledger notes each record as it is appended: the last one of every incident that
is open, and the bulletins of peers that may still be told again. Now and then that is written down
beside the ledger, sealed like it. A start then reads what came after, and the records that are
named; until it has, a node acts on nothing, so that its time must not grow with the ledger.

It is a hint and no truth. What it names is read from the ledger and has to be there, and the last
record that it accounts for has to be the one that it saw: where the file is absent, damaged, of
another ledger or too old, the ledger is read back as if there never had been one. Records may be
noted in any order, and more than once: versions tell. Rule: nothing that a record says, and no
failure to write, ends the process that appends.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from cronos.crypto.durable import read_bounded, write_synced
from cronos.errors import CronosError, UnreachableError
from cronos.ports import Sealer
from cronos.types import AuditRecord, Bulletin, Datum, Incident, State, Unknown, decode

# The records whose body is an incident as it stood.
KINDS: Final = frozenset({"state", "closed", "evicted"})
EVERY: Final = 4_096
"""Records after which it is written down: about what a start reads in a third of a second."""
MAX_OPEN: Final = 200_000
MAX_CLOSED: Final = 20_000
MAX_BEHIND: Final = 1_000_000
"""Records after which an incident that never closed is let go."""
# As many as a kernel remembers, and how long a name is told by.
MAX_BULLETINS: Final = 100_000
LONGEST: Final = 255
_MAGIC: Final = b"CRST\x01"
_CONTEXT: Final = b"ledger/standing"
_MAX_BYTES: Final = 64 << 20
# A peer counts what is left of a message by its own clock, a day at most; wall clocks are stepped.
_DAY_NS: Final = 86_400_000_000_000
_SLACK_NS: Final = 600_000_000_000
_MOST: Final = 1 << 62
_UNUSABLE: Final = (CronosError, OSError, OverflowError, ValueError, msgspec.MsgspecError)


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The position of the record that tells an incident's latest version."""

    position: int
    version: int


class _Written(msgspec.Struct, frozen=True, array_like=True):
    upto: int
    last: str
    open: dict[str, Place]
    closed: dict[str, Place]
    heard: list[tuple[str, str, int]]


class Standing:
    """What is known of a ledger's end.

    Args:
        folder: the ledger's; None keeps it in memory alone.
        sealer: how the file lies at rest.

    Attributes:
        upto: records up to here are accounted for; 0 where nothing is known yet.
        last: digest of the record there.
        era: rises whenever it turns out to be untrue.
        open: incident -> where it last stood; what was noted longest ago comes first.
        closed: the same of those that have closed, the latest of them.
        heard: (origin, digest) of bulletins -> until what wall time they may be told again.
    """

    def __init__(self, folder: Path | None = None, sealer: Sealer | None = None) -> None:
        self.upto = 0
        self.last = ""
        self.era = 0
        self.open: dict[str, Place] = {}
        self.closed: OrderedDict[str, Place] = OrderedDict()
        self.heard: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._path = folder / "standing" if folder is not None else None
        self._sealer = sealer
        self._whole = False
        self._unwritten = 0
        self._lacks_after = EVERY

    def load(self) -> bool:
        """Read what an earlier process wrote; False where the keys do not answer just now.

        What has been noted already is newer. A file that cannot be used is as good as none.
        """
        try:
            written = self._opened()
        except UnreachableError:
            return False
        except _UNUSABLE:
            return True
        if written is not None:
            self._take(written)
        return True

    def _opened(self) -> _Written | None:
        if self._path is None or self._sealer is None:
            return None
        data = read_bounded(self._path, _MAX_BYTES)
        head = _MAGIC + bytes((self._sealer.seal_version,))
        if data is None or not data.startswith(head):
            return None
        plain = self._sealer.open(data[len(head) :], _CONTEXT)
        written = msgspec.msgpack.decode(plain, type=_Written)
        return written if written.upto > 0 else None

    def _take(self, written: _Written) -> None:
        self.upto, self.last = written.upto, written.last
        ended, self.closed = self.closed, OrderedDict()
        for name, place in (*written.closed.items(), *ended.items()):
            self._close(name, place)
        noted, self.open = self.open, {}
        for name, place in written.open.items():
            if 0 < place.position <= written.upto:  # what came later is read in any case
                self._place(name, place)
        for name, place in noted.items():
            self._place(name, place)
        for origin, digest, until_ns in written.heard:
            self._hear((origin, digest), until_ns)

    def clear(self) -> None:
        """Trust nothing of it any more."""
        self.upto, self.last, self._whole = 0, "", False
        self.era += 1
        self.open.clear()
        self.closed.clear()
        self.heard.clear()

    # --- noting ------------------------------------------------------------------------------

    def appended(self, first: int, records: Sequence[bytes]) -> None:
        """Note records that have just become durable, the first at this position."""
        for position, record in enumerate(records, first):
            told = decoded(record)
            if isinstance(told, AuditRecord) and (told.kind in KINDS or told.kind == "bulletin"):
                self.note(position, told, decoded(told.body))
        if self._whole and records:
            self.upto, self.last = first + len(records) - 1, digest_of(records[-1])
        self._unwritten += len(records)

    def note(self, position: int, record: AuditRecord, body: Datum | Unknown | None) -> None:
        """Note a record by its place and what its body says; peers choose much of both."""
        if record.kind == "bulletin" and isinstance(body, Bulletin):
            lasts_ns = 2 * min(max(body.ttl_ns, 0), _DAY_NS) + _SLACK_NS
            until_ns = min(max(record.wall_ns, 0), _MOST) + lasts_ns
            self._hear((body.origin[:LONGEST], digest_of(record.body)), until_ns)
        elif record.kind in KINDS and isinstance(body, Incident):
            name, version = body.incident_id, body.version
            if len(name) > LONGEST or not 0 <= version <= _MOST:
                return
            if body.state is State.CLOSED:
                self._close(name, Place(position, version))
            else:
                self._place(name, Place(position, version))

    def before(self, position: int, incident: Incident) -> None:
        """Note how an incident stood that was read behind all that is newer.

        What has closed takes a place only where one is left, in front of those that closed since.
        """
        name, place = incident.incident_id, Place(position, incident.version)
        if len(name) > LONGEST or not self._is_news(name, place.version):
            return
        if incident.state is not State.CLOSED:
            self._place(name, place)
        elif name in self.open or len(self.closed) < MAX_CLOSED:
            self._close(name, place)
            self.closed.move_to_end(name, last=False)

    def _close(self, name: str, place: Place) -> None:
        if self._is_news(name, place.version):
            self.open.pop(name, None)
            self.closed[name] = place
            if len(self.closed) > MAX_CLOSED:
                self.closed.popitem(last=False)

    def _place(self, name: str, place: Place) -> None:
        if self._is_news(name, place.version):
            self.open.pop(name, None)
            self.open[name] = place
            if len(self.open) > MAX_OPEN:
                del self.open[next(iter(self.open))]

    def _is_news(self, name: str, version: int) -> bool:
        known = self.open.get(name) or self.closed.get(name)
        return known is None or version > known.version

    def _hear(self, name: tuple[str, str], until_ns: int) -> None:
        self.heard[name] = max(until_ns, self.heard.pop(name, 0))
        if len(self.heard) > MAX_BULLETINS:
            self.heard.popitem(last=False)

    def forget(self, name: str, place: Place) -> None:
        """Take an incident out whose record was erased, unless it stands elsewhere by now."""
        if self.open.get(name) == place:
            del self.open[name]

    def settle(self, upto: int, last: str) -> None:
        """Account for all records up to here: whoever read the ledger back has noted them."""
        if upto >= self.upto:
            self.upto, self.last = upto, last
        self._whole = True
        self._unwritten = EVERY

    # --- the file ----------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Say whether it should be written down."""
        return self._whole and self._unwritten >= EVERY

    @property
    def lacking(self) -> bool:
        """Say whether much was appended by a process that does not know what stood before."""
        return not self._whole and self._unwritten >= self._lacks_after

    def wait(self) -> None:
        """Let as many records be appended again before it is `due`; twice as many if `lacking`."""
        self._unwritten = 0
        if not self._whole:
            self._lacks_after = min(2 * self._lacks_after, 64 * EVERY)

    def write(self, wall_ns: int) -> None:
        """Write it down; a failure leaves the file before, and is tried again with more records.

        Args:
            wall_ns: the time; bulletins that nobody has told for a day are left out.
        """
        self.wait()
        if self._path is None or self._sealer is None or not self._whole:
            return
        over = [name for name, until_ns in self.heard.items() if until_ns + _DAY_NS < wall_ns]
        for name in over:
            del self.heard[name]
        behind = [n for n, place in self.open.items() if place.position < self.upto - MAX_BEHIND]
        for incident_id in behind:
            del self.open[incident_id]
        heard = [(origin, digest, until_ns) for (origin, digest), until_ns in self.heard.items()]
        written = _Written(self.upto, self.last, self.open, dict(self.closed), heard)
        new = self._path.with_name(self._path.name + ".new")
        with suppress(*_UNUSABLE):
            sealed = self._sealer.seal(msgspec.msgpack.encode(written), _CONTEXT)
            write_synced(new, _MAGIC + bytes((self._sealer.seal_version,)) + sealed)
            new.replace(self._path)


def digest_of(told: bytes) -> str:
    """Name a bulletin, or a record, by all that it says: a peer may use an id again."""
    return blake2b(told, digest_size=16).hexdigest()


def decoded(data: bytes) -> Datum | Unknown | None:
    """Read canonical bytes; None where they are none, as in the place of an erased record."""
    try:
        return decode(data)
    except ValueError:
        return None
