"""Which message comes next: a grammar's probabilities, counts, the network, and all three mixed.

Usage: python bench/bench_sequences.py [--json] [NAME ...]

Bits a message (the logarithm of the perplexity) and right first guesses on the open protocols and
on conversations of drawn ones. True message types are the kinds. The network learnt from random
automata alone, so that every protocol is unseen; the counts begin empty at each protocol, so that
each message is foreseen before it is counted. Needs ../shared/data/discovery.
"""

import gzip
import json
import statistics
import sys
from pathlib import Path

from report import Report

from cronos.discover.messages import Message
from cronos.discover.order import Foresight, foreseen, turns_of
from cronos.discover.synthetic import samples

OPEN = Path(__file__).parents[1] / ".." / "shared" / "data" / "discovery"
DRAWN = range(9_000, 9_020)  # seeds that no model was trained on
MESSAGES = 400
WAYS = {
    "grammar": "the grammar's probabilities",
    "previous": "counts behind the last kind of the flow",
    "network": "the network alone",
    "mixture": "all three, mixed",
}


def published(file: Path) -> Foresight:
    """Foresee a captured protocol."""
    with gzip.open(file) as lines:
        rows = [json.loads(line) for line in lines][:1_000]
    messages = [Message(b"", str(row["flow"]), row["direction"], row["ts"]) for row in rows]
    return foreseen(turns_of(messages, [row["message_type"] for row in rows]))


def drawn(seed: int) -> Foresight:
    """Foresee a drawn protocol."""
    some = sorted(samples(seed, MESSAGES), key=lambda one: one.ts)
    messages = [Message(b"", one.flow, one.direction, one.ts) for one in some]
    return foreseen(turns_of(messages, [one.message_type for one in some]))


def main() -> None:
    """Foresee, and tell."""
    names = {word for word in sys.argv[1:] if not word.startswith("-")}
    files = [
        file
        for file in sorted(OPEN.glob("*.jsonl.gz"))
        if not names or file.name.removesuffix(".jsonl.gz") in names
    ]
    report = Report("sequences: which message comes next")
    for what, all_of in (
        ("open", [published(file) for file in files]),
        ("drawn", [drawn(seed) for seed in DRAWN]),
    ):
        if not all_of:
            continue
        for way, title in WAYS.items():
            bits = [getattr(one, way).bits for one in all_of]
            right = [getattr(one, way).right for one in all_of]
            report.add(
                f"{what}: bits a message, {title}", [statistics.mean(bits)], "bits", len(bits)
            )
            report.add(
                f"{what}: right first guess, {title}", [statistics.mean(right)], "", len(bits)
            )
        better = sum(one.mixture.bits < one.previous.bits for one in all_of)
        report.add(f"{what}: mixture better than counts alone", [better], "protocols", len(all_of))
    report.show()


if __name__ == "__main__":
    main()
