"""Technique ids are known by name and tactic, or stay unknown."""

import json
import pathlib

import pytest
from bench import attack_table

from cronos.detect import attack
from cronos.intel import attack_matrix
from cronos.intel.attack_matrix import Technique, notice, tactics_of, technique, version

SOURCE = (
    pathlib.Path(__file__).parents[4] / "shared" / "data" / "detection" / "attack"
) / "attack_v18_1.json"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T0855", ("Unauthorized Command Message", ("Impair Process Control",))),
        ("T1486", ("Data Encrypted for Impact", ("Impact",))),
        ("T1110.001", ("Password Guessing", ("Credential Access",))),
        ("T1046", ("Network Service Discovery", ("Discovery",))),
    ],
)
def test_a_technique_of_either_domain_has_its_name_and_tactics(name, expected):
    found = technique(name)

    assert (found.name, found.tactic_names) == expected
    assert found.technique == name


@pytest.mark.parametrize("name", ["", "T9999", "T1486\n", "t1486", "x" * 10_000, "TA0040"])
def test_an_unknown_id_stays_unknown(name):
    assert technique(name) == Technique(name)


def test_a_revoked_id_is_what_took_its_place():
    assert technique("T1086") == technique("T1059.001")
    assert technique("T1086").name == "PowerShell"


def test_tactics_of_many_techniques_are_joined():
    assert tactics_of(("T0855", "T1486", "T9999")) == {"TA0106", "TA0040"}
    assert tactics_of(()) == frozenset()


def test_it_is_small_whole_and_keeps_its_notice():
    assert attack_matrix._FILE.stat().st_size <= attack_table.MAX_BYTES
    assert "(c) The MITRE Corporation" in notice()
    assert version() == attack.VERSION
    table = attack_matrix._table()
    assert len(table.techniques) > 700
    for name, (_, *tactics) in table.techniques.items():
        assert tactics, name
        assert set(tactics) <= set(table.tactics), name
    assert set(table.revoked.values()) <= set(table.techniques)


@pytest.mark.skipif(not SOURCE.exists(), reason="the copy of ATT&CK is not beside the repository")
def test_it_is_what_the_script_makes_of_the_source():
    made = attack_table.trimmed(json.loads(SOURCE.read_text(encoding="utf-8")))

    assert made == json.loads(attack_matrix._FILE.read_text(encoding="utf-8"))
