"""Which sealed stores lie below a folder, found by their epoch packets.

A key that wraps data keys may be destroyed only once every packet has been wrapped to another:
what is sealed in a store that was not thought of would be lost with it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cronos.crypto.epoch import parse_epoch
from cronos.crypto.epochfile import EpochFile
from cronos.errors import DeniedError

_TOPIC: Final = "state/"
_NAMES: Final = frozenset({"epochs", "epochs.bak"})


def sealed_stores(home: Path) -> Sequence[tuple[Path, str]]:
    """Give folder and store of each file of epoch packets below `home`, sorted.

    Links are not followed.

    Raises:
        DeniedError: a packet cannot be read, so that nobody knows what it is wrapped to.
    """
    found: list[tuple[Path, str]] = []
    for folder, _, files in os.walk(home):
        if _NAMES.isdisjoint(files):
            continue
        file = EpochFile(Path(folder))
        packets = file.packets()
        if packets:
            found.append((Path(folder), parse_epoch(packets[0]).topic.removeprefix(_TOPIC)))
        elif any(Path(folder, one).stat().st_size for one in _NAMES & set(files)):
            raise DeniedError(
                "crypto.epochs_lost",
                f"The epoch packets in {folder} are damaged: what they are wrapped to is unknown.",
                "Put `epochs` or `epochs.bak` back from a copy of the same folder.",
            )
    return sorted(found)
