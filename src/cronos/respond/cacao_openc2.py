"""OpenC2 commands within playbooks: ``{"action": "deny", "target": {"ipv4_net": …}}`` and back.

A target is a variable (``__actor__:value``), which only an entity of the incident can fill, or a
literal, which only the playbook's file can hold. Source: OASIS OpenC2 Language Specification 1.0,
sections 3.3.1 and 3.3.2; what OpenC2 has no target for is named ``x-cronos:<kind>``.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cronos.link.openc2target import OWN, target_names
from cronos.respond.cacao_place import Object, Place, read_json
from cronos.respond.playbook_steps import ROLES, Wanted
from cronos.types import Entity, EntityKind, Verb, flow_entity

_K = EntityKind
TARGETS: Final[Mapping[str, tuple[EntityKind, ...]]] = target_names()
# OpenC2 knows neither `limit` nor `pause` and allows no further actions: the nearest of its own
# stands for them, and the verb beside it, as `args` may hold it for extensions.
_NEAREST: Final = {Verb.LIMIT: "set", Verb.PAUSE: "stop"}
ACTIONS: Final = {verb.value: verb for verb in Verb if verb not in _NEAREST} | {"set": Verb.LIMIT}
VARIABLES: Final = (*ROLES, *(kind.value for kind in EntityKind))

_VARIABLE: Final = re.compile(r"__([a-z]{1,32})__(?::value)?")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+=\\/-]{0,254}")
_CONNECTION: Final = frozenset({"protocol", "src_addr", "src_port", "dst_addr", "dst_port"})
_PROTOCOLS: Final = ("tcp", "udp")
_OURS: Final = "x-cronos"
_REMEDIES: Final = {"actuator": "Name an enforcement point as the step's agent."}
_NO_ARGS: Final = "Leave it out: a lease lasts as [lease] says, and no playbook makes it longer."


def read_command(place: Place) -> Wanted:
    """Read an OpenC2 command that stands at a place as JSON text.

    Raises:
        InputError: it is none, or wants what nothing here can do.
    """
    found = read_json(place.text(), place.origin, place.path)
    found.keyed(frozenset({"action", "target", "args"}), ("action", "target"), _REMEDIES)
    verb = _verb(found)
    targets = found.at("target").members()
    if len(targets) != 1:
        raise found.at("target").refuse("it names no single target", "Name one target.")
    (name,) = targets
    where = found.at("target").at(name)
    if name not in TARGETS:
        raise where.refuse("no such target is understood", f"Use one of: {', '.join(TARGETS)}.")
    return _target(where, verb, name)


def _verb(command: Place) -> Verb:
    """Read the action, and the verb beside it where OpenC2 has no word for it."""
    action = command.at("action").one_of(ACTIONS, "action of this subset")
    verb = ACTIONS[action]
    args = command.at("args")
    if args.value is not None:
        own = dict.fromkeys(args.members(), _NO_ARGS)
        args.keyed(frozenset({_OURS}), (_OURS,), own)
        args.at(_OURS).keyed(frozenset({"verb"}), ("verb",), {})
        verb = Verb(args.at(_OURS).at("verb").one_of(tuple(_NEAREST), "verb that OpenC2 lacks"))
    told = args.value is not None
    if _NEAREST.get(verb, verb.value) != action or (verb in _NEAREST and not told):
        raise command.at("action").refuse(
            f"`{action}` alone does not say what is meant",
            'Write {"action": "set", "args": {"x-cronos": {"verb": "limit"}}}, or stop and pause.',
        )
    return verb


def _target(where: Place, verb: Verb, name: str) -> Wanted:
    kinds = TARGETS[name]
    if isinstance(where.value, str) and where.value.startswith("__"):
        match = _VARIABLE.fullmatch(where.value)
        if match is None or match[1] not in VARIABLES:
            known = ", ".join(f"__{one}__" for one in VARIABLES)
            raise where.refuse("it is no known variable", f"Use one of {known}, or a literal.")
        return Wanted(verb, name, kinds, variable=match[1])
    return Wanted(verb, name, kinds, literal=_literal(where, name))


def _literal(where: Place, name: str) -> Entity:
    """Read a literal target in the one spelling that sensors use."""
    if name.endswith("_connection"):
        return _connection(where, int(name[3]))
    if name == "device":
        where.keyed(frozenset({"hostname"}), ("hostname",), {})
        return Entity(_K.HOST, where.at("hostname").text(_HOST, "plc-7.example.test"))
    if name == "process":
        raise where.refuse(
            "a process has another number each time", "Use __process__ or __target__."
        )
    if name in ("ipv4_net", "ipv6_net"):
        return _network(where, int(name[3]))
    return _own(where, EntityKind(name.removeprefix(OWN)))


def _own(where: Place, kind: EntityKind) -> Entity:
    """Read a target of ours: the value that an entity of this kind has."""
    if kind in (_K.PROCESS, _K.SESSION):
        raise where.refuse(f"a {kind} has another name each time", f"Use __{kind}__.")
    if kind in (_K.ADDRESS, _K.NETWORK, _K.FLOW, _K.SERVICE):
        other = "ipv4_net" if kind in (_K.ADDRESS, _K.NETWORK) else "ipv4_connection"
        raise where.refuse(f"a literal {kind} has an OpenC2 target", f"Use {other}.")
    pattern = _HOST if kind is _K.HOST else _NAME
    return Entity(kind, where.text(pattern, "plant/historian-0"))


def _network(where: Place, version: int) -> Entity:
    text = where.text()
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None or network.version != version or "%" in text:
        raise where.refuse(
            f"it is no IPv{version} address or network",
            "Write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/64.",
        )
    if network.num_addresses == 1:
        return Entity(_K.ADDRESS, str(network.network_address))
    return Entity(_K.NETWORK, str(network))


def _connection(where: Place, version: int) -> Entity:
    """Read a connection: all five parts name a flow, without a source it names a service."""
    required = ("protocol", "dst_addr", "dst_port")
    given = where.keyed(_CONNECTION, required, {})
    protocol = where.at("protocol").one_of(_PROTOCOLS, "protocol of this subset")
    server = _address(where.at("dst_addr"), version)
    port = where.at("dst_port").whole(1, 65_535)
    if "src_addr" not in given and "src_port" not in given:
        return Entity(_K.SERVICE, f"{protocol}/{server}:{port}")
    client = _address(where.at("src_addr"), version)
    return flow_entity(protocol, client, where.at("src_port").whole(1, 65_535), server, port)


def _address(where: Place, version: int) -> str:
    found = _network(where, version)
    if found.kind is not _K.ADDRESS:
        raise where.refuse("it is a network", "Write one address.")
    return found.value


def write_command(wanted: Wanted) -> Object:
    """Give the OpenC2 command that `read_command` reads as just this."""
    literal = wanted.literal
    value: Any = f"__{wanted.variable}__:value"
    if literal is not None:
        write = _WRITERS.get(wanted.openc2)
        value = literal.value if write is None else write(literal)
    command: Object = {"action": wanted.verb.value, "target": {wanted.openc2: value}}
    if wanted.verb in _NEAREST:
        command |= {"action": _NEAREST[wanted.verb], "args": {_OURS: {"verb": wanted.verb.value}}}
    return command


def _written_connection(entity: Entity) -> Object:
    protocol, _, rest = entity.value.partition("/")
    client, arrow, server = rest.rpartition(">")
    address, _, port = server.rpartition(":")
    written: Object = {"protocol": protocol, "dst_addr": address, "dst_port": int(port)}
    if arrow:
        source, _, source_port = client.rpartition(":")
        written |= {"src_addr": source, "src_port": int(source_port)}
    return written


_WRITERS: Final[Mapping[str, Callable[[Entity], Any]]] = {
    "ipv4_connection": _written_connection,
    "ipv6_connection": _written_connection,
    "device": lambda entity: {"hostname": entity.value},
}
