import pytest
from tests.unit.respond.playbooks import ATTACKER, ability, incident

from cronos.respond.playbook_figures import BY_BLAST, BY_VERB, option_of
from cronos.types import Blast, EntityKind, Reversal, Verb


def test_every_class_of_action_has_its_figures():
    assert set(BY_BLAST) == set(Blast)
    assert set(BY_VERB) == set(Verb)
    assert all(0 <= figure < 1 for row in BY_BLAST.values() for figure in row)


def test_what_takes_away_more_risks_more():
    risks = [BY_BLAST[one][0] for one in Blast]

    assert risks == sorted(risks)
    assert BY_BLAST[Blast.NARROW][0] < 0.7 <= BY_BLAST[Blast.HOST][0]


def test_what_cannot_be_taken_back_is_high_risk_however_narrow():
    final = ability(Verb.STOP, EntityKind.PROCESS, reversal=Reversal.NONE)
    option = option_of("local", final, ATTACKER, incident())

    assert option.risk >= 0.7
    assert option.reversal is Reversal.NONE


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_utility_is_what_is_gained_less_what_is_disturbed_in_doubt(confidence):
    one = ability(Verb.DENY, EntityKind.ADDRESS)
    option = option_of("packets", one, ATTACKER, incident(confidence=confidence, severity=5))

    assert option.utility == pytest.approx(confidence * 0.8 - (1 - confidence) * 0.2)
