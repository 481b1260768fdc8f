"""Losses by asset: right against closed forms and another implementation, the same everywhere."""

import random
import subprocess
import sys

import pytest

from cronos.config import Asset, convert
from cronos.errors import InputError
from cronos.intel.fair import UNLISTED, FairConfig, Secondary, loss_table
from cronos.types import LossTable, decode, encode

PUMP = Asset("pump", ("192.0.2.10",), loss=(2_000.0, 15_000.0, 90_000.0), attacks_per_year=2.5)
WARD = Asset("ward", ("192.0.2.20",), attacks_per_year=0.3, data=("health", "personal"))
PLAIN = FairConfig(secondary={})


def row(table, name):
    (found,) = [one for one in table.rows if one.asset == name]
    return found


def pert(generator, least, likeliest, most):
    """Draw from a PERT by the library's beta: shares no code with what is tested."""
    width = most - least
    rise, fall = 1 + 4 * (likeliest - least) / width, 1 + 4 * (most - likeliest) / width
    return least + width * generator.betavariate(rise, fall)


@pytest.mark.parametrize(
    ("loss", "rate"),
    [
        ((2_000.0, 15_000.0, 90_000.0), 2.5),
        ((0.0, 0.0, 1_000.0), 0.05),
        ((10.0, 1_000.0, 1_000.0), 40.0),
        ((100.0, 100.0, 100.0), 1.0),
        ((1.0, 50.0, 100.0), 800.5),
    ],
)
def test_means_are_those_of_the_closed_form(loss, rate):
    least, likeliest, most = loss
    mean = (least + 4 * likeliest + most) / 6

    found = row(loss_table([Asset("a", (), loss=loss, attacks_per_year=rate)], PLAIN, None), "a")

    assert found.mean == pytest.approx(mean, rel=0.002)
    assert found.annual == pytest.approx(mean * rate, rel=0.02)


def test_what_the_law_adds_is_its_probability_times_its_mean():
    law = {"health": Secondary(0.35, (100.0, 1_000.0, 7_000.0))}
    config = FairConfig(secondary=law)
    primary = (1_000.0 + 4 * 20_000.0 + 200_000.0) / 6
    second = (100.0 + 4 * 1_000.0 + 7_000.0) / 6

    found = row(loss_table([WARD], config, None), "ward")

    assert found.mean == pytest.approx(primary + 0.35 * second, rel=0.002)
    assert found.annual == pytest.approx(0.3 * (primary + 0.35 * second), rel=0.02)


@pytest.mark.parametrize("asset", [PUMP, WARD])
def test_the_ninetieth_percentile_is_that_of_another_implementation(asset):
    generator = random.Random(7)
    config = FairConfig()
    drawn = []
    for _ in range(60_000):
        cost = pert(generator, *asset.loss)
        for name in asset.data:
            law = config.secondary[name]
            if generator.random() < law.probability:
                cost += pert(generator, *law.loss)
        drawn.append(cost)
    drawn.sort()

    found = row(loss_table([asset], config, None), asset.name)

    assert found.p90 == pytest.approx(drawn[54_000], rel=0.02)


def test_there_is_a_row_for_what_is_listed_nowhere():
    table = loss_table([PUMP], PLAIN, None)

    assert [one.asset for one in table.rows] == [UNLISTED, "pump"]
    assert row(table, UNLISTED).mean == pytest.approx(46_833, rel=0.002)


def test_no_asset_changes_another_ones_row_and_the_order_does_not_matter():
    alone = loss_table([PUMP], FairConfig(), None)
    both = loss_table([WARD, PUMP], FairConfig(), None)

    assert row(alone, "pump") == row(both, "pump")
    assert both == loss_table([PUMP, WARD], FairConfig(), None)
    assert alone.digest != both.digest


def test_seed_samples_and_assumptions_are_in_the_digest():
    configs = [FairConfig(), FairConfig(seed=2), FairConfig(samples=5_000), PLAIN]

    assert len({loss_table([WARD], one, None).digest for one in configs}) == 4


def test_another_process_under_another_hash_seed_gives_the_same_bytes():
    code = (
        "import sys; from cronos.config import Asset; from cronos.intel.fair import *\n"
        "from cronos.types import encode\n"
        "ward = Asset('ward', ('192.0.2.20',), attacks_per_year=0.3, data=('personal', 'health'))\n"
        "sys.stdout.write(encode(loss_table([ward], FairConfig(), None)).hex())"
    )
    ours = encode(loss_table([WARD], FairConfig(), None)).hex()

    for seed in ("1", "4711"):
        told = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert told.stdout == ours


def test_a_table_is_read_back_and_not_simulated_again(tmp_path, monkeypatch):
    first = loss_table([PUMP, WARD], FairConfig(), tmp_path / "losses")
    monkeypatch.setattr("cronos.intel.fair._simulated", None)

    assert loss_table([PUMP, WARD], FairConfig(), tmp_path / "losses") == first
    (kept,) = (tmp_path / "losses").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert decode(kept.read_bytes()) == first


@pytest.mark.parametrize("spoil", ["cut", "flip", "other", "empty"])
def test_a_table_that_is_not_what_was_simulated_is_simulated_again(tmp_path, spoil):
    first = loss_table([PUMP], PLAIN, tmp_path)
    (kept,) = tmp_path.iterdir()
    data = kept.read_bytes()
    forged = LossTable(first.digest, first.rows[:1])
    kept.write_bytes(
        {
            "cut": data[:-3],
            "flip": data[:-1] + bytes((data[-1] ^ 1,)),
            "other": encode(forged),
            "empty": b"",
        }[spoil]
    )

    assert loss_table([PUMP], PLAIN, tmp_path) == first
    assert kept.read_bytes() == data


def test_only_the_last_few_tables_are_kept(tmp_path):
    for seed in range(12):
        loss_table([], FairConfig(seed=seed, samples=100), tmp_path)

    assert len(list(tmp_path.iterdir())) == 8


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")

    assert loss_table([PUMP], PLAIN, tmp_path / "file") == loss_table([PUMP], PLAIN, None)


@pytest.mark.parametrize(
    "loss",
    [(5.0, 4.0, 9.0), (1.0, 2.0, 1.5), (-1.0, 2.0, 3.0), (0.0, 1.0, float("inf")),
     (0.0, float("nan"), 1.0)],
)  # fmt: skip
def test_what_is_no_cost_is_refused_by_the_assets_name(loss):
    with pytest.raises(InputError, match="`odd`") as refused:
        loss_table([Asset("odd", (), loss=loss)], PLAIN, None)

    assert refused.value.code == "intel.no_loss"


def test_rates_beyond_reason_and_two_assets_of_one_name_are_refused():
    for rate in (float("inf"), float("nan"), 1e9):
        with pytest.raises(InputError, match="attacks a year"):
            loss_table([Asset("odd", (), attacks_per_year=rate)], PLAIN, None)
    with pytest.raises(InputError, match="Two assets"):
        loss_table([PUMP, PUMP], PLAIN, None)


def test_the_settings_are_bounded():
    for table in ({"samples": 1}, {"samples": 10**9}, {"seed": -1}, {"what": 1}):
        with pytest.raises(InputError):
            convert(table, FairConfig, "[plugin.fair]")
