"""Makes src/cronos/intel/attack.json of a copy of ATT&CK: ids, names, tactics, what was revoked.

Usage: python bench/attack_table.py attack_v18_1.json

The input holds `domains` (enterprise-attack, ics-attack) with `tactics` and `techniques`, and
`revoked_by`. ATT&CK is (c) The MITRE Corporation; it may be reproduced with its notice, which is
kept in the result.
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src" / "cronos" / "intel" / "attack.json"
NOTICE = (
    "(c) The MITRE Corporation. This work is reproduced and distributed with the permission of "
    "The MITRE Corporation."
)
MAX_BYTES = 300_000


def trimmed(given: dict) -> dict:
    """Keep what explanations need; two domains may share no id."""
    tactics: dict[str, str] = {}
    techniques: dict[str, list] = {}
    for domain in sorted(given["domains"].values(), key=lambda one: -len(one["techniques"])):
        for one in domain["tactics"].values():
            tactics[one["id"]] = one["name"]
        for one in domain["techniques"]:
            if not one["dead"]:
                if one["id"] in techniques:
                    raise SystemExit(f"{one['id']} stands in two domains")
                techniques[one["id"]] = [one["name"], *sorted(one["tactics"])]
    revoked = {old: new for old, new in given["revoked_by"].items() if new in techniques}
    return {
        "version": "18.1",
        "source": given["source"],
        "notice": NOTICE,
        "tactics": dict(sorted(tactics.items())),
        "techniques": dict(sorted(techniques.items())),
        "revoked": dict(sorted(revoked.items())),
    }


def main() -> None:
    """Write the table, one technique a line."""
    table = trimmed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows = (f"{json.dumps(k)}:{json.dumps(v)}" for k, v in value.items())
            lines.append(f"{json.dumps(key)}:{{\n" + ",\n".join(rows) + "\n}")
        else:
            lines.append(f"{json.dumps(key)}:{json.dumps(value)}")
    text = "{" + ",\n".join(lines) + "}\n"
    if len(text) > MAX_BYTES:
        raise SystemExit(f"{len(text)} bytes are more than {MAX_BYTES}")
    TARGET.write_text(text, encoding="utf-8")
    print(f"{len(table['techniques'])} techniques, {len(table['tactics'])} tactics, {len(text)} B")


if __name__ == "__main__":
    main()
