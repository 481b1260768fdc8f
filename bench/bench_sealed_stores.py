"""What sealing costs where state is written: lease book, spool, and syslog through a pipe.

Each is run readable, as it was before there was sealing, and sealed as a node does it, in turn
within each round. CPU time, but for the durable write, which waits for the disk.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from report import Report

from cronos.config import Config
from cronos.crypto.sealer import EpochsConfig, EpochSealer
from cronos.front.keyring import open_keystore
from cronos.ports import KeyProvider, Sealer
from cronos.respond.leasebook import LeaseBook
from cronos.runtime.world import SystemClock
from cronos.sense.files import StdinConfig, StdinSource
from cronos.sense.spool import Spool
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.types import Action, Entity, EntityKind, Lease, Plan, Verb

ROUNDS = 7
LEASES = 1_000
DURABLE = 50
LINES = 20_000
BATCHES = (1, 10, 100)
LINE = (
    b"<34>1 2024-05-01T10:00:00Z host sshd 12 - - "
    b"Failed password for root from 203.0.113.5 port 22 ssh2\n"
)
Run = Callable[[Path, Sealer | None], float]


def leases() -> list[Lease]:
    """Give a thousand, each with a recipe of 120 bytes."""
    made: list[Lease] = []
    for number in range(LEASES):
        target = Entity(EntityKind.ADDRESS, f"198.51.{number // 250}.{number % 250}")
        action = Action(f"{number:032x}", "nftables", Verb.DENY, target, f"inc-{number}", 10**9)
        made.append(Lease(Plan(action, bytes(120), "block", "unblock"), "boot", number, 10**12))
    return made


def one_write(folder: Path, sealer: Sealer | None) -> float:
    """Give milliseconds for all in one write."""
    book, records = LeaseBook(folder, sealer), leases()
    begun = time.process_time()
    book.write(records, durable=False)
    taken = time.process_time() - begun
    book.close()
    return taken * 1e3


def single_writes(folder: Path, sealer: Sealer | None) -> float:
    """Give microseconds for one of many writes."""
    book, records = LeaseBook(folder, sealer), leases()
    begun = time.process_time()
    for record in records:
        book.write([record], durable=False)
    taken = time.process_time() - begun
    book.close()
    return taken / LEASES * 1e6


def durable_writes(folder: Path, sealer: Sealer | None) -> float:
    """Give microseconds, by the clock on the wall, for one durable write."""
    book, records = LeaseBook(folder, sealer), leases()[:DURABLE]
    begun = time.perf_counter()
    for record in records:
        book.write([record], durable=True)
    taken = time.perf_counter() - begun
    book.close()
    return taken / DURABLE * 1e6


def spooled(batch: int) -> Run:
    """Give a run that appends and reads `batch` lines at a time: lines a second."""

    def run(folder: Path, sealer: Sealer | None) -> float:
        spool = Spool(folder, 1 << 28, sealer)
        begun = time.process_time()
        for _ in range(LINES // batch):
            spool.append(LINE * batch)
            while spool.read(1 << 17):
                pass
        taken = time.process_time() - begun
        spool.close()
        return LINES / taken

    return run


def piped(folder: Path, sealer: Sealer | None) -> float:
    """Give events a second of syslog that comes through a pipe, parsing included."""
    log = folder / "log"
    log.write_bytes(LINE * LINES)
    with subprocess.Popen(["cat", log], stdout=subprocess.PIPE) as writer:
        if writer.stdout is None:
            raise SystemExit("There is no pipe.")
        config = StdinConfig(folder=str(folder / "spool"), descriptor=writer.stdout.fileno())
        source = StdinSource(config, sealer)
        begun = time.process_time()
        events = sum(len(found) for found in SyslogSensor(SyslogConfig()).read(source))
        taken = time.process_time() - begun
        source.close()
    return events / taken


def measured(run: Run, keys: KeyProvider) -> tuple[list[float], list[float]]:
    """Give the rounds of one figure, readable and sealed."""
    readable: list[float] = []
    sealed: list[float] = []
    for _ in range(ROUNDS):
        for rounds in (readable, sealed):
            with tempfile.TemporaryDirectory() as name:
                folder, sealer = Path(name), None
                if rounds is sealed:
                    epochs = folder / "epochs"
                    sealer = EpochSealer(EpochsConfig(), epochs, keys, SystemClock(), "bench")
                    sealer.seal(b"", b"begin the epoch")
                (folder / "store").mkdir()
                rounds.append(run(folder / "store", sealer))
    return readable, sealed


def add(
    report: Report, what: str, unit: str, n: int, both: tuple[Sequence[float], Sequence[float]]
) -> list[float]:
    """Add a figure's two sides; give the sealed one as a part of the other, for each round."""
    report.add(f"{what}, readable", both[0], unit, n)
    report.add(f"{what}, sealed", both[1], unit, n)
    return [sealed / readable for readable, sealed in zip(*both, strict=True)]


def main() -> None:
    """Run and print."""
    report = Report("sealed stores")
    with tempfile.TemporaryDirectory() as name:
        config = Config(plugin={"keystore": {"root": "machine-key"}})
        keys = open_keystore(config, Path(name), SystemClock(), ensure=True)
        add(report, "1,000 leases in one write", "ms", LEASES, measured(one_write, keys))
        add(report, "one lease a write", "us", LEASES, measured(single_writes, keys))
        add(report, "one lease, durable", "us", DURABLE, measured(durable_writes, keys))
        for batch in BATCHES:
            what = f"spool, {batch} lines a batch"
            add(report, what, "lines/s", LINES, measured(spooled(batch), keys))
        both = measured(piped, keys)
        ratios = add(report, "syslog by a pipe, parsed", "events/s", LINES, both)
        report.add("its sealed part of the readable rate", ratios, "ratio", LINES, ">= 0.8")
        keys.close()
    report.show()


if __name__ == "__main__":
    main()
