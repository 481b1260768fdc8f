"""The shipped calibration is what the bench measures, where the shared data is there."""

import json
import pathlib

import pytest
from bench import calibrate

DATA = pathlib.Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the shared data is not beside the repository")
def test_the_shipped_table_is_measured_again():
    assert calibrate.measured(DATA) == json.loads(calibrate.TARGET.read_text(encoding="utf-8"))
