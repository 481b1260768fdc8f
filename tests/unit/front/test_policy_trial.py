import json

import msgspec
import pytest
from tests.unit.front.recorded import ATTACKER, PLAIN, record, snapshot, story, write
from tests.unit.respond.playbooks import simple

from cronos.config import Config, Policy
from cronos.errors import InputError
from cronos.front.plugins import make
from cronos.front.policy_cases import read_cases
from cronos.front.policy_trial import Side, Trial, options_of, points_of
from cronos.kernel.policy import decide
from cronos.respond.cacao import read_playbook
from cronos.types import Disposition


def side(policy=None, *playbooks):
    config = Config(policy=policy or Policy())
    planner = make("planner", "playbooks", config, abilities=points_of(config), assets=())
    planner.use(playbooks)
    return Side(config, options_of(config), planner)


@pytest.fixture
def case(tmp_path):
    write(tmp_path, story())
    return read_cases(PLAIN, tmp_path).by_id["local-1-1"]


def test_nothing_changes_under_the_same_policy(case):
    trial = Trial(side(), side())

    assert trial.changes("local-1-1", case) == []
    assert (trial.decisions, trial.reproduced) == (1, 1)


def test_a_bolder_and_a_more_careful_policy_are_told_apart(case, tmp_path):
    careful = Trial(side(), side(Policy(autonomy="ask")))
    (one,) = careful.changes("local-1-1", case)

    assert (one.number, one.old.disposition, one.new.disposition) == (
        1,
        "auto_approve",
        "ask_analyst",
    )
    assert one.new.action == "deny address 192.0.2.66 at recording"
    assert (careful.bolder, careful.more_careful) == (0, 1)

    write(tmp_path / "other", story(autonomy="observe"))
    held = read_cases(PLAIN, tmp_path / "other").by_id["local-1-1"]
    bolder = Trial(side(Policy(autonomy="observe")), side())
    bolder.changes("local-1-1", held)
    assert (bolder.bolder, bolder.more_careful) == (1, 0)


def test_a_record_that_is_decided_otherwise_now_is_not_called_reproduced(tmp_path):
    given = snapshot()
    other = msgspec.structs.replace(decide(given), disposition=Disposition.OBSERVE)
    write(tmp_path, [record("snapshot", given), record("decision", other)])
    trial = Trial(side(), side())
    (one,) = trial.changes("local-1-1", read_cases(PLAIN, tmp_path).by_id["local-1-1"])

    assert trial.reproduced == 0
    assert (one.old.disposition, one.new.disposition) == ("observe", "auto_approve")


def playbook(json_text):
    return read_playbook(json.dumps(json_text).encode(), "p.json")


def test_steps_of_other_playbooks_are_shown_with_what_would_be_decided(case):
    extra = playbook(simple(value="203.0.113.9"))

    (added,) = Trial(side(), side(None, extra)).steps("local-1-1", case)
    assert added.action == "deny address 203.0.113.9 at recording"
    assert (added.old, added.new) == ("", "auto_approve")
    (removed,) = Trial(side(None, extra), side()).steps("local-1-1", case)
    assert (removed.old, removed.new) == ("auto_approve", "")
    (held,) = Trial(side(None, extra), side(Policy(protected=("203.0.113.0/24",)), extra)).steps(
        "local-1-1", case
    )
    assert (held.old, held.new) == ("auto_approve", "refused")
    assert Trial(side(None, extra), side(None, extra)).steps("local-1-1", case) == []


def test_a_dial_that_names_nothing_is_refused():
    with pytest.raises(InputError, match="dial"):
        options_of(Config(policy=Policy(dial={"explode:address": "ask"})))


def test_the_snapshot_of_the_story_is_the_one_that_is_tried(case):
    assert case.judged[0].snapshot == snapshot()
    assert case.judged[0].snapshot.options[0].target == ATTACKER


def test_an_entry_that_would_protect_nothing_is_refused_as_it_would_be_at_the_start():
    with pytest.raises(InputError, match=r"192\.0\.2\.0/33"):
        options_of(Config(policy=Policy(protected=("192.0.2.0/33",))))
