"""What is believed around a gap."""

import numpy as np

from cronos.discover.context import surround
from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message


def test_a_gap_sees_beliefs_around_it_and_in_its_column():
    c = Corpus([Message(b"abcd"), Message(b"abcd")])
    belief = np.array([1, 0.9, 0.1, 0.2, 1, 0.7, 0.1, 0.2])
    every = surround(c, np.zeros(2, dtype=int), belief)
    found = {name: values[c.gaps()] for name, values in every}

    assert np.allclose(found["belief+0"][:3], [0.9, 0.1, 0.2])
    assert np.allclose(found["belief+1"][:3], [0.1, 0.2, 1.0])
    assert np.allclose(found["belief_type+0"][0], 0.8)
    assert found["sure_left"][:3].tolist() == [1, 1, 2]
    assert found["sure_right"][:3].tolist() == [3, 2, 1]


def test_a_gap_sees_how_wide_the_likely_fields_beside_it_and_all_over_are():
    c = Corpus([Message(bytes(10))])
    belief = np.array([1, 0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0.1])
    found = dict(surround(c, np.zeros(1, dtype=int), belief))

    assert found["likely_width_before"].tolist() == [0, 0, 0, 2, 2, 2, 2, 2, 2, 4]
    assert found["likely_width_after"].tolist() == [2, 2, 4, 4, 2, 2, 2, 2, 0, 0]
    assert np.allclose(found["width2_all"], 0.6)
