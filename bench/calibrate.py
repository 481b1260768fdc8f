"""Measures how often claims are right, and writes src/cronos/detect/calibration.json.

Usage: python bench/calibrate.py FOLDER

FOLDER holds `detection/events` (recorded attacks with their techniques, OTRF Security-Datasets),
`captures/modbus` and `discovery/modbus.jsonl.gz` (captures of ITI's ICS tools and what Wireshark
dissects in them). What is counted, and what the count does not say, stands in each row's note.

* sigma, our own rules: a rule that fired in a recording is right where it names a technique that
  the recording is labelled with (or its parent, or a part of it). One count for each rule and
  recording, however often it fired. The rules were written with these recordings at hand.
* modbus-policy: under a policy that forbids everything, each request of a capture is claimed. A
  claim is right where Wireshark dissects the same function code at the same place. That shows that
  the rule was broken, not that whoever broke it was an attacker.
* scan, brute-force, first-seen: nothing here is labelled for them. Assumed; they only observe.

Bands are the rows of the matrix. Intervals are those of Clopper and Pearson, 95 %.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cronos.detect.modbus import ModbusPolicyConfig, ModbusPolicyDetector
from cronos.detect.modbus_policy import ModbusPolicy, Server
from cronos.detect.sigma import SigmaConfig, SigmaDetector
from cronos.govern.intervals import clopper_pearson
from cronos.govern.outcomes import BANDS
from cronos.ports import Sensor
from cronos.sense.eve import EveConfig, EveSensor
from cronos.sense.jsonlines import JsonLinesConfig, JsonLinesSensor
from cronos.sense.pcap import PcapConfig, PcapSensor
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.sense.windows import WindowsConfig, WindowsSensor
from cronos.sense.zeek import ZeekConfig, ZeekSensor
from cronos.testing.memory_sense import MemorySource
from cronos.types import Observation, Provenance

TARGET = Path(__file__).parents[1] / "src" / "cronos" / "detect" / "calibration.json"
SIGMA_NOTE = (
    "one count per rule and recording; right: a technique of the recording's label; the rules were "
    "written with these recordings at hand, so that others may score lower"
)
MODBUS_NOTE = (
    "one count per dissected request, in three captures of one laboratory; right: Wireshark reads "
    "the same function code there; says that the rule was broken, not by whom or why"
)
ASSUMED_NOTE = "no labelled data; a prior of its author, which only observes"

Counts = dict[tuple[float, float], list[bool]]


def sensors() -> tuple[Sensor, ...]:
    """Give one sensor for each form of log."""
    return (
        EveSensor(EveConfig()),
        ZeekSensor(ZeekConfig()),
        WindowsSensor(WindowsConfig()),
        SyslogSensor(SyslogConfig()),
        JsonLinesSensor(JsonLinesConfig()),
    )


def observed(sensor: Sensor, data: bytes, name: str) -> Iterator[Observation]:
    """Read bytes to their end."""
    source = MemorySource(data, (), name=name, provenance=Provenance.AUTHENTICATED)
    for readings in sensor.read(source):
        for reading in readings:
            if isinstance(reading, Observation):
                yield reading


def band(confidence: float) -> tuple[float, float]:
    """Give the row of the matrix that a confidence falls into."""
    return next((one for one in BANDS if confidence < one[1]), BANDS[-1])


def related(one: str, other: str) -> bool:
    """Say whether two techniques are the same, or one is a part of the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def measure_sigma(folder: Path) -> Counts:
    """Run our rules over every labelled recording."""
    counts: Counts = {}
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["datasets"]
    for label in sorted(labels, key=lambda one: one["file"]):
        path = folder / label["file"]
        if not path.exists():
            continue
        data = gzip.decompress(path.read_bytes())
        sensor = max(sensors(), key=lambda one: type(one).recognise(data[:65536]))
        truth = {*label["corrected"], *label["accept"]}
        fired: dict[str, tuple[float, bool]] = {}
        detector = SigmaDetector(SigmaConfig())
        for finding in detector.detect(list(observed(sensor, data, label["file"]))):
            right = any(related(one, other) for one in finding.techniques for other in truth)
            fired[finding.references[0]] = finding.confidence, right
        for confidence, right in fired.values():
            counts.setdefault(band(confidence), []).append(right)
    return counts


def dissected(path: Path) -> dict[tuple[str, int, int], set[int]]:
    """Give what Wireshark says: file, transaction and unit -> function codes of requests."""
    found: dict[tuple[str, int, int], set[int]] = {}
    with gzip.open(path) as lines:
        for line in lines:
            message = json.loads(line)
            if message["direction"] == "c2s":
                payload = bytes.fromhex(message["payload_hex"])
                key = message["src_file"], int.from_bytes(payload[:2], "big"), payload[6]
                code = int(message["message_type"].partition("func_code=")[2].partition("|")[0])
                found.setdefault(key, set()).add(code)
    return found


def place(name: str, request: Observation) -> tuple[str, int, int]:
    """Name a request as the truth does."""
    fields: dict[str, Any] = request.fields
    return name, fields["modbus.transaction_id"], fields["modbus.unit_id"]


def measure_modbus(captures: Path, truth: dict[tuple[str, int, int], set[int]]) -> Counts:
    """Claim every request that Wireshark dissected, and see whether it is as claimed."""
    counts: Counts = {}
    for path in sorted(captures.iterdir()):
        requests = [
            one
            for one in observed(PcapSensor(PcapConfig()), path.read_bytes(), path.name)
            if one.activity == "modbus" and one.fields["modbus.direction"] == "request"
        ]
        servers = sorted({str(one.fields["dst_endpoint.ip"]) for one in requests})
        policy = ModbusPolicy(server=tuple(Server(address) for address in servers))
        met = Counter(place(path.name, one) for one in requests)
        for one in requests:
            key = place(path.name, one)
            # The truth is a sample: where a transaction's number was used again, nobody can say
            # which of the requests it speaks of.
            if key not in truth or met[key] > 1:
                continue
            code = one.fields["modbus.function_code"]
            # One by one: a policy tells the same violation only once in a while.
            detector = ModbusPolicyDetector(ModbusPolicyConfig(policy=policy))
            for finding in detector.detect([one]):
                counts.setdefault(band(finding.confidence), []).append(code in truth[key])
    return counts


def rows(detector: str, counts: Counts, note: str) -> list[dict[str, Any]]:
    """Give the rows of a detector, the bands without any count too."""
    given = []
    for one in BANDS:
        right = counts.get(one, [])
        low, high = clopper_pearson(sum(right), len(right))
        given.append(
            {
                "detector": detector,
                "evidence": "declared",
                "above": one[0],
                "below": one[1],
                "right": sum(right),
                "n": len(right),
                "low": round(low, 4),
                "high": round(high, 4),
                "basis": "measured" if right else "assumed",
                "note": note if right else "nothing was counted in this band",
            }
        )
    return given


def assumed(detectors: Sequence[str]) -> list[dict[str, Any]]:
    """Give the rows of what nothing was measured for: the interval says that nothing is known."""
    whole = {"above": 0.0, "below": 1.0, "right": 0, "n": 0, "low": 0.0, "high": 1.0}
    return [
        {"detector": one, "evidence": "statistical", **whole}
        | {"basis": "assumed", "note": ASSUMED_NOTE}
        for one in detectors
    ]


def measured(folder: Path) -> dict[str, Any]:
    """Measure everything."""
    truth = dissected(folder / "discovery" / "modbus.jsonl.gz")
    sigma = measure_sigma(folder / "detection" / "events")
    modbus = measure_modbus(folder / "captures" / "modbus", truth)
    return {
        "schema": "cronos.calibration/1",
        "candidate": False,
        "rows": [
            *rows("modbus-policy", modbus, MODBUS_NOTE),
            *rows("sigma", sigma, SIGMA_NOTE),
            *assumed(("brute-force", "first-seen", "scan")),
        ],
    }


def main() -> None:
    """Write the table and print it."""
    table = measured(Path(sys.argv[1]))
    TARGET.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for one in table["rows"]:
        print(
            f"{one['detector']:<14} [{one['above']:.2f}, {one['below']:.2f})  {one['right']:>4} of "
            f"{one['n']:<4} [{one['low']:.4f}, {one['high']:.4f}]  {one['basis']}"
        )


if __name__ == "__main__":
    main()
