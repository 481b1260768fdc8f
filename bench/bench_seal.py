"""`cronos seal` and `cronos open` of 1 GiB, beside `openssl enc` on the same file.

Each is a process from start to end. Ours authenticates every chunk and makes its output durable
(fsync) before it gets its name; `openssl enc` does neither, and knows no AES-GCM, so its fastest
mode is the peer: aes-256-ctr. Rounds are interleaved; no caches are dropped, so the source is in
memory as far as there is room.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Report

from cronos.config import Config
from cronos.crypto.keytext import key_line
from cronos.front.keyring import using_keys

SIZE = 1 << 30
ROUNDS = 5
SIGNED_ROUNDS = 3
MUST_RATIO = 0.5
MUST_MIB = 100
CRONOS = (sys.executable, "-m", "cronos.front.cli")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
WORDS = "correct horse battery staple"


def timed(*command: object) -> tuple[float, float]:
    """Run a command; give its seconds and the most MiB of memory it had."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} ended in {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def peer(source: Path, target: Path) -> float:
    key, start = "a" * 64, "b" * 32
    given = ("-in", source, "-out", target, "-K", key, "-iv", start)
    seconds, _ = timed("openssl", "enc", "-aes-256-ctr", *given)
    target.unlink()
    return seconds


def gcm_speed() -> float:
    """Give GB/s of AES-256-GCM in `openssl speed`, which touches neither file nor pipe."""
    given = ("-mr", "-seconds", "1", "-bytes", "262144", "-evp", "aes-256-gcm")
    command = ["openssl", "speed", *given]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    (line,) = (one for one in said.splitlines() if one.startswith("+F:"))
    return float(line.rsplit(":", 1)[1]) / 1e9


class Rounds:
    """All that is measured in one folder."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.source, self.target = folder / "in", folder / "out"
        self.keys = keys
        self.seconds: dict[str, list[float]] = {}
        self.memory: dict[str, list[float]] = {}

    def note(self, what: str, seconds: float, mebibytes: float = 0.0) -> None:
        """Keep one measurement."""
        self.seconds.setdefault(what, []).append(seconds)
        self.memory.setdefault(what, []).append(mebibytes)

    def one(self, number: int) -> None:
        """Run each once, the peer before each of ours."""
        state = ("--state", self.keys / "state")
        self.there_and_back("", ("--key", "state", *state), state)
        if number < SIGNED_ROUNDS:
            by = ("--by", self.keys / "identity.key")
            signing = ("--key", "state", "--sign-by", "identity", *state)
            self.there_and_back(", signed", signing, (*state, *by))
        if number == 0:
            words = ("--passphrase-file", self.keys / "words")
            self.there_and_back(", passphrase", words, words)

    def there_and_back(
        self, what: str, sealing: tuple[object, ...], opening: tuple[object, ...]
    ) -> None:
        """Seal and open the file once."""
        sealed = Path(f"{self.source}.sealed")
        self.note(f"peer of seal{what}", peer(self.source, self.target))
        self.note(f"seal{what}", *timed(*CRONOS, "seal", self.source, *sealing))
        self.note(f"peer of open{what}", peer(self.source, self.target))
        self.note(f"open{what}", *timed(*CRONOS, "open", sealed, "-o", self.target, *opening))
        self.target.unlink()
        sealed.unlink()


def keys_in(folder: Path) -> None:
    with using_keys(Config(), folder / "state", ensure=True) as keys:
        for one in keys.listed():
            name = one.key_id.partition(".")[0]
            (folder / f"{name}.key").write_text(key_line(one.algorithm, one.public))
    (folder / "words").write_text(WORDS)
    (folder / "words").chmod(0o600)


def measure(report: Report, base: str) -> None:
    if shutil.disk_usage(base).free < 5 * SIZE:
        print(f"{base} has no room for {5 * SIZE >> 30} GiB: left out", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(dir=base, prefix="cronos-bench-") as name:
        folder = Path(name)
        keys_in(folder)
        rounds = Rounds(folder, folder)
        piece = os.urandom(1 << 20)
        with rounds.source.open("wb") as file:
            for _ in range(SIZE >> 20):
                file.write(piece)
            os.fsync(file.fileno())
        for number in range(ROUNDS):
            rounds.one(number)
    tell(report, rounds)


def tell(report: Report, rounds: Rounds) -> None:
    gib = SIZE / (1 << 30)
    for what, seconds in rounds.seconds.items():
        if what.startswith("peer"):
            continue
        peers = rounds.seconds[f"peer of {what}"]
        ratios = [other / ours for ours, other in zip(seconds, peers, strict=True)]
        gate = f">= {MUST_RATIO}" if "," not in what else ""
        report.add(what, [gib / s for s in seconds], "GiB/s", SIZE)
        report.add("  openssl enc -aes-256-ctr", [gib / s for s in peers], "GiB/s", SIZE)
        report.add("  beside it", ratios, "ratio", SIZE, gate)
        report.add("  memory", rounds.memory[what], "MiB", SIZE, f"<= {MUST_MIB}")


def main() -> None:
    report = Report("seal")
    measure(report, tempfile.gettempdir())
    report.add("openssl speed -evp aes-256-gcm, 256 KiB", [gcm_speed() for _ in range(3)],
               "GB/s", 3)  # fmt: skip
    report.show()


if __name__ == "__main__":
    main()
