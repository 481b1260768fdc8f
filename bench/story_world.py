"""Four whole nodes in network namespaces, their packet filters real, and a place for an enemy.

Each node runs all its processes (`bench.story_node`) and isolates with nftables in its own
namespace; where time namespaces can be made, its boot clock stands elsewhere than its peers', as on
other machines. What each told is kept, life by life, and what is isolated in each kernel is read
back once a second. A fifth namespace holds whoever does not belong.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.mesh_world import ROOT, Process, World, run
from bench.story_node import number_of

from cronos.config import parse
from cronos.front import federated
from cronos.front.federated import NAMES, Federation
from cronos.front.recorded import records_of
from cronos.front.settings import read_table
from cronos.runtime.world import SystemClock

ENEMY = "mallory"
LEASE_S = 600
_SAMPLE_S = 1.0
# Seconds by which each node's boot clock is ahead of the machine's.
BOOTED = {"north": 0, "east": 100_000, "south": 5_000, "west": 50}


def table_of(lease_s, longest_s):
    """Give the configuration that the four share."""
    peers = [{"host": f"10.77.0.{n}", "port": 7443} for n in range(1, len(NAMES) + 2)]
    return {
        "executors": ["nftables"],
        "egress": peers,
        "lease": {"default_s": lease_s, "max_s": longest_s},
        "policy": {
            # A node may begin 2,000 a minute, and half of that on one peer's word.
            "actions_per_minute": 8_000,
            "flood_incidents": 1_000_000,
            "protected": ["127.0.0.1", "::1", "10.77.0.0/24"],
        },
        "deadlines": {"confirming_ms": 60_000},
    }


class StoryWorld(World):
    """The namespaces, the nodes, and the record of what happened."""

    def __init__(self, lease_s=LEASE_S, longest_s=3600, names=NAMES):
        super().__init__((*names, ENEMY))
        self.members = tuple(names)
        self.lease_s, self.longest_s = lease_s, longest_s
        self.folder.cleanup()
        self.folder = tempfile.TemporaryDirectory(prefix="cs-", ignore_cleanup_errors=True)
        self.state = Path(self.folder.name)
        self.lives = {name: [] for name in self.members}
        self.samples = []  # (at, node, the numbers isolated in its kernel)
        self.statuses = []  # (at, node, life, records acknowledged, records replicated)
        self.lost_folders = {}  # node -> (records replicated then, recovered, its lives so far)
        self.disks = []
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.time_spaces = not subprocess.run(
            ["unshare", "--time", "--boottime", "1", "--fork", "true"],
            check=False,
            capture_output=True,
        ).returncode

    # --- life --------------------------------------------------------------------------------

    def prepare(self):
        """Found the trust domain as `cronos up --federated` does, with addresses of the bridge."""
        self.federation = Federation(
            self.state, table_of(self.lease_s, self.longest_s), SystemClock()
        )
        for name, fellow in self.federation.fellows.items():
            if name in self.members:
                fellow.address = self.address(name)
        for name in set(self.federation.fellows) - set(self.members):
            del self.federation.fellows[name]
        self.federation.prepare()
        for name in self.members:
            shutil.copytree(self.state / name, self.state / "backup" / name)

    def __enter__(self):
        super().__enter__()
        self._sampler.start()
        return self

    def __exit__(self, *about):
        self._stop.set()
        if self._sampler.is_alive():
            self._sampler.join()
        for name in self.members:
            self.kill(name)
        for place in self.disks:
            subprocess.run(["umount", "-l", str(place)], check=False)
        super().__exit__(*about)

    def start(self, name, seeds=(), **environment):
        """Start one node, with all its processes."""
        del seeds  # they stand in its configuration
        fellow = self.federation.fellows[name]
        command = ["ip", "netns", "exec", self.space(name)]
        if self.time_spaces:
            ahead = str(BOOTED[name])
            command += ["unshare", "--time", "--boottime", ahead, "--monotonic", ahead, "--fork"]
        command += [sys.executable, "-m", "bench.story_node", str(fellow.file), str(fellow.state)]
        skew = self.skew_file(name)
        environment = {
            "PYTHONPATH": f"{ROOT / 'bench' / 'skewed'}:{ROOT / 'src'}:{ROOT}",
            "CRONOS_SKEW_FILE": str(skew),
            **environment,
        }
        with (self.state / f"{name}.log").open("ab") as errors:
            node = Process(name, command, errors, **environment)
        self.nodes[name] = node
        self.lives[name].append(node)

    def skew_file(self, name):
        """Give the file that says by how much a node's wall clock is off."""
        path = self.state / f"{name}.skew"
        if not path.exists():
            path.write_text("0")
        return path

    def skew(self, name, seconds):
        """Step a node's wall clock; see `bench/skewed` for what that shifts."""
        path = self.skew_file(name)
        fresh = path.with_suffix(".new")
        fresh.write_text(str(int(seconds * 1e9)))
        fresh.replace(path)

    def start_all(self, within_s=120):
        """Start every node, and wait until each sees all others."""
        for name in self.members:
            self.start(name)
        self.settle(within_s)

    def alive(self):
        """Name the nodes whose processes run."""
        return [
            name
            for name in self.members
            if name in self.nodes and self.nodes[name].process.poll() is None
        ]

    def settle(self, within_s=60, view=0):
        """Wait until every running node sees all that run, linked."""
        until = time.monotonic() + within_s
        while True:
            alive = self.alive()
            seen = {name: self.status(name) for name in alive}
            if all(_whole(one, view or len(alive)) for one in seen.values()):
                return
            if time.monotonic() > until:
                short = {k: v and (v.view, [p.status for p in v.peers]) for k, v in seen.items()}
                raise RuntimeError(f"they never all met: {short}; {self.said(alive[0])[-2000:]}")
            time.sleep(0.1)

    def status(self, name):
        """Give what a node says of the federation; None where it does not answer."""
        return self.federation._asked(name, federated.MESH_SOCKET, "status", federated.MeshDocument)

    def said(self, name):
        """Give all log lines of a node."""
        path = self.state / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tree(self, name):
        """Give the processes of a node."""
        node = self.nodes.get(name)
        if node is None:
            return []
        return [node.process.pid, *federated._below(node.process.pid)]

    def every(self, name, number):
        """Send all processes of a node a signal."""
        for pid in self.tree(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, name):
        """Kill every process of a node; who outlived an earlier one is found by its folder."""
        node = self.nodes.get(name)
        if node is not None:
            self.every(name, signal.SIGKILL)
            node.end()
        self._end_enforcer(name)

    def end_worker(self, name, role):
        """Kill one of a node's own processes."""
        mark = str(self.state / name / name / "run" / f"{role}.json").encode()
        for pid in self.tree(name):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def _end_enforcer(self, name):
        """Kill the enforcer that outlives its node; only this world's node has such a folder."""
        mark = str(self.state / name).encode() + b"/"
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                if mark in words and b"cronos.front.workers" in words:
                    os.kill(int(folder.name), signal.SIGKILL)

    def give_disk(self, name, folder, mib):
        """Put a killed node's folder on a file system of its own, with so many MiB to spare."""
        place = self.state / name / name / folder
        aside = self.state / "aside"
        shutil.copytree(place, aside)
        mib += (2 * sum(one.stat().st_size for one in aside.rglob("*"))) >> 20
        run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", str(place))
        self.disks.append(place)
        shutil.copytree(aside, place, dirs_exist_ok=True)
        shutil.rmtree(aside)
        return place

    def stop(self, name):
        """Let a node end as SIGTERM does."""
        node = self.nodes.get(name)
        if node is not None and node.process.poll() is None:
            node.say("stop")
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(30)
        self.kill(name)

    # --- the network -------------------------------------------------------------------------

    def part(self, one, other):
        """Let nothing pass between two groups of nodes."""
        for side, beyond in ((one, other), (other, one)):
            for name in side:
                for stranger in beyond:
                    host = self.address(stranger).rpartition(":")[0]
                    self.tables(name, "-A", "INPUT", "-s", host, "-j", "DROP")
                    self.tables(name, "-A", "OUTPUT", "-d", host, "-j", "DROP")

    def heal_all(self):
        """Let everything pass again."""
        for name in self.members:
            self.heal(name)

    # --- looking -----------------------------------------------------------------------------

    def effects(self, name):
        """Read back what is isolated in a node's kernel; None where there is no table yet."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.space(name),
             "nft", "-j", "list", "set", "inet", "cronos", "deny4"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            return None
        (found,) = [one["set"] for one in json.loads(done.stdout)["nftables"] if "set" in one]
        addresses = [one["elem"]["val"] if isinstance(one, dict) else one
                     for one in found.get("elem", ())]  # fmt: skip
        return frozenset(map(number_of, addresses))

    def _sample(self):
        while not self._stop.wait(_SAMPLE_S):
            for name in self.members:
                began = time.time_ns()
                found = self.effects(name)
                if found is not None:
                    self.samples.append((began, name, found))
                if name in self.alive() and self.lives[name][-1].told("ready"):
                    status = self.status(name)
                    if status is not None:
                        records = status.records
                        self.statuses.append(
                            (began, name, len(self.lives[name]) - 1,
                             records["acknowledged"], records["replicated"])
                        )  # fmt: skip

    def memory_mb(self, name):
        """Give the resident memory of a node's mesh process."""
        pid = (self.lives[name][-1].told("ready") or [{}])[-1].get("workers", {}).get("mesh", 0)
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def ledger(self, name):
        """Give a stopped node's records, each decoded by whoever asks; the chain is checked."""
        fellow = self.federation.fellows[name]
        config = parse(read_table(fellow.file), str(fellow.file))
        return list(records_of(config, fellow.state))

    # --- a folder is lost ----------------------------------------------------------------------

    def lose_folder(self, name):
        """Take a killed node's whole folder away; its keys and credential come from a backup."""
        replicated = [one[4] for one in self.statuses if one[1] == name]
        shutil.rmtree(self.state / name)
        shutil.copytree(self.state / "backup" / name, self.state / name)
        fellow = self.federation.fellows[name]
        peer = next(one for one in self.alive() if one != name)
        done = run(
            "ip", "netns", "exec", self.space(name), "env", f"PYTHONPATH={ROOT / 'src'}",
            sys.executable, "-m", "cronos.front.cli", "mesh", "recover", "--json",
            "--config", str(fellow.file), "--state", str(fellow.state),
            "--join", self.address(peer),
        )  # fmt: skip
        records = json.loads(done)["records"]
        before = max(replicated, default=0)
        self.lost_folders[name] = (before, records, len(self.lives[name]))
        return before, records


def _whole(seen, view):
    if seen is None or seen.view != view:
        return False
    return sum(one.linked for one in seen.peers) >= view - 1
