"""Four whole nodes in network namespaces, and the short version of what can befall them.

`bench/bench_mesh_stories.py` has all stories, at length, with their figures.
"""

import pytest
from bench.bench_mesh_stories import Stage, certified, checked, ledgers_of
from bench.mesh_world import why_not
from bench.story_world import StoryWorld

pytestmark = [pytest.mark.slow, pytest.mark.net]
EACH, GAP_MS = 12, 150


@pytest.fixture(scope="module")
def stage():
    if reason := why_not():
        pytest.skip(reason)
    with StoryWorld() as world:
        certified(world)
        world.start_all()
        yield Stage(world, EACH, GAP_MS)


def played(stage, label, work):
    """Play one story; nothing acknowledged may be lost, whatever happened."""
    before = len(stage.wrong)
    stage.play(label, work)
    row = stage.rows[-1]
    assert stage.wrong[before:] == []
    assert row["lost"] == 0
    assert row["acknowledged"] > 0
    return row


def test_three_of_four_are_killed_under_load_and_nothing_acknowledged_is_lost(stage):
    row = played(stage, "kill", lambda: stage.lose("kill", 3, hit_s=0.8, mend_s=2.5))

    assert row["note"].startswith("view 1 after")


def test_four_seconds_in_two_halves_and_then_one_federation_again(stage):
    row = played(stage, "parted", lambda: stage.parted(stage.world.members[:2],
                                                        stage.world.members[2:]))  # fmt: skip

    assert row["acknowledged"] == row["sent"] == 4 * EACH


def test_a_node_whose_wall_clock_is_five_seconds_off_and_steps_back_loses_nothing(stage):
    row = played(stage, "clock", lambda: stage.skewed(-5, for_s=1.5))

    assert row["acknowledged"] == row["sent"]


def test_a_member_that_replays_forges_and_buries_the_living_is_reproached_and_not_believed(stage):
    orders = ("replay", f"forge north {stage.lies()} 50", "roles", "bury south")
    row = played(stage, "hostile", lambda: stage.hostile(*orders, seconds=3.0))

    assert "reproached by 4" in row["note"]


def test_garbage_silence_and_datagrams_of_strangers_cost_little_and_are_on_record(stage):
    row = played(stage, "strangers", lambda: stage.strangers(seconds=5.5))

    assert "datagrams" in row["note"]
    assert len(stage.must) > 0


def test_in_the_end_every_ledger_and_every_packet_filter_has_what_was_acknowledged(stage):
    for name in stage.world.members:
        assert stage.world.effects(name), name
    ledgers, lacks = ledgers_of(stage.world, stage.must)

    assert lacks == []
    assert checked(stage.history(ledgers)) == []
