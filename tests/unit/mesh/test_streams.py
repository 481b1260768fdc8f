"""The mesh over gRPC keeps the port's contract, over real sockets with real certificates."""

import asyncio
import socket

import pytest
from tests.unit.mesh.grpc_nodes import Node, running

from cronos.errors import DeniedError, UnreachableError
from cronos.ports import Mesh
from cronos.testing.conformance.base import eventually
from cronos.testing.conformance.mesh import Mailbox, MeshConformance


class TestGrpcMesh(MeshConformance):
    async def make(self) -> dict[str, Mesh]:
        return {name: Node(name).mesh for name in ("alpha", "beta", "gamma")}

    def address(self, instance: str, mesh: Mesh) -> str:
        return mesh.address


def test_a_port_that_is_taken_is_told_and_leaves_nothing_running():
    async def story():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            node, box = Node("alpha", listen=f"127.0.0.1:{listener.getsockname()[1]}"), Mailbox()
            with pytest.raises(DeniedError) as taken:
                await node.mesh.start(box.receive, box.linked)
        assert taken.value.code == "mesh.port_taken"
        assert node.mesh.peers() == ()
        await node.mesh.stop()

    asyncio.run(story())


def test_before_its_start_nothing_is_known():
    mesh = Node("alpha").mesh
    with pytest.raises(UnreachableError):
        mesh.connect("beta", "127.0.0.1:1")
    assert (mesh.address, mesh.peers(), mesh.states()) == ("", (), ())


def test_a_dial_passes_the_egress_gate_and_is_told_when_it_is_closed():
    async def story():
        node, box = Node("alpha"), Mailbox()
        async with running(node, boxes=[box]):
            node.mesh.connect("beta", "203.0.113.7:7443")
            node.mesh.connect("", "203.0.113.8:7443")
            await eventually(
                lambda: node.reports.events() == ["link.egress_closed"] * 2, "Both are told."
            )

    asyncio.run(story())
