"""Names become plug-ins: their own table, the ports they name, and a sentence where it fails."""

import sys
import types
from typing import ClassVar

import pytest

from cronos.catalog import CATALOG
from cronos.config import Config, Section
from cronos.errors import ExtraMissingError, InputError
from cronos.front.plugins import load, make, names


class PluginConfig(Section, frozen=True):
    depth: int = 1
    path: str = ""


class Plugin:
    config_type: ClassVar[type[Section]] = PluginConfig

    def __init__(self, config, clock):
        self.config = config
        self.clock = clock


@pytest.fixture
def catalogue(monkeypatch):
    """A plug-in from outside the package, by one line of the catalogue."""
    module = types.ModuleType("outside_plugin")
    module.Plugin = Plugin
    monkeypatch.setitem(sys.modules, "outside_plugin", module)
    monkeypatch.setitem(CATALOG["sensor"], "outside", "outside_plugin:Plugin")
    return CATALOG


def test_a_plug_in_gets_its_own_table_and_the_ports_it_names(catalogue):
    config = Config(plugin={"outside": {"depth": 3}})
    plugin = make("sensor", "outside", config, given={"path": "x"}, clock="a clock", egress="no")
    assert plugin.config == PluginConfig(3, "x")
    assert plugin.clock == "a clock"


def test_what_the_command_line_says_stands_over_the_table(catalogue):
    config = Config(plugin={"outside": {"path": "table"}})
    assert make("sensor", "outside", config, given={"path": "told"}, clock=1).config.path == "told"


@pytest.mark.parametrize("table", [{"dept": 3}, {"depth": "three"}])
def test_an_unknown_key_or_a_wrong_type_names_the_table(catalogue, table):
    with pytest.raises(InputError) as refused:
        make("sensor", "outside", Config(plugin={"outside": table}), clock=1)
    assert refused.value.code == "config.invalid"
    assert "[plugin.outside]" in refused.value.sentence


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(InputError) as refused:
        load("sensor", "pcpa")
    assert refused.value.code == "catalog.unknown"
    assert "pcap" in refused.value.remedy


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(CATALOG["sensor"], "extra", "pymodbus.nothing_there:Sensor")
    with pytest.raises(ExtraMissingError) as missing:
        load("sensor", "extra")
    assert "pip install 'cronos[demo]'" in missing.value.remedy


def test_a_fault_of_ours_is_not_passed_off_as_a_missing_extra(monkeypatch):
    monkeypatch.setitem(CATALOG["sensor"], "wrong", "cronos.sense.nothing_there:Sensor")
    with pytest.raises(ModuleNotFoundError):
        load("sensor", "wrong")


def test_names_are_sorted_and_complete():
    assert list(names("sensor")) == sorted(CATALOG["sensor"])
