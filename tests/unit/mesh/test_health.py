"""What is wrong with whom, in a sentence; who has left is nobody's worry."""

from cronos.mesh.health import OK, health
from cronos.mesh.memberwire import Load


def peer(name, status="alive", breaker="closed", load=None):
    return {"instance": name, "status": status, "breaker": breaker, "load": load}


def test_all_is_well_where_everybody_lives_and_nobody_is_busy():
    busy = {"queued": 0, "kept_mib": 0, "health": 1}
    peers = [peer("a"), peer("b", load=busy), peer("c", "left", "open")]

    assert health(peers, Load()) == OK


def test_each_trouble_is_named_with_whom_it_concerns():
    busy = {"queued": 0, "kept_mib": 0, "health": 7}
    peers = [
        peer("a", "dead"),
        peer("b", "suspect"),
        peer("c", breaker="open"),
        peer("d", load=busy),
    ]

    assert health(peers, Load(health=8)) == (
        "a dead; b suspected; c not reached: its breaker is open; d busy; this node busy"
    )


def test_many_are_counted():
    assert health([peer(f"n{n}", "dead") for n in range(20)], Load()).endswith("and 12 more dead")
