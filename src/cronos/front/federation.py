"""What a node of a federation must have before it may start, whoever starts it."""

from typing import Final

from cronos.config import Config
from cronos.errors import InputError

MESH_SOCKET: Final = "mesh.sock"


def require_safe(config: Config) -> None:
    """Refuse settings with which a federation would do harm.

    Raises:
        InputError: the node would spend everybody's budget, hold no role, or seal nothing.
    """
    mesh = config.mesh
    if mesh.join and not mesh.listen:
        raise _unsafe(
            "it joins peers and listens nowhere: none could reach it",
            "Set listen under [mesh] to the HOST:PORT where peers reach this node.",
        )
    if config.policy.budget_share == 1.0:
        raise _unsafe(
            "it would spend the whole federation's budget of actions",
            "Set budget_share under [policy] to its part; all nodes' parts together make 1.",
        )
    if not mesh.roles:
        raise _unsafe(
            "it has no role of its own",
            "Name some under [mesh] roles: defense, operations, audit, communication.",
        )
    if config.sealer == "plaintext":
        raise _unsafe(
            "what peers send would lie here unsealed, and nothing could be signed",
            'Leave sealer at "epochs".',
        )


def _unsafe(why: str, remedy: str) -> InputError:
    return InputError("front.unsafe_mesh", f"This node may not join a federation: {why}.", remedy)
