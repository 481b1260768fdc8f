import json
import pathlib

import pytest

from cronos.detect import attack

DATA = pathlib.Path(__file__).parents[4] / "shared" / "data" / "detection" / "attack"


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("attack.t1059.001", "T1059.001"),
        ("attack.T1046", "T1046"),
        ("attack.t1685", "T1562.001"),
        ("attack.t1685.005", "T1070.001"),
        ("attack.t1686.003", "T1562.004"),
        ("attack.stealth", None),
        ("attack.s0154", None),
        ("cve.2021-44228", None),
    ],
)
def test_a_tag_becomes_an_id_of_version_18(tag, expected):
    assert attack.technique(tag) == expected


def test_every_later_id_maps_to_one_that_exists():
    path = DATA / "attack_v18_1.json"
    if not path.exists():
        pytest.skip("the shared ATT&CK table is absent")
    table = json.loads(path.read_text())
    known = {t["id"] for domain in table["domains"].values() for t in domain["techniques"]}
    for later, earlier in table["v19_aliases"].items():
        assert attack.technique(f"attack.{later.lower()}") == earlier
        assert earlier in known
