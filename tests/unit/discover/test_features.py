"""What is counted of each gap."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.discover.byteorder import Order
from cronos.discover.evidence import Corpus
from cronos.discover.features import describe
from cronos.discover.messages import Message


def described(payloads):
    c = Corpus([Message(p, str(i % 2), "c2s", float(i)) for i, p in enumerate(payloads)])
    groups = np.zeros(len(payloads), dtype=int)
    return {n: v[c.gaps()] for n, v in describe(c, groups, (), Order())}


def test_a_gap_sees_the_bytes_on_both_sides():
    found = described([b"\0\5A"])

    assert found["byte-1"].tolist() == [0, 5]
    assert found["byte+0"].tolist() == [5, 65]
    assert found["zero_before"].tolist() == [1, 0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6))
def test_any_messages_can_be_described(payloads):
    found = described(payloads)

    assert len(found) > 200
    assert all(np.isfinite(values.astype(float)).all() for values in found.values())
