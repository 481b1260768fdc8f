"""`cronos demo`: the whole promise on one machine, in one command."""

import pytest
from tests.integration.product import cronos

pytestmark = [pytest.mark.slow, pytest.mark.net]


def test_every_step_of_the_demo_holds(tmp_path):
    pytest.importorskip("pymodbus", reason="the extra `demo` is not installed")
    done = cronos("demo", "--state", tmp_path / "state", "--json")
    assert done.code == 0, done.out
    document = done.document
    assert document["passed"] is True
    assert [step["name"] for step in document["steps"] if not step["held"]] == []
    assert len(document["steps"]) >= 8
    (incident,) = document["incidents"]
    assert incident["actor"] == "address 127.0.0.66"
    assert incident["done"]["action"] == "deny address 127.0.0.66 at tap"
    assert incident["done"]["dry_run"] is False
    moments = {step["moment"]: step["ms"] for step in incident["timeline"]}
    assert moments["isolated"] < moments["confirmed"] < moments["releasing"] <= moments["closed"]
    audit = cronos("audit", "verify", "--state", tmp_path / "state", "--json")
    assert audit.code == 0
    assert audit.document["records"] == document["ledger"]["records"]
    assert audit.document["head"] == document["ledger"]["head"]
