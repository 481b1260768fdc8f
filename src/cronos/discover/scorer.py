"""Serve gradient-boosted trees from an .npz with NumPy alone: no pickle, no training library.

Features are cut into bins of a byte each. A tree has at most 64 leaves, and a row carries one bit
for each leaf it may still reach. Every split strikes out the leaves of the side a row does not
take: one table look-up by bin for each tree and feature, whatever its depth. What is left over is
the lowest bit, and the leaf's value is added.

Source: Lucchese et al., QuickScorer (SIGIR 2015), the tables by bin are ours.
"""

import io
import zipfile
from typing import Any, Final

import numpy as np

from cronos.discover.evidence import Array
from cronos.errors import InputError

MAX_LEAVES: Final = 64
BLOCK: Final = 8_192
MAX_TREES: Final = 4_096


class Trees:
    """Boosted trees over binned features, for one or several classes."""

    def __init__(self, parts: dict[str, Array]) -> None:
        """Take the arrays of `pack`; raises InputError where they do not fit together."""
        self.names = tuple(str(n) for n in parts["names"])
        self.edges = _split(parts["edges"], parts["edge_sizes"])
        self.pairs = parts.get("pairs", np.ones((1, 1)))
        """How often fields of one length follow those of another, in what the trees learnt from."""
        self._place = {name: i for i, name in enumerate(self.names)}
        self.base = parts["base"].astype(np.float64)
        self.classes = len(self.base)
        self.labels = parts["classes"]
        """What each column of `raw` stands for; two labels share the one column of a yes or no."""
        # Where no tree has more than 32 leaves half as many bits are looked up.
        short = parts["leaf_counts"].max(initial=0) <= 32
        self._word: np.dtype[Any] = np.dtype(np.uint32 if short else np.uint64)
        self._trees = _split_trees(parts, self._word)
        if len(self.edges) != len(self.names) or len(self._trees) > MAX_TREES:
            raise damaged("features and trees do not match")

    def table(self, rows: int) -> Array:
        """Give an empty table of bins, a row for each of `names`."""
        return np.zeros((len(self.names), rows), dtype=np.uint8)

    def put(self, table: Array, name: str, values: Array, at: Array | None = None) -> None:
        """Cut a feature's values, at the places `at` or all, into bins; unasked ones are let go."""
        index = self._place.get(name)
        if index is not None:
            some = values if at is None else values[at]
            table[index] = np.searchsorted(self.edges[index], some.astype(np.float32))

    def raw(self, binned: Array) -> Array:
        """Give the sum of all trees for each row and class, before the link function.

        `binned` has a row for each of `names`, so that a feature lies in one piece.
        """
        out = np.tile(self.base, (binned.shape[1], 1))
        for begin in range(0, binned.shape[1], BLOCK):
            # Indices of the machine's own width: NumPy would convert bytes at every look-up.
            block = binned[:, begin : begin + BLOCK].astype(np.intp)
            self._add(block, out[begin : begin + BLOCK])
        return out

    def _add(self, block: Array, out: Array) -> None:
        columns = list(block)
        reach = np.empty(block.shape[1], dtype=self._word)
        kept, one = np.empty_like(reach), np.ones(1, dtype=self._word)
        every = ~np.zeros(1, dtype=self._word)
        for number, (tables, features, leaves) in enumerate(self._trees):
            reach[:] = every
            for feature, table in zip(features, tables, strict=True):
                table.take(columns[feature], mode="clip", out=kept)
                np.bitwise_and(reach, kept, out=reach)
            lowest = reach & (~reach + one)
            # A power of two is exact as a float; its exponent is the leaf's number.
            leaf = (lowest.astype(np.float64).view(np.int64) >> 52) - 1023
            out[:, number % self.classes] += leaves[leaf]


def damaged(why: str) -> InputError:
    """Give the refusal of a file of a scorer."""
    return InputError(
        "discover.model",
        f"The file of a scorer is damaged: {why}.",
        "Install Cronos anew, or train the model with `cronos discover train`.",
    )


def _split(values: Array, sizes: Array) -> list[Array]:
    return np.split(values, np.cumsum(sizes)[:-1]) if len(sizes) else []


def _split_trees(
    parts: dict[str, Array], word: np.dtype[Any]
) -> list[tuple[list[Array], list[int], Array]]:
    out: list[tuple[list[Array], list[int], Array]] = []
    nodes = _split(parts["nodes"], parts["node_counts"])
    leaves = _split(parts["leaves"], parts["leaf_counts"])
    every = (1 << 8 * word.itemsize) - 1
    for node, leaf in zip(nodes, leaves, strict=True):
        if len(leaf) > MAX_LEAVES:
            raise damaged("a tree has more than 64 leaves")
        tables: dict[int, Array] = {}
        for feature, threshold, first, middle in node.tolist():
            # Leaves first..middle-1 lie to the left: rows above the threshold cannot reach them.
            table = tables.setdefault(feature, np.full(256, every, dtype=word))
            struck = ((1 << (middle - first)) - 1) << first
            table[threshold + 1 :] &= np.array(every & ~struck, dtype=word)
        out.append((list(tables.values()), list(tables), leaf.astype(np.float64)))
    return out


def read(data: bytes) -> dict[str, Array]:
    """Read the arrays of an .npz; objects (pickles) are refused."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(str(error)) from error


def sigmoid(raw: Any) -> Array:
    """Give probabilities for sums of trees."""
    return np.asarray(1.0 / (1.0 + np.exp(-raw)))
