"""How the targets of actions are called in OpenC2: the one table of manifests, playbooks, commands.

OpenC2 defines targets for what lies on a network, for devices and for processes. What it has no
target for is called ``x-cronos:<kind>``, whichever executor acts on it and whatever its system is.

Source: OASIS, Open Command and Control (OpenC2) Language Specification 1.0, section 3.3.1.2.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cronos.types import EntityKind

OWN: Final = "x-cronos:"
_K = EntityKind
_NAMES: Final[Mapping[EntityKind, str]] = {
    _K.ADDRESS: "ipv4_net",
    _K.NETWORK: "ipv4_net",
    _K.FLOW: "ipv4_connection",
    _K.SERVICE: "ipv4_connection",
    _K.HOST: "device",
    _K.PROCESS: "process",
}
_FLOW: Final = re.compile(r"(\w+)/(.+):([0-9]{1,5})>(.+):([0-9]{1,5})")
_SERVICE: Final = re.compile(r"(\w+)/(.+):([0-9]{1,5})")
_DOTTED: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_PROCESS: Final = re.compile(r"([^/]*)/([1-9][0-9]{0,9})")


def target_name(kind: EntityKind) -> str:
    """Give the name of a kind's target; for IPv6 the same with the other number."""
    return _NAMES.get(kind, f"{OWN}{kind.value}")


def target_names() -> dict[str, tuple[EntityKind, ...]]:
    """Give every name with the kinds that it may mean; each kind has one of ours, too."""
    names: dict[str, tuple[EntityKind, ...]] = {}
    for kind, name in _NAMES.items():
        for one in dict.fromkeys((name, name.replace("ipv4", "ipv6"))):
            names[one] = (*names.get(one, ()), kind)
    return names | {f"{OWN}{kind.value}": (kind,) for kind in EntityKind}


def target_form(name: str, value: str) -> dict[str, Any]:
    """Give a target in OpenC2's form; one that has no form of its own is ours, by its value."""
    shape = _SHAPES.get(name)
    version = "4" if _DOTTED.search(value) or ":" not in value else "6"
    if shape is not None:
        shaped = shape(value)
        if shaped is not None:
            return {name.replace("ipv4", f"ipv{version}"): shaped}
    return {name if ":" in name else f"{OWN}{name}": value}


def _connection(value: str) -> Mapping[str, Any] | None:
    flow = _FLOW.fullmatch(value)
    if flow is not None:
        protocol, client, client_port, server, port = flow.groups()
        there = {"dst_addr": server, "dst_port": int(port)}
        return {
            "protocol": protocol,
            "src_addr": client,
            "src_port": int(client_port),
            **there,
        }
    service = _SERVICE.fullmatch(value)
    if service is None:
        return None
    protocol, server, port = service.groups()
    return {"protocol": protocol, "dst_addr": server, "dst_port": int(port)}


def _process(value: str) -> Mapping[str, Any] | None:
    found = _PROCESS.fullmatch(value)
    # OpenC2 leaves it to the actuator which host is meant; ours is under x-cronos.
    return {"pid": int(found[2])} if found is not None else None


_SHAPES: Final[dict[str, Callable[[str], Any]]] = {
    "ipv4_net": lambda value: value,
    "ipv4_connection": _connection,
    "process": _process,
    "device": lambda value: {"hostname": value},
}
