"""Where the first peers are found: addresses that an operator wrote down, or a registry (a port).

A seed is ``host:port``, or ``name@host:port`` where it must be a certain node. Whoever is found is
believed to be a member only once its certificate was verified: a registry that lies can keep a node
from finding others, and nothing else.
"""

from typing import Final, NamedTuple

from cronos.crypto.pki.names import require_name
from cronos.errors import InputError
from cronos.mesh.udp import split
from cronos.types import Peer

MAX_FOUND: Final = 256


class Seed(NamedTuple):
    """An address to dial; `name` is empty where whoever is certified there will do."""

    name: str
    address: str


def parse_seed(text: str) -> Seed:
    """Read a seed.

    Raises:
        InputError: it is none.
    """
    name, at, address = text.rpartition("@")
    if split(address) is None:
        raise InputError(
            "mesh.bad_seed",
            f"{text[:300]!r} is no address of a node.",
            "Write host:port, or name@host:port.",
        )
    return Seed(require_name(name) if at else "", address)


def spell_seed(peer: Peer) -> str:
    """Give the seed by which others find a node."""
    return f"{peer.instance}@{peer.address}"


def sound_seeds(texts: list[str]) -> tuple[str, ...]:
    """Keep what can be a seed of a strangers' list, sorted, each once."""
    kept: set[str] = set()
    for text in texts:
        if len(kept) >= MAX_FOUND:
            break
        try:
            seed = parse_seed(text)
        except InputError:
            continue
        kept.add(f"{seed.name}@{seed.address}" if seed.name else seed.address)
    return tuple(sorted(kept))
