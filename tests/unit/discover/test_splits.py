"""What a split by a key explains."""

import numpy as np

from cronos.discover.keys import BYTE, Heads, candidates
from cronos.discover.messages import Message
from cronos.discover.splits import NAMES, Splits


def described():
    """Describe messages of a counter, a code, and a body that the code decides."""
    rng = np.random.default_rng(3)
    played = []
    for n in range(240):
        code = int(rng.integers(3))
        body = (b"\0\0\0\0", b"text and more", bytes(rng.integers(128, 255, 20).tolist()))[code]
        played.append(Message(bytes((0x7E, n // 3 % 40, code)) + body, "1", "c2s", float(n)))
    heads = Heads(played)
    views = candidates(heads)
    splits = Splits(heads, views)
    at = {view.place: n for n, view in enumerate(views) if view.kind == BYTE}
    return heads, splits, at


def column(rows, name):
    return rows[:, NAMES.index(name)]


def test_the_code_explains_more_than_the_counter():
    heads, splits, at = described()
    rows = splits.rows(np.zeros(heads.count, dtype=int), 0, [at[1], at[2]])

    assert rows.shape == (2, len(NAMES))
    for name in ("kinds", "sizes", "net", "after"):
        counter, code = column(rows, name)
        assert code > counter
    assert column(rows, "counts")[0] > 0.2
    assert column(rows, "size_told")[1] > 0.99
    assert np.isfinite(rows).all()


def test_what_groups_know_already_is_not_counted_again():
    _heads, splits, at = described()
    code = splits.views[at[2]].values
    rows = splits.rows(code, 1, [at[1]])

    assert column(rows, "sizes")[0] < 0.1
    assert column(rows, "had_groups")[0] == 3
    assert column(rows, "had_sizes")[0] < 0.2
