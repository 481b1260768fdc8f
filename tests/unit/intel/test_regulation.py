"""Which clocks the law may start, by what an asset holds and what the attack does."""

import pytest

from cronos.intel.attack_matrix import tactics_of
from cronos.intel.regulation import clocks, sentence

IMPACT = tactics_of(("T1486",))
DISCOVERY = tactics_of(("T1046",))


def told(data, tactics=IMPACT):
    return [(one.source, one.deadline_s, one.likely) for one in clocks(data, tactics)]


def test_personal_data_starts_the_clocks_of_the_gdpr():
    assert told(("personal",)) == [
        ("Regulation (EU) 2016/679, art. 34", 0, True),
        ("Regulation (EU) 2016/679, art. 33", 72 * 3600, True),
    ]


def test_essential_services_warn_notify_and_report():
    assert told(("essential",)) == [
        ("Directive (EU) 2022/2555, art. 23(4)(a)", 24 * 3600, True),
        ("Directive (EU) 2022/2555, art. 23(4)(b)", 72 * 3600, True),
        ("Directive (EU) 2022/2555, art. 23(4)(d)", 30 * 86_400, True),
    ]


def test_health_data_starts_those_of_hipaa_and_is_personal_data_too():
    found = told(("health",))

    assert {law for law, _, _ in found} >= {"45 CFR 164.404", "45 CFR 164.408"}
    assert {seconds for law, seconds, _ in found if "CFR" in law} == {60 * 86_400}
    assert told(("personal", "health")) == found


@pytest.mark.parametrize("tactics", [IMPACT, DISCOVERY, frozenset()])
def test_card_data_needs_no_more_than_a_suspicion(tactics):
    assert told(("card",), tactics) == [("PCI DSS 4.0.1, requirement 12.10", 0, True)]


def test_an_attack_that_harmed_nothing_yet_starts_no_clock_of_a_breach():
    assert not any(likely for _, _, likely in told(("personal", "health", "essential"), DISCOVERY))
    assert not any(one.likely for one in clocks(("personal",), frozenset({"TA9999"})))


@pytest.mark.parametrize("technique", ["T0855", "T0816", "T1041", "T1110.001", "T1005", "T1486"])
def test_taking_changing_and_stopping_are_harm_in_plants_too(technique):
    assert all(likely for _, _, likely in told(("personal",), tactics_of((technique,))))


def test_what_holds_nothing_starts_nothing():
    assert clocks((), IMPACT) == ()
    assert clocks(("unheard-of",), IMPACT) == ()


def test_a_clock_is_said_with_its_time_its_trigger_and_its_source():
    first, second = clocks(("personal",), IMPACT)

    assert sentence(second) == (
        "GDPR: notify the supervisory authority, unless a risk to persons is unlikely (72 hours "
        "from awareness of the breach); the clock may have started, if personal data was lost, "
        "altered, disclosed or made unavailable [Regulation (EU) 2016/679, art. 33]."
    )
    assert "without undue delay" in sentence(first)
    (never,) = [one for one in clocks(("essential",), DISCOVERY) if one.deadline == "24 hours"]
    assert "starts only if the incident is significant" in sentence(never)
