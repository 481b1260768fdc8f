"""The mesh over gRPC keeps the port's contract, over real sockets with real certificates."""

from tests.unit.mesh.grpc_nodes import Node

from cronos.ports import Mesh
from cronos.testing.conformance.mesh import MeshConformance


class TestGrpcMesh(MeshConformance):
    async def make(self) -> dict[str, Mesh]:
        return {name: Node(name).mesh for name in ("alpha", "beta", "gamma")}

    def address(self, instance: str, mesh: Mesh) -> str:
        return mesh.address
