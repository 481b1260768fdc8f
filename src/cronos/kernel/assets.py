"""Assets: the systems of the site, what they are worth, and which of them no action may name."""

import ipaddress
import re
from typing import Final

from cronos.config import Asset, Policy
from cronos.errors import InputError
from cronos.types import Entity, EntityKind, Impact, Loss, LossTable, Now

_FLOW, _ADDRESS = EntityKind.FLOW, EntityKind.ADDRESS
_SERVICE, _NETWORK = EntityKind.SERVICE, EntityKind.NETWORK
_HOSTED: Final = frozenset({EntityKind.PROCESS})
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW: Final = re.compile(r"(\w{3}) (\d{2}):(\d{2})-(\d{2}):(\d{2})")
_MINUTE_NS: Final = 60_000_000_000
_DAY_MINUTES: Final = 1440
_WEEK_MINUTES: Final = 7 * _DAY_MINUTES
_EPOCH_DAY: Final = 3  # 1 January 1970 was a Thursday
HOURLY: Final = 1_000.0  # what an hour without a system costs that is not listed
_UNLISTED: Final = Loss("", 47_000.0, 110_000.0, 47_000.0)

Range = tuple[int, int, int]  # IP version, first and last address as numbers


class Assets:
    """The asset model: finds the system that an entity is, or lies on.

    Args:
        assets: from the configuration.
        losses: what losing each costs; middling figures stand in for what it lacks.

    Raises:
        InputError: a maintenance window cannot be read, or a dependency names no asset.
    """

    def __init__(self, assets: tuple[Asset, ...], losses: LossTable) -> None:
        self._assets = assets
        self._names: dict[str, Asset] = {}
        self._ranges: list[tuple[Range, Asset]] = []
        self._losses = {row.asset: row for row in losses.rows}
        self._digest = losses.digest
        self._windows = {one.name: tuple(map(_window, one.maintenance)) for one in assets}
        known = {one.name for one in assets}
        self._dependents = dict.fromkeys(known, 0)
        for asset in assets:
            for needed in asset.depends_on:
                if needed not in known:
                    raise InputError(
                        "policy.unknown_asset",
                        f"The asset {asset.name} depends on {needed!r:.80}, which is not listed.",
                        "Add an [[asset]] of that name, or correct it.",
                    )
                self._dependents[needed] += 1
            for address in asset.addresses:
                network = network_of(address)
                if network is None:
                    self._names[address.lower()] = asset
                else:
                    self._ranges.append((network, asset))
        # The narrowest range that holds an address is what it is.
        self._ranges.sort(key=lambda one: one[0][2] - one[0][1])
        self._unlisted = self._impact(None, maintenance=False)

    def find(self, entity: Entity | None) -> Asset | None:
        """Give the asset that an entity is, lies on, or is a client from."""
        if entity is None or not self._assets:
            return None
        value = host_of(entity)
        named = self._names.get(value.lower())
        if named is not None or not self._ranges:
            return named
        version, number = address_number(value)
        for (known, first, last), asset in self._ranges:
            if known == version and first <= number <= last:
                return asset
        return None

    def impact(self, attacked: Entity | None, now: Now) -> Impact:
        """Say what is at stake where an entity is attacked."""
        asset = self.find(attacked)
        if asset is None:
            return self._unlisted
        return self._impact(asset, self._maintained(asset, now))

    def hourly(self, asset: Asset | None) -> float:
        """Give what an hour without a system costs, and without what depends on it."""
        if asset is None:
            return HOURLY
        return asset.downtime_per_hour * (1 + self._dependents[asset.name])

    def _maintained(self, asset: Asset, now: Now) -> bool:
        """Say whether people may be at work on it now, by a clock that may be wrong."""
        at = now.wall_ns // _MINUTE_NS + _EPOCH_DAY * _DAY_MINUTES
        slack = -(-now.wall_uncertainty_ns // _MINUTE_NS)
        return any(
            (at + slack - begins) % _WEEK_MINUTES < lasts + 2 * slack
            for begins, lasts in self._windows[asset.name]
        )

    def _impact(self, asset: Asset | None, maintenance: bool) -> Impact:
        loss = self._losses.get(asset.name if asset else "", _UNLISTED)
        if asset is None:
            return Impact(loss_mean=loss.mean, loss_p90=loss.p90, loss_digest=self._digest)
        return Impact(
            asset.name,
            asset.criticality,
            asset.legacy,
            maintenance,
            self._dependents[asset.name],
            asset.data,
            loss.mean,
            loss.p90,
            self._digest,
        )


class Protected:
    """Knows the assets that no action may name."""

    def __init__(self, policy: Policy) -> None:
        self._ranges = [found for name in policy.protected if (found := network_of(name))]
        names = [name for name in policy.protected if network_of(name) is None]
        self._names = frozenset(name.lower() for name in names)

    def covers(self, target: Entity) -> bool:
        """Say whether `target`, the client of a flow, or the host of a process is protected."""
        kind = target.kind
        value = target.value if kind is _ADDRESS else host_of(target)
        if self._names and (value.lower() in self._names or target.value.lower() in self._names):
            return True
        if kind is _NETWORK:
            return self._overlap(network_of(value))
        version, number = address_number(value)
        if not version:
            # A flow or address that cannot be read cannot be shown to be harmless.
            return kind is _FLOW or kind is _ADDRESS or kind is _SERVICE
        for known, first, last in self._ranges:
            if known == version and first <= number <= last:
                return True
        return False

    def _overlap(self, network: Range | None) -> bool:
        if network is None:
            return True
        version, begins, ends = network
        return any(
            known == version and first <= ends and begins <= last
            for known, first, last in self._ranges
        )


def host_of(entity: Entity) -> str:
    """Give the address or host that an entity is, lies on, or is a client from."""
    kind, value = entity.kind, entity.value
    if kind is _FLOW:
        return value.partition("/")[2].partition(">")[0].rpartition(":")[0]
    if kind is _SERVICE:
        return value.partition("/")[2].rpartition(":")[0].strip("[]")
    return value.partition("/")[0] if kind in _HOSTED else value


# An octet has one spelling: "010" or "+1" is no octet, and is left to the library to refuse.
_OCTETS: Final = {str(octet): octet for octet in range(256)}


def address_number(value: str) -> tuple[int, int]:
    """Give an address as its IP version and number, (0, 0) where it is none.

    The dotted form is read here: it is in every decision, and the library takes five times as
    long. An IPv4 address in an IPv6 one counts as itself.
    """
    parts = value.split(".")
    if len(parts) == 4:
        try:
            a, b, c, d = parts
            return 4, _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
        except KeyError:
            pass
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return 0, 0
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.version, int(mapped)


def network_of(name: str) -> Range | None:
    """Read an address or a network; None where it is neither."""
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None
    return network.version, int(network.network_address), int(network.broadcast_address)


def _window(text: str) -> tuple[int, int]:
    """Read ``sun 02:00-04:00`` as the minute of the week it begins at, and how many it lasts."""
    found = _WINDOW.fullmatch(text.lower())
    if found is None or found[1] not in _DAYS:
        raise InputError(
            "policy.bad_window",
            f"{text!r:.80} is no maintenance window.",
            'Write it in UTC as "sun 02:00-04:00"; one that ends before it begins ends next day.',
        )
    begins, ends = (int(found[n]) * 60 + int(found[n + 1]) for n in (2, 4))
    lasts = (ends - begins) % _DAY_MINUTES or _DAY_MINUTES
    return _DAYS.index(found[1]) * _DAY_MINUTES + begins, lasts
