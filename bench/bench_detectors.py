"""Observations per second of each detector, one process, one core: CPU time, median of rounds.

Usage: python bench/bench_detectors.py [folder of Sigma rules]
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from report import Report

from cronos.detect.bruteforce import BruteForceConfig, BruteForceDetector
from cronos.detect.firstseen import FirstSeenConfig, FirstSeenDetector
from cronos.detect.modbus import ModbusPolicyConfig, ModbusPolicyDetector
from cronos.detect.scan import ScanConfig, ScanDetector
from cronos.detect.sigma import SigmaConfig, SigmaDetector
from cronos.ports import Detector
from cronos.types import Entity, EntityKind, Observation, Provenance, Scalar

Fields = dict[str, Scalar]
Row = tuple[str, Callable[[], Iterator[Observation]], Callable[[], Detector]]

COUNT = 50_000
ROUNDS = 5
POLICY = Path(__file__).parents[1] / "examples" / "modbus-policy.toml"


def observation(
    seq: int, activity: str, client: str, fields: Fields, native: dict[str, Any] | None = None
) -> Observation:
    """Give one observation whose times lie a millisecond apart."""
    ends: Fields = {
        "src_endpoint.ip": client,
        "src_endpoint.port": 40_000,
        "dst_endpoint.ip": "192.0.2.10",
        "dst_endpoint.port": 502,
        "connection_info.protocol_name": "tcp",
    }
    return Observation(
        "bench",
        seq,
        seq * 1_000_000,
        activity,
        Provenance.BIDIRECTIONAL,
        Entity(EntityKind.ADDRESS, client),
        Entity(EntityKind.ADDRESS, "192.0.2.10"),
        ends | fields,
        native or {},
    )


def contacts() -> Iterator[Observation]:
    """Give connections of 200 clients, a third of them refused."""
    for n in range(COUNT):
        status: Fields = {"status": "open" if n % 3 else "refused", "dst_endpoint.port": n % 97}
        yield observation(n, "network_activity", f"192.0.2.{n % 200}", status)


def logins() -> Iterator[Observation]:
    """Give logins of 200 clients, a quarter of them failures."""
    for n in range(COUNT):
        fields: Fields = {"user.name": f"user{n % 50}", "status": "success" if n % 4 else "failure"}
        yield observation(n, "authentication", f"192.0.2.{n % 200}", fields)


def commands() -> Iterator[Observation]:
    """Give allowed reads and writes of one client."""
    for n in range(COUNT):
        fields: Fields = {
            "modbus.direction": "request",
            "modbus.function_code": (3, 6)[n % 2],
            "modbus.unit_id": 1,
            "modbus.address": 100,
            "modbus.quantity": 1,
            "modbus.min_value": 900,
            "modbus.max_value": 900,
        }
        yield observation(n, "modbus", "192.0.2.20", fields)


def processes() -> Iterator[Observation]:
    """Give Sysmon events of six kinds that match no rule of ours."""
    channel = "Microsoft-Windows-Sysmon/Operational"
    for n in range(COUNT):
        native: dict[str, Any] = {
            "EventID": (1, 3, 7, 10, 11, 13)[n % 6],
            "Channel": channel,
            "Image": f"C:\\Program Files\\Vendor\\tool{n % 30}.exe",
            "CommandLine": f'"C:\\Program Files\\Vendor\\tool{n % 30}.exe" --job {n}',
            "ParentImage": "C:\\Windows\\System32\\services.exe",
            "TargetObject": "HKLM\\Software\\Vendor\\Value",
            "Details": "DWORD (0x00000001)",
        }
        product: Fields = {"metadata.product": "windows", "metadata.log_name": channel}
        yield observation(n, "base_event", "192.0.2.20", product, native)


def main() -> None:
    """Run every detector and print its rates."""
    policy = ModbusPolicyConfig(policy_file=str(POLICY))
    rows: list[Row] = [
        ("scan", contacts, lambda: ScanDetector(ScanConfig())),
        ("brute-force", logins, lambda: BruteForceDetector(BruteForceConfig())),
        ("first-seen", commands, lambda: FirstSeenDetector(FirstSeenConfig())),
        ("modbus-policy", commands, lambda: ModbusPolicyDetector(policy)),
        ("sigma, ours", processes, lambda: SigmaDetector(SigmaConfig())),
    ]
    if sys.argv[1:] not in ([], ["--json"]):
        config = SigmaConfig(rules=(sys.argv[1],), builtin=False)
        rows.append(("sigma, imported", processes, lambda: SigmaDetector(config)))
    report = Report("detectors")
    for name, make_input, make in rows:
        stream = list(make_input())
        rates = []
        for _ in range(ROUNDS):
            detector = make()
            begun = time.process_time()
            for at in range(0, COUNT, 256):
                detector.detect(stream[at : at + 256])
            rates.append(COUNT / (time.process_time() - begun))
        report.add(name, rates, "observations/s", COUNT)
    report.show()


if __name__ == "__main__":
    main()
