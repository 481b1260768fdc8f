"""What message comes next: a small transformer over the kinds of messages, beside plain counts.

A grammar says how often a kind of message comes; in a conversation one kind follows another. The
transformer reads the last 64 messages of a capture and gives each kind its chance to be the next.
Kinds are numbered in the order in which a capture shows them, so it knows no protocol: it learnt
from random automata alone how conversations go. The counts are what a grammar's probabilities come
to: of each kind so far (order 0), and of each kind behind the last one of the flow (order 1).
"""

import functools
import importlib
import pathlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cronos.discover.shipped import pinned
from cronos.errors import InputError

MODEL: Final = pathlib.Path(__file__).parent / "models" / "sequences.onnx"
SHA256: Final = "1d9b28ec648d581449bae589649d06796b53d37c3a1ad4e2a504fa5933e7a1c6"
"""Of the file that is shipped."""
MAX_MODEL_BYTES: Final = 1 << 20
KINDS: Final = 32
"""Kinds are told apart up to here; all further ones count as the last."""
NONE: Final = KINDS
CONTEXT: Final = 64
INPUTS: Final = 5

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


class Turn(NamedTuple):
    """One message of a conversation: its kind, its flow, its direction (0 unknown, 1, 2)."""

    kind: int
    flow: int
    side: int


class Surprise(NamedTuple):
    """How well a model foresaw a capture: bits a message, and the share of right first guesses."""

    bits: float
    right: float


def told_apart(kinds: Sequence[object]) -> list[int]:
    """Number kinds in the order of their first message."""
    seen: dict[object, int] = {}
    return [min(seen.setdefault(kind, len(seen)), KINDS - 1) for kind in kinds]


def inputs(turns: Sequence[Turn]) -> Ints:
    """Describe each message by what came before it, (messages, INPUTS).

    Its kind, its side, the kind before it in its flow, and what followed the last time its kind was
    seen: in the capture and in its flow.
    """
    out = np.full((len(turns), INPUTS), NONE, np.int64)
    last: dict[int, int] = {}
    follows: dict[int, int] = {}
    in_flow: dict[tuple[int, int], int] = {}
    for at, turn in enumerate(turns):
        before = last.get(turn.flow, NONE)
        if at:
            follows[turns[at - 1].kind] = turn.kind
        in_flow[(turn.flow, before)] = turn.kind
        out[at] = (
            turn.kind, turn.side, before, follows.get(turn.kind, NONE),
            in_flow.get((turn.flow, turn.kind), NONE),
        )  # fmt: skip
        last[turn.flow] = turn.kind
    return out


def counted(turns: Sequence[Turn], order: int) -> Floats:
    """Give the chances of each kind before each message by counts: (messages, KINDS)."""
    out = np.zeros((len(turns), KINDS))
    counts: dict[tuple[int, ...], Floats] = {}
    last: dict[int, int] = {}
    for at, turn in enumerate(turns):
        key = (last.get(turn.flow, NONE),) if order else ()
        base = counts.setdefault((), np.full(KINDS, 0.02))
        here = counts.setdefault(key, np.zeros(KINDS)) if order else base
        mixed = here + base / base.sum() if order else base
        out[at] = mixed / mixed.sum()
        base[turn.kind] += 1
        if order:
            here[turn.kind] += 1
        last[turn.flow] = turn.kind
    return out


def surprise(turns: Sequence[Turn], chances: Floats) -> Surprise:
    """Judge chances given before each message, the first one left out."""
    kinds = np.array([turn.kind for turn in turns], np.int64)[1:]
    given = chances[1:]
    bits = -np.log2(np.maximum(given[np.arange(len(kinds)), kinds], 1e-9))
    return Surprise(float(bits.mean()), float((given.argmax(axis=1) == kinds).mean()))


class Foreseer:
    """The trained transformer; `chances` gives what it expects before each message."""

    def __init__(self, model: bytes) -> None:
        """Load a network; raises InputError where it is none of ours."""
        if len(model) > MAX_MODEL_BYTES:
            raise _damaged()
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
            raise _damaged() from error
        if [list(one.shape[1:]) for one in self._session.get_inputs()] != [[CONTEXT, INPUTS]]:
            raise _damaged()

    def chances(self, turns: Sequence[Turn]) -> Floats:
        """Give (messages, KINDS): before each message the chance of each kind; first row even."""
        seen = inputs(turns)
        out = np.full((len(turns), KINDS), 1.0 / KINDS)
        half = CONTEXT // 2
        for begin in range(0, max(1, len(turns)), half):
            start = max(0, begin - half)
            window = seen[start : start + CONTEXT]
            padded = np.full((1, CONTEXT, INPUTS), NONE, np.int64)
            padded[0, : len(window)] = window
            scores = self._session.run(None, {"turns": padded})[0][0].astype(np.float64)
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
            # The message at position p is foreseen by what was read up to p - 1.
            first = begin + 1 if begin else 1
            last = min(len(turns), start + len(window) + 1)
            rows = np.arange(first, last)
            out[rows[rows < len(turns)]] = scores[rows[rows < len(turns)] - 1 - start]
            if start + CONTEXT >= len(turns):
                break
        return out


@functools.cache
def shipped() -> Foreseer:
    """Give the network that comes with the package; raises InputError on any other."""
    return Foreseer(pinned(MODEL.read_bytes(), SHA256))


def mixed(turns: Sequence[Turn], experts: Sequence[Floats], share: float = 0.02) -> Floats:
    """Mix experts by how well each foresaw the capture so far.

    Bayes' rule with a fixed share handed round, so that one that was wrong long may come back: the
    mixture is never much worse than the best. Source: Herbster and Warmuth, Tracking the best
    expert (1998).
    """
    given: Floats = np.stack(list(experts))
    weights = np.full(len(experts), 1.0 / len(experts))
    out: Floats = np.zeros((len(turns), KINDS))
    for at, turn in enumerate(turns):
        out[at] = weights @ given[:, at]
        weights = weights * given[:, at, turn.kind]
        weights = (1 - share) * weights / max(weights.sum(), 1e-12) + share / len(experts)
    return out


def _damaged() -> InputError:
    return InputError(
        "discover.sequences",
        "The network for sequences of messages cannot be used.",
        remedy="Install the package anew, or train it: cronos discover train.",
    )
