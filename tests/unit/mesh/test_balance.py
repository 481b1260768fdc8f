"""Who does something next: those of the role first, the idle before the busy, each in its turn."""

import asyncio

import msgspec
import pytest
from tests.unit.mesh.nodes import cluster, stop, until

from cronos.mesh import memberwire
from cronos.mesh.balance import BUSY, Balance, Burden, step
from cronos.mesh.health import health
from cronos.mesh.memberwire import Have, Holding, Load
from cronos.testing.clock import VirtualClock

ROLES = {"a": ("audit",), "b": ("audit", "defense"), "c": ("defense",), "d": ()}


def balance(**loads):
    return Balance(lambda: ROLES, lambda: loads)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (None, 0),
        (Load(0, 0, 0), 0),
        (Load(255, 255, 0), 0),
        (Load(256, 0, 0), 1),
        (Load(0, 1024, 0), 3),
        (Load(0, 0, 5), 5),
        (Load(1 << 20, 0, 1), 13),
    ],
)
def test_loads_go_by_steps_each_twice_the_one_before(load, expected):
    assert step(load) == expected


def test_work_of_a_role_goes_to_the_least_loaded_who_has_it_and_equals_keep_their_order():
    assert balance().least_loaded("audit", "cbad") == ["b", "a", "c", "d"]
    assert balance(b=Load(600, 0, 0)).least_loaded("audit", "cbad") == ["a", "b", "c", "d"]
    assert balance(b=Load(100, 0, 0)).least_loaded("audit", "cbad") == ["b", "a", "c", "d"]
    assert balance(b=Load(600, 0, 0)).least_loaded("audit", "cbad", BUSY) == ["b", "a", "c", "d"]
    assert balance(c=Load(0, 0, 4)).least_loaded("audit", "cd") == ["d", "c"]


def test_in_turn_everybody_has_his_and_the_busy_are_passed_over_while_others_are_not():
    turns = balance()
    assert sorted(turns.in_turn("audit", "abcd") for _ in range(4)) == ["a", "a", "b", "b"]
    assert sorted({turns.in_turn("", "abcd") for _ in range(4)}) == ["a", "b", "c", "d"]
    busy = balance(a=Load(0, 0, BUSY))
    assert {busy.in_turn("audit", "abcd") for _ in range(4)} == {"b"}
    assert {busy.in_turn("", "a") for _ in range(2)} == {"a"}


def test_where_nobody_has_the_role_anybody_does_it_and_where_nobody_is_nobody():
    turns = balance()
    assert {turns.in_turn("operations", "ab") for _ in range(4)} == {"a", "b"}
    assert balance().in_turn("audit", "") == ""
    assert balance().least_loaded("audit", "") == []


def test_a_node_knows_what_waits_and_what_it_keeps_and_looks_twice_a_minute(tmp_path):
    clock = VirtualClock()
    burden = Burden(lambda: 7, tmp_path / "replica", clock)
    assert burden() == Load(7, 0, 0)
    (tmp_path / "replica" / "east").mkdir(parents=True)
    (tmp_path / "replica" / "east" / "ledger.db").write_bytes(bytes(3 << 20))
    assert burden().kept_mib == 0
    clock.advance(30 * 10**9)
    assert burden().kept_mib == 3


class _OldHave(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """The frame as the version before knows it."""

    cards: tuple[Holding, ...]


def test_an_older_node_reads_the_cards_alone_and_what_it_says_has_no_load():
    new = memberwire.pack(Have((Holding("b", 7),), Load(9, 9, 2)))
    old = msgspec.msgpack.decode(new[1:], type=_OldHave)
    assert old.cards == (Holding("b", 7),)
    said = memberwire.unpack(new[:1] + msgspec.msgpack.encode(old))
    assert said == Have((Holding("b", 7),), None)


def test_beside_an_older_node_work_goes_round_and_to_it_where_all_others_are_busy():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        alpha, gamma = nodes["alpha"], nodes["gamma"]
        nodes["beta"].swim._tell_load = lambda _boot_ns: None  # as before it could
        alpha.swim.loads.clear()
        await until(lambda: "gamma" in alpha.swim.loads)
        chosen = Balance(
            lambda: {"beta": ("audit",), "gamma": ("audit",)}, lambda: alpha.swim.loads
        )
        both = ["beta", "gamma"]
        assert "beta" not in alpha.swim.loads
        assert sorted(chosen.in_turn("audit", both) for _ in range(4)) == sorted(2 * both)
        assert chosen.least_loaded("audit", ["gamma", "beta"]) == ["gamma", "beta"]
        gamma.swim.load = lambda: Load(1 << 20, 0)
        await until(lambda: alpha.swim.loads["gamma"].queued)
        assert {chosen.in_turn("audit", both) for _ in range(4)} == {"beta"}
        assert chosen.least_loaded("audit", ["gamma", "beta"]) == ["beta", "gamma"]
        shown = {"status": "alive", "breaker": "closed"}
        loads = msgspec.structs.asdict(alpha.swim.loads["gamma"])
        peers = [
            {"instance": "beta", "load": None, **shown},
            {"instance": "gamma", "load": loads, **shown},
        ]
        assert health(peers, Load()) == "gamma busy"
        await stop(nodes)

    asyncio.run(story())
