"""Read generated logs on one core: events a second for each log sensor, parsing alone.

Usage: ``python bench/bench_log_sensors.py [events] [rounds]``. Rounds interleave the sensors and
each prints CPU time; beside each stands msgspec decoding the same lines and nothing else.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
from report import Report

from cronos.ports import Sensor
from cronos.sense.eve import EveConfig, EveSensor
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.sense.windows import WindowsConfig, WindowsSensor
from cronos.sense.zeek import ZeekConfig, ZeekSensor
from cronos.testing.memory_sense import MemorySource

COUNT = 50_000
ROUNDS = 5


def eve(number: int) -> dict[str, Any]:
    """Give a flow record as Suricata 7 writes it."""
    return {
        "timestamp": f"2024-05-01T10:{number // 60 % 60:02}:{number % 60:02}.123456+0000",
        "flow_id": 1000000000 + number,
        "in_iface": "eth0",
        "event_type": "flow",
        "src_ip": f"198.51.100.{number % 250}",
        "src_port": 1024 + number % 60000,
        "dest_ip": "192.0.2.10",
        "dest_port": 443,
        "proto": "TCP",
        "app_proto": "tls",
        "flow": {
            "pkts_toserver": 12,
            "pkts_toclient": 11,
            "bytes_toserver": 1307,
            "bytes_toclient": 2133,
            "start": "2024-05-01T10:00:00.123456+0000",
            "end": "2024-05-01T10:00:01.123456+0000",
            "age": 1,
            "state": "closed",
            "reason": "timeout",
            "alerted": False,
        },
        "tcp": {"tcp_flags": "1b", "tcp_flags_ts": "1b", "tcp_flags_tc": "1b", "state": "closed"},
    }


def zeek(number: int) -> dict[str, Any]:
    """Give a connection as Zeek writes it."""
    return {
        "_path": "conn",
        "ts": 1588205199.82437 + number,
        "uid": f"C{number}",
        "id.orig_h": f"198.51.100.{number % 250}",
        "id.orig_p": 1024 + number % 60000,
        "id.resp_h": "192.0.2.10",
        "id.resp_p": 445,
        "proto": "tcp",
        "service": "smb",
        "duration": 10.7,
        "orig_bytes": 4020,
        "resp_bytes": 1681,
        "conn_state": "SF",
        "missed_bytes": 0,
        "history": "ShADdaFf",
        "orig_pkts": 12,
        "orig_ip_bytes": 1307,
        "resp_pkts": 11,
        "resp_ip_bytes": 2133,
    }


def windows(number: int) -> dict[str, Any]:
    """Give a process creation as NXLog writes it, message included."""
    return {
        "EventID": 1,
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "SourceName": "Microsoft-Windows-Sysmon",
        "Hostname": "WS5.example.org",
        "UtcTime": "2020-10-09 21:34:57.855",
        "ProcessId": str(number),
        "Image": "C:\\Windows\\System32\\cmd.exe",
        "CommandLine": '"cmd.exe" /c wmic /node:WS6 os get',
        "ParentImage": "C:\\Windows\\explorer.exe",
        "User": "EXAMPLE\\bob",
        "Message": "Process Create:\r\n" + "RuleName: -\r\n" * 90,
        **{f"Field{index}": f"value {index}" for index in range(25)},
    }


def syslog(number: int) -> bytes:
    """Give a failed login as sshd logs it."""
    return (
        f"<38>Oct 11 22:14:{number % 60:02} web1 sshd[{number}]: Failed password for root"
        f" from 198.51.100.{number % 250} port {1024 + number % 60000} ssh2"
    ).encode()


def lines(make: Callable[[int], Any], count: int) -> bytes:
    """Give `count` lines."""
    return b"\n".join(
        line if isinstance(line := make(number), bytes) else json.dumps(line).encode()
        for number in range(count)
    )


def rate(sensor: Sensor, data: bytes) -> float:
    """Give observations a second of CPU time."""
    began = time.process_time()
    count = sum(len(batch) for batch in sensor.read(MemorySource(data)))
    return count / (time.process_time() - began)


def bare(data: bytes) -> float:
    """Give lines a second that msgspec alone decodes; 0 where they are no JSON."""
    if not data.startswith(b"{"):
        return 0.0
    decoder = msgspec.json.Decoder(dict[str, Any])
    rows = data.split(b"\n")
    began = time.process_time()
    for row in rows:
        decoder.decode(row)
    return len(rows) / (time.process_time() - began)


def main() -> None:
    """Read in interleaved rounds."""
    cases: tuple[tuple[str, Sensor, bytes], ...] = (
        ("eve", EveSensor(EveConfig()), lines(eve, COUNT)),
        ("zeek", ZeekSensor(ZeekConfig()), lines(zeek, COUNT)),
        ("windows", WindowsSensor(WindowsConfig()), lines(windows, COUNT // 4)),
        ("syslog", SyslogSensor(SyslogConfig()), lines(syslog, COUNT)),
    )
    ours: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    alone: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for _ in range(ROUNDS):
        for name, sensor, data in cases:
            ours[name].append(rate(sensor, data))
            alone[name].append(bare(data))
    report = Report("log_sensors")
    for name, _, data in cases:
        count = data.count(b"\n")
        report.add(f"{name}, {len(data) // count} B each", ours[name], "events/s", count)
        if any(alone[name]):
            report.add(f"  decoding {name} JSON alone", alone[name], "events/s", count)
    report.show()


if __name__ == "__main__":
    main()
