"""Train the BiLSTM-CRF that tags bytes, and write it as ONNX.

PyTorch trains, in one thread and from one seed; `onnx` writes the network that `labeller` serves
with onnxruntime and decodes with Viterbi in NumPy. What real protocols it learnt from stands in the
file, so that a test can refuse what has seen too much.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from cronos.discover.detectors.registry import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.synthetic import samples
from cronos.discover.tagging import FEATURES, TAGS, Described, Floats, Ints, describe, tags_of
from cronos.errors import InputError

EMBEDDED: Final = 8
HIDDEN: Final = 32
LONGEST: Final = 112
BATCH: Final = 16
STEPS: Final = 400
RATE: Final = 4e-3
PER_LESSON: Final = 48
SEEN: Final = 150
REAL_WEIGHT: Final = 6
"""A real protocol is drawn from as often as so many random ones."""

Told = Callable[[str], None]
Fields = tuple[tuple[int, int, Sem], ...]


class Studied(NamedTuple):
    """Some described messages of one protocol with their tags."""

    name: str
    real: bool
    rows: tuple[tuple[Described, Ints], ...]


def torch() -> Any:
    """Give PyTorch; raises InputError where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise InputError(
            "discover.no-trainer",
            "PyTorch is not installed, and networks are trained by it.",
            remedy="Install the extra: pip install 'cronos[train]'.",
        ) from error


def study(
    name: str, messages: Sequence[Message], fields: Sequence[Fields], *, real: bool
) -> Studied:
    """Describe a protocol and keep some messages of it, evenly."""
    step = max(1, len(messages) // SEEN)
    shown = list(messages[::step][:SEEN])
    truth = list(fields[::step][:SEEN])
    described = describe(shown, claims(shown))
    chosen = range(0, len(shown), max(1, len(shown) // PER_LESSON))
    rows = tuple(
        (described[i], tags_of(truth[i], len(described[i].data)))
        for i in chosen
        if len(described[i].data) > 1
    )
    return Studied(name, real, rows)


def drawn(seeds: Iterable[int], count: int = 120) -> Iterable[Studied]:
    """Draw random protocols; every twelfth is noise, in which all is outside."""
    for seed in seeds:
        if seed % 12 == 0:
            rng = np.random.default_rng([29, seed])
            noise = [
                Message(rng.bytes(int(rng.integers(20, 200))), "1", "c2s") for _ in range(count)
            ]
            yield study(f"noise {seed}", noise, [()] * count, real=False)
            continue
        played = samples(seed, count)
        yield study(
            f"drawn {seed}",
            [Message(s.payload, s.flow, s.direction, s.ts) for s in played],
            [tuple((f.offset, f.length, Sem(f.sem)) for f in s.fields) for s in played],
            real=False,
        )


class Network:
    """The trained parts: byte embedding, BiLSTM, emissions, and the CRF's transitions."""

    def __init__(self, seed: int) -> None:
        """Begin from one seed."""
        self.torch = torch()
        self.torch.set_num_threads(1)
        self.torch.manual_seed(seed)
        nn = self.torch.nn
        self.embed = nn.Embedding(256, EMBEDDED)
        self.lstm = nn.LSTM(EMBEDDED + FEATURES, HIDDEN, bidirectional=True, batch_first=True)
        self.out = nn.Linear(2 * HIDDEN, len(TAGS))
        self.moves = nn.Parameter(self.torch.zeros(len(TAGS), len(TAGS)))

    def parameters(self) -> list[Any]:
        """Give everything that is trained."""
        parts = (self.embed, self.lstm, self.out)
        return [*(weight for part in parts for weight in part.parameters()), self.moves]

    def emissions(self, data: Any, features: Any, drop: float = 0.0) -> Any:
        """Score every tag of every byte."""
        joined = self.torch.cat((self.embed(data), features), dim=-1)
        functional = self.torch.nn.functional
        joined = functional.dropout(joined, drop, training=drop > 0)
        hidden, _ = self.lstm(joined)
        return self.out(functional.dropout(hidden, drop, training=drop > 0))

    def loss(self, batch: "Batch", drop: float) -> Any:
        """Give the negative log-likelihood of the true tags, a byte."""
        scores = self.emissions(batch.data, batch.features, drop)
        mask, tags = batch.mask, batch.tags
        path = scores.gather(2, tags[..., None])[..., 0]
        path[:, 1:] = path[:, 1:] + self.moves[tags[:, :-1], tags[:, 1:]]
        total = (path * mask).sum()
        alpha = scores[:, 0]
        for at in range(1, scores.shape[1]):
            step = (alpha[:, :, None] + self.moves[None]).logsumexp(1) + scores[:, at]
            alpha = self.torch.where(mask[:, at, None] > 0, step, alpha)
        return (alpha.logsumexp(1).sum() - total) / mask.sum()


class Batch(NamedTuple):
    """Pieces of messages of one length, what is behind their end masked."""

    data: Any
    features: Any
    tags: Any
    mask: Any


def train(lessons: Sequence[Studied], told: Told, steps: int = STEPS, seed: int = 1) -> Network:
    """Learn from these protocols, each drawn from alike, real ones more often."""
    network = Network(seed)
    rng = np.random.default_rng([31, seed])
    weights = np.array([REAL_WEIGHT if lesson.real else 1 for lesson in lessons], np.float64)
    weights *= np.array([bool(lesson.rows) for lesson in lessons])
    optimiser = network.torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    plan = network.torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    running = 0.0
    for step in range(steps):
        chosen: list[int] = rng.choice(len(lessons), BATCH, p=weights / weights.sum()).tolist()
        rows = [lessons[i].rows[int(rng.integers(len(lessons[i].rows)))] for i in chosen]
        loss = network.loss(_batch(network.torch, rows, rng), 0.2)
        optimiser.zero_grad()
        loss.backward()
        network.torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        plan.step()
        here = float(loss.detach())
        running = 0.98 * running + 0.02 * here if step else here
        if step % 100 == 99:
            told(f"labeller: step {step + 1} of {steps}, loss {running:.3f}")
    return network


def _batch(library: Any, rows: Sequence[tuple[Described, Ints]], rng: np.random.Generator) -> Batch:
    pieces: list[tuple[Ints, Floats, Ints]] = []
    for described, tags in rows:
        room = len(tags) - LONGEST
        start = int(rng.integers(room + 1)) if room > 0 and rng.random() < 0.4 else 0
        part = slice(start, start + LONGEST)
        pieces.append((described.data[part], described.features[part], tags[part]))
    longest = max(len(tags) for _, _, tags in pieces)
    data = np.zeros((len(rows), longest), np.int64)
    features = np.zeros((len(rows), longest, FEATURES), np.float32)
    tags = np.zeros((len(rows), longest), np.int64)
    mask = np.zeros((len(rows), longest), np.float32)
    for row, (octets, seen, true) in enumerate(pieces):
        data[row, : len(true)], features[row, : len(true)] = octets, seen
        tags[row, : len(true)], mask[row, : len(true)] = true, 1
    return Batch(*(library.from_numpy(part) for part in (data, features, tags, mask)))


def written(network: Network, learnt: Sequence[str]) -> bytes:
    """Write the network as ONNX: bytes and features in, emissions and transitions out."""
    onnx = importlib.import_module("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper

    def constant(name: str, values: Any) -> Any:
        return numpy_helper.from_array(np.array(values, order="C"), name)

    def value(part: Any) -> Any:
        return part.detach().numpy().astype(np.float32)

    lstm = network.lstm
    sides = ("", "_reverse")
    weights = {
        "embed": value(network.embed.weight),
        "W": np.stack([_gates(value(getattr(lstm, f"weight_ih_l0{s}"))) for s in sides]),
        "R": np.stack([_gates(value(getattr(lstm, f"weight_hh_l0{s}"))) for s in sides]),
        "B": np.stack([
            np.concatenate([_gates(value(getattr(lstm, f"bias_{p}_l0{s}"))) for p in ("ih", "hh")])
            for s in sides
        ]),
        "out": value(network.out.weight).T, "bias": value(network.out.bias),
        "moves_": value(network.moves), "shape": np.array([0, 0, -1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["embed", "data"], ["embedded"]),
        helper.make_node("Concat", ["embedded", "features"], ["joined"], axis=-1),
        helper.make_node("LSTM", ["joined", "W", "R", "B"], ["hidden"], hidden_size=HIDDEN,
                         direction="bidirectional"),
        helper.make_node("Transpose", ["hidden"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "out"], ["raw"]),
        helper.make_node("Add", ["raw", "bias"], ["emissions"]),
        helper.make_node("Identity", ["moves_"], ["moves"]),
    ]  # fmt: skip
    kind = onnx.TensorProto
    graph = helper.make_graph(
        nodes,
        "labeller",
        [
            helper.make_tensor_value_info("data", kind.INT64, ["time", "rows"]),
            helper.make_tensor_value_info("features", kind.FLOAT, ["time", "rows", FEATURES]),
        ],
        [
            helper.make_tensor_value_info("emissions", kind.FLOAT, ["time", "rows", len(TAGS)]),
            helper.make_tensor_value_info("moves", kind.FLOAT, [len(TAGS), len(TAGS)]),
        ],
        [constant(name, values) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"learnt": " ".join(sorted(learnt)), "tags": " ".join(TAGS)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _gates(values: Any) -> Any:
    """Turn PyTorch's order of gates (i, f, g, o) into that of ONNX (i, o, f, g)."""
    i, f, g, o = np.split(values, 4)
    return np.concatenate((i, o, f, g))
