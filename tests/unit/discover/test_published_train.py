"""What is learnt of published protocols by name."""

import numpy as np
import pytest
from tests.unit.discover.begun import MAGIC, OTHER, lesson

from cronos.discover import published_train
from cronos.discover.boosting import Recipe
from cronos.discover.lessons import drawn
from cronos.discover.published import HEAD, SYMBOLS, Published
from cronos.discover.published_train import Own, beginnings_of, known_again
from cronos.discover.teaching import Rows
from cronos.errors import InputError


def test_usual_beginnings_are_a_distribution_of_all_with_or_without_protocols():
    for lessons in ([MAGIC, OTHER], []):
        parts = beginnings_of(lessons, drawn((9_001,)))
        assert np.allclose(parts["usual"].sum(axis=1), 1)
        assert parts["seen"].shape == (len(lessons), HEAD, SYMBOLS)
    assert Published(parts).recognise(MAGIC.messages) == ""


def test_what_has_few_messages_is_not_kept():
    assert known_again([MAGIC, lesson("few", b"ab", published_train.FEWEST - 1)]) == [MAGIC]


def test_a_protocol_has_trees_of_its_own_or_the_file_is_damaged():
    pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'cronos[train]'")

    def teacher(task):
        one, most = task
        assert (one.name, most) == ("magic", published_train.ROWS)
        none = np.zeros((0, 0))
        gaps = np.arange(200.0)[:, None]
        return Rows("magic", True, ("a",), gaps, gaps[:, 0] > 99, (), none, none, none)

    parts = beginnings_of([MAGIC], ()) | Own(teacher, Recipe(3, 4, 0.5, 2))(MAGIC)
    known = Published(parts)
    trees = known.trees("magic")
    table = trees.table(2)
    trees.put(table, "a", np.array([3.0, 190.0]))

    low, high = trees.raw(table)[:, 0]
    assert low < 0 < high
    with pytest.raises(InputError):
        known.trees("other")
