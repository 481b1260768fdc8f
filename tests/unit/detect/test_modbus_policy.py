import pathlib

import pytest

from cronos.detect.modbus_policy import ModbusPolicy, Request, Rulebook, load, parse
from cronos.errors import InputError

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "modbus-policy.toml"
PLC, OPERATOR, HISTORIAN, GUEST = "192.0.2.10", "192.0.2.20", "192.0.2.33", "192.0.2.99"


@pytest.fixture
def rulebook():
    return Rulebook(load(EXAMPLE))


def write(address, value, quantity=1, code=6, client=OPERATOR):
    return Request(client, PLC, 502, 1, code, address, quantity, None, None, value, value)


def read(code, address, quantity, client=HISTORIAN):
    return Request(client, PLC, 502, 1, code, address, quantity)


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (write(100, 900), None),
        (write(100, 1501), "value"),
        (write(103, 900, quantity=2, code=16), "address"),
        (write(104, 900), "address"),
        (write(0, 1, code=5), None),
        (write(8, 1, code=5), "address"),
        (write(100, 900, client=HISTORIAN), "function"),
        (write(100, 900, client=GUEST), "client"),
        (read(3, 100, 100), None),
        (read(3, 100, 101), "address"),
        (read(4, 0, 64), None),
        (read(1, 0, 1), "function"),
        (read(43, None, None), "function"),
        (read(3, None, None), "address"),
    ],
)
def test_the_example_policy_judges_requests(rulebook, request_, kind):
    violation = rulebook.judge(request_)
    assert (violation and violation.kind) == kind


def test_servers_and_ports_it_does_not_name_are_not_judged(rulebook):
    assert rulebook.judge(Request(GUEST, "198.51.100.1", 502, 1, 16)) is None
    assert rulebook.judge(Request(GUEST, PLC, 1502, 1, 16)) is None
    assert rulebook.judge(Request(GUEST, "no address", 502, 1, 16)) is None


def test_an_undeclared_unit_is_a_violation(rulebook):
    violation = rulebook.judge(Request(OPERATOR, PLC, 502, 7, 3, 0, 1))
    assert violation is not None
    assert violation.kind == "unit"


def test_a_mask_cannot_be_held_to_a_range_of_values():
    policy = parse(
        b'[[server]]\naddress="192.0.2.10"\n[[server.client]]\naddress="192.0.2.20"\n'
        b"functions=[22]\nwrite=[{first=0,last=9,max=100}]\n",
        "test",
    )
    violation = Rulebook(policy).judge(write(0, 5, code=22))
    assert violation is not None
    assert violation.kind == "value"


def test_adjacent_ranges_cover_a_request_together():
    policy = parse(
        b'[[server]]\naddress="192.0.2.0/24"\n[[server.client]]\naddress="192.0.2.20"\n'
        b"functions=[16]\nwrite=[{first=0,last=4,max=10},{first=5,last=9}]\n",
        "test",
    )
    rulebook = Rulebook(policy)
    assert rulebook.judge(write(3, 10, quantity=4, code=16)) is None
    violation = rulebook.judge(write(3, 11, quantity=4, code=16))
    assert violation is not None
    assert violation.allowed == "the policy allows values from 0 to 10 there"


@pytest.mark.parametrize(
    "data",
    [
        b"server = 1",
        b"unknown = 1",
        b"version = 2",
        b"[[server]]\naddress='nonsense'",
        b"[[server]]\naddress='192.0.2.1'\n[[server.client]]\naddress='x'",
        b"[[server]]\naddress='192.0.2.1'\nclient=[{address='::1',write=[{first=9,last=1}]}]",
        b"\xff",
        b"a = " + b"[" * 5000,
        b"#" * (1 << 20) + b"##",
    ],
)
def test_a_broken_policy_is_refused_with_a_remedy(data):
    with pytest.raises(InputError) as caught:
        parse(data, "policy.toml")
    assert "policy.toml" in caught.value.sentence
    assert caught.value.remedy


def test_a_missing_policy_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_an_empty_policy_judges_nothing():
    assert Rulebook(ModbusPolicy()).judge(write(100, 1)) is None
