"""How incidents last stood, read back from the ledger: what a kernel that starts goes on from.

Which bulletins it holds is told too, so that none is recorded again by the next life.

The ledger is read backwards, piece by piece, so that whoever holds it can serve others between
two pieces. What is read is bounded in records, bytes and time whatever the ledger holds, newest
first: where a bound is met, it is the oldest that is left out.

Rule: nothing that a single record holds may keep the others from being found. One that was
erased, damaged, or written by a later version is passed over.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from cronos.errors import CronosError, UnreachableError
from cronos.ports import Ledger
from cronos.types import AuditRecord, Bulletin, Datum, Incident, Recall, Recalled, Unknown, decode

# The records whose body is an incident as it stood.
KINDS: Final = frozenset({"state", "closed", "evicted"})
MAX_RECORDS: Final = 200_000
MAX_PART_BYTES: Final = 900_000
# As many as a kernel remembers; and so many of the longest names in a part.
MAX_BULLETINS: Final = 100_000
_BULLETINS: Final = 1_500
_LONGEST: Final = 255
_MAX_BYTES: Final = 256 << 20
_MAX_DAMAGED: Final = 1_000
_MAX_HOURS: Final = 24 * 366
_PIECE: Final = 512
_PATIENCE: Final = 50  # pieces that the keys did not open at once, before it gives up
_HOUR_NS: Final = 3_600_000_000_000
# A kernel that waits gives up after 10 s, with nothing; before that it gets the newest.
MAX_READING_NS: Final = 8_000_000_000
_ITEM_BYTES: Final = 16  # around an incident in its part, and its time
# No kernel counts or times beyond it; what does could not be reckoned with, nor written down again.
_MOST: Final = 1 << 62


class _Standing(msgspec.Struct, frozen=True, gc=False):
    """How an incident stood, when that was written down, and how many bytes it takes."""

    incident: Incident
    wall_ns: int
    size: int


class Recollection:
    """Answers one `Recall`, a piece at a time; used by one thread.

    Args:
        ledger: may be appended to meanwhile; what comes is not recalled.
        recall: how many hours back from now; the ledger's clock says when that is.
        max_records: how many records are read back at most.
    """

    def __init__(self, ledger: Ledger, recall: Recall, max_records: int = MAX_RECORDS) -> None:
        checkpoint = ledger.checkpoint()
        hours = min(max(recall.hours, 0), _MAX_HOURS)
        self._ledger = ledger
        self._began_ns = checkpoint.wall_ns
        self._request_id = recall.request_id
        self._since_ns = checkpoint.wall_ns - hours * _HOUR_NS
        self._last = checkpoint.size
        self._first = max(1, checkpoint.size - max_records + 1)
        self._found: dict[str, _Standing] = {}
        self._heard: dict[tuple[str, str], None] = {}
        self._bytes = 0
        self._patience = _PATIENCE
        self.damaged = 0
        self.read = 0

    @property
    def done(self) -> bool:
        """Say whether everything has been read that is going to be."""
        return self._last < self._first

    def step(self) -> bool:
        """Read the next piece; False when the keys did not answer, and it may be tried later."""
        first = max(self._first, self._last - _PIECE + 1)
        try:
            records = self._piece(first, self._last - first + 1)
        except UnreachableError:
            self._patience -= 1
            if self._patience <= 0:
                self._stop()
            return False
        self._last = first - 1
        self.read += len(records)
        old = known = 0
        for record in reversed(records):
            told = _decoded(record)
            if isinstance(told, AuditRecord):
                known += 1
                old += told.wall_ns < self._since_ns
                self._keep(told)
        # A wall clock may have been set back for a while: one piece must be old altogether.
        if (known and old == known) or self._exhausted():
            self._stop()
        return True

    def _exhausted(self) -> bool:
        late = self._ledger.checkpoint().wall_ns - self._began_ns > MAX_READING_NS
        return late or self.damaged > _MAX_DAMAGED or self._bytes > _MAX_BYTES

    def parts(self) -> Iterator[Recalled]:
        """Give what was found, what changed last at the end; the last part is `complete`.

        Each part fits a frame. There is always one.
        """
        incidents: list[Incident] = []
        written: list[int] = []
        size = 0
        for one in reversed(self._found.values()):
            if incidents and size + one.size > MAX_PART_BYTES:
                yield Recalled(self._request_id, tuple(incidents), tuple(written), complete=False)
                incidents, written, size = [], [], 0
            incidents.append(one.incident)
            written.append(one.wall_ns)
            size += one.size
        heard = list(self._heard)
        for at in range(0, len(heard), _BULLETINS):
            some = tuple(heard[at : at + _BULLETINS])
            yield Recalled(self._request_id, (), (), complete=False, bulletins=some)
        yield Recalled(self._request_id, tuple(incidents), tuple(written))

    def _stop(self) -> None:
        self._last = self._first - 1

    def _piece(self, first: int, count: int) -> list[bytes]:
        """Read records; where they cannot be read together, each by itself."""
        try:
            return list(self._ledger.read(first, count))
        except UnreachableError:
            raise
        except CronosError:
            pass
        records: list[bytes] = []
        for position in range(first, first + count):
            try:
                records += self._ledger.read(position, 1)
            except UnreachableError:
                raise
            except CronosError:
                self.damaged += 1
        return records

    def _keep(self, record: AuditRecord) -> None:
        if record.wall_ns < self._since_ns:
            return
        if record.kind == "bulletin" and len(self._heard) < MAX_BULLETINS:
            told = _decoded(record.body)
            if isinstance(told, Bulletin):
                # By all that it says: a peer may use an id again, for another story.
                digest = blake2b(record.body, digest_size=16).hexdigest()
                self._heard[told.origin[:_LONGEST], digest] = None
        if record.kind not in KINDS:
            return
        incident = _decoded(record.body)
        size = len(record.body) + _ITEM_BYTES
        if not isinstance(incident, Incident) or size > MAX_PART_BYTES:
            return
        if not _possible(incident, record.wall_ns):
            return
        known = self._found.get(incident.incident_id)
        # A record may stand twice, and then behind what followed it: versions tell.
        if known is None or incident.version > known.incident.version:
            self._found[incident.incident_id] = _Standing(incident, record.wall_ns, size)
            self._bytes += size


def _possible(incident: Incident, wall_ns: int) -> bool:
    """Say whether a kernel could go on from an incident; one that was forged may say anything."""
    counted = (
        incident.asked,
        incident.version,
        incident.finding_count,
        incident.deadline_boot_ns,
        incident.lease_until_boot_ns,
    )
    # Moments of before a reboot may lie before its beginning.
    timed = (wall_ns, incident.opened_wall_ns, *(one.boot_ns for one in incident.moments))
    return all(0 <= one <= _MOST for one in counted) and all(
        -_MOST <= one <= _MOST for one in timed
    )


def _decoded(data: bytes) -> Datum | Unknown | None:
    """Read canonical bytes; None where they are none, as in the place of an erased record."""
    try:
        return decode(data)
    except ValueError:
        return None
