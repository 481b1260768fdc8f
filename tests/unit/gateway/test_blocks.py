import msgspec
import pytest

from cronos.errors import InputError
from cronos.gateway.blocks import BlockTable, Ends, canonical_address
from cronos.types import Action, Entity, EntityKind, Verb, action_id, flow_entity

SECOND = 1_000_000_000
CALLER = Ends("192.0.2.7", 40312, "198.51.100.2", 502, "203.0.113.1", 1502)
ADDRESS = Entity(EntityKind.ADDRESS, "192.0.2.7")


def table(*protected, max_blocks=10, max_lease_s=100):
    return BlockTable(protected, max_blocks, max_lease_s)


def deny(target=ADDRESS, lease_s=10, epoch=1, verb=Verb.DENY):
    name = action_id("tap", "deny", target)
    return Action(name, "tap", verb, target, "n-1-i1", lease_s * SECOND, epoch)


def bars(blocks, now_s, ends=CALLER):
    return blocks.barring(ends.names(), now_s * SECOND) is not None


def test_a_blocked_address_is_barred_until_its_lease_ends():
    blocks = table()
    assert blocks.grant(deny(), 0) == ""
    assert bars(blocks, 9)
    assert not bars(blocks, 10)
    assert not bars(blocks, 5, msgspec.structs.replace(CALLER, client="192.0.2.8"))


@pytest.mark.parametrize(("server", "port"), [("198.51.100.2", 502), ("203.0.113.1", 1502)])
def test_a_flow_is_known_by_its_server_and_by_the_taps_door(server, port):
    blocks = table()
    blocks.grant(deny(flow_entity("tcp", "192.0.2.7", 40312, server, port)), 0)
    assert bars(blocks, 1)
    assert not bars(blocks, 1, msgspec.structs.replace(CALLER, client_port=40313))


def test_ipv6_flows_and_mapped_addresses_are_brought_into_one_spelling():
    blocks = table()
    v6 = msgspec.structs.replace(CALLER, client="2001:db8::7", server="2001:db8::2")
    blocks.grant(deny(flow_entity("tcp", "2001:DB8:0::7", 40312, "2001:db8::2", 502)), 0)
    blocks.grant(deny(Entity(EntityKind.ADDRESS, "::ffff:192.0.2.7")), 0)
    assert bars(blocks, 1, v6)
    assert bars(blocks, 1)
    assert canonical_address("fe80::1%eth0") == "fe80::1"


def test_a_protected_client_is_never_blocked_not_even_by_flow():
    blocks = table("192.0.2.0/24")
    assert "protected" in blocks.grant(deny(), 0)
    flow = flow_entity("tcp", "192.0.2.7", 40312, "198.51.100.2", 502)
    assert "protected" in blocks.grant(deny(flow), 0)
    assert not bars(blocks, 1)


@pytest.mark.parametrize(
    "action",
    [
        deny(verb=Verb.CONTAIN),
        deny(lease_s=0),
        deny(lease_s=101),
        deny(Entity(EntityKind.HOST, "plc")),
        deny(Entity(EntityKind.ADDRESS, "nonsense")),
        deny(Entity(EntityKind.FLOW, "udp/192.0.2.7:1>198.51.100.2:502")),
        deny(Entity(EntityKind.FLOW, "tcp/192.0.2.7:x>198.51.100.2:502")),
        msgspec.structs.replace(deny(), incident_id="i" * 200),
    ],
)
def test_what_the_tap_cannot_do_is_refused_with_a_sentence(action):
    blocks = table()
    assert blocks.grant(action, 0).endswith(".")
    assert blocks.held(0) == ()


def test_the_same_order_twice_leaves_one_block_and_never_a_shorter_lease():
    blocks = table()
    blocks.grant(deny(lease_s=10), 0)
    blocks.grant(deny(lease_s=1), 0)
    assert len(blocks.held(0)) == 1
    assert bars(blocks, 9)


def test_renewing_begins_the_lease_anew_but_revives_nothing():
    blocks = table()
    blocks.grant(deny(), 0)
    assert blocks.renew(deny(), 9 * SECOND) == ""
    assert bars(blocks, 18)
    assert "ended" in blocks.renew(deny(), 19 * SECOND)


def test_an_order_overtaken_by_a_later_epoch_changes_nothing():
    blocks = table()
    blocks.grant(deny(epoch=2), 0)
    assert "older" in blocks.lift(deny(epoch=1))
    assert bars(blocks, 1)
    assert blocks.lift(deny(epoch=3)) == ""
    assert "older" in blocks.grant(deny(epoch=2), 0)
    assert not bars(blocks, 1)


def test_lifting_what_is_gone_is_a_success():
    assert table().lift(deny()) == ""


def test_expired_blocks_are_given_once():
    blocks = table()
    blocks.grant(deny(), 0)
    assert [b.action.target for b in blocks.expire(10 * SECOND)] == [ADDRESS]
    assert blocks.expire(10 * SECOND) == ()


def test_the_table_is_bounded():
    blocks = table(max_blocks=1)
    blocks.grant(deny(), 0)
    other = deny(Entity(EntityKind.ADDRESS, "192.0.2.8"))
    assert "already" in blocks.grant(other, 0)


def test_a_misspelt_protected_entry_is_refused_at_once():
    with pytest.raises(InputError, match="no address"):
        table("plc-7")
