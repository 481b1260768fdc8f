"""Nodes in network namespaces of their own, on one bridge: what is lost there is really lost.

Needs root, `ip` and `iptables`. netem is in few kernels; iptables' `statistic` drops at random, and
its counters say how much it dropped.
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

from cronos.crypto.pki.authority import found
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.tokens import parse_token
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.roots.passphrase import PassphraseConfig, PassphraseRoot
from cronos.runtime.world import SystemClock

ROOT = Path(__file__).parents[1]
ROLES = ("defense", "audit")


def why_not():
    """Say what is missing; empty where nothing is."""
    if os.geteuid() != 0:
        return "it takes root to make network namespaces"
    for tool in ("ip", "iptables"):
        if shutil.which(tool) is None:
            return f"`{tool}` is not installed"
    name = f"cronos-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        return "network namespaces cannot be made here"
    run("ip", "netns", "del", name)
    return ""


def run(*command):
    """Run a command that must not fail, and give what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def certify(folder, names):
    """Found an authority in a folder, and let nodes join it: ``node-NAME`` beside ``machine``."""
    clock = SystemClock()
    (folder / "machine").mkdir(parents=True, mode=0o700)
    secret = folder / "passphrase"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    offline = PassphraseRoot(
        PassphraseConfig(passphrase_file=str(secret), memory_kib=1024, passes=1, lanes=1)
    )
    online = MachineRoot(MachineConfig(), folder / "machine")
    authority = found(folder / "ca", "plant.example", folder / "stick", offline, online, clock)
    for name in names:
        holder = Holder(folder / f"node-{name}", online, clock)
        token = parse_token(authority.invite(name, ROLES, "", 3600))
        holder.accept(authority.admit(holder.request(token)))


class Process:
    """One node; its lines are read by a thread as they come."""

    def __init__(self, name, command, errors=None, **environment):
        self.name = name
        self.lines = []
        self.status = {}
        self.up = {}
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            cwd=ROOT, env=environment,
        )  # fmt: skip
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for text in self.process.stdout:
            line = json.loads(text)
            self.lines.append(line)
            if line["what"] == "changed":
                self.status[line["peer"]] = line["status"]
            elif line["what"] == "linked":
                self.up[line["peer"]] = line["up"]

    def say(self, text):
        """Give it a command."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def told(self, what, after=0, **wanted):
        """List what it told, from a time on."""
        return [
            one
            for one in self.lines
            if one["what"] == what
            and one["at"] >= after
            and all(one.get(key) == value for key, value in wanted.items())
        ]

    def signal(self, number):
        """Send it a signal."""
        # The one that `ip netns exec` became, for it executes what it is given.
        os.kill(self.process.pid, number)

    def end(self):
        """End it, whatever it is at."""
        if self.process.poll() is None:
            # Another thread may look whether it lives, and so take note of its end, meanwhile.
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGKILL)
        self.process.wait()
        self.thread.join(timeout=5)
        self.process.stdin.close()
        self.process.stdout.close()


class World:
    """A bridge, and one namespace with a node for each name."""

    def __init__(self, names):
        self.names = list(names)
        self.tag = f"cm{os.getpid() % 10000}"
        self.nodes = {}
        self.folder = tempfile.TemporaryDirectory(prefix="cronos-mesh-bench-")

    def prepare(self):
        """Found a trust domain, and let the nodes join it."""
        self.keys = Path(self.folder.name) / "keys"
        certify(self.keys, self.names)

    def __enter__(self):
        self.prepare()
        self._clean()
        run("ip", "link", "add", self.tag, "type", "bridge")
        run("ip", "link", "set", self.tag, "up")
        for number, name in enumerate(self.names, 1):
            space, veth = self.space(name), f"{self.tag}v{number}"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", veth, "type", "veth", "peer", "name", "e0", "netns", space)
            run("ip", "link", "set", veth, "master", self.tag, "up")
            run("ip", "-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", "e0")
            run("ip", "-n", space, "link", "set", "e0", "up")
            run("ip", "-n", space, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.end()
        self._clean()
        self.folder.cleanup()

    def _clean(self):
        for name in self.names:
            subprocess.run(
                ["ip", "netns", "del", self.space(name)], check=False, capture_output=True
            )
        subprocess.run(["ip", "link", "del", self.tag], check=False, capture_output=True)

    def space(self, name):
        """Name its namespace."""
        return f"{self.tag}-{name}"

    def address(self, name):
        """Say where it listens."""
        return f"10.77.0.{self.names.index(name) + 1}:7443"

    def start(self, name, seeds=()):
        """Start one node."""
        command = ["ip", "netns", "exec", self.space(name), sys.executable, "-m",
                   "bench.members_node", str(self.keys), name, self.address(name),
                   *seeds]  # fmt: skip
        self.nodes[name] = Process(name, command)

    def start_all(self, within_s=60, apart_s=0.0):
        """Start every node, so far apart, and wait until each sees all others alive and linked."""
        first = self.names[0]
        for name in self.names:
            self.start(name, () if name == first else (self.address(first),))
            time.sleep(apart_s)
        self.settle(within_s)

    def settle(self, within_s=60):
        """Wait until each sees all others alive, and linked where all are neighbours."""
        until = time.monotonic() + within_s
        while not all(self._sees_all(name) for name in self.names):
            for name, node in self.nodes.items():
                if node.process.poll() is not None:
                    raise RuntimeError(f"{name} has ended: {node.lines[-3:]}")
            if time.monotonic() > until:
                seen = {name: self.nodes[name].lines[-5:] for name in self.names}
                raise RuntimeError(f"they never all met: {seen}")
            time.sleep(0.05)

    def _sees_all(self, name):
        status, up = self.nodes[name].status, self.nodes[name].up
        others = [one for one in self.names if one != name]
        # Above 17 members each has links to some.
        full = len(others) <= 16
        return all(status.get(one) == "alive" and (up.get(one) or not full) for one in others)

    def tables(self, name, *rule):
        """Run iptables in a node's namespace."""
        return run("ip", "netns", "exec", self.space(name), "iptables", *rule)

    def lose(self, share):
        """Drop this share of what arrives at each node, at random; counters begin anew."""
        for name in self.names:
            self.tables(name, "-F", "INPUT")
            self.tables(name, "-A", "INPUT", "-i", "e0")
            if share:
                self.tables(
                    name, "-A", "INPUT", "-i", "e0", "-m", "statistic", "--mode", "random",
                    "--probability", str(share), "-j", "DROP",
                )  # fmt: skip
            self.tables(name, "-Z", "INPUT")

    def lost(self):
        """Read the counters back: (packets that arrived, the share of them that was dropped)."""
        came = dropped = 0
        for name in self.names:
            listed = self.tables(name, "-L", "INPUT", "-v", "-x", "-n").splitlines()[2:]
            counts = [int(line.split()[0]) for line in listed]
            came += counts[0]
            dropped += counts[1] if len(counts) > 1 else 0
        return came, dropped / came if came else 0.0

    def cut_off(self, name):
        """Drop all that a node sends and gets, silently."""
        self.tables(name, "-A", "INPUT", "-i", "e0", "-j", "DROP")
        self.tables(name, "-A", "OUTPUT", "-o", "e0", "-j", "DROP")

    def heal(self, name):
        """Let it send and get again."""
        self.tables(name, "-F", "INPUT")
        self.tables(name, "-F", "OUTPUT")
