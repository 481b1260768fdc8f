import pytest

from cronos.config import Asset
from cronos.respond.playbook_assets import Assets
from cronos.types import Entity, EntityKind

SITE = Assets(
    [
        Asset("historian", ("198.51.100.2", "historian.example.test")),
        Asset("cell", ("198.51.100.0/24", "2001:db8::/64")),
    ]
)


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ("address", "198.51.100.2", "historian"),
        ("address", "198.51.100.3", "cell"),
        ("address", "2001:db8::9", "cell"),
        ("address", "192.0.2.1", None),
        ("host", "HISTORIAN.example.test", "historian"),
        ("host", "other", None),
        ("flow", "tcp/192.0.2.1:4000>198.51.100.2:502", "historian"),
        ("flow", "tcp/2001:db8:1::1:4000>2001:db8::2:502", "cell"),
        ("service", "tcp/198.51.100.2:502", "historian"),
        ("process", "historian.example.test/77", "historian"),
        ("workload", "historian", "historian"),
        ("flow", "rubbish", None),
        ("flow", ">", None),
        ("network", "198.51.0.0/16", "historian"),
    ],
)
def test_an_entity_lies_on_the_first_asset_that_matches(kind, value, name):
    found = SITE.of(Entity(EntityKind(kind), value))

    assert (found.name if found else None) == name


def test_nobody_lies_nowhere():
    assert SITE.of(None) is None
