"""Events a second from JSON lines through parse, detect and ledger: `cronos run`, all of it.

The lines are Zeek connections and Windows process events, one in a thousand of which a shipped
rule finds remarkable. The clock runs from the start of the command to its end, its processes'
start-up included.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Report

COUNT = 400_000
ROUNDS = 3


def zeek(random_: random.Random, n: int) -> dict:
    return {
        "_path": "conn", "ts": 1_700_000_000 + n / 1000, "uid": f"C{n:x}",
        "id.orig_h": f"10.0.{n % 7}.{n % 250}", "id.orig_p": 1024 + n % 60_000,
        "id.resp_h": f"10.1.0.{n % 40}", "id.resp_p": random_.choice((80, 443, 53, 445, 502)),
        "proto": "tcp", "service": "ssl", "duration": 0.5, "orig_bytes": 900, "resp_bytes": 4000,
        "conn_state": "SF", "missed_bytes": 0, "history": "ShADadFf", "orig_pkts": 9,
        "resp_pkts": 11,
    }  # fmt: skip


def windows(random_: random.Random, n: int) -> dict:
    remarkable = random_.random() < 0.001
    command = (
        "powershell.exe -enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAIAA=" if remarkable else ""
    )
    return {
        "EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational",
        "SourceName": "Microsoft-Windows-Sysmon", "Hostname": f"desk-{n % 90}.example",
        "@timestamp": "2024-01-01T00:00:00.000Z", "ProcessId": str(n % 9000),
        "Image": "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe",
        "CommandLine": command or f"powershell.exe -File C:\\scripts\\job{n % 500}.ps1",
        "ParentImage": "C:\\Windows\\explorer.exe", "User": f"CORP\\user{n % 300}",
        "UtcTime": "2024-01-01 00:00:00.000", "ProcessGuid": f"{{{n:032x}}}",
    }  # fmt: skip


def write(path: Path, make, seed: int) -> None:
    random_ = random.Random(seed)
    with path.open("w") as file:
        for n in range(COUNT // 2):
            file.write(json.dumps(make(random_, n)) + "\n")


def main() -> None:
    report = Report("events")
    rates, incidents = [], 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "conn.json", zeek, 1)
        write(Path(folder) / "sysmon.json", windows, 2)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        for number in range(ROUNDS):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "cronos.front.cli", "run", folder, "--json",
                 "--state", f"{folder}.state{number}"],
                capture_output=True, check=False,
            )  # fmt: skip
            seconds = time.perf_counter() - began
            document = json.loads(done.stdout)
            assert document["observations"] == COUNT, document["defects"][:3]
            incidents = len(document["incidents"])
            rates.append(COUNT / seconds)
    report.add("events through parse, detect, ledger", rates, "events/s", COUNT, ">= 20 K")
    report.add("incidents found", [incidents], "", COUNT)
    report.add("input", [size / COUNT], "B/event", COUNT)
    report.show()


if __name__ == "__main__":
    main()
