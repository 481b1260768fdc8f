"""Two ways to run the property and fuzz tests: short for the gate, and `make soak`, for hours.

Where they run on several cores (`--numprocesses`), what starts servers, namespaces and whole nodes
stays in one process, one test after another: two at once would wait for each other's processors.
"""

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

SOAK_FACTOR = 100

settings.register_profile("gate", deadline=None)
settings.register_profile(
    "soak", deadline=None, max_examples=10_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("gate")


class OneMachine(LoadScopeScheduling):
    """Gives all integration tests to one process, and any other file to whichever is free."""

    def _split_scope(self, nodeid):
        folder = "tests/integration/"
        return folder if nodeid.startswith(folder) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Choose who runs what, where several processes run."""
    return OneMachine(config, log)


def pytest_collection_modifyitems(config, items):
    """In the soak, multiply what a test asks for itself: its own number beats the profile's."""
    if config.getoption("--hypothesis-profile") != "soak":
        return
    seen = set()  # a parametrised test is several items and one function
    for item in items:
        test = getattr(item, "obj", None)
        test = getattr(test, "__func__", test)
        own = getattr(test, "_hypothesis_internal_use_settings", None)
        if own is not None and test not in seen:
            seen.add(test)
            more = settings(own, max_examples=own.max_examples * SOAK_FACTOR, deadline=None)
            test._hypothesis_internal_use_settings = more
