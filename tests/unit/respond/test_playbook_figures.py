import msgspec
import pytest
from tests.unit.respond.playbooks import ATTACKER, ability, incident

from cronos.config import Asset, Config
from cronos.kernel.options import Options
from cronos.kernel.policy import ASKING, cell
from cronos.respond.playbook_figures import BY_BLAST, BY_VERB, asking, option_of
from cronos.types import Blast, Dial, EntityKind, LossTable, Now, Verb


def test_every_class_of_action_has_its_figures():
    assert set(BY_BLAST) == set(Blast)
    assert set(BY_VERB) == set(Verb)
    assert all(0 <= figure < 1 for figure in BY_BLAST.values())


def test_what_takes_away_more_risks_more():
    risks = [BY_BLAST[one] for one in Blast]

    assert risks == sorted(risks)
    assert BY_BLAST[Blast.NARROW] < 0.7 <= BY_BLAST[Blast.HOST]


def test_an_executors_own_figures_count_and_its_risk_is_never_called_lower():
    bold = msgspec.structs.replace(
        ability(Verb.CONTAIN, EntityKind.HOST, Blast.HOST), risk=0.1, efficacy=0.3, disruption=0.9
    )
    option = option_of("local", bold, ATTACKER, incident())

    assert (option.risk, option.efficacy, option.disruption) == (0.70, 0.3, 0.9)


@pytest.mark.parametrize("confidence", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("criticality", [1, 3, 5])
def test_the_kernel_asks_a_person_about_what_a_question_is_about(confidence, criticality):
    """It sets the dial by its own configuration; the risk it may only call higher."""
    able = ability(Verb.DENY, EntityKind.ADDRESS)
    site = Config(asset=(Asset("there", (ATTACKER.value,), criticality=criticality),))
    options = Options(site, {"packets": (able,)}, LossTable())
    given = asking(option_of("packets", able, ATTACKER, incident()))
    option = options.complete(given, Now(0, 0))

    assert given.dial is Dial.ASK
    assert cell(confidence, option.risk)[0] in ASKING


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_utility_is_what_is_gained_less_what_is_disturbed_in_doubt(confidence):
    one = ability(Verb.DENY, EntityKind.ADDRESS)
    option = option_of("packets", one, ATTACKER, incident(confidence=confidence, severity=5))

    assert option.utility == pytest.approx(confidence * 0.8 - (1 - confidence) * 0.5)
