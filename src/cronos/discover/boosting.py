"""Train gradient-boosted trees with scikit-learn and pack them for `scorer.Trees`."""

import importlib
from typing import Any, Final

import numpy as np

from cronos.discover.evidence import Array
from cronos.errors import ExtraMissingError

BINS: Final = 60


class Recipe:
    """How trees are grown; the defaults are those of the shipped models."""

    def __init__(
        self, rounds: int = 150, leaves: int = 31, rate: float = 0.1, least: int = 40
    ) -> None:
        self.least = least
        self.rounds = rounds
        self.leaves = leaves
        self.rate = rate


def edges_of(values: Array) -> Array:
    """Choose the edges of bins: between all values where they are few, at quantiles otherwise."""
    kinds = np.unique(values.astype(np.float32))
    if len(kinds) > BINS:
        kinds = np.unique(np.quantile(values, np.linspace(0, 1, BINS)).astype(np.float32))
    return ((kinds[:-1] + kinds[1:]) / 2).astype(np.float32)


def grow(
    table: Array, truth: Array, weights: Array, names: tuple[str, ...], recipe: Recipe
) -> dict[str, Array]:
    """Grow trees over a table of raw features (rows by names) and give them packed.

    Raises ExtraMissingError where scikit-learn is not installed.
    """
    try:
        ensemble: Any = importlib.import_module("sklearn.ensemble")
        pools: Any = importlib.import_module("threadpoolctl")
    except ImportError as error:
        raise ExtraMissingError("train", "training the scorer") from error
    edges = [edges_of(table[:, j]) for j in range(table.shape[1])]
    binned = np.empty(table.shape, dtype=np.uint8)
    for j, cuts in enumerate(edges):
        binned[:, j] = np.searchsorted(cuts, table[:, j].astype(np.float32), side="left")
    model = ensemble.HistGradientBoostingClassifier(
        max_iter=recipe.rounds,
        max_leaf_nodes=recipe.leaves,
        learning_rate=recipe.rate,
        l2_regularization=5.0,
        min_samples_leaf=recipe.least,
        max_bins=63,
        max_features=0.25,
        early_stopping=False,
        random_state=1,
    )
    # In one thread: sums of floats then have one order, and the same machine gives the same trees.
    with pools.threadpool_limits(1):
        model.fit(binned, truth, sample_weight=weights / weights.mean())
    return pack(model, edges, names)


def pack(model: Any, edges: list[Array], names: tuple[str, ...]) -> dict[str, Array]:
    """Lay a fitted model out in arrays: nodes as (feature, threshold, first leaf, middle leaf)."""
    nodes: list[list[tuple[int, int, int, int]]] = []
    leaves: list[list[float]] = []
    for stage in model._predictors:  # noqa: SLF001  # scikit-learn has no public way to its trees
        for tree in stage:
            inner: list[tuple[int, int, int, int]] = []
            values: list[float] = []
            _flatten(tree.nodes, 0, inner, values)
            nodes.append(inner)
            leaves.append(values)
    used = sorted({node[0] for tree in nodes for node in tree})
    place = {feature: i for i, feature in enumerate(used)}
    flat = [(place[f], t, a, b) for tree in nodes for f, t, a, b in tree]
    return {
        "names": np.array([names[f] for f in used]),
        "edges": np.concatenate([edges[f] for f in used]),
        "edge_sizes": np.array([len(edges[f]) for f in used], dtype=np.int64),
        "nodes": np.array(flat, dtype=np.int16).reshape(-1, 4),
        "node_counts": np.array([len(tree) for tree in nodes], dtype=np.int64),
        "leaves": np.array([v for tree in leaves for v in tree], dtype=np.float32),
        "leaf_counts": np.array([len(tree) for tree in leaves], dtype=np.int64),
        "classes": np.asarray(model.classes_, dtype=np.int64),
        "base": np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1),  # noqa: SLF001
    }


def _flatten(
    nodes: Any, at: int, inner: list[tuple[int, int, int, int]], values: list[float]
) -> None:
    """Number the leaves below a node from left to right."""
    node = nodes[at]
    if node["is_leaf"]:
        values.append(float(node["value"]))
        return
    first = len(values)
    place = len(inner)
    inner.append((0, 0, 0, 0))
    _flatten(nodes, int(node["left"]), inner, values)
    middle = len(values)
    _flatten(nodes, int(node["right"]), inner, values)
    inner[place] = (int(node["feature_idx"]), int(np.floor(node["num_threshold"])), first, middle)
