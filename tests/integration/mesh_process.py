"""A node of the mesh in a process of its own, to be killed: says its address, and answers.

Started as ``python mesh_process.py``; what it needs comes pickled on its standard input. One that
is `told` hears what gRPC says of strangers, and prints what it reports as lines of JSON.
"""

import asyncio
import json
import pickle
import subprocess
import sys

from cronos.crypto.pki.credential import pack_credential, unpack_credential
from cronos.crypto.pki.node import Membership
from cronos.crypto.pki.revocation import Revocations
from cronos.link.egress import EgressGate
from cronos.mesh.corelog import CoreLog
from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig
from cronos.runtime.world import SequenceIds, SystemClock
from cronos.testing.tasks import InlineTasks


class Carried:
    """A credential that came through a pipe."""

    def __init__(self, name, packed):
        self.name, self.packed = name, packed

    def membership(self):
        return Membership(unpack_credential(self.packed), self.name, "")

    def stamp(self):
        return ()

    lists_stamp = stamp

    def revocations(self):
        return Revocations(self.membership().credential.trust)


class MeshProcess:
    """The process, as its test sees it."""

    def __init__(self, name, credential, told=False, **settings):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        given = (name, pack_credential(credential), told, settings)
        self.process.stdin.write(pickle.dumps(given))
        self.process.stdin.close()
        self.address = self.line()
        if not self.address:
            raise AssertionError("the node did not start")

    def line(self):
        return self.process.stdout.readline().decode().strip()

    def signal(self, what):
        self.process.send_signal(what)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def say(level, event, /, **more):
    sys.stdout.write(json.dumps([level, event, more]) + "\n")
    sys.stdout.flush()


async def serve():
    name, packed, told, settings = pickle.loads(sys.stdin.buffer.read())
    core = CoreLog() if told else None
    mesh = GrpcMesh(
        GrpcMeshConfig(**{"listen": "127.0.0.1:0", **settings}),
        clock=SystemClock(),
        tasks=InlineTasks(),
        egress=EgressGate(),
        ids=SequenceIds(name, 1),
        holder=lambda: Carried(name, packed),
        report=say if told else lambda *_, **__: None,
    )

    async def receive(sender, lane, data):
        await mesh.send(sender, lane, b"got " + data[:100])

    await mesh.start(receive, lambda *_: None)
    sys.stdout.write(f"{mesh.address}\n")
    sys.stdout.flush()
    if core is not None:
        core.told = mesh.failed
        core.listen()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
