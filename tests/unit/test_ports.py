"""Ports stay narrow: what a plug-in must offer fits on one hand."""

import inspect
from typing import Protocol

import pytest

from cronos import ports

PORTS = [
    kind
    for _, kind in inspect.getmembers(ports, inspect.isclass)
    if Protocol in kind.__mro__ and kind.__module__ == "cronos.ports"
]


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_a_port_has_one_to_six_methods_each_documented(port):
    methods = [
        value
        for name, value in vars(port).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, classmethod))
    ]

    assert 1 <= len(methods) <= 6
    assert all(method.__doc__ for method in methods)


def test_all_ports_of_the_design_are_there():
    expected = {
        "Sensor", "Detector", "Analyst", "Executor", "Mesh", "Ledger", "Sealer", "KeyProvider",
        "Model", "Stream", "Sink", "Workflow", "Egress", "Metrics", "Service", "Asker", "Clock",
        "Ids", "Tasks",
    }  # fmt: skip

    assert expected <= {port.__name__ for port in PORTS}
