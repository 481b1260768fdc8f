"""Recalling incidents from a ledger of a million records: how long, and how long an append waits.

Usage: python bench/bench_recall.py [records] [--json]

The records are those of a busy day: of ten, one says how an incident stood, and all but the last
thousand incidents are closed. First a readable ledger of that many, which is the ledger's own
figure; then a sealed one of 200,000 records, without and with what the process before wrote of
where incidents stand, 4,000 records before its end.
"""

import sys
import tempfile
import time
from pathlib import Path

from report import Report, quantile

from cronos.config import Config
from cronos.front.keyring import using_keys
from cronos.front.sealed import sealer_of
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.recall import Recollection
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.standing import Standing
from cronos.ports import Sealer
from cronos.runtime.world import SystemClock
from cronos.types import (
    AuditRecord,
    Entity,
    EntityKind,
    EvidenceClass,
    Incident,
    Operation,
    Outcome,
    Provenance,
    Recall,
    State,
    encode,
)

ROUNDS = 5
CHUNK = 4_000
SEALED = 200_000
OPEN = 1_000


def records(first: int, count: int, now_ns: int, total: int) -> list[bytes]:
    """Give records whose times spread over a day, the last one now."""
    made = []
    for n in range(first, first + count):
        incident_id = f"bench-1-{n // 10}"
        wall_ns = now_ns - (total - n) * 86_400_000_000_000 // total
        if n % 10 == 9:
            is_open = n >= total - 10 * OPEN
            body = encode(
                Incident(
                    incident_id,
                    State.CONFIRMED if is_open else State.CLOSED,
                    Entity(EntityKind.ADDRESS, "192.0.2.7"),
                    Entity(EntityKind.ADDRESS, "198.51.100.2"),
                    "Modbus request from an unlisted client",
                    0.97,
                    4,
                    EvidenceClass.DECLARED,
                    Provenance.BIDIRECTIONAL,
                    ("T0855",),
                    (f"modbus-policy:tap#{n}",),
                    1,
                    wall_ns,
                    n,
                    5,
                )
            )
            kind = "state" if is_open else "closed"
            made.append(encode(AuditRecord("bench", kind, wall_ns, n, incident_id, body)))
        else:
            body = encode(Outcome("a" * 32, incident_id, Operation.RENEW, True, True, "renewed"))
            made.append(encode(AuditRecord("bench", "outcome", wall_ns, n, incident_id, body)))
    return made


def fill(ledger: SqliteLedger, total: int, now_ns: int) -> None:
    """Append a day's records."""
    for first in range(0, total, CHUNK):
        ledger.append(records(first, min(CHUNK, total - first), now_ns, total))


def measure(ledger: SqliteLedger, report: Report, name: str) -> None:
    """Recall a day from a ledger, and close it."""
    whole: list[float] = []
    waits: list[float] = []
    found = read = 0
    for _ in range(ROUNDS):
        asked = Recollection(ledger, Recall(1, 25))
        begun = time.perf_counter()
        while not asked.done:
            piece = time.perf_counter()
            asked.step()
            waits.append((time.perf_counter() - piece) * 1e3)
        found = sum(len(part.incidents) for part in asked.parts())
        whole.append(time.perf_counter() - begun)
        read = asked.read
    report.add(f"{name}: {read:,} records read back", whole, "s", found, "<= 10")
    waited = [quantile(waits, q) for q in (0.5, 0.99, 1.0)]
    report.add(f"{name}: an append waits, p50, p99, most", waited, "ms", len(waits))


def measure_known(ledger: SqliteLedger, folder: Path, sealer: Sealer, report: Report) -> None:
    """Recall with what an earlier process knew of all but the last records."""
    known = Standing(folder, sealer)
    asked = Recollection(ledger, Recall(1, 25), standing=known)
    while not asked.done:
        asked.step()
    known.write(SystemClock().now().wall_ns)
    ledger.append(records(SEALED, CHUNK, SystemClock().now().wall_ns, SEALED + CHUNK))
    whole: list[float] = []
    found = read = 0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        known = Standing(folder, sealer)
        known.load()
        asked = Recollection(ledger, Recall(1, 25), standing=known)
        while not asked.done:
            asked.step()
        found = sum(len(part.incidents) for part in asked.parts())
        whole.append(time.perf_counter() - begun)
        read = asked.read
    report.add(f"sealed, known where incidents stand: {read:,} read", whole, "s", found, "<= 1")


def main() -> None:
    """Fill ledgers and recall from them."""
    given = [word for word in sys.argv[1:] if word.isdigit()]
    total = int(given[0]) if given else 1_000_000
    clock = SystemClock()
    report = Report("recall")
    with tempfile.TemporaryDirectory() as folder:
        sealer = PlaintextSealer(PlaintextConfig())
        ledger = SqliteLedger(SqliteConfig("bench"), Path(folder), sealer, clock)
        fill(ledger, total, clock.now().wall_ns)
        measure(ledger, report, "readable")
        ledger.close()
    with (
        tempfile.TemporaryDirectory() as folder,
        using_keys(Config(), Path(folder), ensure=True) as keys,
    ):
        place = Path(folder) / "local" / "ledger"
        late = sealer_of(Config(), place, clock, "ledger", lambda: keys)
        ledger = SqliteLedger(SqliteConfig("local"), place, late, clock)
        fill(ledger, SEALED, clock.now().wall_ns)
        measure(ledger, report, "sealed")
        measure_known(ledger, place, late, report)
        ledger.close()
    report.show()


if __name__ == "__main__":
    main()
