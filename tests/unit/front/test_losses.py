"""Losses for the kernel: from the asset model, kept in the node's folder."""

import pytest

from cronos.config import Asset, Config
from cronos.errors import InputError
from cronos.front.losses import losses_of
from cronos.types import LossTable

PLC = Asset("plc", ("198.51.100.2",), loss=(1.0, 2.0, 3.0))


def test_a_site_that_lists_nothing_simulates_nothing(tmp_path):
    assert losses_of(Config(), tmp_path) == LossTable()
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_simulated_once_and_then_read(tmp_path):
    config = Config(asset=(PLC,))
    table = losses_of(config, tmp_path)

    assert {row.asset for row in table.rows} == {"", "plc"}
    assert losses_of(config, tmp_path) == losses_of(config, None) == table
    assert list((tmp_path / "losses").iterdir())


def test_settings_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"plugin\.fair"):
        losses_of(Config(plugin={"fair": {"nonsense": 1}}), None)
