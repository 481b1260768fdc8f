"""ATT&CK's names and tactics, for people: enterprise and ICS, version 18.1.

The table lies beside this file, made by ``bench/attack_table.py``. An id that it does not hold
stays unknown; a revoked one is what took its place.

(c) The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE
Corporation.
"""

import functools
from pathlib import Path
from typing import Final

import msgspec

_FILE: Final = Path(__file__).with_name("attack.json")


class Technique(msgspec.Struct, frozen=True):
    """A technique as ATT&CK calls it; `name` and `tactics` are empty where it is unknown.

    `tactics` are ids (``TA0040``), `tactic_names` their names in the same order.
    """

    technique: str
    name: str = ""
    tactics: tuple[str, ...] = ()
    tactic_names: tuple[str, ...] = ()


class _Table(msgspec.Struct, frozen=True):
    version: str
    notice: str
    tactics: dict[str, str]
    techniques: dict[str, tuple[str, ...]]  # name, then tactics
    revoked: dict[str, str]


@functools.cache
def _table() -> _Table:
    return msgspec.json.decode(_FILE.read_bytes(), type=_Table)


def version() -> str:
    """Give the version of ATT&CK."""
    return _table().version


def notice() -> str:
    """Give the notice that goes with whatever shows these names."""
    return _table().notice


def technique(name: str) -> Technique:
    """Look an id up: ``T1486``, ``T1110.001``, ``T0855``."""
    table = _table()
    known = table.revoked.get(name, name)
    found = table.techniques.get(known)
    if found is None:
        return Technique(name)
    return Technique(known, found[0], found[1:], tuple(table.tactics[one] for one in found[1:]))


def tactics_of(techniques: tuple[str, ...]) -> frozenset[str]:
    """Give the ids of all tactics that these techniques serve."""
    return frozenset(tactic for name in techniques for tactic in technique(name).tactics)
