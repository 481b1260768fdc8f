"""What a worker is told, for the tests that start one."""

from cronos.config import Config
from cronos.front.workers import Spec


def spec_for(folder, role, sources=(), *, config=None, parent=0):
    return Spec(
        role,
        config or Config(sealer="plaintext"),
        str(folder),
        str(folder / "ledger"),
        str(folder / "enforcer"),
        str(folder / "enforcer.sock"),
        sources,
        parent=parent,
        keys=str(folder / "keys"),
        agent_socket=str(folder / "agent.sock"),
    )
