"""Train the two networks and write them: `sequences.onnx`, which is shipped, and `labeller.onnx`.

`cronos discover train` calls this. The labeller learns from drawn protocols and from real ones with
a published truth, where they lie beside the project; the transformer from random automata alone.
"""

import gzip
import json
import pathlib
import sys
from collections.abc import Collection, Iterator
from typing import Any, Final

from cronos.discover import labeller_train, sequences_train
from cronos.discover.labeller_train import Fields, Studied, drawn, study
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.sequences import SHA256
from cronos.discover.shipped import compared

PUBLISHED: Final = pathlib.Path("../shared/data/discovery")
SEEDS: Final = range(3_000, 3_060)
DRAWN_MESSAGES: Final = 80


def train(out: str) -> int:
    """Train both networks and write them to a folder; gives the exit code of the command.

    Raises:
        InputError: the extra `train` is not installed.
    """
    folder = pathlib.Path(out or "models")
    labeller_train.torch()
    folder.mkdir(parents=True, exist_ok=True)
    foreseer = sequences_train.written(sequences_train.train(_told))
    (folder / "sequences.onnx").write_bytes(foreseer)
    _told(compared("sequences.onnx", foreseer, SHA256))
    lessons = [*published(PUBLISHED), *drawn(SEEDS, DRAWN_MESSAGES)]
    network = labeller_train.train(lessons, _told)
    learnt = [lesson.name for lesson in lessons if lesson.real]
    (folder / "labeller.onnx").write_bytes(labeller_train.written(network, learnt))
    return 0


def published(folder: pathlib.Path, left_out: Collection[str] = ()) -> Iterator[Studied]:
    """Study real protocols with their truth, all but those left out."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        name = path.name.removesuffix(".jsonl.gz")
        if name in left_out:
            continue
        _told(f"labeller: reads {name}")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        messages = [_message(row) for row in rows]
        yield study(name, messages, [_fields(row) for row in rows], real=True)


def _message(row: dict[str, Any]) -> Message:
    payload = bytes.fromhex(row["payload_hex"])
    return Message(payload, str(row["flow"]), row["direction"], row["ts"])


def _fields(row: dict[str, Any]) -> Fields:
    return tuple((f["offset"], f["length"], _meaning(f.get("sem"))) for f in row["fields"])


def _meaning(name: object) -> Sem:
    if name == "id":
        return Sem.VALUE
    return Sem(str(name)) if name in set(Sem) else Sem.BYTES


def _told(text: str) -> None:
    sys.stderr.write(f"{text}\n")
