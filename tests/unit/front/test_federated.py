"""Four nodes on one machine: each has its own configuration and its own certificate."""

import pathlib
import tempfile
import tomllib

import pytest

from cronos import config as configuration
from cronos.errors import InputError
from cronos.front import membership
from cronos.front.federated import DUTIES, NAMES, ROLES, Federation, toml_of
from cronos.front.federation import require_safe
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock


@pytest.fixture(scope="module")
def prepared():
    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        own = {"west": {"plugin": {"tap": {"x": 2}}}}
        table = {"plugin": {"scan": {"window_s": 60}}, "policy": {"protected": ["127.0.0.1"]}}
        federation = Federation(pathlib.Path(folder), table, SystemClock(), own)
        federation.prepare()
        yield federation


def read(fellow):
    return configuration.parse(tomllib.loads(fellow.file.read_text()), "it")


def test_each_node_may_join_and_all_parts_of_the_budget_make_one(prepared):
    configs = {name: read(fellow) for name, fellow in prepared.fellows.items()}

    for name, config in configs.items():
        require_safe(config)
        assert config.node.instance == name
        assert config.mesh.roles == DUTIES[name]
        assert len(config.mesh.join) == 3
        assert config.mesh.listen not in config.mesh.join
        assert config.policy.protected == ("127.0.0.1",)
        assert config.plugin["scan"] == {"window_s": 60}
    assert sum(config.policy.budget_share for config in configs.values()) == 1.0
    assert configs["west"].plugin["tap"] == {"x": 2}
    assert "tap" not in configs["north"].plugin


def test_each_node_has_a_certificate_of_one_domain_that_allows_every_role(prepared):
    for name, fellow in prepared.fellows.items():
        identity = membership.holder_of(read(fellow), fellow.state, SystemClock()).own()
        assert (identity.name, identity.kind) == (name, "node")
        assert set(identity.roles) == set(ROLES)


def test_a_federation_that_was_founded_is_not_founded_again(prepared):
    trust = (prepared.state / "authority" / "trust").read_bytes()
    prepared.prepare()

    assert (prepared.state / "authority" / "trust").read_bytes() == trust


def test_nodes_that_are_kept_running_are_renewed_and_those_whose_certificates_ended_join_anew():
    """Four days of standing still: no enrolment service renews them any more."""
    ago = VirtualClock(wall_ns=SystemClock().now().wall_ns - 4 * 86_400 * 10**9)
    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        Federation(pathlib.Path(folder), {}, ago).prepare()
        table = {"services": ["metrics"]}
        federation = Federation(pathlib.Path(folder), table, SystemClock(), renewing=True)
        try:
            revoked = federation.fellows["west"]
            federation.enrolling.start = lambda *_: None
            authority = federation._authority(pathlib.Path(folder) / "authority", founded=True)
            authority.refresh()
            authority.revoke("west", "key-compromise")
            federation.prepare()
            now_ns = SystemClock().now().wall_ns
            for name, fellow in federation.fellows.items():
                config = read(fellow)
                assert config.services == ("metrics", "certificate-renewal")
                address = config.plugin["certificate-renewal"]["addresses"]
                assert address == [federation.enrolling.address]
                own = membership.holder_of(config, fellow.state, SystemClock()).own()
                assert (own.not_after_ns > now_ns) == (fellow is not revoked), name
        finally:
            federation.enrolling.stop()


def test_where_a_registry_is_named_no_node_is_told_another():
    with tempfile.TemporaryDirectory(prefix="cr-") as folder:
        table = {"mesh": {"registry": "etcd", "copies": 2}}
        federation = Federation(pathlib.Path(folder), table, SystemClock())
        tables = [federation._table_of(fellow) for fellow in federation.fellows.values()]

    assert [one["mesh"]["join"] for one in tables] == [[]] * 4
    assert {one["mesh"]["copies"] for one in tables} == {2}


def test_every_role_is_somebodys():
    assert {role for roles in DUTIES.values() for role in roles} == set(ROLES)
    assert tuple(DUTIES) == NAMES


@pytest.mark.parametrize(
    "table",
    [
        {"a": {"b": [1, 'x\u00e9"\n', True, {"c": 1.5}], "d e": {}}},
        {"source": [{"kind": "file", "given": {"path": "/a\\b"}}], "n": -3},
    ],
)
def test_what_is_written_as_toml_is_read_as_it_was(table):
    assert tomllib.loads(toml_of(table)) == table


def test_a_state_folder_with_no_room_for_sockets_is_refused():
    with pytest.raises(InputError):
        Federation(pathlib.Path("/" + "x" * 60), {}, SystemClock())
