"""Nodes for the benchmarks of the mesh: one trust domain, and processes that read who they are."""

import asyncio
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from cronos.crypto.pki.authority import found
from cronos.crypto.pki.credential import Credential, pack_credential, unpack_credential
from cronos.crypto.pki.node import Membership
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.link.egress import EgressGate
from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SequenceIds, SystemClock

MESSAGE_BYTES = 256


class Carried:
    """A credential that came through a pipe; what a node opens instead of its folder."""

    def __init__(self, name: str, packed: bytes) -> None:
        self._name, self._packed = name, packed

    @property
    def credential(self) -> Credential:
        """Unpack it."""
        return unpack_credential(self._packed)

    def membership(self) -> Membership:
        """Give it as a node's folder does."""
        return Membership(self.credential, self._name, "")

    def stamp(self) -> tuple[int, ...]:
        """Say that it never changes."""
        return ()

    lists_stamp = stamp

    def revocations(self) -> Revocations:
        """Know of nobody who was revoked."""
        return Revocations(self.credential.trust)


def domain(*names: str) -> dict[str, bytes]:
    """Found a trust domain and give each node's credential, packed."""
    with tempfile.TemporaryDirectory(prefix="cronos-bench-") as path:
        folder = Path(path)
        root = MachineRoot(MachineConfig(), folder)
        authority = found(
            folder / "ca", "plant.example", folder / "root", root, root, SystemClock()
        )
        return {
            name: pack_credential(authority.issue("node", name, ("defense",))) for name in names
        }


def node(name: str, packed: bytes, **settings: Any) -> GrpcMesh:
    """Make a node's end of the mesh on a free port."""

    def report(level: str, event: str, /, **more: object) -> None:
        if level != "info" or os.environ.get("MESH_BENCH_LOG"):
            print(level, event, more, file=sys.stderr)

    return GrpcMesh(
        GrpcMeshConfig(**{"listen": "127.0.0.1:0", **settings}),
        clock=SystemClock(),
        tasks=AsyncTasks(lambda name, error: print(name, repr(error), file=sys.stderr)),
        egress=EgressGate(),
        ids=SequenceIds(name, 1),
        holder=lambda: Carried(name, packed),
        report=report,
    )


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run on the loop of the mesh process, or on asyncio's own with MESH_BENCH_LOOP=asyncio."""
    if os.environ.get("MESH_BENCH_LOOP") == "asyncio":
        return asyncio.run(work)
    return uvloop.run(work)


class Child:
    """Another process of this script; it says a line when it is ready, and its result last."""

    def __init__(self, script: str, what: str, given: object) -> None:
        command = [sys.executable, script, "--child", what]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps(given))
        self.process.stdin.close()

    def line(self) -> str:
        """Wait for its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


def given() -> Any:
    """Read, in a child, what the parent gave."""
    return pickle.loads(sys.stdin.buffer.read())


def child_of() -> str:
    """Say what this process is to do; empty in the parent."""
    return sys.argv[sys.argv.index("--child") + 1] if "--child" in sys.argv else ""
