"""The state machine's table: complete, and nobody is stuck in it."""

import pytest
from msgspec.structs import replace

from cronos.config import Deadlines
from cronos.kernel.incident import MOST_MOMENTS, TRANSITIONS, Signal, advance, deadlines_ns
from cronos.testing.story import Story, finding
from cronos.types import Moment, State

LASTS = deadlines_ns(Deadlines(), 300)


def incident_in(state):
    story = Story(world=lambda _operation, _action: None)
    story.tell(finding())
    base = story.only_incident()
    return replace(base, state=state)


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_in_the_table(state):
    assert state in TRANSITIONS


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSED])
def test_every_open_state_has_a_default_transition(state):
    assert Signal.DEADLINE in TRANSITIONS[state]


def test_nothing_leaves_closed():
    assert TRANSITIONS[State.CLOSED] == {}


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSED])
def test_from_every_state_closed_can_be_reached(state):
    reached, frontier = {state}, [state]
    while frontier:
        for following in TRANSITIONS[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)

    assert State.CLOSED in reached


@pytest.mark.parametrize(
    ("state", "signal"),
    [(state, signal) for state in State for signal in Signal if signal not in TRANSITIONS[state]],
)
def test_a_signal_that_is_not_listed_changes_nothing(state, signal):
    incident = incident_in(state)

    assert advance(incident, signal, 5, LASTS) is incident


@pytest.mark.parametrize(
    ("state", "signal", "expected"),
    [(s, signal, to) for s, ways in TRANSITIONS.items() for signal, to in ways.items()],
)
def test_a_listed_signal_leads_on_and_is_a_moment(state, signal, expected):
    incident = incident_in(state)

    moved = advance(incident, signal, 5, LASTS)

    assert moved.state is expected
    assert moved.version == incident.version + 1
    assert moved.moments[-1].name == expected.value
    assert moved.moments[-1].boot_ns == 5


def test_confirmed_lasts_as_long_as_the_lease():
    moved = advance(
        incident_in(State.ISOLATED), Signal.CONFIRMED, 5, LASTS, lease_until_boot_ns=777
    )

    assert moved.deadline_boot_ns == 777


def test_changes_are_made_even_where_no_way_leads_on():
    moved = advance(incident_in(State.CLOSED), Signal.ACT, 5, LASTS, view=4)

    assert moved.view == 4
    assert moved.state is State.CLOSED


def test_a_path_that_goes_round_and_round_stays_short_and_keeps_both_ends():
    incident = replace(incident_in(State.FAILED), moments=(Moment("detected", 0),))
    for boot_ns in range(1, 1_000):
        signal = Signal.ACT if incident.state is not State.ISOLATING else Signal.REFUSED
        incident = advance(incident, signal, boot_ns, LASTS)

    assert len(incident.moments) <= MOST_MOMENTS
    assert [one.boot_ns for one in incident.moments[:3]] == [0, 1, 2]
    assert incident.moments[-1].boot_ns == 999
