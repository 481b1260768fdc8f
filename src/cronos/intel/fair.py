"""What losing an asset costs: FAIR, simulated outside the kernel, seeded and hashed.

One event's cost is PERT (a scaled beta) between the least and the most that the site states, with
the likeliest as its mode; how many events a year has is Poisson. What the law adds for each class
of data (a notification, a fine) is a second loss of its own that only sometimes follows. The draws
are Latin hypercube samples: each dimension is cut into as many strata as there are samples, so
that 10,000 of them give what plain draws need a hundred times more for.

The draws come from SHAKE-256 of the seed and the asset: the same on every machine, in every
version of Python and under any hash seed, and no asset changes another one's. Sums of money are
rounded to cents, which is far coarser than what two mathematics libraries differ by.

Source: Open FAIR (The Open Group O-RT); PERT as in Malcolm et al., 1959, with weight 4.
"""

import hashlib
import math
import os
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from cronos.config import Asset, Section
from cronos.errors import InputError
from cronos.types import Loss, LossTable, decode, encode

Pert: TypeAlias = tuple[float, float, float]
"""Least, likeliest, most."""

VERSION: Final = 1
# The row of whatever the site lists nowhere: an asset with the defaults.
UNLISTED: Final = ""
_CELLS: Final = 2_048
_KEPT: Final = 8
_MAX_MONEY: Final = 1e15
_MAX_PER_YEAR: Final = 1e6
_MAX_TABLE_BYTES: Final = 1 << 24
_SUFFIX: Final = ".losses"
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


class Secondary(Section, frozen=True):
    """What the law and those concerned may cost after an event, and how often they do."""

    probability: Annotated[float, Meta(ge=0.0, le=1.0)]
    # In the site's money: least, likeliest, most.
    loss: Pert


def _assumed() -> dict[str, Secondary]:
    """Give what is assumed where a site says nothing: orders of magnitude, not measurements.

    The likeliest sums stand for notification, counsel and inquiry; the most for a fine that a
    middle-sized operator was given, far below the legal maximum. A site states its own.
    """
    return {
        "personal": Secondary(0.25, (5_000.0, 40_000.0, 1_000_000.0)),
        "health": Secondary(0.35, (10_000.0, 80_000.0, 1_500_000.0)),
        "card": Secondary(0.30, (5_000.0, 60_000.0, 500_000.0)),
        "essential": Secondary(0.20, (10_000.0, 100_000.0, 2_000_000.0)),
    }


class FairConfig(Section, frozen=True):
    """How losses are simulated, and what follows an event by law."""

    seed: Annotated[int, Meta(ge=0)] = 1
    samples: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000
    secondary: dict[str, Secondary] = msgspec.field(default_factory=_assumed)


def loss_table(assets: Sequence[Asset], config: FairConfig, folder: Path | None) -> LossTable:
    """Give each asset's loss, sorted by name; the row "" stands for what is listed nowhere.

    What was simulated before is read back from `folder`, where it lies under the digest of its
    inputs; a table that does not match its own digest is simulated again. None keeps nothing.

    Raises:
        InputError: an asset's figures are no costs, or two assets have one name.
    """
    listed = sorted([*assets, Asset(UNLISTED, ())], key=lambda one: one.name)
    for one, following in pairwise(listed):
        if one.name == following.name:
            raise _twice(one.name)
    inputs = _inputs(listed, config)
    kept = None if folder is None else folder / f"{inputs.hex()}{_SUFFIX}"
    if kept is not None and (found := _read(kept, inputs)) is not None:
        return found
    rows = tuple(_simulated(one, config) for one in listed)
    table = LossTable(_digest(inputs, rows), rows)
    if kept is not None:
        # What cannot be kept is simulated again at the next start, and is the same then.
        with suppress(OSError):
            _write(kept, table)
    return table


def _inputs(listed: Sequence[Asset], config: FairConfig) -> bytes:
    named = [(one.name, one.loss, one.attacks_per_year, sorted(set(one.data))) for one in listed]
    law = {name: (one.probability, one.loss) for name, one in config.secondary.items()}
    told = ("cronos-fair", VERSION, config.seed, config.samples, _CELLS, named, law)
    return hashlib.sha256(_ENCODER.encode(told)).digest()


def _digest(inputs: bytes, rows: tuple[Loss, ...]) -> str:
    return hashlib.sha256(inputs + _ENCODER.encode(rows)).hexdigest()


# --- simulation --------------------------------------------------------------------------------


def _simulated(asset: Asset, config: FairConfig) -> Loss:
    """Simulate one asset: its events' costs, and as many years of them as there are samples."""
    if not 0.0 <= asset.attacks_per_year <= _MAX_PER_YEAR:
        raise _no_cost(asset.name, f"{asset.attacks_per_year} attacks a year")
    size = config.samples
    events = _costs(_Draws(config.seed, asset.name, "loss", size), _checked(asset.name, asset.loss))
    for name in sorted(set(asset.data)):
        law = config.secondary.get(name)
        if law is not None and law.probability > 0:
            draws = _Draws(config.seed, asset.name, name, size)
            cost = _checked(f"[plugin.fair] {name}", law.loss)
            # The events rise; what follows them must not rise with them.
            more = draws.shuffled(_costs(draws, cost, law.probability))
            events = [one + other for one, other in zip(events, more, strict=True)]
    years = _counts(_Draws(config.seed, asset.name, "frequency", size), asset.attacks_per_year)
    mean = math.fsum(events) / size
    p90 = sorted(events)[math.ceil(0.9 * size) - 1]
    # Wald: how many events a year has says nothing about what each costs, so the mean year is
    # the product of both means, with less noise than summing events year by year would leave.
    annual = mean * sum(years) / size
    return Loss(asset.name, round(mean, 2), round(p90, 2), round(annual, 2))


class _Draws:
    """One dimension of a Latin hypercube: a uniform number from each stratum, and their order."""

    def __init__(self, seed: int, asset: str, dimension: str, size: int) -> None:
        self.size: Final = size
        named = _ENCODER.encode(("cronos-fair-draws", VERSION, seed, asset, dimension))
        raw = array("Q", hashlib.shake_256(named).digest(16 * size))
        if sys.byteorder == "big":
            raw.byteswap()
        scale = 2.0**-53 / size
        step = 1 / size
        self.rising: Final = [n * step + (raw[n] >> 11) * scale for n in range(size)]
        self._keys = raw[size:]

    def shuffled(self, values: list[float]) -> list[float]:
        """Put what was made of the rising numbers into the order in which they were drawn."""
        return [values[n] for n in sorted(range(self.size), key=self._keys.__getitem__)]


def _costs(draws: _Draws, cost: Pert, probability: float = 1.0) -> list[float]:
    """Draw costs, in rising order: PERT with this probability; nothing otherwise, at the end."""
    least, _, most = cost
    values = [0.0] * draws.size
    width = most - least
    cumulated = _cumulated(cost)
    cell, below, above = 0, 0.0, cumulated[0]
    for n, uniform in enumerate(draws.rising):
        share = uniform / probability
        if share >= 1.0:
            break
        while share >= above and cell < _CELLS - 1:
            cell += 1
            below, above = above, cumulated[cell]
        within = (share - below) / (above - below) if above > below else 0.0
        values[n] = least + width * (cell + within) / _CELLS
    return values


def _cumulated(cost: Pert) -> list[float]:
    """Integrate the density of a PERT over its cells by the midpoint rule, up to 1.

    Both exponents lie in [0, 4]: the density is bounded and smooth.
    """
    least, likeliest, most = cost
    if most <= least:
        return [(n + 1) / _CELLS for n in range(_CELLS)]
    rise = 4 * (likeliest - least) / (most - least)
    fall = 4 * (most - likeliest) / (most - least)
    middles = ((n + 0.5) / _CELLS for n in range(_CELLS))
    sums = list(accumulate(x**rise * (1 - x) ** fall for x in middles))
    return [one / sums[-1] for one in sums]


def _counts(draws: _Draws, rate: float) -> list[int]:
    """Draw how many events each year has: Poisson by inversion, in rising order."""
    if rate > 500:
        # exp(-rate) ends at 745. Only the mean year is kept: a spread below 5 % is left out.
        whole, part = int(rate), rate - int(rate)
        return [whole + (uniform < part) for uniform in draws.rising]
    count, chance = 0, math.exp(-rate)
    reached = chance
    counts: list[int] = []
    for uniform in draws.rising:
        while uniform >= reached and chance > 0.0:
            count += 1
            chance *= rate / count
            reached += chance
        counts.append(count)
    return counts


def _checked(owner: str, cost: Pert) -> Pert:
    least, likeliest, most = cost
    if not 0.0 <= least <= likeliest <= most <= _MAX_MONEY:
        raise _no_cost(owner, f"{least}, {likeliest}, {most}")
    return cost


def _no_cost(owner: str, told: str) -> InputError:
    return InputError(
        "intel.no_loss",
        f"The loss of `{owner}` cannot be simulated: {told}.",
        "State least, likeliest and most in rising order, none below 0, and up to"
        " 1,000,000 attacks a year.",
    )


def _twice(name: str) -> InputError:
    return InputError(
        "intel.asset_twice",
        f"Two assets are called `{name}`.",
        "Give each [[asset]] a name of its own.",
    )


# --- what was simulated before -----------------------------------------------------------------


def _read(path: Path, inputs: bytes) -> LossTable | None:
    """Read a table back; None where there is none, or it is not what was simulated."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TABLE_BYTES + 1)
        table = decode(data)
    except (OSError, ValueError):
        return None
    if not isinstance(table, LossTable) or table.digest != _digest(inputs, table.rows):
        return None
    return table


def _write(path: Path, table: LossTable) -> None:
    """Keep a table, whole or not at all, and the last few beside it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
        file.write(encode(table))
    new.replace(path)
    kept = sorted(path.parent.glob(f"*{_SUFFIX}"), key=lambda one: one.stat().st_mtime_ns)
    for old in kept[:-_KEPT]:
        old.unlink(missing_ok=True)
