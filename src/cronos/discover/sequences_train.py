"""Train the transformer over kinds of messages, on conversations of random automata alone.

An automaton is a handful of exchanges with a few successors each: scripts, loops, polls. Several
flows of it are interleaved as in a capture. No real protocol is learnt from, so that every one is
unseen. The network is written node by node as ONNX; `sequences` serves it.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cronos.discover.labeller_train import torch
from cronos.discover.sequences import CONTEXT, INPUTS, KINDS, NONE, Ints, Turn, inputs, told_apart

WIDTH: Final = 48
LAYERS: Final = 2
HEADS: Final = 4
BATCH: Final = 24
STEPS: Final = 700
RATE: Final = 4e-3

Told = Callable[[str], None]


def conversation(rng: np.random.Generator, length: int) -> list[Turn]:
    """Play one random automaton in some flows."""
    states = int(rng.integers(1, 9))
    asks = rng.permutation(2 * KINDS)[:states]
    answers = np.where(rng.random(states) < 0.2, -1, rng.permutation(2 * KINDS)[:states] + 100)
    if rng.random() < 0.25:
        answers = np.where(answers < 0, -1, asks)  # an answer of the same kind as its question
    sharp = float(rng.uniform(0.1, 1.5))
    moves = rng.dirichlet(np.full(states, sharp), states)
    flows = int(rng.choice((1, 1, 2, 3, 8)))
    here = rng.integers(0, states, flows)
    out: list[tuple[int, int, int]] = []
    sides = (1, 2) if rng.random() < 0.9 else (0, 0)
    while len(out) < length:
        flow = int(rng.integers(flows))
        here[flow] = rng.choice(states, p=moves[here[flow]])
        out.append((int(asks[here[flow]]), flow, sides[0]))
        # Captures lose messages, and not all are answered.
        if answers[here[flow]] >= 0 and rng.random() < 0.93:
            out.append((int(answers[here[flow]]), flow, sides[1]))
    numbered = told_apart([kind for kind, _, _ in out[:length]])
    return [Turn(kind, flow, side) for kind, (_, flow, side) in zip(numbered, out, strict=False)]


class Transformer:
    """Embeddings and two pre-norm layers of causal attention."""

    def __init__(self, seed: int) -> None:
        """Begin from one seed."""
        self.torch = torch()
        self.torch.set_num_threads(1)
        self.torch.manual_seed(seed)
        draw = self.torch.randn
        parts: dict[str, Any] = {"place": draw(CONTEXT, WIDTH) * 0.1}
        for number in range(INPUTS):
            parts[f"embed{number}"] = draw(KINDS + 1, WIDTH) * 0.3
        for layer in range(LAYERS):
            for name in ("q", "k", "v", "o"):
                parts[f"{name}{layer}"] = draw(WIDTH, WIDTH) / math.sqrt(WIDTH)
            parts[f"up{layer}"] = draw(WIDTH, 2 * WIDTH) / math.sqrt(WIDTH)
            parts[f"down{layer}"] = draw(2 * WIDTH, WIDTH) / math.sqrt(2 * WIDTH)
            for norm in ("na", "nb"):
                parts[f"{norm}{layer}"] = self.torch.ones(WIDTH)
        parts["nz"] = self.torch.ones(WIDTH)
        parts["last"] = draw(WIDTH, KINDS) / math.sqrt(WIDTH)
        self.parts = {name: self.torch.nn.Parameter(part) for name, part in parts.items()}
        ahead = self.torch.ones(CONTEXT, CONTEXT).triu(1)
        self.mask = ahead * -1e9

    def scores(self, turns: Any) -> Any:
        """Score each kind as the next, behind each message of (rows, CONTEXT, INPUTS)."""
        parts, normed = self.parts, self.torch.nn.functional.layer_norm
        x = parts["place"] + sum(parts[f"embed{i}"][turns[..., i]] for i in range(INPUTS))
        for layer in range(LAYERS):
            y = normed(x, (WIDTH,)) * parts[f"na{layer}"]
            q, k, v = (self._heads(y @ parts[f"{name}{layer}"]) for name in "qkv")
            weights = q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + self.mask
            mixed = (weights.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
            x = x + mixed @ parts[f"o{layer}"]
            y = normed(x, (WIDTH,)) * parts[f"nb{layer}"]
            x = x + (y @ parts[f"up{layer}"]).relu() @ parts[f"down{layer}"]
        return (normed(x, (WIDTH,)) * parts["nz"]) @ parts["last"]

    @staticmethod
    def _heads(x: Any) -> Any:
        return x.reshape(x.shape[0], CONTEXT, HEADS, WIDTH // HEADS).transpose(1, 2)


def train(told: Told, steps: int = STEPS, seed: int = 1) -> Transformer:
    """Learn from conversations that are drawn anew at every step."""
    network = Transformer(seed)
    rng = np.random.default_rng([37, seed])
    weights = list(network.parts.values())
    optimiser = network.torch.optim.AdamW(weights, lr=RATE, weight_decay=1e-2)
    plan = network.torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss_of = network.torch.nn.functional.cross_entropy
    running = 0.0
    for step in range(steps):
        turns, following = _batch(rng)
        scores = network.scores(network.torch.from_numpy(turns))
        target = network.torch.from_numpy(following)
        loss = loss_of(scores.reshape(-1, KINDS), target.reshape(-1), ignore_index=NONE)
        optimiser.zero_grad()
        loss.backward()
        network.torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        plan.step()
        here = float(loss.detach())
        running = 0.98 * running + 0.02 * here if step else here
        if step % 100 == 99:
            told(f"sequences: step {step + 1} of {steps}, {running / math.log(2):.3f} bits")
    return network


def _batch(rng: np.random.Generator) -> tuple[Ints, Ints]:
    turns = np.zeros((BATCH, CONTEXT, INPUTS), np.int64)
    following = np.full((BATCH, CONTEXT), NONE, np.int64)
    for row in range(BATCH):
        skipped = int(rng.integers(CONTEXT))
        played = conversation(rng, CONTEXT + 1 + skipped)[: CONTEXT + 1 + skipped]
        seen = inputs(played)[skipped:]
        turns[row] = seen[:CONTEXT]
        following[row] = seen[1:, 0]
    return turns, following


def written(network: Transformer) -> bytes:
    """Write the network as ONNX: turns in, scores out."""
    onnx = importlib.import_module("onnx")
    helper = onnx.helper
    weights: dict[str, Any] = {
        name: part.detach().numpy().astype(np.float32) for name, part in network.parts.items()
    }
    weights["mask"] = network.mask.numpy().astype(np.float32)
    weights["apart"] = np.array([0, CONTEXT, HEADS, WIDTH // HEADS], np.int64)
    weights["joint"] = np.array([0, CONTEXT, WIDTH], np.int64)
    weights["scale"] = np.array(1 / math.sqrt(WIDTH // HEADS), np.float32)
    nodes: list[Any] = []

    def node(kind: str, given: list[str], out: str, **more: Any) -> str:
        nodes.append(helper.make_node(kind, given, [out], **more))
        return out

    x = "place"
    for number in range(INPUTS):
        weights[f"i{number}"] = np.array(number, np.int64)
        column = node("Gather", ["turns", f"i{number}"], f"column{number}", axis=2)
        taken = node("Gather", [f"embed{number}", column], f"taken{number}")
        x = node("Add", [x, taken], f"sum{number}")
    for layer in range(LAYERS):
        x = _layer(node, x, layer)
    x = node("LayerNormalization", [x, "nz"], "normed", axis=-1, epsilon=1e-5)
    node("MatMul", [x, "last"], "scores")
    kind = onnx.TensorProto
    graph = helper.make_graph(
        nodes,
        "sequences",
        [helper.make_tensor_value_info("turns", kind.INT64, ["rows", CONTEXT, INPUTS])],
        [helper.make_tensor_value_info("scores", kind.FLOAT, ["rows", CONTEXT, KINDS])],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _layer(node: Callable[..., str], x: str, layer: int) -> str:
    """Write one layer: attention, then the two dense steps, each behind a norm and added."""

    def at(name: str) -> str:
        return f"{name}{layer}"

    y = node("LayerNormalization", [x, at("na")], at("ya"), axis=-1, epsilon=1e-5)
    heads: dict[str, str] = {}
    for name in ("q", "k", "v"):
        product = node("MatMul", [y, at(name)], at(f"{name}_"))
        shaped = node("Reshape", [product, "apart"], at(f"{name}s"))
        order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        heads[name] = node("Transpose", [shaped], at(f"{name}h"), perm=order)
    raw = node("MatMul", [heads["q"], heads["k"]], at("raw"))
    scaled = node("Mul", [raw, "scale"], at("scaled"))
    masked = node("Add", [scaled, "mask"], at("masked"))
    soft = node("Softmax", [masked], at("soft"), axis=-1)
    mixed = node("MatMul", [soft, heads["v"]], at("mixed"))
    turned = node("Transpose", [mixed], at("turned"), perm=[0, 2, 1, 3])
    joined = node("Reshape", [turned, "joint"], at("joined"))
    out = node("MatMul", [joined, at("o")], at("attended"))
    x = node("Add", [x, out], at("xa"))
    y = node("LayerNormalization", [x, at("nb")], at("yb"), axis=-1, epsilon=1e-5)
    up = node("Relu", [node("MatMul", [y, at("up")], at("upped"))], at("relu"))
    down = node("MatMul", [up, at("down")], at("downed"))
    return node("Add", [x, down], at("xb"))
