"""`cronos node`: the command line's part of the federation stands over the configuration's."""

import argparse

import pytest

from cronos.config import Config, Mesh, Policy
from cronos.errors import InputError
from cronos.front.commands import node
from cronos.front.federation import require_safe


def with_mesh(*given, config=None):
    parser = argparse.ArgumentParser()
    node.arguments(parser)
    return node.with_mesh(config or Config(), parser.parse_args(given))


def test_a_node_listens_has_its_part_and_every_role_unless_told():
    config = with_mesh()

    assert config.mesh.listen == "127.0.0.1:7443"
    assert config.policy.budget_share == 0.25
    assert config.mesh.roles == Mesh().roles
    require_safe(config)


def test_its_certificate_is_renewed_for_as_long_as_it_runs():
    assert with_mesh().services == ("certificate-renewal",)
    own = Config(services=("metrics", "certificate-renewal"))
    assert with_mesh(config=own).services == ("metrics", "certificate-renewal")


def test_roles_seeds_name_and_part_are_given_on_the_command_line():
    config = with_mesh(
        "--roles", "defense, audit", "--join", "127.0.0.1:7443", "--join", "127.0.0.1:7444",
        "--listen", "127.0.0.1:7445", "--name", "west", "--share", "0.5",
    )  # fmt: skip

    assert config.mesh.roles == ("defense", "audit")
    assert config.mesh.join == ("127.0.0.1:7443", "127.0.0.1:7444")
    assert (config.mesh.listen, config.node.instance) == ("127.0.0.1:7445", "west")
    assert config.policy.budget_share == 0.5


def test_what_the_configuration_says_stays_where_the_command_line_is_silent():
    mesh = Mesh(listen="127.0.0.1:9", join=("127.0.0.1:8",), roles=("audit",))
    own = Config(mesh=mesh, policy=Policy(budget_share=0.1))
    config = with_mesh("--join", "127.0.0.1:7", config=own)

    assert config.mesh.join == ("127.0.0.1:8", "127.0.0.1:7")
    assert (config.mesh.listen, config.mesh.roles) == ("127.0.0.1:9", ("audit",))
    assert config.policy.budget_share == 0.1


@pytest.mark.parametrize("given", [("--roles", "king"), ("--share", "1.5"), ("--share", "-1")])
def test_what_is_no_role_and_no_part_is_refused(given):
    with pytest.raises(InputError):
        with_mesh(*given)
