"""How keys are learnt."""

import numpy as np
import pytest

from cronos.discover.boosting import Recipe
from cronos.discover.messages import Message
from cronos.discover.scorer import Trees
from cronos.discover.splits import NAMES
from cronos.discover.synthetic import samples
from cronos.discover.types import classify
from cronos.discover.types_train import agreement, key_rows, key_scorer


def test_agreement_is_the_v_measure():
    truth = np.array([0, 0, 1, 1])

    assert agreement(truth, np.array([5, 5, 2, 2])) == pytest.approx(1.0)
    assert agreement(truth, np.zeros(4, int)) == 0.0
    assert agreement(truth, np.arange(4)) == pytest.approx(2 / 3)
    assert agreement(np.zeros(4, int), np.zeros(4, int)) == 1.0


def drawn(seed):
    played = samples(seed, 60)
    messages = [Message(s.payload, s.flow, s.direction, s.ts) for s in played]
    return messages, [s.message_type for s in played]


def test_rows_are_splits_with_their_agreement():
    rows = key_rows("one", False, *drawn(3), seed=1)

    assert rows.rows.shape == (len(rows.agreement), len(NAMES))
    assert rows.agreement.min() >= 0
    assert rows.agreement.max() >= 0.8


def test_messages_that_are_alike_give_no_rows():
    assert key_rows("same", False, [Message(b"abc")] * 9, ["a"] * 9, seed=1) is None


def test_a_learnt_scorer_tells_types_of_a_grammar_it_has_not_seen():
    pytest.importorskip("sklearn", reason="training needs the extra `train`")
    lessons = [key_rows(str(n), n == 4, *drawn(n), seed=n) for n in range(4, 12)]
    parts = key_scorer([one for one in lessons if one], Recipe(30, 8, 0.1, 20))
    messages, types = drawn(21)

    found = classify(messages, Trees(parts))

    assert parts["learnt"].tolist() == ["4"]
    names = sorted(set(types))
    truth = np.array([names.index(t) for t in types])
    assert agreement(truth, np.array(found)) > 0.5
