"""The one state machine: what may become of an incident.

Rule 1: an incident moves only along `TRANSITIONS`; a signal that its state does not list leaves
it where it is. Rule 2: every state but CLOSED has a deadline, and a DEADLINE leads towards
CLOSED from everywhere, so that none is ever stuck. Rule 3: nothing leaves CLOSED.
"""

from typing import Final

from msgspec.structs import replace

from cronos.config import Deadlines
from cronos.types import Incident, Moment, State, Term


class Signal(Term):
    """What can happen to an incident."""

    ACT = "act"  # decided: execute
    ASK = "ask"  # decided: a person must say
    WATCH = "watch"  # decided: only observe
    APPLIED = "applied"  # the enforcer verified the effect
    REFUSED = "refused"  # the enforcer could not, or would not
    CONFIRMED = "confirmed"  # every member of the view holds the bulletin
    GRANTED = "granted"  # a person said yes
    DENIED = "denied"  # a person said no
    RELEASE = "release"  # a person, or the lease's end, takes the isolation back
    UNDONE = "undone"  # the enforcer took the effect back
    DEADLINE = "deadline"  # the state has lasted long enough


_S = State
TRANSITIONS: Final[dict[State, dict[Signal, State]]] = {
    _S.DETECTED: {
        Signal.ACT: _S.ISOLATING,
        Signal.ASK: _S.WAITING,
        Signal.WATCH: _S.OBSERVED,
        Signal.DEADLINE: _S.OBSERVED,
    },
    _S.ISOLATING: {
        Signal.APPLIED: _S.ISOLATED,
        Signal.REFUSED: _S.FAILED,
        Signal.RELEASE: _S.RELEASING,
        Signal.DEADLINE: _S.FAILED,
    },
    _S.ISOLATED: {
        Signal.CONFIRMED: _S.CONFIRMED,
        Signal.RELEASE: _S.RELEASING,
        Signal.UNDONE: _S.CLOSED,
        # Peers that stay silent must not hold the case up: it goes on in the view there is.
        Signal.DEADLINE: _S.CONFIRMED,
    },
    _S.CONFIRMED: {
        Signal.RELEASE: _S.RELEASING,
        Signal.UNDONE: _S.CLOSED,
        Signal.DEADLINE: _S.RELEASING,
    },
    _S.WAITING: {
        Signal.ACT: _S.ISOLATING,
        Signal.GRANTED: _S.ISOLATING,
        Signal.DENIED: _S.OBSERVED,
        # It is there all the same: an answer that came late, or was lost in a crash.
        Signal.APPLIED: _S.ISOLATED,
        # Silence asks the next audience; `defense` sends DENIED once all have been asked.
        Signal.DEADLINE: _S.WAITING,
    },
    _S.OBSERVED: {
        Signal.ACT: _S.ISOLATING,
        Signal.ASK: _S.WAITING,
        Signal.APPLIED: _S.ISOLATED,
        Signal.DEADLINE: _S.CLOSED,
    },
    _S.RELEASING: {
        Signal.UNDONE: _S.CLOSED,
        # The enforcer keeps undoing on its own; here the case is handed to people.
        Signal.DEADLINE: _S.FAILED,
    },
    _S.FAILED: {
        Signal.ACT: _S.ISOLATING,
        Signal.ASK: _S.WAITING,
        # An answer later than the deadline is still the truth.
        Signal.APPLIED: _S.ISOLATED,
        Signal.RELEASE: _S.RELEASING,
        Signal.UNDONE: _S.CLOSED,
        Signal.DEADLINE: _S.CLOSED,
    },
    _S.CLOSED: {},
}


MOST_MOMENTS: Final = 64

# Looked up once: in Python 3.11 a member's value costs half a microsecond each time.
NAMES: Final = {state: state.value for state in State}


def deadlines_ns(terms: Deadlines, asking_s: int) -> dict[State, int]:
    """Give how long each state may last; CONFIRMED lasts as long as its lease and is not here."""
    return {
        State.DETECTED: terms.isolating_ms * 1_000_000,
        State.ISOLATING: terms.isolating_ms * 1_000_000,
        State.ISOLATED: terms.confirming_ms * 1_000_000,
        State.WAITING: asking_s * 1_000_000_000,
        State.OBSERVED: terms.observed_s * 1_000_000_000,
        State.RELEASING: terms.releasing_ms * 1_000_000,
        State.FAILED: terms.failed_s * 1_000_000_000,
    }


def advance(
    incident: Incident,
    signal: Signal,
    boot_ns: int,
    lasts_ns: dict[State, int],
    **changes: object,
) -> Incident:
    """Give the incident after `signal`; the same object where the table lists no way.

    The state entered becomes a moment of the path; its deadline is `lasts_ns` away, or at the
    lease's end where it is not listed there. `changes` are made on the way, whether or not the
    state changes too.
    """
    state = TRANSITIONS[incident.state].get(signal)
    if state is None:
        return replace(incident, **changes) if changes else incident
    lasts = lasts_ns.get(state)
    if lasts is not None:
        until_ns: object = boot_ns + lasts
    else:
        until_ns = changes.get("lease_until_boot_ns", incident.lease_until_boot_ns)
    moments = incident.moments
    if len(moments) >= MOST_MOMENTS:
        # A case that is tried again and again forgets the middle of its path.
        moments = (*moments[: MOST_MOMENTS // 2], *moments[1 - MOST_MOMENTS // 2 :])
    return replace(
        incident,
        state=state,
        deadline_boot_ns=until_ns,
        version=incident.version + 1,
        moments=(*moments, Moment(NAMES[state], boot_ns)),
        **changes,
    )
