"""Who is isolated though nothing was wrong: a replay of benign traffic, counted by entity.

An entity counts once, however much it sends: repeating one operator a thousand times would prove
nothing. The entities here are SIMULATED (`benign_generator`) and their number is the n of the
figure, with its Clopper-Pearson bound; beside them twenty who break the policy, all of whom must be
isolated, so that a product which sees nothing does not pass. Then the shared real captures: few
entities, of whom not all may have been benign, and therefore only counted.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from benign_generator import POLICY, capture, intruder, logins, operator
from report import Report

from cronos.govern.intervals import clopper_pearson

OPERATORS, INTRUDERS = 2_000, 20
SEEDS = (1, 2, 3)
ROOT = Path(__file__).parents[1]
_FOLDERS = [folder / "shared" / "data" / "captures" for folder in ROOT.parents]
CAPTURES = next((folder for folder in _FOLDERS if folder.exists()), _FOLDERS[0])
ISOLATED = frozenset({"isolating", "isolated", "confirmed", "releasing"})


def ran(folder: Path, *given: str | Path) -> list[dict]:
    """Run the product to its end and give its incidents."""
    state = tempfile.mkdtemp(prefix="cr-", dir=folder)
    done = subprocess.run(
        [sys.executable, "-m", "cronos.front.cli", "run", "--json", "--state", state, *given],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    if done.returncode not in (0, 1):
        sys.exit(done.stderr.decode())
    incidents: list[dict] = json.loads(done.stdout)["incidents"]
    return incidents


def named(incidents: list[dict], states: frozenset[str]) -> set[str]:
    """Give the actors of incidents in some states."""
    return {one["actor"].rpartition(" ")[2] for one in incidents if one["state"] in states}


def simulated(report: Report) -> None:
    wrong, asked, watched, caught, packets = 0, 0, 0, [], 0
    benign = {".".join(map(str, operator(number))) for number in range(OPERATORS)}
    broken = {".".join(map(str, intruder(number))) for number in range(INTRUDERS)}
    for seed in SEEDS:
        with tempfile.TemporaryDirectory(prefix="cr-") as name:
            folder = Path(name)
            (folder / "policy.toml").write_text(POLICY)
            packets += capture(folder / "plant.pcap", OPERATORS, INTRUDERS, seed)
            logins(folder / "auth.log", OPERATORS, seed)
            incidents = ran(
                folder, "--policy", folder / "policy.toml",
                folder / "plant.pcap", folder / "auth.log",
            )  # fmt: skip
        wrong += len(named(incidents, ISOLATED) & benign)
        asked += len(named(incidents, frozenset({"waiting"})) & benign)
        watched += len(named(incidents, frozenset({"observed"})) & benign)
        caught.append(len(named(incidents, ISOLATED) & broken))
    entities = len(SEEDS) * OPERATORS
    _, high = clopper_pearson(wrong, entities)
    report.add("packets of simulated operators", [packets], "", packets)
    report.add("false isolations, simulated entities", [100 * wrong / entities], "%", entities)
    report.add("  at most, with 97.5 % confidence", [100 * high], "%", entities, "<= 0.5")
    report.add("asked about, though nothing was wrong", [asked], "entities", entities)
    report.add("watched, though nothing was wrong", [watched], "entities", entities)
    report.add("of 20 intruders isolated", caught, "entities", INTRUDERS, "20")


def addresses(path: Path) -> set[bytes]:
    """Give who sends in a capture, where it is a classic one of IPv4 over Ethernet."""
    data = path.read_bytes()
    found: set[bytes] = set()
    orders = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}
    order = orders.get(data[:4])
    if order is None:
        return found
    place = 24
    while place + 16 <= len(data):
        size = struct.unpack(order + "I", data[place + 8 : place + 12])[0]
        frame = data[place + 16 : place + 16 + size]
        if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
            found.add(frame[26:30])
        place += 16 + size
    return found


def real(report: Report) -> None:
    files = sorted(CAPTURES.glob("*/*.pcap")) + sorted(CAPTURES.glob("*/*.pcapng"))
    entities = {(path.parent.name, one) for path in files for one in addresses(path)}
    with tempfile.TemporaryDirectory(prefix="cr-") as name:
        incidents = ran(Path(name), *files)
    report.add("real captures: senders (classic captures)", [len(entities)], "", len(files))
    isolated = sum(one["state"] in ISOLATED for one in incidents)
    report.add("real captures: isolations", [isolated], "", len(entities))
    report.add("real captures: incidents", [len(incidents)], "", len(entities))


def main() -> None:
    report = Report("benign")
    simulated(report)
    if CAPTURES.exists():
        real(report)
    report.show()


if __name__ == "__main__":
    main()
