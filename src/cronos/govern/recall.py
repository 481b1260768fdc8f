"""How incidents last stood, read back from the ledger: what a kernel that starts goes on from.

Which bulletins it holds is told too, so that none is recorded again by the next life.

The ledger is read backwards, piece by piece, so that whoever holds it can serve others between two
pieces: what came since `Standing` was written down, and then the records that it names. The closed
incidents that it names follow, while the kernel is at work already (`past`). Without a standing all
of it is read first. What is read is bounded in records, bytes and time whatever the ledger holds,
newest first: where a bound is met, it is the oldest that is left out.

Rule: nothing that a single record holds may keep the others from being found. One that was
erased, damaged, or written by a later version is passed over.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from cronos.errors import CronosError, UnreachableError
from cronos.govern.standing import KINDS, LONGEST, MAX_BULLETINS, Standing, decoded, digest_of
from cronos.ports import Ledger
from cronos.types import AuditRecord, Bulletin, Incident, Recall, Recalled, State

MAX_RECORDS: Final = 200_000
MAX_PART_BYTES: Final = 900_000
# So many of the longest names in a part.
_BULLETINS: Final = 1_500
_MAX_BYTES: Final = 256 << 20
_MAX_DAMAGED: Final = 1_000
_MAX_HOURS: Final = 24 * 366
_WHOLE_HOURS: Final = 24  # who asks for less learns less than the next may ask for
_PIECE: Final = 512
_NAMED: Final = 64  # records that are read each by itself, in a step
_PATIENCE: Final = 50  # pieces that the keys did not open at once, before it gives up
_HOUR_NS: Final = 3_600_000_000_000
# A kernel that waits gives up after 10 s, with nothing; before that it gets the newest.
MAX_READING_NS: Final = 8_000_000_000
# Nobody waits for what is past, nor for what a process reads for its successor.
MAX_IDLE_NS: Final = 120_000_000_000
_ITEM_BYTES: Final = 16  # around an incident in its part, and its time
# No kernel counts or times beyond it; what does could not be reckoned with, nor written down again.
_MOST: Final = 1 << 62


class _Found(msgspec.Struct, frozen=True, gc=False):
    """How an incident stood, where and when that was written down, and how many bytes it takes."""

    incident: Incident
    position: int
    wall_ns: int
    size: int


class Recollection:
    """Answers one `Recall`, a piece at a time; used by one thread.

    Args:
        ledger: may be appended to meanwhile; what comes is not recalled.
        recall: how many hours back from now; the ledger's clock says when that is.
        max_records: how many records are read back at most.
        standing: what is known of the ledger; learns from what is read.
        idle: whether nobody waits for it.
        past: whether it is for closed incidents alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        recall: Recall,
        max_records: int = MAX_RECORDS,
        standing: Standing | None = None,
        *,
        idle: bool = False,
        past: bool = False,
    ) -> None:
        checkpoint = ledger.checkpoint()
        hours = min(max(recall.hours, 0), _MAX_HOURS)
        self._ledger = ledger
        self._recall = recall
        self._most = max_records
        self._began_ns = checkpoint.wall_ns
        self._since_ns = checkpoint.wall_ns - hours * _HOUR_NS
        self._standing = standing if standing is not None else Standing()
        self._found: dict[str, _Found] = {}
        self._heard: dict[tuple[str, str], None] = {}
        self._bytes = 0
        self._patience = _PATIENCE
        self._given_up = hours < _WHOLE_HOURS
        self.idle = idle or past
        self.past = past
        self.damaged = 0
        self.read = 0
        self._begin(self._standing.upto)
        self._settle()

    def _begin(self, known: int) -> None:
        """Begin at the end of the ledger, to go back to what is known of it."""
        self._size = self._last = self._ledger.checkpoint().size
        oldest = max(1, self._size - self._most + 1)
        if known and not oldest <= known + 1 <= self._size + 1:
            # Too old, or ahead of this ledger: what lies between would never be read.
            self._standing.clear()
            known = 0
        self._known, self._proved = known, not known
        self._young = 0
        self._first = max(oldest, known + 1)
        self._digest, self._era = self._standing.last, self._standing.era
        places = self._standing.open
        if self.past:
            places, self._first, self._proved = self._standing.closed, self._size + 1, True
        named = [one for one in places.items() if one[1].position <= known]
        self._named = sorted(named, key=lambda one: one[1].position)

    @property
    def done(self) -> bool:
        """Say whether everything has been read that is going to be."""
        return self._last < self._first and not self._named and self._proved

    def step(self) -> bool:
        """Read the next piece; False when the keys did not answer, and it may be tried later."""
        try:
            if not self._proved:
                self._prove()
            elif self._last >= self._first:
                self._read_piece()
            else:
                self._read_named()
        except UnreachableError:
            self._patience -= 1
            if self._patience <= 0:
                self._give_up()
            return False
        if not self.done and self._exhausted():
            self._give_up()
        self._settle()
        return True

    def _settle(self) -> None:
        """Have the standing account for all of it, unless something could not be read.

        Nor where another reading has found it untrue since this one began.
        """
        whole = self.done and not (self._given_up or self.past or self.damaged)
        # Where all of it seems to be of another day, the clock may be what is wrong.
        whole = whole and (self._young > 0 or self._size == self._known)
        if whole and self._era == self._standing.era:
            self._standing.settle(self._size, self._digest)

    def _prove(self) -> None:
        """See that the last record that is accounted for is the one that was seen."""
        records = self._piece(self._known, 1)
        self._proved = True
        if not records or digest_of(records[0][1]) != self._digest:
            self._distrust()

    def _distrust(self) -> None:
        """Read all of it after all: what was written down is of another ledger, or untrue."""
        self._standing.clear()
        self._found.clear()
        self._heard.clear()
        self._bytes = 0
        self._begin(0)

    def _read_piece(self) -> None:
        first = max(self._first, self._last - _PIECE + 1)
        records = self._piece(first, self._last - first + 1)
        if self._last == self._size and records:
            self._digest = digest_of(records[-1][1])
        self._last = first - 1
        self.read += len(records)
        old = known = 0
        for position, record in reversed(records):
            told = decoded(record)
            if isinstance(told, AuditRecord):
                known += 1
                old += told.wall_ns < self._since_ns
                self._keep(position, told)
        self._young += known - old
        # A wall clock may have been set back for a while: one piece must be old altogether.
        if known and old == known:
            self._last = self._first - 1

    def _read_named(self) -> None:
        """Read where incidents last stood before the records that are read in pieces."""
        for name, place in self._named[: -_NAMED - 1 : -1]:
            records = self._piece(place.position, 1)
            self._named.pop()
            if not records:
                continue  # it could not be read, and may be another time
            self.read += 1
            told = decoded(records[0][1])
            body = decoded(told.body) if isinstance(told, AuditRecord) else None
            if isinstance(told, AuditRecord) and isinstance(body, Incident):
                if (body.incident_id, body.version) == (name, place.version):
                    self._keep(place.position, told)
                elif not self.past:
                    self._distrust()
                    return
            if not records[0][1]:
                self._standing.forget(name, place)  # erased

    def _exhausted(self) -> bool:
        took_ns = self._ledger.checkpoint().wall_ns - self._began_ns
        late = took_ns > (MAX_IDLE_NS if self.idle else MAX_READING_NS)
        return late or self.damaged > _MAX_DAMAGED or self._bytes > _MAX_BYTES

    def after(self) -> "Recollection | None":
        """Give what reads the closed incidents that this one did not come to; None for none."""
        if not self._known or self.idle:
            return None
        return Recollection(self._ledger, self._recall, standing=self._standing, past=True)

    def parts(self) -> Iterator[Recalled]:
        """Give what was found, what changed last at the end; the last part is `complete`.

        Each part fits a frame. There is always one. Of what is past the newest comes first.
        """
        incidents: list[Incident] = []
        written: list[int] = []
        size = 0
        number = self._recall.request_id
        found = self._found.values()
        for one in sorted(found, key=lambda one: one.position, reverse=self.past):
            if self.past and one.incident.state is not State.CLOSED:
                continue
            if incidents and size + one.size > MAX_PART_BYTES:
                some, times = tuple(incidents), tuple(written)
                yield Recalled(number, some, times, complete=False, past=self.past)
                incidents, written, size = [], [], 0
            incidents.append(one.incident)
            written.append(one.wall_ns)
            size += one.size
        heard = [] if self.past else self._all_heard()
        for at in range(0, len(heard), _BULLETINS):
            some_heard = tuple(heard[at : at + _BULLETINS])
            yield Recalled(number, (), (), complete=False, bulletins=some_heard)
        yield Recalled(number, tuple(incidents), tuple(written), past=self.past)

    def _all_heard(self) -> list[tuple[str, str]]:
        """Name the bulletins, those that were read before those that were known."""
        known = (n for n, until_ns in self._standing.heard.items() if until_ns > self._began_ns)
        return list(dict.fromkeys((*self._heard, *known)))[:MAX_BULLETINS]

    def _give_up(self) -> None:
        self._last, self._named, self._given_up = self._first - 1, [], True
        self._proved = True

    def _piece(self, first: int, count: int) -> list[tuple[int, bytes]]:
        """Read records with their positions; where they cannot be read together, each by itself."""
        try:
            return list(enumerate(self._ledger.read(first, count), first))
        except UnreachableError:
            raise
        except CronosError:
            pass
        records: list[tuple[int, bytes]] = []
        for position in range(first, first + count):
            try:
                records += [(position, one) for one in self._ledger.read(position, 1)]
            except UnreachableError:
                raise
            except CronosError:
                self.damaged += 1
        return records

    def _keep(self, position: int, record: AuditRecord) -> None:
        if record.wall_ns < self._since_ns:
            return
        if record.kind == "bulletin" and not self.past and len(self._heard) < MAX_BULLETINS:
            told = decoded(record.body)
            if isinstance(told, Bulletin):
                self._heard[told.origin[:LONGEST], digest_of(record.body)] = None
                self._standing.note(position, record, told)
        if record.kind in KINDS:
            self._keep_incident(position, record)

    def _keep_incident(self, position: int, record: AuditRecord) -> None:
        incident = decoded(record.body)
        size = len(record.body) + _ITEM_BYTES
        if not isinstance(incident, Incident) or size > MAX_PART_BYTES:
            return
        if not _possible(incident, record.wall_ns):
            return
        known = self._found.get(incident.incident_id)
        # A record may stand twice, and then behind what followed it: versions tell.
        if known is None or incident.version > known.incident.version:
            self._found[incident.incident_id] = _Found(incident, position, record.wall_ns, size)
            self._bytes += size
            if not self.past:
                self._standing.before(position, incident)


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
