"""Names: nothing that is not plainly a name becomes part of an id."""

import pytest

from cronos.crypto.pki.names import (
    NODE,
    OPERATOR,
    SERVICE,
    host_name,
    parse_id,
    require_domain,
    require_name,
    require_roles,
    spiffe_id,
)
from cronos.errors import InputError


@pytest.mark.parametrize("name", ["a", "plc-gateway", "node_7", "0", "a" * 63])
def test_a_plain_name_passes(name):
    assert require_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../etc",
        "a/b",
        "A",
        "a.b",
        "a b",
        "-a",
        "a\n",
        "*",
        "a" * 64,
        "\u0430lpha",
        "a\0",
        "é",
    ],
)
def test_a_path_a_wildcard_or_a_look_alike_is_no_name(name):
    with pytest.raises(InputError) as refused:
        require_name(name)

    assert refused.value.code == "crypto.bad_name"


@pytest.mark.parametrize("domain", ["plant.example", "a", "x-1.y.z", "a" * 63 + ".b"])
def test_a_host_name_in_lower_case_is_a_domain(domain):
    assert require_domain(domain) == domain


@pytest.mark.parametrize(
    "domain",
    ["", ".", "a..b", "-a.b", "a-.b", "Plant.example", "plant.example/", "plänt.example", "a:1",
     "plant.example\n", "a." * 100 + "b", "a" * 64],
)  # fmt: skip
def test_anything_else_is_no_domain(domain):
    with pytest.raises(InputError) as refused:
        require_domain(domain)

    assert refused.value.code == "crypto.bad_domain"


def test_roles_come_back_in_their_order_and_once():
    assert require_roles(NODE, ["audit", "defense", "audit"]) == ("defense", "audit")
    assert require_roles(SERVICE, []) == ()


@pytest.mark.parametrize(
    ("kind", "roles"),
    [(NODE, []), (NODE, ["admin"]), (OPERATOR, ["defense"]), (SERVICE, ["audit"])],
)
def test_a_kind_holds_only_its_own_roles(kind, roles):
    with pytest.raises(InputError) as refused:
        require_roles(kind, roles)

    assert refused.value.code == "crypto.bad_role"


def test_an_id_is_read_back_as_it_was_made():
    made = spiffe_id("plant.example", NODE, "alpha_1")

    assert made == "spiffe://plant.example/node/alpha_1"
    assert parse_id(made) == ("plant.example", "node", "alpha_1")
    assert host_name("plant.example", NODE, "alpha_1") == "alpha_1.node.plant.example"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://plant.example/node/alpha/",
        "spiffe://plant.example//alpha",
        "spiffe://plant.example/node/alpha?x",
        "spiffe://plant.example:1/node/alpha",
        "spiffe://user@plant.example/node/alpha",
        "SPIFFE://plant.example/node/alpha",
        "spiffe://plant.example/node/Alpha",
        "spiffe://plant.example/root/alpha",
        "spiffe://plant.example/node/-alpha",
        "spiffe://plant.example/node/..",
        "spiffe://plant..example/node/alpha",
        "spiffe://plant.example/node/alpha\n",
        "https://plant.example/node/alpha",
        "spiffe://plant.example/node/" + "a" * 64,
    ],
)
def test_what_only_resembles_an_id_is_none(uri):
    assert parse_id(uri) is None
