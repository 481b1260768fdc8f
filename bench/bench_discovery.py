"""Protocol discovery on protocols it has never seen: boundaries, types, meanings, noise, time.

`python bench/bench_discovery.py [--rows FILE] [--messages N] [--families] [--out DIR]`. Needs
../shared and the extra `train`. Each protocol is scored by models that learnt from none of its
group; a group holds whole families (and more), so that this is stricter than leaving one family
out, which `--families` does. The scorer is ../shared/score/score_fields.py.
"""

import argparse
import json
import pathlib
import pickle
import subprocess
import sys
import time

import msgspec
import numpy as np

from cronos.discover import train
from cronos.discover.engine import discover
from cronos.discover.folds import FAMILIES, GROUPS
from cronos.discover.lessons import published
from cronos.discover.messages import Message
from cronos.discover.model import Limits
from cronos.discover.scorer import Trees
from cronos.discover.shipped import NAMES, Models
from cronos.discover.teaching import alone
from cronos.runtime.world import SystemClock

SHARED = pathlib.Path("../shared")
DATA = SHARED / "data" / "discovery"
SCORE = SHARED / "score" / "score_fields.py"


def learnt(file, known):
    """Give a teacher and rows to learn from, from a file where they were kept."""
    if file and pathlib.Path(file).exists():
        return pickle.loads(pathlib.Path(file).read_bytes())
    taught = train.studied(known, train.print_line, alone)
    if file:
        pathlib.Path(file).write_bytes(pickle.dumps(taught))
    return taught


def models_without(taught, group):
    parts = train.scorers(taught, group)
    return Models(*(Trees(parts[name]) for name in NAMES))


def predict(messages, models, file):
    began = time.process_time()
    found = discover(
        messages, Limits(max_seconds=1e6, max_memory_mb=1024), SystemClock(), quiet, models
    )
    took = time.process_time() - began
    with file.open("w") as out:
        for i, (kind, fields) in enumerate(zip(found.types, found.fields, strict=True)):
            row = {"i": i, "message_type": str(kind), "fields": msgspec.to_builtins(fields)}
            out.write(json.dumps(row) + "\n")
    return took


def quiet(_phase, _share):
    """Tell nobody."""


def every(step, lesson, file):
    with file.open("w") as out:
        for i, message in enumerate(lesson.messages):
            cuts = list(range(step, len(message.payload), step))
            out.write(json.dumps({"i": i, "boundaries": cuts, "message_type": "0"}) + "\n")


def scored(folder):
    out = folder / "score.json"
    command = [sys.executable, SCORE, DATA, folder, "--present", "--subset", "--json", out]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return json.loads(out.read_text())["macro"]


def noise_rate(models):
    """Give the share of gaps of random messages at which a boundary is set."""
    rng = np.random.default_rng(99)
    cuts = gaps = 0
    for sizes in (np.full(500, 120), rng.integers(20, 300, 500)):
        messages = [
            Message(rng.bytes(int(s)), str(i % 5), "c2s" if i % 2 else "s2c", 1.7e9 + i)
            for i, s in enumerate(sizes)
        ]
        found = discover(messages, Limits(max_seconds=1e6), SystemClock(), quiet, models)
        cuts += sum(len(fields) - 1 for fields in found.fields)
        gaps += int(sizes.sum()) - len(sizes)
    return cuts / gaps


PEERS = {
    "Netzob 2.0.0": "its build with minepy does not end on Python 3.11 (tried for 200 s)",
    "NEMESYS": "Python 3.9 only, and it needs an unreleased Netzob",
    "NetPlier": "no package; pins torch 1.2 and numpy 1.19, which have none for Python 3.11",
    "BinaryInferno": "no package; fails on Python 3.11 (stdev of an infinite value)",
}
"""Published tools that learn from traffic alone, and why none runs beside this here."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="", help="keep what is learnt from in this file")
    parser.add_argument("--messages", type=int, default=1000, help="of each protocol")
    parser.add_argument("--out", default="/tmp/discovery-predictions")
    parser.add_argument("--families", action="store_true", help="leave out one family at a time")
    parser.add_argument("--noise", action="store_true", help="score noise with every model")
    options = parser.parse_args()
    folder = pathlib.Path(options.out)
    for name in ("ours", "every1", "every2"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lessons = {lesson.name: lesson for lesson in published(DATA)}
    taught = learnt(options.rows, tuple(lessons.values()))
    noise = []
    for group in FAMILIES if options.families else GROUPS:
        models = models_without(taught, group)
        if group == GROUPS[0] or options.noise:
            noise.append(noise_rate(models))
        for name in group:
            lesson = lessons[name]
            took = predict(
                lesson.messages[: options.messages], models, folder / "ours" / f"{name}.jsonl"
            )
            print(
                f"{name}: {len(lesson.messages)} messages in {took:.1f} s of CPU", file=sys.stderr
            )
            every(1, lesson, folder / "every1" / f"{name}.jsonl")
            every(2, lesson, folder / "every2" / f"{name}.jsonl")
    for name in ("ours", "every1", "every2"):
        print(name)
        scored(folder / name)
    print(f"random messages: boundaries at {max(noise):.4f} of the gaps (worst of {len(noise)})")
    for name, why in PEERS.items():
        print(f"{name}: not run: {why}")


if __name__ == "__main__":
    main()
