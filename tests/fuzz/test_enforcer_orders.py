"""Whatever is ordered, and however it is spelt: nothing that is protected is ever touched.

What is protected is known by how an order was made, or found by a rule of its own here, and not
asked of the guard. Ten thousand orders in the gate, a million in `make soak`.
"""

import ipaddress
import random
import socket
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.respond.stage import S, Stage

from cronos.types import Action, Entity, EntityKind, Operation, Order, Verb, action_id

K = EntityKind
NETWORKS = [ipaddress.ip_network(text) for text in ("10.1.0.0/16", "192.0.2.66", "2001:db8:1::/48")]
ALWAYS = [ipaddress.ip_network(text) for text in ("127.0.0.1", "::1", "198.51.100.9")]
HOSTS = ("plc-1", "hist.plant.example")
USERS = ("CORP\\admin", "helpdesk@corp.example")
PODS = ("payments/gateway",)
SEGMENTS = {"cell-1": ("10.1.3.0/24",), "cell-2": ("10.2.0.0/16",)}
PROTECTED = (*(str(one) for one in NETWORKS), *HOSTS, *USERS, *PODS, "AKIAPROTECTED")
ORDERS = 500


def address(rng):
    network = rng.choice(NETWORKS + ALWAYS)
    return network[rng.randrange(min(network.num_addresses, 1 << 16))]


def spelt(rng, one):
    """Write an address in one of the ways that mean the same."""
    ways = [str(one), str(one).upper(), one.exploded]
    if one.version == 4:
        ways += [f"::ffff:{one}", f"::FFFF:{one}", f"{one}/32"]
    return rng.choice(ways)


def wider(rng, one):
    """Give a network that holds an address."""
    bits = rng.randrange(one.max_prefixlen + 1)
    return str(ipaddress.ip_network(f"{one}/{bits}", strict=False))


def case(rng, text):
    return "".join(rng.choice((c.lower(), c.upper())) for c in text)


def disguised(rng, kind):
    """Give a protected target of a kind, in one of many spellings."""
    one = address(rng)
    site = case(rng, rng.choice((*HOSTS, "hist")))
    host = rng.choice((site, case(rng, "localhost"), case(rng, socket.gethostname())))
    user = case(rng, rng.choice((*USERS, "admin", "helpdesk", "root", "X\\root", "SYSTEM")))
    ways = {
        K.ADDRESS: lambda: rng.choice((spelt(rng, one), wider(rng, one))),
        K.NETWORK: lambda: wider(rng, one),
        K.SEGMENT: lambda: rng.choice((case(rng, "cell-1"), "cell-9", str(one), "")),
        K.FLOW: lambda: f"tcp/{spelt(rng, one).split('/')[0]}:{rng.randrange(65536)}>192.0.2.9:502",
        K.SERVICE: lambda: f"tcp/{spelt(rng, one).split('/')[0]}:{rng.randrange(65536)}",
        K.HOST: lambda: rng.choice((host, str(one))),
        K.MACHINE: lambda: rng.choice((host, str(one))),
        K.USER: lambda: user,
        K.SESSION: lambda: rng.choice((f"{user}/7", f"ssh:{user}@10.9.9.9", f"{one}|4", user)),
        K.CREDENTIAL: lambda: rng.choice(("AKIAPROTECTED", "aws/akiaprotected")),
        K.PROCESS: lambda: rng.choice((f"{site}/77", f"{one}/77", "other/1", "other/0", "x")),
        K.POD: lambda: rng.choice(("payments/gateway", "PAYMENTS/Gateway", "kube-system/x", "x")),
        K.WORKLOAD: lambda: rng.choice(HOSTS),
    }
    return ways[kind]()


def innocent(rng, kind):
    number = rng.randrange(1 << 16)
    ways = {
        K.NETWORK: f"172.20.{number >> 8}.0/{rng.randrange(24, 33)}",
        K.SEGMENT: "cell-2",
        K.FLOW: f"tcp/172.16.{number >> 8}.{number & 255}:{number}>192.0.2.9:502",
        K.SERVICE: f"tcp/172.16.{number >> 8}.{number & 255}:{number}",
        K.PROCESS: f"worker-{number}/{2 + number}",
        K.POD: f"web/pod-{number}",
        K.ADDRESS: f"172.16.{number >> 8}.{number & 255}",
    }
    return ways.get(kind, f"other-{number}")


def mutated(rng, text):
    letters = list(text)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(letters) + 1)
        new = rng.choice("0123456789abcdef.:/%>\\@-_ \0\u200d\u0660Aé")
        letters[at : at + rng.randrange(2)] = [new] * rng.randrange(2)
    return "".join(letters)


def hits(target):
    """Say whether a target is protected beyond doubt, by a rule as plain as it can be."""
    if target.value.casefold() in {one.casefold() for one in PROTECTED}:
        return True
    if target.kind in (K.ADDRESS, K.NETWORK):
        try:
            one = ipaddress.ip_network(target.value, strict=False)
        except ValueError:
            return True  # of no form: whatever it names, it must not be touched
        return any(
            one.version == guarded.version and one.overlaps(guarded)
            for guarded in NETWORKS + ALWAYS
        )
    return False


def made(rng):
    """Give an action, and whether it was made to hit what is protected."""
    kind = rng.choice(list(EntityKind))
    way = rng.randrange(4)
    value = innocent(rng, kind) if way == 3 else disguised(rng, kind)
    if way == 2:
        value = mutated(rng, value)
    verb = rng.choice(list(Verb))
    target = Entity(kind, value)
    named = target if rng.randrange(20) else Entity(kind, innocent(rng, kind))
    action = Action(
        action_id("world", verb, named),
        rng.choice(("world",) * 9 + ("elsewhere",)),
        verb,
        target,
        f"inc-{rng.randrange(50)}",
        rng.choice((300 * S, 1, 0, -1, 1 << 62)),
        rng.choice((1, 2, 3, 1 << 40)),
        (b"forged",) * rng.randrange(3),
    )
    return action, way < 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, (1 << 64) - 1))
def test_no_order_touches_what_is_protected(seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(
            Path(folder),
            protected=PROTECTED,
            segments=SEGMENTS,
            actions_per_minute=1_000_000,
            blast_per_minute={"fleet": 1_000_000},
        )
        stage.own = {"198.51.100.9": "an address of this machine"}
        stage.enforcer.reconcile()
        forbidden = set()
        applied = 0
        for begin in range(0, ORDERS, 100):
            batch = [made(rng) for _ in range(100)]
            forbidden |= {one.target for one, hit in batch if hit}
            actions = tuple(one for one, _ in batch)
            stage.enforcer.handle(Order(begin, Operation.APPLY, actions))
            again = rng.choice((Operation.RENEW, Operation.UNDO))
            stage.enforcer.handle(Order(begin + 1, again, actions[:: rng.randrange(1, 9)]))
            touched = {action.target for action in stage.world.values()}
            assert touched & forbidden == set()
            assert [one for one in touched if hits(one)] == []
            applied += len(touched)
        stage.book.close()
    assert applied  # the innocent ones are let through, or this would prove nothing


def test_the_rule_of_this_test_knows_what_is_protected():
    assert hits(Entity(K.ADDRESS, "10.1.9.9"))
    assert not hits(Entity(K.ADDRESS, "172.16.0.1"))
    assert msgspec.structs.replace(Entity(K.USER, "x"), value="corp\\ADMIN").value != ""
