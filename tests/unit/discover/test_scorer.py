"""Trees served by NumPy."""

import io

import numpy as np
import pytest

from cronos.discover.scorer import Trees, read, sigmoid
from cronos.errors import InputError

PARTS = {
    "names": np.array(["a", "b"]),
    "edges": np.array([0.5, 1.5, 10.0], dtype=np.float32),
    "edge_sizes": np.array([2, 1]),
    # a <= 0.5 -> 1; else b <= 10 -> 2, else 4
    "nodes": np.array([(0, 0, 0, 1), (1, 0, 1, 2)], dtype=np.int16),
    "node_counts": np.array([2]),
    "leaves": np.array([1, 2, 4], dtype=np.float32),
    "leaf_counts": np.array([3]),
    "classes": np.array([0, 1]),
    "base": np.array([0.25]),
}


def raw(trees, a, b):
    table = trees.table(len(a))
    trees.put(table, "a", np.array(a))
    trees.put(table, "b", np.array(b))
    trees.put(table, "unknown", np.array(b))
    return trees.raw(table)[:, 0].tolist()


def test_rows_fall_to_the_leaf_that_their_values_lead_to():
    assert raw(Trees(PARTS), [0, 1, 1, 2], [99, 10, 11, 0]) == [1.25, 2.25, 4.25, 2.25]


def test_a_forest_survives_its_file():
    out = io.BytesIO()
    np.savez_compressed(out, **PARTS)

    assert raw(Trees(read(out.getvalue())), [1], [11]) == [4.25]


def test_damaged_files_and_pickles_are_refused():
    out = io.BytesIO()
    np.savez(out, names=np.array([{}], dtype=object))
    for data in (b"", b"nonsense", out.getvalue()):
        with pytest.raises(InputError, match="damaged"):
            read(data)
    with pytest.raises(InputError, match="damaged"):
        Trees({**PARTS, "edges": PARTS["edges"][:2], "edge_sizes": np.array([2])})


def test_the_link_function_gives_probabilities():
    assert sigmoid(np.array([0.0, 50.0, -50.0])) == pytest.approx([0.5, 1.0, 0.0])
