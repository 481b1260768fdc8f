"""Two ways to run the property and fuzz tests: short for the gate, and `make soak`, for hours.

The gate runs on several cores. What starts servers, namespaces and whole nodes stays in one
process, one test after another: two of them at once would wait for each other's processors.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SOAK_FACTOR = 100
INTEGRATION = Path(__file__).parent / "integration"

settings.register_profile("gate", deadline=None)
settings.register_profile(
    "soak", deadline=None, max_examples=10_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("gate")


def pytest_collection_modifyitems(config, items):
    """Keep integration tests together; in the soak, multiply what a test asks for itself."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("machine"))
    if config.getoption("--hypothesis-profile") != "soak":
        return
    # A test's own number beats the profile's.
    seen = set()  # a parametrised test is several items and one function
    for item in items:
        test = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)
        own = getattr(test, "_hypothesis_internal_use_settings", None)
        if own is not None and test not in seen:
            seen.add(test)
            more = settings(own, max_examples=own.max_examples * SOAK_FACTOR, deadline=None)
            test._hypothesis_internal_use_settings = more
