"""What losing an asset costs, for the kernel: simulated once for each asset model, then read."""

from pathlib import Path

from cronos import config as configuration
from cronos.config import Config
from cronos.front.plugins import load
from cronos.types import LossTable


def losses_of(config: Config, home: Path | None) -> LossTable:
    """Give the losses of the site's assets; an empty table where none is listed.

    Args:
        config: the assets, and the table [plugin.fair].
        home: the node's folder, in which they are kept; None to keep nothing.

    Raises:
        InputError: an asset's figures contradict each other.
    """
    table = config.plugin.get("fair", {})
    settings = configuration.convert(table, load("entry", "fair-settings"), "[plugin.fair]")
    if not config.asset:
        return LossTable()
    folder = home / "losses" if home is not None else None
    losses: LossTable = load("entry", "loss-table")(config.asset, settings, folder)
    return losses
