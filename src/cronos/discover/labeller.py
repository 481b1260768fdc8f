"""The BiLSTM-CRF at work: onnxruntime scores the bytes, Viterbi in NumPy finds the tags.

No network comes with the package: what was measured leave-family-out did not win, see
docs/discovery.md. `cronos discover train` writes one, and `cronos discover --labeller` uses it.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem
from cronos.discover.tagging import FEATURES, TAGS, Described, Floats, Ints, describe, fields_of
from cronos.errors import InputError

MAX_MODEL_BYTES: Final = 4 << 20
BATCH: Final = 64


def read(path: Path) -> bytes:
    """Read a network's file.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            model = file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise _damaged(error.strerror or "it cannot be read") from error
    if len(model) > MAX_MODEL_BYTES:
        raise _damaged("it is too large")
    return model


class Labeller:
    """A trained network; `label` gives the fields of messages."""

    def __init__(self, model: bytes) -> None:
        """Load a network; raises InputError where it is none of ours."""
        if len(model) > MAX_MODEL_BYTES:
            raise _damaged("it is too large")
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session: Any = runtime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # onnxruntime raises classes of its own, without a common public base.
            raise _damaged("onnxruntime refuses it") from error
        props = self._session.get_modelmeta().custom_metadata_map
        if props.get("tags", "").split() != list(TAGS):
            raise _damaged("its tags are not these")
        self.learnt = tuple(props.get("learnt", "").split())

    def label(
        self, messages: Sequence[Message], claims: Sequence[Claim]
    ) -> list[list[tuple[int, int, Sem]]]:
        """Give the fields of each message, as (offset, length, meaning) that tile its front."""
        described = describe(messages, claims)
        order = sorted(range(len(described)), key=lambda row: len(described[row].data))
        out: list[list[tuple[int, int, Sem]]] = [[] for _ in described]
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            scores, moves = self._score([described[row] for row in rows])
            sizes = np.array([len(described[row].data) for row in rows], np.int64)
            for row, tags in zip(rows, viterbi(scores, moves, sizes), strict=True):
                out[row] = fields_of(tags) if tags else []
        return out

    def _score(self, rows: Sequence[Described]) -> tuple[Floats, Floats]:
        longest = max(1, *(len(row.data) for row in rows), 1)
        data = np.zeros((longest, len(rows)), np.int64)
        features = np.zeros((longest, len(rows), FEATURES), np.float32)
        # Behind its end a message is zeros; what the network makes of them reaches back a little.
        for column, row in enumerate(rows):
            data[: len(row.data), column] = row.data
            features[: len(row.data), column] = row.features
        scores, moves = self._session.run(None, {"data": data, "features": features})
        return scores, moves


def viterbi(scores: Floats, moves: Floats, sizes: Ints) -> list[list[int]]:
    """Give the likeliest tags of each column of (time, rows, tags), up to its size."""
    longest, rows, _ = scores.shape
    best = scores[0].astype(np.float64)
    back = np.zeros((longest, rows, scores.shape[2]), np.int64)
    last = best.copy()
    for at in range(1, longest):
        paths = best[:, :, None] + moves[None]
        back[at] = paths.argmax(axis=1)
        best = paths.max(axis=1) + scores[at]
        going = sizes > at
        last[going] = best[going]
    out: list[list[int]] = []
    for row in range(rows):
        size = int(sizes[row])
        tag = int(last[row].argmax())
        path = [tag] * min(1, size)
        for at in range(size - 1, 0, -1):
            tag = int(back[at, row, tag])
            path.append(tag)
        out.append(path[::-1])
    return out


def _damaged(why: str) -> InputError:
    return InputError(
        "discover.labeller",
        f"The network for tagging bytes cannot be used: {why}.",
        remedy="Install the package anew, or train it: cronos discover train.",
    )
