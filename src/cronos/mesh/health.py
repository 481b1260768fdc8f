"""How the federation fares in one node's eyes: `ok`, or what is wrong with whom, in a sentence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from cronos.mesh.balance import BUSY, step
from cronos.mesh.memberwire import Load

OK: Final = "ok"
_MOST_NAMED: Final = 8
_Shown: TypeAlias = Mapping[str, Any]


def health(peers: Sequence[_Shown], own: Load) -> str:
    """Put what the status holds into words.

    Args:
        peers: the members, as the status shows them.
        own: how busy this node is.
    """
    said = [
        (_named(peers, lambda one: one["status"] == "dead"), "dead"),
        (_named(peers, lambda one: one["status"] == "suspect"), "suspected"),
        (_named(peers, _cut_off), "not reached: its breaker is open"),
        (_named(peers, _busy), "busy"),
        ("this node" if step(own) >= BUSY else "", "busy"),
    ]
    return "; ".join(f"{who} {what}" for who, what in said if who) or OK


def _cut_off(peer: _Shown) -> bool:
    return bool(peer["status"] == "alive" and peer["breaker"] == "open")


def _busy(peer: _Shown) -> bool:
    load = peer["load"]
    return bool(peer["status"] == "alive" and load is not None and step(Load(**load)) >= BUSY)


def _named(peers: Sequence[_Shown], holds: Callable[[_Shown], bool]) -> str:
    names = [str(one["instance"]) for one in peers if holds(one)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
