"""Durable appends a second by batch, sealed and readable; beside them bare SQLite.

Every append is fsynced (WAL, synchronous=FULL). The bare figure inserts the same bytes with the
same settings and hashes nothing. Sealed is what a node does: AES-256-GCM under an epoch, each
record for the subject of its incident; the three are run in turn within each round.
"""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from report import Report

from cronos.config import Config
from cronos.crypto.sealer import EpochsConfig, EpochSealer
from cronos.front.keyring import open_keystore
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.govern.verify import verify_file
from cronos.ports import KeyProvider, Sealer
from cronos.runtime.world import SystemClock
from cronos.types import (
    AuditRecord,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Provenance,
    encode,
)

BATCHES = {1: 200, 10: 2_000, 100: 20_000, 1_000: 100_000}
ROUNDS = 5
INCIDENTS = 250
SEALED = 50_000
Make = Callable[[Path], Sealer]


def record(incident: int) -> bytes:
    """Give a finding's record of about 256 bytes."""
    actor = Entity(EntityKind.ADDRESS, f"198.51.{incident >> 8}.{incident & 255}")
    claim = EvidenceClass.DECLARED, Provenance.BIDIRECTIONAL, 0.9, 3, 1
    body = Finding("f", "scan", "A scan", "x" * 100, *claim, actor=actor)
    return encode(AuditRecord("bench", "finding", 1, 2, f"bench-1-i{incident}", encode(body)))


RECORDS = [record(number) for number in range(INCIDENTS)] * 4


def ours(folder: Path, make: Make, batch: int, count: int) -> tuple[float, float]:
    sealer = make(folder)
    ledger = SqliteLedger(SqliteConfig(instance="bench"), folder, sealer, SystemClock())
    ledger.append(RECORDS[:1])  # the first epoch begins with it
    records = RECORDS[:batch]
    began = time.perf_counter()
    for _ in range(count // batch):
        ledger.append(records)
    seconds = time.perf_counter() - began
    ledger.close()
    began = time.perf_counter()
    verify_file(folder / "ledger.db", sealer)
    return count / seconds, count / (time.perf_counter() - began)


def bare(folder: Path, batch: int, count: int) -> float:
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE r(p INTEGER PRIMARY KEY, b BLOB)")
    began = time.perf_counter()
    for _ in range(count // batch):
        database.execute("BEGIN")
        rows = [(one,) for one in RECORDS[:batch]]
        database.executemany("INSERT INTO r(b) VALUES (?)", rows)
        database.execute("COMMIT")
    seconds = time.perf_counter() - began
    database.close()
    return count / seconds


def sealing_us(folder: Path, keys: KeyProvider, subject: str) -> float:
    """Give microseconds for one record of 256 bytes, the disk left out."""
    sealer = EpochSealer(EpochsConfig(), folder, keys, SystemClock(), "bench")
    plain = bytes(256)
    sealer.seal(plain, b"1/bench", subject)
    began = time.perf_counter()
    for _ in range(SEALED):
        sealer.seal(plain, b"1/bench", subject)
    return (time.perf_counter() - began) / SEALED * 1e6


def appends(report: Report, keys: KeyProvider) -> None:
    kinds: dict[str, Make] = {
        "sealed": lambda folder: EpochSealer(EpochsConfig(), folder, keys, SystemClock(), "ledger"),
        "readable": lambda _: PlaintextSealer(PlaintextConfig()),
    }
    verified: dict[str, list[float]] = {name: [] for name in kinds}
    for batch, count in BATCHES.items():
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        peers: list[float] = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                for name, make in kinds.items():
                    rate, checked = ours(Path(folder) / name, make, batch, count)
                    rates[name].append(rate)
                    verified[name].append(checked)
                peers.append(bare(Path(folder), batch, count))
        must = ">= 10,000" if batch == 1_000 else ""
        for name, measured in rates.items():
            limit = must if name == "sealed" else ""
            what = f"durable appends, {name}, batches of {batch}"
            report.add(what, measured, "records/s", count, limit)
        report.add(f"  bare SQLite, batches of {batch}", peers, "records/s", count)
        ratios = [a / b for a, b in zip(rates["sealed"], rates["readable"], strict=True)]
        report.add("  sealed / readable", ratios, "", count)
    for name, measured in verified.items():
        report.add(f"verified, {name}", measured[-ROUNDS:], "records/s", 100_000)


def main() -> None:
    report = Report("ledger")
    with tempfile.TemporaryDirectory() as folder:
        keys = open_keystore(Config(), Path(folder) / "keys", SystemClock(), ensure=True)
        appends(report, keys)
        for name, subject in (("", ""), (", for a subject", "address 192.0.2.7")):
            places = [Path(folder) / f"s{number}{len(subject)}" for number in range(ROUNDS)]
            costs = [sealing_us(place, keys, subject) for place in places]
            report.add(f"sealing 256 B{name}", costs, "us", SEALED)
        news = [_new_subjects_us(Path(folder) / f"n{n}", keys) for n in range(3)]
        report.add("sealing for a subject not seen before", news, "us", 5_000)
        keys.close()
    report.show()


def _new_subjects_us(folder: Path, keys: KeyProvider) -> float:
    sealer = EpochSealer(EpochsConfig(), folder, keys, SystemClock(), "bench")
    sealer.seal(b"", b"")
    spent = [0.0] * 5_000
    for number in range(len(spent)):
        began = time.perf_counter()
        sealer.seal(bytes(256), b"1/bench", f"address {number}")
        spent[number] = time.perf_counter() - began
    return statistics.mean(spent) * 1e6


if __name__ == "__main__":
    main()
