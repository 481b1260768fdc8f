"""The mesh in memory keeps the port's contract, also when everything arrives twice."""

from cronos.ports import Mesh
from cronos.testing.conformance.mesh import MeshConformance
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.recorders import MeshRecorder


class TestMemoryMesh(MeshConformance):
    async def make(self) -> dict[str, Mesh]:
        network = MemoryNetwork()
        return {name: network.join(name) for name in ("a", "b", "c")}


class TestMemoryMeshThatRepeats(MeshConformance):
    async def make(self) -> dict[str, Mesh]:
        network = MemoryNetwork()
        network.twice = True
        return {name: network.join(name) for name in ("a", "b", "c")}


class TestMeshRecorder(MeshConformance):
    async def make(self) -> dict[str, Mesh]:
        network = MemoryNetwork()
        return {name: MeshRecorder(network.join(name)) for name in ("a", "b", "c")}
