"""Hit rates of the detectors against the truth of the open protocols, and their false alarms.

Per family of detectors: how many protocols it speaks of, how many spans of a message it claims,
how many of these are exactly a true field, how many begin where a true field begins, and how many
of the exact ones mean what it says. Then the sets of noise in which it claims anything. The truth
is in ../shared/data/discovery; each protocol is taken whole and by its true message types.

    .venv/bin/python bench/bench_discovery_detectors.py [messages] [seeds]
"""

import collections
import gzip
import importlib
import json
import pathlib
import sys
import time

from cronos.discover.detectors.registry import FAMILIES, claims
from cronos.discover.messages import Message

ROOT = pathlib.Path(__file__).parents[1]
OPEN = ROOT.parent / "shared" / "data" / "discovery"
LEAST_OF_A_TYPE = 12


def read(path, most):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return rows[:: max(1, len(rows) // most)][:most]


def message(row):
    payload = bytes.fromhex(row["payload_hex"])
    return Message(payload, str(row["flow"]), row["direction"], row["ts"])


def groups(rows):
    by_type = collections.defaultdict(list)
    for row in rows:
        by_type[row["message_type"]].append(row)
    yield rows
    yield from (group for group in by_type.values() if len(group) >= LEAST_OF_A_TYPE)


def score(rows, counts, protocol):
    for claim in claims([message(row) for row in rows]):
        if claim.terms.get("choice", 0):
            continue
        kind = claim.kind.split(".")[0]
        for span, row in zip(claim.spans, rows, strict=True):
            if span is None:
                continue
            counts[kind, "spans"] += 1
            counts[kind, "protocols", protocol] = 1
            for field in row["fields"]:
                if field["offset"] == span[0]:
                    counts[kind, "begins"] += 1
                    if field["length"] == span[1]:
                        counts[kind, "exact"] += 1
                        counts[kind, "means"] += field.get("sem") == claim.sem


def main():
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    counts = collections.Counter()
    began = time.process_time()
    paths = sorted(OPEN.glob("*.jsonl.gz"))
    for path in paths:
        for group in groups(read(path, most)):
            score(group, counts, path.name.split(".")[0])
    spent = time.process_time() - began
    print(f"{len(paths)} protocols, at most {most} messages each, {spent:.0f} s of one core")
    print(f"{'claims':12s} protocols  spans  exact  begins  means")
    for kind in sorted({key[0] for key in counts}):
        spans = counts[kind, "spans"]
        protocols = sum(1 for key in counts if key[:2] == (kind, "protocols"))
        shares = [counts[kind, name] / spans for name in ("exact", "begins")]
        means = counts[kind, "means"] / max(1, counts[kind, "exact"])
        shown = "    ".join(f"{share:.2f}" for share in (*shares, means))
        print(f"{kind:12s} {protocols:9d} {spans:6d}  {shown}")
    noise(seeds)


def noise(seeds):
    sys.path.insert(0, str(ROOT / "tests" / "unit" / "discover" / "detectors"))
    made = importlib.import_module("noise")

    print(f"false alarms in {seeds} sets of 200 messages of each kind of noise")
    for make in (made.random_bytes, made.shuffled, made.few_sizes):
        wrong = collections.Counter()
        for seed in range(5000, 5000 + seeds):
            wrong.update({claim.kind.split(".")[0] for claim in claims(make(seed))})
        print(f"{make.__name__:12s} {dict(sorted(wrong.items()))} of {len(FAMILIES)} families")


if __name__ == "__main__":
    main()
