"""The worlds of the catalogue's executors: victims, what is done to them, and how one looks."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys

from tests.integration.crashing import ROOT, World, skip_unless
from tests.integration.netns import require_namespaces
from tests.integration.processes import Family, require_freezer
from tests.unit.respond.stage import deny

from cronos.respond import procfs
from cronos.respond.tap import TapConfig, TapExecutor
from cronos.types import EntityKind, Verb, flow_entity


class RecordingWorld(World):
    """The dry run: nothing is ever there."""

    point = "recording"

    def actions(self, lease_s):
        return [deny(f"192.0.2.{n}", point=self.point, lease_s=lease_s) for n in (1, 2, 3)]

    def effects(self):
        return set()


class NftablesWorld(World):
    """A network namespace that outlives the enforcers in it."""

    point = "nftables"
    settles_at_start = True

    def __init__(self, folder):
        require_namespaces()
        skip_unless(shutil.which("nsenter") is not None, "`nsenter` is not installed")
        self._holder = subprocess.Popen(
            ["unshare", "-Urn", "sh", "-c", "echo; read x"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._holder.stdout.readline()

    def close(self):
        self._holder.communicate(b"\n", timeout=20)

    def command(self, command):
        pid = str(self._holder.pid)
        return ["nsenter", "-t", pid, "-U", "-n", "--preserve-credentials", *command]

    def settings(self):
        return {"segments": {"cell": ["10.1.3.0/24"]}}

    def terms(self):
        return {"segments": {"cell": ["10.1.3.0/24"]}}

    def actions(self, lease_s):
        flow = flow_entity("tcp", "192.0.2.9", 40000, "198.51.100.2", 502).value
        targets = [
            ("192.0.2.1", EntityKind.ADDRESS, Verb.DENY),
            ("2001:db8::1", EntityKind.ADDRESS, Verb.LIMIT),
            (flow, EntityKind.FLOW, Verb.DENY),
            ("10.9.0.0/16", EntityKind.NETWORK, Verb.DENY),
            ("tcp/198.51.100.2:502", EntityKind.SERVICE, Verb.DENY),
            ("cell", EntityKind.SEGMENT, Verb.DENY),
        ]
        return [
            deny(value, point=self.point, kind=kind, verb=verb, lease_s=lease_s)
            for value, kind, verb in targets
        ]

    def effects(self):
        listed = json.loads(self._nft("-j", "list", "sets"))["nftables"]
        sets = [one["set"] for one in listed if "set" in one]
        return {
            f"{one['name']} {json.dumps(element['elem']['val'])}"
            for one in sets
            for element in one.get("elem", ())
            if isinstance(element, dict) and "elem" in element
        }

    def state(self):
        return self._nft("list", "ruleset")

    def _nft(self, *words):
        done = subprocess.run(
            self.command(["nft", *words]), check=True, capture_output=True, text=True
        )
        return done.stdout


class TapWorld(World):
    """The real forwarding tap, as a process of its own; its server is a port that listens."""

    point = "tap"

    def __init__(self, folder):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._control = folder / "control"
        config = {
            "upstream_host": "127.0.0.1",
            "upstream_port": self._server.getsockname()[1],
            "feed": str(folder / "feed"),
            "control": str(self._control),
        }
        self._tap = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.tap_process", json.dumps(config)],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
        )
        assert self._tap.stdout.readline()

    def close(self):
        self._tap.terminate()
        self._tap.communicate(timeout=20)
        self._server.close()

    def settings(self):
        return {"control_socket": str(self._control), "timeout_ms": 5000}

    def actions(self, lease_s):
        return [deny(f"192.0.2.{n}", point=self.point, lease_s=lease_s) for n in (1, 2, 3)]

    def effects(self):
        looking = TapExecutor(TapConfig(str(self._control), timeout_ms=5000))
        with contextlib.closing(looking):
            return set(looking.observe())


class WorkflowWorld(World):
    """Workloads whose hook is a command that makes and removes a file."""

    point = "workflow"

    def __init__(self, folder):
        self._folder = folder

    def settings(self):
        return {"hook": "command"}

    def config(self):
        def steps(name):
            file = str(self._folder / name)
            done = {"pause": ["touch", file], "reroute": ["touch", file]}
            return {**done, "restore": ["rm", "-f", file]}

        workloads = {name: steps(name) for name in ("billing", "payroll")}
        return {"plugin": {"command": {"workload": workloads}}}

    def actions(self, lease_s):
        told = {"point": self.point, "kind": EntityKind.WORKLOAD, "verb": Verb.PAUSE}
        return [deny(name, lease_s=lease_s, **told) for name in ("billing", "payroll")]

    def effects(self):
        return {path.name for path in self._folder.iterdir()}


class _Processes(World):
    """Two families to be hit, and a third one that must not be."""

    point = "process"
    verb = Verb.CONTAIN

    def __init__(self, folder):
        self._mount = require_freezer()
        self._base = f"cronos-world-{os.getpid()}"
        self.families = [Family() for _ in range(3)]

    def close(self):
        for family in self.families:
            family.close()

    def settings(self):
        return {"cgroup": self._base}

    def actions(self, lease_s):
        told = {"point": self.point, "kind": EntityKind.PROCESS, "verb": self.verb}
        return [
            deny(f"localhost/{family.pids[0]}", lease_s=lease_s, **told)
            for family in self.families[:2]
        ]


class ContainedProcessWorld(_Processes):
    def effects(self):
        found = set()
        for file in (self._mount / self._base).glob("*/cgroup.freeze"):
            with contextlib.suppress(OSError):  # a group may be removed while it is looked at
                if file.read_text().strip() == "1":
                    found.add(file.parent.name)
        return found

    def state(self):
        assert self.families[2].runs() == [True] * 3
        return [family.state() for family in self.families], (self._mount / self._base).exists()


class StoppedProcessWorld(_Processes):
    verb = Verb.STOP
    final = True

    def effects(self):
        return {
            f"localhost/{family.pids[0]}"
            for family in self.families
            if not procfs.is_alive(family.pids[0], family.started[0])
        }

    def state(self):
        return self.families[2].state(), [family.state()[1:] for family in self.families[:2]]


class LockedAccountWorld(World):
    """Accounts of a scratch root."""

    point = "account"

    def __init__(self, folder):
        skip_unless(os.geteuid() == 0, "locking accounts needs root")
        skip_unless(bool(shutil.which("usermod", path="/usr/sbin:/usr/bin")), "no `usermod`")
        self._root = folder
        etc = folder / "etc"
        etc.mkdir()
        (etc / "passwd").write_text(
            "".join(f"{n}:x:{64242 + i}:64242::/:/bin/sh\n" for i, n in enumerate(("ann", "ben")))
        )
        (etc / "shadow").write_text("ann:$6$abc$def:19000:0:99999:7::20500:\nben:!:19000::::::\n")
        (etc / "group").write_text("all:x:64242:\n")
        (etc / "gshadow").write_text("all:!::\n")

    def settings(self):
        return {"prefix": str(self._root), "slice": ""}

    def actions(self, lease_s):
        told = {"point": self.point, "kind": EntityKind.USER, "verb": Verb.CONTAIN}
        return [deny(name, lease_s=lease_s, **told) for name in ("ann", "ben")]

    def effects(self):
        rows = [line.split(":") for line in self.state().decode().splitlines()]
        return {row[0] for row in rows if row[7] in ("2604", "2605")}

    def state(self):
        return (self._root / "etc" / "shadow").read_bytes()


class EndedSessionWorld(World):
    """Sessions of a user that this machine does not know, and one that must not be hit."""

    point = "account"
    final = True

    def __init__(self, folder):
        skip_unless(os.geteuid() == 0, "processes of another user need root")
        self._folder = folder
        self.families = [Family(size=2, user=64242) for _ in range(3)]

    def close(self):
        for family in self.families:
            family.close()

    def settings(self):
        return {"prefix": str(self._folder), "sessions": str(self._folder)}

    def actions(self, lease_s):
        told = {"point": self.point, "kind": EntityKind.SESSION, "verb": Verb.STOP}
        return [
            deny(f"localhost/{family.pids[0]}", lease_s=lease_s, **told)
            for family in self.families[:2]
        ]

    def effects(self):
        return {
            f"localhost/{family.pids[0]}"
            for family in self.families
            if not any(alive for _, _, alive in family.state())
        }

    def state(self):
        return self.families[2].state()


# Every executor of the catalogue that acts on this machine. What talks to a foreign system adds
# its world where its double is.
WORLDS: list[type[World]] = [
    RecordingWorld,
    NftablesWorld,
    TapWorld,
    WorkflowWorld,
    ContainedProcessWorld,
    StoppedProcessWorld,
    LockedAccountWorld,
    EndedSessionWorld,
]
