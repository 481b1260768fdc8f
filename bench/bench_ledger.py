"""Durable appends a second by batch, and records verified a second; beside them bare SQLite.

Every append is fsynced (WAL, synchronous=FULL). The bare figure inserts the same bytes with the
same settings and hashes nothing.
"""

import sqlite3
import tempfile
import time
from pathlib import Path

from report import Report

from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.runtime.world import SystemClock
from cronos.types import AuditRecord, encode

BATCHES = {1: 200, 10: 2_000, 100: 20_000, 1_000: 100_000}
ROUNDS = 3
RECORD = encode(AuditRecord("bench", "finding", 1, 2, "bench-1-1", b"x" * 190))


def ours(folder: Path, batch: int, count: int) -> tuple[float, float]:
    ledger = SqliteLedger(
        SqliteConfig(instance="bench"), folder, PlaintextSealer(PlaintextConfig()), SystemClock()
    )
    records = [RECORD] * batch
    began = time.perf_counter()
    for _ in range(count // batch):
        ledger.append(records)
    seconds = time.perf_counter() - began
    ledger.close()
    began = time.perf_counter()
    verify_file(folder / "ledger.db")
    return count / seconds, count / (time.perf_counter() - began)


def bare(folder: Path, batch: int, count: int) -> float:
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE r(p INTEGER PRIMARY KEY, b BLOB)")
    began = time.perf_counter()
    for _ in range(count // batch):
        database.execute("BEGIN")
        database.executemany("INSERT INTO r(b) VALUES (?)", [(RECORD,)] * batch)
        database.execute("COMMIT")
    seconds = time.perf_counter() - began
    database.close()
    return count / seconds


def main() -> None:
    report = Report("ledger")
    for batch, count in BATCHES.items():
        rates, peers, verified = [], [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                rate, verify_rate = ours(Path(folder) / "ledger", batch, count)
                peers.append(bare(Path(folder), batch, count))
            rates.append(rate)
            verified.append(verify_rate)
        report.add(f"durable appends, batches of {batch}", rates, "records/s", count)
        report.add(f"  bare SQLite, batches of {batch}", peers, "records/s", count)
    report.add("verified", verified, "records/s", 100_000)
    report.show()


if __name__ == "__main__":
    main()
