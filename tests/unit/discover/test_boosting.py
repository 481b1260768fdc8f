"""Trees grown by scikit-learn give the same answers when NumPy serves them."""

import numpy as np
import pytest

from cronos.discover.boosting import BINS, Recipe, edges_of, grow
from cronos.discover.scorer import Trees, sigmoid

pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'cronos[train]'")


def test_few_values_get_an_edge_between_each_and_many_get_quantiles():
    assert edges_of(np.array([3, 1, 2, 2])).tolist() == [1.5, 2.5]
    assert len(edges_of(np.arange(10_000))) == BINS - 1


def test_a_forest_learns_what_it_is_shown_and_is_served_alike():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(3000, 4))
    truth = (table[:, 0] > 0.3) ^ (table[:, 2] > 0)
    trees = Trees(grow(table, truth, np.ones(3000), tuple("abcd"), Recipe(20, 8, 0.3)))
    binned = trees.table(3000)
    for index, name in enumerate("abcd"):
        trees.put(binned, name, table[:, index])

    right = (sigmoid(trees.raw(binned)[:, 0]) > 0.5) == truth
    assert right.mean() > 0.95


def test_several_classes_have_a_column_each():
    table = np.repeat(np.arange(3.0), 200)[:, None]
    truth = np.repeat([2, 5, 7], 200)
    trees = Trees(grow(table, truth, np.ones(600), ("a",), Recipe(10, 4, 0.3)))
    binned = trees.table(600)
    trees.put(binned, "a", table[:, 0])

    assert trees.labels[trees.raw(binned).argmax(axis=1)].tolist() == truth.tolist()
