"""Four real node processes: one incident that all confirm, the loss of three, and their return."""

import pytest
from tests.integration.product import cronos, remove, short_folder

pytestmark = [pytest.mark.slow, pytest.mark.net]


def test_every_step_of_the_federated_demo_holds():
    pytest.importorskip("pymodbus", reason="the extra `demo` is not installed")
    folder = short_folder()
    try:
        done = cronos("demo", "--federated", "--state", folder / "s", "--json", timeout_s=300)
    finally:
        remove(folder)
    document = done.document

    assert [step["name"] for step in document["steps"] if not step["held"]] == []
    assert done.code == 0
    assert document["passed"] is True
    assert document["view"] == 4
    assert len(document["ledgers"]) == 4
    assert all(ledger["records"] > 10 for ledger in document["ledgers"])
    assert {"three are killed", "it defends alone", "they have caught up"} <= {
        step["name"] for step in document["steps"]
    }
