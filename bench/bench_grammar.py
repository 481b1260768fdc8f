"""Grammars of the open protocols from their true fields, proved on the third that was held back.

This measures the grammar alone: what inference and interpreter lose when every boundary is right.
Claims are what the detectors say of the messages that are learnt from.
`msg/s` is the exported Python parser on the held-back messages: CPU time of one process, the best
of 40 passes of 50 ms, as others' turns only ever slow one down.
Needs ../shared/data/discovery. `name ...` restricts it.
"""

import gzip
import json
import sys
import time
from pathlib import Path

import msgspec

from cronos.discover import export_python
from cronos.discover.attested import said_of
from cronos.discover.detectors import registry
from cronos.discover.grammar import Sample, infer
from cronos.discover.interpreter import Interpreter
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.verify import split, verify

OPEN = Path(__file__).parents[1] / ".." / "shared" / "data" / "discovery"
SEMS = {one.value: one for one in Sem}


def load(file: Path) -> list[Sample]:
    numbers: dict[str, int] = {}
    out: list[Sample] = []
    with gzip.open(file) as lines:
        for text in lines:
            row = json.loads(text)
            kind = numbers.setdefault(row["message_type"], len(numbers))
            fields = tuple(
                (f["offset"], f["length"], SEMS.get(f["sem"], Sem.VALUE)) for f in row["fields"]
            )
            out.append(Sample(bytes.fromhex(row["payload_hex"]), fields, kind, row["direction"]))
    return out


def attested(samples: list[Sample]) -> list[Sample]:
    """Give the samples with what detectors claim of them."""
    claims = registry.claims([Message(one.data, "", one.direction) for one in samples])
    said = said_of(claims, len(samples))
    return [msgspec.structs.replace(one, said=of) for one, of in zip(samples, said, strict=True)]


def exported_rate(source: str, messages: list[Sample]) -> float:
    """Give how many messages a second the exported parser reads."""
    space: dict[str, object] = {"__name__": "exported"}
    exec(compile(source, "exported", "exec"), space)
    parse, best = space["parse"], 0.0
    for _ in range(40):
        began, count = time.process_time(), 0
        while time.process_time() - began < 0.05:
            for one in messages:
                parse(one.data, one.direction)
            count += len(messages)
        best = max(best, count / (time.process_time() - began))
    return best


def main() -> None:
    print(
        "protocol     n  held  types  parsed rebuilt recall  prec. noise   infer s  p50 us  p99 us"
        "   msg/s"
    )
    for file in sorted(OPEN.glob("*.jsonl.gz")):
        name = file.name.removesuffix(".jsonl.gz")
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        samples = load(file)
        train, held = split(len(samples))
        began = time.process_time()
        grammar = infer(attested([samples[n] for n in train]), name)
        seconds = time.process_time() - began
        rest = [samples[n] for n in held]
        done = verify(grammar, rest)
        run, times = Interpreter(grammar), []
        for one in rest:
            start = time.perf_counter()
            run.parse(one.data, one.direction)
            times.append(1e6 * (time.perf_counter() - start))
        times.sort()
        print(
            f"{name:9} {len(samples):4} {len(rest):5} {len(grammar.types):6}  {done.parsed:.3f}"
            f"   {done.rebuilt:.3f}   {done.recall:.3f}  {done.precision:.3f}"
            f" {done.noise_refused:.3f} {seconds:8.1f} {times[len(times) // 2]:7.0f}"
            f" {times[int(0.99 * len(times))]:7.0f}"
            f" {exported_rate(export_python.render(grammar), rest):7.0f}"
        )


if __name__ == "__main__":
    main()
