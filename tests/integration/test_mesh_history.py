"""The checker of histories finds each fault that it is there for, and nothing in a good one."""

import pytest
from bench.mesh_history import SECOND, History

NODES = ("north", "east")
LEASE_NS = 100 * SECOND


def line(what, at_s, **more):
    return {"what": what, "at": at_s * SECOND, **more}


def good():
    """North isolates 7, tells east, and both keep it; east is killed once and comes back."""
    outcome = {"operation": "apply", "ok": True, "n": 7, "detail": ""}
    renewed = {**outcome, "operation": "renew"}
    north = [
        line("roles", 0, held=["defense"], epoch=1),
        line("sent", 1, n=7),
        line("outcome", 1, **outcome),
        line("told", 1, id="b7", n=7, sequence=1),
        line("durable", 1, sequence=1),
        line("stored", 2, upto=10, of={"7": 9}),
        line("receipt", 2, peer="east", sequence=1),
        line("confirmed", 2, n=7, view=2, ms=40.0),
        line("outcome", 60, **renewed),
    ]
    first = [line("heard", 2, id="b7", n=7, origin="north"), line("outcome", 2, **outcome)]
    second = [line("heard", 30, id="b7", n=7, origin="north"), line("stored", 31, upto=4, of={})]
    return {"north": [north], "east": [first, second]}


def history(lives=None, **changed):
    seen = frozenset({7})
    samples = [(at * SECOND, name, seen) for at in range(5, 90, 5) for name in NODES]
    given = {
        "samples": samples,
        "statuses": [(3 * SECOND, "north", 0, 10, 9)],
        "lease_ns": LEASE_NS,
        "ledgers": {"north": ({"b7": 1}, 10), "east": ({"b7": 1}, 4)},
        **changed,
    }
    return History(lives or good(), **given)


def everything(one):
    return (
        one.lost(), one.unrecorded(), one.ended_early(), one.outlasting(), one.epochs_falling()
    )  # fmt: skip


def test_nothing_is_found_in_a_good_history():
    assert everything(history()) == ([], [], [], [], [])


def test_its_row_counts_what_became_of_the_incidents():
    row = history().row(range(100))

    assert row["sent"] == row["acknowledged"] == row["replicated"] == row["confirmed"] == 1
    assert (row["lost"], row["duplicated"]) == (0, 0)
    assert row["p50"] == row["p99"] == 40.0
    assert history(statuses=[(3 * SECOND, "north", 0, 10, 8)]).row(range(100))["replicated"] == 0
    assert history().row(range(100, 200))["sent"] == 0


def test_a_bulletin_that_was_acknowledged_and_never_heard_is_lost():
    lives = good()
    lives["east"] = [[], []]

    assert history(lives).lost() == ["east never heard b7, which north had acknowledged"]


def test_what_lay_in_an_outbox_went_with_its_folder_and_is_counted_apart():
    lives = good()
    lives["east"] = [[], []]
    robbed = history(lives, ledgers={}, lost_folders={"north": (9, 9, 1)})

    assert robbed.lost() == []
    assert robbed.with_folder() == ["east never heard b7, which north had acknowledged"]
    assert history(lives, ledgers={}, lost_folders={"north": (9, 9, 0)}).lost() != []


def test_what_was_never_acknowledged_cannot_be_lost():
    lives = good()
    lives["east"] = [[], []]
    lives["north"][0] = [one for one in lives["north"][0] if one["what"] != "durable"]

    assert history(lives).lost() == []


def test_heard_twice_in_one_life_is_a_repetition_and_in_two_lives_is_none():
    lives = good()
    lives["east"][1].append(line("heard", 32, id="b7", n=7, origin="north"))

    assert history().row(range(100))["duplicated"] == 0
    assert history(lives).row(range(100))["duplicated"] == 1


@pytest.mark.parametrize(
    ("ledgers", "lost_folders", "says"),
    [
        ({"north": ({"b7": 1}, 9)}, {}, "9 records of 10"),
        ({"east": ({}, 4)}, {}, "no record of b7"),
        ({"east": ({}, 4)}, {"east": (4, 3, 1)}, "recovered 3 records of 4"),
    ],
)
def test_a_ledger_that_lacks_what_was_acknowledged_is_named(ledgers, lost_folders, says):
    (found,) = history(ledgers=ledgers, lost_folders=lost_folders).unrecorded()

    assert says in found


def test_a_lost_folder_owes_what_was_replicated_and_no_more():
    assert history(ledgers={"east": ({}, 4)}, lost_folders={"east": (4, 4, 1)}).unrecorded() == []


@pytest.mark.parametrize(("at_s", "early"), [(50, True), (85, True), (155, True), (165, False)])
def test_an_isolation_that_is_gone_while_its_lease_runs_ended_early(at_s, early):
    samples = [(at_s * SECOND, "north", frozenset())]

    assert bool(history(samples=samples).ended_early()) is early


def test_an_isolation_that_was_undone_may_go_and_must():
    lives = good()
    undone = {"operation": "undo", "ok": True, "n": 7, "detail": ""}
    lives["north"][0].append(line("outcome", 70, **undone))
    gone = [(80 * SECOND, "north", frozenset())]
    stays = [(80 * SECOND, "north", frozenset({7}))]

    assert history(lives, samples=gone).ended_early() == []
    assert history(lives, samples=gone).outlasting() == []
    assert history(lives, samples=stays).outlasting() == [
        "north still isolates 7, which it had released"
    ]


def test_what_nobody_told_of_must_not_be_isolated():
    samples = [(9 * SECOND, "east", frozenset({7, 8}))]

    assert history(samples=samples).outlasting() == ["east isolates 8, which nobody told of"]


def test_epochs_never_fall_over_a_nodes_lives():
    lives = good()
    lives["north"].append([line("roles", 90, held=[], epoch=0)])

    (found,) = history(lives).epochs_falling()
    assert "epoch fell" in found


def test_a_lease_runs_from_when_it_was_set_however_late_its_node_heard_of_it():
    """North set it at 1 and was stopped until 31: at 110 it is over, whatever the record's time."""
    lives = good()
    lives["north"][0] = [one for one in lives["north"][0] if one.get("operation") != "renew"]
    (applied,) = [one for one in lives["north"][0] if one["what"] == "outcome"]
    samples = [(110 * SECOND, "north", frozenset())]
    applied["at"] = 31 * SECOND
    assert len(history(lives, samples=samples).ended_early()) == 1
    applied["age_ns"] = 30 * SECOND
    assert history(lives, samples=samples).ended_early() == []
