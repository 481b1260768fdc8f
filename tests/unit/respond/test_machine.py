from cronos.respond.guards import EnforcerConfig, Guard
from cronos.respond.machine import own_addresses
from cronos.types import Entity, EntityKind

TRIE = """Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.66
        /32 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""
ROUTE = """Iface Destination Gateway Flags
eth0 00000000 010200C0 0003 0 0 0 00000000
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF
"""
ZERO = "0" * 32


def machine(folder, **files):
    for name, text in files.items():
        (folder / name).write_text(text)
    return own_addresses(folder, folder / "resolv_conf")


def test_addresses_gateways_and_resolvers_are_found(tmp_path):
    found = machine(
        tmp_path,
        fib_trie=TRIE,
        route=ROUTE,
        if_inet6="fd000000000000000000000000000002 04 40 00 82 eth0\n",
        ipv6_route=f"{ZERO} 00 {ZERO} 00 fd000000000000000000000000000001 00000400 2 0 3 eth0\n",
        resolv_conf="# mine\nnameserver 127.0.0.53\nnameserver fe80::5%eth0\noptions edns0\n",
    )
    assert found == {
        "192.0.2.2": "an address of this machine",
        "fd00::2": "an address of this machine",
        "192.0.2.1": "a gateway of this machine",
        "fd00::1": "a gateway of this machine",
        "127.0.0.53": "a resolver of this machine",
        "fe80::5": "a resolver of this machine",
    }
    guard = Guard(EnforcerConfig(), lambda: found)
    assert guard.protects(Entity(EntityKind.ADDRESS, "::ffff:192.0.2.1"))
    assert guard.protects(Entity(EntityKind.FLOW, "tcp/fd00::2:1>10.0.0.1:2"))
    assert guard.protects(Entity(EntityKind.ADDRESS, "127.0.0.66")) is None


def test_tables_that_are_lacking_or_strange_add_nothing(tmp_path):
    assert own_addresses(tmp_path / "none", tmp_path / "none") == {}
    strange = "\xff\x00 zz\n|-- x\n/32 host LOCAL\na b zzzzzzzz\nnameserver\nnameserver x\n"
    files = ("fib_trie", "route", "if_inet6", "ipv6_route", "resolv_conf")
    assert machine(tmp_path, **dict.fromkeys(files, strange)) == {}


def test_this_machine_can_be_read():
    assert all(not address.startswith("127.0.0.66") for address in own_addresses())
