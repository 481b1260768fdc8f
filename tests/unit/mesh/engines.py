"""Nodes whose bulk goes by an engine, over streams in memory: for the tests of it."""

import itertools

from tests.unit.mesh import grpc_nodes
from tests.unit.mesh.nodes import cards, until

from cronos.mesh.engine import EngineMesh
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.mesh import Mailbox
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks
from cronos.types import Lane

NAMES = ("alpha", "beta", "gamma")


class Reports(list):
    def __call__(self, level, event, /, **more):
        self.append(event)


def acquainted(*names):
    """Give each node's cards, with those of the others among them."""
    every = {name: cards(name) for name in names}
    for one in every.values():
        for name, other in every.items():
            one.learn(other.of(name).packed)
    return every


def engines(inner, streams, known=None):
    """Wrap meshes, each with its own end of the engine."""
    known = known or acquainted(*inner)
    made = {}
    for name, mesh in inner.items():
        tasks, reports = InlineTasks(), Reports()
        made[name] = EngineMesh(mesh, streams[name], known[name], SystemClock(), tasks, reports)
        made[name].tasks, made[name].reports = tasks, reports
    return made


def in_memory(stream, *names):
    network = MemoryNetwork()
    names = names or NAMES
    return network, engines({n: network.join(n) for n in names}, dict.fromkeys(names, stream))


_RUNS = itertools.count(1)


def over_grpc(make_stream):
    """Three nodes with real streams, each with its own end of the engine; a new network each time.

    What an engine keeps of others' names is theirs: each network has names of its own.
    """
    run = next(_RUNS)
    names = [f"{name}-{run}" for name in NAMES]
    inner = {name: grpc_nodes.Node(name) for name in names}
    made = engines(
        {name: one.mesh for name, one in inner.items()}, {name: make_stream() for name in names}
    )
    for name, mesh in made.items():
        mesh.streams = inner[name]
    return made


async def carried_and_killed(nodes, server):
    """Have bulk carried, the engine killed in the middle, and all of it arrive in order."""
    one, two = sorted(nodes)[:2]
    boxes = {name: Mailbox() for name in (one, two)}
    for name, box in boxes.items():
        await nodes[name].start(box.receive, box.linked)
    nodes[one].connect(two, nodes[two]._mesh.address)
    await until(lambda: two in nodes[one]._peers and nodes[one]._keys.ready(two))
    await until(lambda: all(out.open for out in nodes[one]._peers[two].out.values()))
    sent = [b"%d" % n for n in range(60)]
    for data in sent[:30]:
        await nodes[one].send(two, Lane.RECORDS, data)
    await until(lambda: boxes[two].arrived(one) == sent[:30])
    carried = dict(nodes[one].counts)
    server.kill(0)
    for data in sent[30:]:
        await nodes[one].send(two, Lane.RECORDS, data)
    await until(lambda: boxes[two].arrived(one) == sent, 30)
    for name in (one, two):
        await nodes[name].stop()
        await nodes[name].tasks.cancel()
        assert nodes[name].tasks.errors == []
    assert carried["engine"] == 30
    assert nodes[one].counts["direct"] >= 30
    assert "mesh.engine_away" in nodes[one].reports
