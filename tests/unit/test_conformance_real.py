"""Every real inhabitant of a port, run through the port's conformance suite."""

import json
import pathlib
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.crypto.sealed_store import keystore, sealer
from tests.unit.respond.playbooks import ABILITIES, EXAMPLES, incident

from cronos.catalog import CATALOG
from cronos.config import EgressRule
from cronos.detect.bruteforce import BruteForceConfig, BruteForceDetector
from cronos.detect.firstseen import FirstSeenConfig, FirstSeenDetector
from cronos.detect.modbus import ModbusPolicyConfig, ModbusPolicyDetector
from cronos.detect.scan import ScanConfig, ScanDetector
from cronos.detect.sigma import SigmaConfig, SigmaDetector
from cronos.front.plugins import load
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.link.egress import EgressGate
from cronos.link.frames import frame
from cronos.link.tapfeed import TapFrame, TapHello, pack
from cronos.respond.cacao import read_playbook
from cronos.respond.hooks import CommandConfig, CommandWorkflow, Steps
from cronos.respond.playbook import PlaybookPlanner, PlaybooksConfig
from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.respond.workflow import WorkflowExecutor, WorkflowExecutorConfig
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SequenceIds, SystemClock
from cronos.sense.eve import EveConfig, EveSensor
from cronos.sense.files import FileConfig, FileSource
from cronos.sense.jsonlines import JsonLinesConfig, JsonLinesSensor
from cronos.sense.pcap import PcapConfig, PcapSensor
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.sense.tap import TapSensor, TapSensorConfig
from cronos.sense.windows import WindowsConfig, WindowsSensor
from cronos.sense.zeek import ZeekConfig, ZeekSensor
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.clock import ClockConformance
from cronos.testing.conformance.detector import DetectorConformance
from cronos.testing.conformance.egress import EgressConformance
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.ids import IdsConformance
from cronos.testing.conformance.ledger import LedgerConformance
from cronos.testing.conformance.planner import PlannerConformance
from cronos.testing.conformance.samples import deny
from cronos.testing.conformance.sealer import SealerConformance
from cronos.testing.conformance.sensor import SensorConformance
from cronos.testing.conformance.source import SourceConformance
from cronos.testing.conformance.tasks import TasksConformance
from cronos.testing.conformance.workflow import WorkflowConformance
from cronos.testing.memory_respond import MemoryWorkflow
from cronos.testing.memory_sense import MemorySource
from cronos.types import (
    Action,
    Entity,
    EntityKind,
    Observation,
    Provenance,
    Reversal,
    Scalar,
    Verb,
    action_id,
)

_CLIENT, _SERVER = "192.0.2.7", "198.51.100.2"


# --- sources --------------------------------------------------------------------------------------


class TestFileSource(SourceConformance):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: pathlib.Path):
        self.path = tmp_path / "capture.log"
        self.path.write_bytes(self.content())

    def make(self):
        return FileSource(FileConfig(path=str(self.path)))

    def content(self) -> bytes:
        return b"one line\nanother\n" * 500


# --- sensors --------------------------------------------------------------------------------------


def _lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _packet(flags: int, port: int, *, back: bool = False) -> bytes:
    """Give a packet record: Ethernet, IPv4, TCP, without checksums (captures often lack them)."""
    addresses = [bytes((192, 0, 2, 7)), bytes((198, 51, 100, 2))]
    ports = [40_000, port]
    if back:
        addresses.reverse()
        ports.reverse()
    tcp = struct.pack(">HHIIBBHHH", *ports, 1, 1 if back else 0, 0x50, flags, 8192, 0, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, *addresses)
    frame = bytes(12) + b"\x08\x00" + ip + tcp
    return struct.pack("<IIII", 1_700_000_000 + port, 0, len(frame), len(frame)) + frame


class TestPcapSensor(SensorConformance):
    endless_bytes = 2 << 20  # a run of zeros is a packet every 16 bytes

    def make(self):
        return PcapSensor(PcapConfig())

    def sample(self) -> bytes:
        header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
        refused = [_packet(0x02, port) + _packet(0x14, port, back=True) for port in (21, 22, 23)]
        return header + b"".join(refused)


class TestEveSensor(SensorConformance):
    def make(self):
        return EveSensor(EveConfig())

    def sample(self) -> bytes:
        common = {"src_ip": _CLIENT, "src_port": 4000, "dest_ip": _SERVER, "dest_port": 53}
        times = [f"2024-01-02T03:04:0{n}.000000+0000" for n in range(3)]
        return _lines(
            {
                "timestamp": times[0],
                "event_type": "alert",
                "proto": "TCP",
                **common,
                "alert": {"signature": "ET SCAN", "signature_id": 1, "severity": 1},
            },
            {
                "timestamp": times[1],
                "event_type": "dns",
                "proto": "UDP",
                **common,
                "dns": {"type": "query", "rrname": "example.test", "rrtype": "A"},
            },
            {"timestamp": times[2], "event_type": "stats", "stats": {"uptime": 1}},
        )


class TestZeekSensor(SensorConformance):
    def make(self):
        return ZeekSensor(ZeekConfig())

    def sample(self) -> bytes:
        return _lines(
            *(
                {
                    "_path": "conn",
                    "ts": 1_700_000_000.5 + n,
                    "uid": f"C{n}",
                    "id.orig_h": _CLIENT,
                    "id.orig_p": 4000 + n,
                    "id.resp_h": _SERVER,
                    "id.resp_p": 502,
                    "proto": "tcp",
                    "conn_state": "REJ",
                }
                for n in range(4)
            )
        )


class TestZeekSensorOnTabSeparatedLogs(TestZeekSensor):
    def sample(self) -> bytes:
        names = "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto conn_state"
        types = "time string addr port addr port enum string"
        row = f"C1 {_CLIENT} 4000 {_SERVER} 502 tcp REJ"
        text = [
            "#separator \\x09",
            "#set_separator\t,",
            "#empty_field\t(empty)",
            "#unset_field\t-",
            "#path\tconn",
            "\t".join(["#fields", *names.split()]),
            "\t".join(["#types", *types.split()]),
            *("\t".join([f"170000000{n}.5", *row.split()]) for n in range(4)),
            "#close\t2024-01-01-00-00-00",
        ]
        return "".join(line + "\n" for line in text).encode()


class TestWindowsSensor(SensorConformance):
    def make(self):
        return WindowsSensor(WindowsConfig())

    def sample(self) -> bytes:
        return _lines(
            *(
                {
                    "EventTime": f"2024-01-02 03:04:0{n}",
                    "Hostname": "DC01.example.test",
                    "Channel": "Security",
                    "EventID": 4625,
                    "TargetUserName": "alice",
                    "TargetDomainName": "EXAMPLE",
                    "IpAddress": _CLIENT,
                    "LogonType": "3",
                }
                for n in range(3)
            )
        )


class TestSyslogSensor(SensorConformance):
    def make(self):
        return SyslogSensor(SyslogConfig())

    def sample(self) -> bytes:
        return (
            b"<38>Jan  2 03:04:05 h sshd[12]: Failed password for root from 192.0.2.7 port 4 ssh2\n"
            b"<38>1 2024-01-02T03:04:06Z h1 sshd 12 - - Accepted password for bob from 192.0.2.7\n"
            b"Jan  2 03:04:07 host1 kernel: [1.0] hello\n"
        )


class TestJsonLinesSensor(SensorConformance):
    def make(self):
        return JsonLinesSensor(JsonLinesConfig())

    def sample(self) -> bytes:
        return _lines(*({"time": 1_700_000_000 + n, "message": f"event {n}"} for n in range(5)))

    def test_its_own_format_is_recognised_and_nothing_breaks_recognition(self) -> None:
        """Any JSON is its format, so it leaves the first word to those that know better."""
        assert 0.0 < self.make().recognise(self.sample()) < 0.5


class TestTapSensor(SensorConformance):
    endless_bytes = 1 << 19  # a run of zeros is an empty frame every four bytes

    def make(self):
        return TapSensor(TapSensorConfig())

    def sample(self) -> bytes:
        read = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 2)
        ends = (7, _CLIENT, 40_000, _SERVER, 502)
        seen = [
            TapFrame(1, 10, 1_700_000_000_000_000_000, "open", *ends),
            TapFrame(2, 11, 1_700_000_000_000_000_001, "data", *ends, "request", read),
            TapFrame(3, 12, 1_700_000_000_000_000_002, "close", *ends, "request", b"bye", 12, 0),
        ]
        hello = TapHello("session-1", "127.0.0.1:1502", f"{_SERVER}:502")
        return b"".join(frame(pack(message)) for message in (hello, *seen))


# --- detectors ------------------------------------------------------------------------------------


def _observation(seq: int, activity: str, **fields: Scalar) -> Observation:
    dotted: dict[str, Scalar] = {name.replace("__", "."): value for name, value in fields.items()}
    endpoints = {"src_endpoint.ip": _CLIENT, "dst_endpoint.ip": _SERVER}
    return Observation(
        "sample",
        seq,
        1_700_000_000_000_000_000 + seq * 10_000_000,
        activity,
        Provenance.BIDIRECTIONAL,
        Entity(EntityKind.ADDRESS, _CLIENT),
        Entity(EntityKind.ADDRESS, _SERVER),
        {**endpoints, **dotted},
        position=seq,
    )


def _contact(seq: int, port: int, status: str = "refused") -> Observation:
    return _observation(
        seq,
        "network_activity",
        connection_info__protocol_name="tcp",
        src_endpoint__port=40_000 + seq,
        dst_endpoint__port=port,
        status=status,
    )


def _request(seq: int, function: int) -> Observation:
    return _observation(
        seq,
        "modbus",
        modbus__unit_id=1,
        modbus__function_code=function,
        modbus__address=0,
        modbus__quantity=1,
        modbus__direction="request",
        src_endpoint__port=40_000,
        dst_endpoint__port=502,
    )


class TestScanDetector(DetectorConformance):
    def make(self):
        return ScanDetector(ScanConfig())

    def observations(self) -> Sequence[Observation]:
        return [_contact(n, 1000 + n) for n in range(1, 40)]


class TestBruteForceDetector(DetectorConformance):
    def make(self):
        return BruteForceDetector(BruteForceConfig())

    def observations(self) -> Sequence[Observation]:
        names = {"user__name": "root", "device__hostname": "host1"}
        tries = [_observation(n, "authentication", status="failure", **names) for n in range(1, 30)]
        return [*tries, _observation(30, "authentication", status="success", **names)]


class TestFirstSeenDetector(DetectorConformance):
    def make(self):
        return FirstSeenDetector(FirstSeenConfig(learning_observations=10, learning_s=1))

    def observations(self) -> Sequence[Observation]:
        usual = [_contact(n, 443, "open") for n in range(1, 150)]
        return [*usual, _contact(150, 8443, "open"), _request(151, 3), _request(152, 5)]


class TestModbusPolicyDetector(DetectorConformance):
    def make(self):
        policy: dict[str, Any] = {
            "server": [{"address": _SERVER, "client": [{"address": _CLIENT}]}]
        }
        return ModbusPolicyDetector(msgspec.convert({"policy": policy}, ModbusPolicyConfig))

    def observations(self) -> Sequence[Observation]:
        return [_request(n, function) for n, function in enumerate((3, 5, 6, 16, 3, 5), 1)]


class TestSigmaDetector(DetectorConformance):
    flood = 4000

    def make(self):
        return SigmaDetector(SigmaConfig())

    def observations(self) -> Sequence[Observation]:
        """Give what the Windows sensor makes of a Sysmon log: the two rooms fit together."""
        events = _lines(
            *(
                {
                    "EventTime": f"2024-01-02 03:0{n}:00",
                    "Hostname": f"ws{n % 3}.example.test",
                    "Channel": "Microsoft-Windows-Sysmon/Operational",
                    "EventID": 1,
                    "Image": r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
                    "CommandLine": "powershell.exe -enc " + "QQBB" * 20,
                    "User": r"EXAMPLE\alice",
                }
                for n in range(8)
            )
        )
        batches = WindowsSensor(WindowsConfig()).read(MemorySource(events))
        return [seen for batch in batches for seen in batch if isinstance(seen, Observation)]


# --- executors and workflows ----------------------------------------------------------------------


class TestRecordingExecutor(ReversibleExecutorConformance):
    def make(self):
        return RecordingExecutor(RecordingConfig())

    def actions(self):
        return [deny("recording", f"192.0.2.{n}") for n in (7, 8, 9)]


class TestWorkflowExecutor(ReversibleExecutorConformance):
    def make(self):
        hooks = {"memory": MemoryWorkflow(["billing", "payroll"])}
        self.work = hooks["memory"]
        return WorkflowExecutor(WorkflowExecutorConfig(hook="memory"), hooks)

    def state(self):
        return dict(self.work.states)

    def actions(self):
        return [_pause("billing"), _pause("payroll")]

    def impossible(self):
        return deny("workflow", _CLIENT)


def _pause(workload: str) -> Action:
    target = Entity(EntityKind.WORKLOAD, workload)
    name = action_id("workflow", Verb.PAUSE, target)
    return Action(name, "workflow", Verb.PAUSE, target, "test-1-i1", 300_000_000_000)


# Where each executor of the catalogue runs through its suites.
EXECUTOR_SUITES = {
    "recording": ("tests/unit/test_conformance_real.py", "Reversible"),
    "workflow": ("tests/unit/test_conformance_real.py", "Reversible"),
    "tap": ("tests/integration/test_tap_enforcement.py", "Reversible"),
    "nftables": ("tests/integration/test_nftables_traffic.py", "Reversible"),
    "process": ("tests/integration/test_process_executor.py", "Reversible", "Irreversible"),
    "account": ("tests/integration/test_account_executor.py", "Reversible", "Irreversible"),
    # Against doubles of their systems; what is final there is told in stories, see below.
    "kubernetes": ("tests/unit/platforms/test_kubernetes.py", "Reversible", "Irreversible"),
    "kubernetes-workloads": ("tests/unit/platforms/test_workloads.py", "Reversible"),
    "aws": ("tests/unit/platforms/test_aws.py", "Reversible"),
    "keycloak": ("tests/unit/respond/test_keycloak.py", "Reversible", "Irreversible"),
    "rabbitmq": ("tests/unit/respond/test_rabbitmq.py", "Reversible"),
    "webhook-action": ("tests/unit/respond/test_webhookaction.py", "Reversible"),
}


@pytest.mark.parametrize("name", sorted(CATALOG["executor"]))
def test_every_executor_of_the_catalogue_runs_in_a_suite_for_each_kind_of_effect(name):
    file, *suites = EXECUTOR_SUITES[name]
    text = (pathlib.Path(__file__).parents[2] / file).read_text(encoding="utf-8")
    reversals = {one.reversal for one in load("executor", name).manifest.abilities}
    needed = {"Irreversible" if one is Reversal.NONE else "Reversible" for one in reversals}
    assert needed == set(suites)
    assert all(f"{suite}ExecutorConformance" in text for suite in suites)


class TestCommandWorkflow(WorkflowConformance):
    def make(self):
        steps = Steps(pause=("true",), reroute=("true",), restore=("true",))
        return CommandWorkflow(CommandConfig(workload={"billing": steps}), SystemClock())

    def workload(self) -> str:
        return "billing"


class TestPlaybookPlanner(PlannerConformance):
    """With each shipped playbook, for an incident that it answers."""

    @pytest.fixture(
        autouse=True, params=sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name
    )
    def _playbook(self, request: Any):
        self.playbook = read_playbook(request.param.read_bytes(), request.param.name)

    def make(self):
        planner = PlaybookPlanner(PlaybooksConfig(), ABILITIES)
        planner.use([self.playbook])
        return planner

    def incident(self):
        kinds = {
            "Rotate a stolen credential": Entity(EntityKind.CREDENTIAL, "AKIAEXAMPLE"),
            "Restore a damaged workload": Entity(EntityKind.WORKLOAD, "billing"),
            "Quarantine a pod": Entity(EntityKind.POD, "plant/historian-0"),
            "Close a port under attack": Entity(EntityKind.SERVICE, "tcp/198.51.100.2:502"),
        }
        target = kinds[self.playbook.name]
        return incident(target=target, techniques=self.playbook.applies.techniques)


# --- what is kept -------------------------------------------------------------------------------


class TestPlaintextSealer(SealerConformance):
    binds = False
    hides = False
    shreds = False

    def make(self):
        return PlaintextSealer(PlaintextConfig())


class _Keys:
    """A keystore that lives as long as a test."""

    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: pathlib.Path):
        self.folder = tmp_path
        self.keys = keystore(tmp_path / "keys")
        self.made = 0
        yield
        self.keys.close()


class TestEpochSealer(_Keys, SealerConformance):
    def make(self):
        return sealer(self.folder / "store", self.keys)


class _Opened:
    """Closes the ledgers of a test: Python 3.13 warns of a database that nobody closed."""

    @pytest.fixture(autouse=True)
    def _closing(self):
        self.opened = []
        yield
        for ledger in self.opened:
            ledger.close()

    def _kept(self, ledger: SqliteLedger):
        self.opened.append(ledger)
        return ledger


class TestSqliteLedgerSealed(_Keys, _Opened, LedgerConformance):
    repeats = False

    def make(self):
        self.made += 1
        return self._open(self.folder / str(self.made))

    def reopen(self, ledger: SqliteLedger):
        return self._open(ledger.path.parent)

    def _open(self, folder: pathlib.Path):
        config = SqliteConfig(instance="local")
        own = sealer(folder, self.keys)
        return self._kept(SqliteLedger(config, folder, own, VirtualClock()))


class TestSqliteLedgerReadable(_Opened, LedgerConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: pathlib.Path):
        self.folder = tmp_path
        self.made = 0

    def make(self):
        self.made += 1
        return self._open(self.folder / str(self.made))

    def reopen(self, ledger: SqliteLedger):
        return self._open(ledger.path.parent)

    def _open(self, folder: pathlib.Path):
        config = SqliteConfig(instance="local")
        plain = PlaintextSealer(PlaintextConfig())
        return self._kept(SqliteLedger(config, folder, plain, VirtualClock()))


# --- the shell's own ------------------------------------------------------------------------------


class TestEgressGate(EgressConformance):
    def make(self, *allowed: tuple[str, int]):
        return EgressGate(EgressRule(host, port) for host, port in allowed)


class TestSystemClock(ClockConformance):
    def make(self):
        return SystemClock()


class TestSequenceIds(IdsConformance):
    def make(self):
        return SequenceIds("local", 1)

    def incarnations(self):
        return [SequenceIds("local", n) for n in (1, 2)]


class TestAsyncTasks(TasksConformance):
    def make(self):
        self.failed: list[str] = []
        return AsyncTasks(lambda name, _error: self.failed.append(name))

    def reported(self, tasks: Any) -> Sequence[str]:
        return self.failed
