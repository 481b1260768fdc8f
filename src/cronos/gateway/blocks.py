"""The table of blocks: who may not pass the tap, and until when. Pure; time is an argument.

Three rules. A block belongs to its action id, and the highest epoch ever seen for that id wins,
so that an order overtaken on its way cannot undo or revive anything. A block ends when its own
lease ends, counted in boot time from the moment the order came. What is protected, and the
server behind the tap, is never blocked: that would stop the operators, not the attacker.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from cronos.errors import InputError
from cronos.types import Action, Entity, EntityKind, Verb, flow_entity

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REMEMBERED_EPOCHS: Final = 16384
_MAX_ID_LENGTH: Final = 128
_NS_PER_S: Final = 1_000_000_000


class Block(msgspec.Struct, frozen=True):
    """An action in force, until `expires_boot_ns`."""

    action: Action
    expires_boot_ns: int


class Ends(msgspec.Struct, frozen=True):
    """The two ends of a connection, and the address at which the client reached the tap."""

    client: str
    client_port: int
    server: str
    server_port: int
    door: str
    door_port: int

    def names(self) -> tuple[Entity, ...]:
        """Give every entity by which this connection can be blocked.

        The client knows the tap's door, not the server: a sensor in front of the tap names the
        flow after the door, the tap's own feed after the server.
        """
        return (
            Entity(EntityKind.ADDRESS, self.client),
            flow_entity("tcp", self.client, self.client_port, self.server, self.server_port),
            flow_entity("tcp", self.client, self.client_port, self.door, self.door_port),
        )


class BlockTable:
    """Holds the blocks of one tap; at most `max_blocks`, each at most `max_lease_s` long."""

    def __init__(self, protected: Sequence[str], max_blocks: int, max_lease_s: int) -> None:
        self._protected = tuple(_network(text) for text in protected)
        self._max_blocks = max_blocks
        self._max_lease_ns = max_lease_s * _NS_PER_S
        self._held: dict[str, Block] = {}
        self._by_target: dict[Entity, set[str]] = {}
        self._epochs: OrderedDict[str, int] = OrderedDict()

    def grant(self, action: Action, now_ns: int) -> str:
        """Block the target for the action's lease; give ``""``, or the reason not to.

        Granting what is held begins its lease anew and never shortens it.
        """
        refusal = self._unfit(action) or self._stale(action)
        if refusal:
            return refusal
        held = self._held.get(action.action_id)
        if held is None and len(self._held) >= self._max_blocks:
            return f"The tap holds {self._max_blocks} blocks already."
        if held is not None:
            self._drop(held)
        expires_ns = max(now_ns + action.lease_ns, held.expires_boot_ns if held else 0)
        action = msgspec.structs.replace(action, target=_normal(action.target))
        self._held[action.action_id] = Block(action, expires_ns)
        self._by_target.setdefault(action.target, set()).add(action.action_id)
        return ""

    def renew(self, action: Action, now_ns: int) -> str:
        """Begin the lease of a held block anew; give ``""``, or the reason not to."""
        held = self._held.get(action.action_id)
        if held is None or held.expires_boot_ns <= now_ns:
            return "The tap holds no such block: its lease has ended."
        return self.grant(action, now_ns)

    def lift(self, action: Action) -> str:
        """End a block; one that is gone already is a success. Give ``""``, or why not."""
        refusal = self._stale(action)
        held = self._held.get(action.action_id)
        if not refusal and held is not None:
            self._drop(held)
        return refusal

    def expire(self, now_ns: int) -> tuple[Block, ...]:
        """Drop the blocks whose lease has ended, and give them."""
        ended = tuple(block for block in self._held.values() if block.expires_boot_ns <= now_ns)
        for block in ended:
            self._drop(block)
        return ended

    def barring(self, names: Sequence[Entity], now_ns: int) -> Block | None:
        """Give a block that bars a connection of these `names` now; see `Ends.names`."""
        for entity in names:
            for action_id in self._by_target.get(entity, ()):
                block = self._held[action_id]
                if block.expires_boot_ns > now_ns:
                    return block
        return None

    def held(self, now_ns: int) -> tuple[Block, ...]:
        """Give the blocks in force."""
        return tuple(block for block in self._held.values() if block.expires_boot_ns > now_ns)

    def _drop(self, block: Block) -> None:
        del self._held[block.action.action_id]
        ids = self._by_target[block.action.target]
        ids.discard(block.action.action_id)
        if not ids:
            del self._by_target[block.action.target]

    def _stale(self, action: Action) -> str:
        known = self._epochs.get(action.action_id, 0)
        if action.epoch < known:
            return f"Epoch {action.epoch} is older than {known}, which the tap has seen."
        self._epochs[action.action_id] = action.epoch
        self._epochs.move_to_end(action.action_id)
        if len(self._epochs) > _REMEMBERED_EPOCHS:
            self._forget_epoch()
        return ""

    def _forget_epoch(self) -> None:
        for action_id in self._epochs:
            if action_id not in self._held:
                del self._epochs[action_id]
                return

    def _unfit(self, action: Action) -> str:
        if action.verb is not Verb.DENY:
            return f"The tap can deny, not {action.verb}."
        if max(len(action.action_id), len(action.incident_id)) > _MAX_ID_LENGTH:
            return f"An id is longer than {_MAX_ID_LENGTH} characters."
        if not 0 < action.lease_ns <= self._max_lease_ns:
            return f"The lease must last between 1 ns and {self._max_lease_ns // _NS_PER_S} s."
        try:
            client = _client(action.target)
        except ValueError as error:
            return f"The target is none the tap can block: {error}."
        if any(client in network for network in self._protected):
            return f"{client} is protected."
        return ""


def canonical_address(text: str) -> str:
    """Give an address in its shortest form, an IPv4 address inside IPv6 as IPv4.

    Raises:
        ValueError: `text` is no address.
    """
    return str(_address(text))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _split_flow(value: str) -> tuple[str, int, str, int]:
    protocol, _, ends = value.partition("/")
    if protocol != "tcp":
        raise ValueError(f"{value!r} is not a TCP flow")
    client, _, server = ends.partition(">")
    client_address, _, client_port = client.rpartition(":")
    server_address, _, server_port = server.rpartition(":")
    return (
        canonical_address(client_address),
        int(client_port),
        canonical_address(server_address),
        int(server_port),
    )


def _client(target: Entity) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if target.kind is EntityKind.ADDRESS:
        return _address(target.value)
    if target.kind is EntityKind.FLOW:
        return _address(_split_flow(target.value)[0])
    raise ValueError(f"it is a {target.kind}, not an address or a flow")


def _normal(target: Entity) -> Entity:
    if target.kind is EntityKind.ADDRESS:
        return Entity(EntityKind.ADDRESS, canonical_address(target.value))
    return flow_entity("tcp", *_split_flow(target.value))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InputError(
            "gateway.bad_protected",
            f"The tap's protected entry {text!r} is no address or network: {error}.",
            "Write it like 192.0.2.7 or 192.0.2.0/24.",
        ) from error
