"""Training: what is written, what it says of itself, and what is left out."""

import numpy as np
import pytest
from tests.unit.discover.test_lessons import write_open_data

from cronos.discover import folds, train
from cronos.discover.boosting import Recipe
from cronos.discover.lessons import published
from cronos.discover.scorer import read
from cronos.discover.shipped import FILES, SHA256, Models, load
from cronos.discover.teaching import alone

pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'cronos[train]'")


@pytest.fixture
def small(monkeypatch):
    """Make training so small that it is done in seconds."""
    for name, value in {
        "ORDER_SEEDS": range(6_000, 6_040),
        "KEY_SEEDS": range(3_000, 3_002),
        "FIRST_SEEDS": range(1_004, 1_010, 2),
        "SECOND_SEEDS": (1_003,),
        "BEGINNING_SEEDS": (9_001,),
        "MUTANTS": 1,
        "CARRIED": 1,
        "LEARN_FROM": 20,
        "LEAST_WINDOW": 10,
        "FIRST_RECIPE": Recipe(3, 4),
        "SECOND_RECIPE": Recipe(3, 4),
        "THIRD_RECIPE": Recipe(2, 4),
        "OWN_RECIPE": Recipe(2, 4),
    }.items():
        monkeypatch.setattr(train, name, value)


def test_every_group_is_judged_by_models_that_did_not_see_it(tmp_path, small):
    write_open_data(tmp_path, ("dns", "icmp"))
    known = tuple(published(tmp_path))
    told = []
    taught = train.studied(known, told.append, alone)
    fold = train.Fold(taught, known)

    parts, figures = fold(folds.GROUPS[0])

    assert [name for name, _ in figures] == ["dns"]
    assert parts["context"]["learnt"].tolist() == parts["meaning"]["learnt"].tolist() == ["icmp"]
    assert parts["published"]["protocols"].tolist() == ["dns", "icmp"]
    assert sum("dns" in line for line in told) > sum("dns" in row.name for row in taught.rows) / 2


def test_models_are_written_the_same_again_and_said_not_to_be_those_shipped(tmp_path, small):
    taught = train.studied((), lambda _: None, alone)
    told = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train.write(tmp_path / name, train.scorers(taught, ()), told.append)

    for name in FILES:
        one, two = ((tmp_path / n / f"{name}.npz").read_bytes() for n in ("one", "two"))
        assert one == two
    assert all("not the one that is shipped" in line for line in told)
    assert isinstance(load(tmp_path / "one"), Models)


def test_every_shipped_model_says_that_it_is_one():
    assert set(SHA256) == set(FILES)


def test_packed_models_hold_no_objects():
    parts = {"names": np.array(["a"]), "edges": np.ones(1, np.float32)}

    assert read(train.packed(parts))["names"].tolist() == ["a"]
