"""ATT&CK ids: Sigma rules speak v19, findings v18.1.

(c) The MITRE Corporation. ATT&CK ids are reproduced with its permission.
"""

import re
from typing import Final

VERSION: Final = "18.1"

# v19 split Impair Defenses (T1562) and moved two indicator removals. Several v18 ids became one:
# T1685 may have been T1562, T1562.001 or T1562.006; by far the most were T1562.001.
_V19_TO_V18: Final = {
    "T1685": "T1562.001",
    "T1685.001": "T1562.002",
    "T1685.002": "T1562.008",
    "T1685.004": "T1562.012",
    "T1685.005": "T1070.001",
    "T1685.006": "T1070.002",
    "T1686": "T1562.004",
    "T1686.001": "T1562.007",
    "T1686.002": "T1562.004",
    "T1686.003": "T1562.004",
    "T1689": "T1562.010",
    "T1690": "T1562.003",
}
_TECHNIQUE: Final = re.compile(r"attack\.(t\d{4}(?:\.\d{3})?)", re.IGNORECASE)


def technique(tag: str) -> str | None:
    """Give the v18.1 technique id that a Sigma tag names, None where it names none."""
    found = _TECHNIQUE.fullmatch(tag)
    if found is None:
        return None
    name = found[1].upper()
    return _V19_TO_V18.get(name, name)
