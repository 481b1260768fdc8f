"""Nodes of one trust domain with real sockets, for the tests of the mesh over gRPC."""

import contextlib
import functools
import pathlib
import tempfile

from tests.unit.crypto.pki.plant import Plant

from cronos.link.egress import EgressGate
from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig
from cronos.runtime.world import SystemClock
from cronos.testing.clock import SequenceIds
from cronos.testing.tasks import InlineTasks


@functools.cache
def plant():
    """One domain for all tests that only use it."""
    folder = tempfile.TemporaryDirectory(prefix="cronos-mesh-")
    made = Plant(pathlib.Path(folder.name) / "plant", clock=SystemClock())
    made.keep = folder
    return made


@functools.cache
def holder(name):
    return plant().joined(name)


class Reports(list):
    """What a node reported: ``(level, event, more)``."""

    def __call__(self, level, event, /, **more):
        self.append((level, event, more))

    def events(self):
        return [event for _, event, _ in self]


class Node:
    """A mesh with what it was made with."""

    def __init__(self, name, holds=None, clock=None, **settings):
        self.reports = Reports()
        self.tasks = InlineTasks()
        self.mesh = GrpcMesh(
            GrpcMeshConfig(**{"listen": "127.0.0.1:0", "drain_s": 1, **settings}),
            clock=clock or SystemClock(),
            tasks=self.tasks,
            egress=EgressGate(),
            ids=SequenceIds(name),
            holder=lambda: holds or holder(name),
            report=self.reports,
        )


@contextlib.asynccontextmanager
async def running(*nodes, boxes):
    for node, box in zip(nodes, boxes, strict=True):
        await node.mesh.start(box.receive, box.linked)
    try:
        yield
    finally:
        for node in nodes:
            await node.mesh.stop()
            await node.tasks.cancel()
        errors = [error for node in nodes for error in node.tasks.errors]
        assert errors == []
