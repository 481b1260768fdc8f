"""What learning costs: 1,000 messages of 300 bytes, in seconds and in memory.

Usage: python bench/bench_learn.py [--json]

Each round learns another drawn binary protocol in a process of its own, as `cronos discover` does:
statistics, classification, types, boundaries, grammar, exports, validation. Messages are drawn
with many fields and records and cut or chosen so that the mean size is 300 bytes. Wall time is
that of the whole process; memory is the most that it ever held (`ru_maxrss`).
"""

import resource
import subprocess
import sys
import time

from report import Report

from cronos.discover.child import LearnAsk, carried_out
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.discover.parts import parts_of
from cronos.discover.synthetic import samples
from cronos.runtime.world import SystemClock

MESSAGES = 1_000
BYTES = 300
SEEDS = (11, 12, 13, 14, 15)


def material(seed: int) -> list[Message]:
    """Give 1,000 messages of 300 bytes on average: drawn bodies behind one another."""
    out: list[Message] = []
    total = 0
    for one in samples(seed, MESSAGES):
        payload = one.payload
        # Records of the same kind follow until the mean is reached, as batches of readings do.
        while total + len(payload) < BYTES * (len(out) + 1) - BYTES // 2 and len(payload) < 900:
            payload += one.payload
        payload = payload[:1_400]
        total += len(payload)
        out.append(Message(payload, one.flow, one.direction, one.ts))
    return out


def child(seed: int) -> None:
    """Learn once, and print seconds, MiB, mean size and what came of it."""
    messages = material(seed)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.perf_counter(), time.process_time()
    ask = LearnAsk(Service("drawn", tuple(messages)), Limits(max_seconds=120.0))
    learned = carried_out(ask, SystemClock(), parts_of, lambda *_: None)
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(len(one.payload) for one in messages) / len(messages)
    proof = learned.validation
    print(took, spent, most, base, size, proof.parsed if proof else 0.0, learned.stopped or "-")


def main() -> None:
    """Learn in processes, and tell."""
    rounds = []
    for seed in SEEDS:
        done = subprocess.run(
            [sys.executable, __file__, "--child", str(seed)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        rounds.append([float(word) for word in done.stdout.split()[:6]])
    took, cpu, most, _, size, parsed = zip(*rounds, strict=True)
    report = Report("learn: 1,000 messages of 300 bytes")
    report.add("wall", took, "s", MESSAGES, "<= 30 (aim 10)")
    report.add("CPU", cpu, "s", MESSAGES)
    report.add("most memory ever held", most, "MiB", MESSAGES, "<= 1024")
    report.add("mean size", size, "bytes", MESSAGES)
    report.add("held-back messages parsed", [100 * one for one in parsed], "%", MESSAGES)
    report.show()


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(int(sys.argv[-1]))
    else:
        main()
