"""Rows to learn from, and that what is left out stays out."""

import numpy as np
import pytest
from msgspec.structs import replace

from cronos.discover.boosting import Recipe
from cronos.discover.lessons import drawn
from cronos.discover.meaning import NONE
from cronos.discover.scorer import Trees
from cronos.discover.teaching import (
    FirstRows,
    Studied,
    Teacher,
    first_scorer,
    order_scorer,
    second_scorer,
    third_scorer,
    without,
)
from cronos.discover.types_train import drawn_rows, key_scorer

pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'cronos[train]'")


@pytest.fixture(scope="module")
def teacher():
    """Give a teacher that learnt from a few drawn grammars."""
    order = order_scorer(range(6_000, 6_040))
    keys = key_scorer(list(drawn_rows(range(3_000, 3_003))), Recipe(3, 4))
    first = first_scorer(FirstRows(order, keys), range(1_004, 1_012), Recipe(3, 4))
    return Teacher(order, keys, first)


def test_a_model_tells_what_it_learnt_from_and_what_is_left_out_is_not_among_it(teacher):
    rows = [teacher((lesson, 60)) for lesson in drawn(range(1_003, 1_008))]
    names = ("p0", "p1", "p2+p0", "p1+p2", "p3")
    real = [replace(row, name=name, real=True) for row, name in zip(rows, names, strict=True)]
    kept = without(real, {"p1"})
    second = second_scorer(kept, Recipe(3, 4))
    third = third_scorer(kept, Recipe(2, 4))

    assert second["learnt"].tolist() == third["learnt"].tolist() == ["p0", "p2", "p3"]
    assert second["pairs"][:-1].sum() == pytest.approx(1.0)
    assert Trees(second).names


def test_the_same_lesson_gives_the_same_rows_and_models(teacher):
    (lesson,) = drawn([1_003])
    one, two = teacher((lesson, 40)), teacher((lesson, 40))

    assert one.gap_names == two.gap_names
    assert (one.gaps == two.gaps).all()
    first, again = (second_scorer([rows], Recipe(3, 4, least=5)) for rows in (one, two))
    assert all((first[name] == again[name]).all() for name in first)


def test_meanings_are_learnt_from_true_fields_and_from_what_seems_to_be_one(teacher):
    (lesson,) = drawn([1_003])
    rows = teacher((lesson, 40))
    model = Trees(third_scorer([rows], Recipe(2, 4, least=2)))

    assert len(rows.starts) == len(rows.meanings) == 80
    assert (rows.meanings[:40] < NONE).all()
    assert (rows.meanings[40:] == NONE).any()
    assert {"nested_here", "be_leads_end"} <= set(rows.start_names)
    assert NONE in model.labels


def test_a_field_that_is_cut_or_joined_is_none(teacher):
    (lesson,) = drawn([1_003])
    one = Studied(lesson, Trees(teacher.order), Trees(teacher.keys))
    joined = np.delete(one.starts, 1)  # the first field runs on to the third

    assert (one.truth(one.starts) == one.meanings).all()
    assert one.truth(joined)[0] == NONE
    assert (one.truth(joined)[1:] == one.meanings[2:]).all()
