"""Which asset of the site an entity belongs to."""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

from cronos.config import Asset
from cronos.types import Entity, EntityKind

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Assets:
    """The site's assets, found by address or by name; the first that matches counts."""

    def __init__(self, assets: Sequence[Asset]) -> None:
        self._names: dict[str, Asset] = {}
        self._networks: list[tuple[_Network, Asset]] = []
        for asset in assets:
            self._names.setdefault(asset.name.casefold(), asset)
            for written in asset.addresses:
                network = _network(written)
                if network is None:
                    self._names.setdefault(written.casefold(), asset)
                else:
                    self._networks.append((network, asset))

    def of(self, entity: Entity | None) -> Asset | None:
        """Give the asset that an entity is, or lies on; None where the site names none."""
        if entity is None:
            return None
        host = _host_of(entity)
        named = self._names.get(host.casefold())
        number = _network(host) if named is None else None
        if number is None:
            return named
        for network, asset in self._networks:
            if network.version == number.version and network.overlaps(number):
                return asset
        return None


def _host_of(entity: Entity) -> str:
    """Give the host of an entity: the server's of a flow, the first part of a process."""
    value = entity.value
    if entity.kind in (EntityKind.FLOW, EntityKind.SERVICE):
        end = value.rpartition(">")[2] if ">" in value else value.partition("/")[2]
        return end.rpartition(":")[0].strip("[]")
    return value.partition("/")[0] if entity.kind is EntityKind.PROCESS else value


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
