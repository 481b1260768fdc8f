"""People: what they are asked, what they answer, and what they order.

A question names exactly one action. Silence never drops a case: it asks the next audience, and in
the end leaves the case watched, or what holds meanwhile as it is.
"""

from typing import Final

from msgspec.structs import replace

from cronos.kernel.cases import Cases
from cronos.kernel.incident import Signal
from cronos.kernel.options import Options
from cronos.types import (
    Action,
    After,
    Answer,
    Ask,
    Audience,
    Do,
    Effect,
    Incident,
    Kill,
    Note,
    Now,
    Operation,
    Question,
    Release,
    Renewal,
    State,
    Unanswered,
    Verdict,
    digest_of,
)

AUDIENCES: Final[tuple[Audience, ...]] = ("analyst", "manager", "pager")
_WAITING: Final = State.WAITING
MOST_BESIDE: Final = 16


class People:
    """Puts questions, takes answers and orders; its state is the kill switch.

    Args:
        cases: the incidents.
        lease_max_ns: how long an isolation may last that a person has approved.
        options: what can be done here, and how many must approve it.
    """

    def __init__(self, cases: Cases, lease_max_ns: int, options: Options) -> None:
        self.killed = False
        self.persons: Final = options.persons
        self._options = options
        self._generation = 0
        self._cases = cases
        self._lease_max_ns = lease_max_ns

    # --- questions ---------------------------------------------------------------------------

    def ask(self, incident: Incident, effects: list[Effect]) -> None:
        """Put the incident's action to the next audience; asking again is harmless."""
        decision = incident.decision
        if decision is None or decision.action is None:
            return
        self._put(incident, decision.action, incident.asked, effects)
        self._cases.keep(replace(incident, asked=incident.asked + 1))

    def propose(self, incident: Incident, action: Action, first: int) -> list[Effect]:
        """Ask about an action while something else holds, beginning with audience `first`."""
        if action in incident.proposed or len(incident.proposed) >= MOST_BESIDE:
            return []
        incident = replace(incident, proposed=(*incident.proposed, action))
        self._cases.keep(incident)
        effects: list[Effect] = []
        self._put(incident, action, first, effects)
        self._wait(incident, action, first + 1, effects)
        return effects

    def unanswered(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        """Take silence on a case that waits: ask the next audience, or in the end only watch."""
        if incident.asked >= len(AUDIENCES):
            self._cases.move(incident, Signal.DENIED, now, effects)
            return
        self.ask(self._cases.move(incident, Signal.DEADLINE, now, effects), effects)

    def on_unanswered(self, silence: Unanswered, _now: Now) -> list[Effect]:
        """Put a proposal to the next audience; when all have been asked, let it go."""
        incident = self._cases.open.get(silence.incident_id)
        if incident is None:
            return []
        action = _named(incident.proposed, silence.action_id)
        if action is None:
            return []
        effects: list[Effect] = [Note("unanswered", incident.incident_id, silence)]
        if silence.asked >= len(AUDIENCES):
            self._cases.keep(replace(incident, proposed=_without(incident.proposed, action)))
            return effects
        self._put(incident, action, silence.asked, effects)
        self._wait(incident, action, silence.asked + 1, effects)
        return effects

    def _put(self, incident: Incident, action: Action, asked: int, effects: list[Effect]) -> None:
        number = (
            f"q{asked}" if action not in incident.proposed else f"{action.action_id[:8]}-q{asked}"
        )
        question = Question(
            f"{incident.incident_id}-{number}",
            incident.incident_id,
            AUDIENCES[min(asked, len(AUDIENCES) - 1)],
            f"{action.verb} {action.target.value}? {incident.title}",
            action,
            self._patience_ns(asked),
            digest_of(action),
            self.persons(action),
        )
        effects.append(Ask(question))
        effects.append(Note("question", incident.incident_id, question))

    def _wait(self, incident: Incident, action: Action, asked: int, effects: list[Effect]) -> None:
        silence = Unanswered(incident.incident_id, action.action_id, asked)
        effects.append(After(self._patience_ns(asked - 1), silence))

    def _patience_ns(self, asked: int) -> int:
        lasts_ns = self._cases.lasts_asked_ns if asked else self._cases.lasts_ns
        return lasts_ns[_WAITING]

    # --- answers -----------------------------------------------------------------------------

    def on_answer(self, answer: Answer, now: Now) -> list[Effect]:
        """Take a person's yes or no; it must name the exact action that was asked about."""
        incident = self._cases.open.get(answer.incident_id)
        if incident is None or incident.decision is None:
            return []
        asked = incident.decision.action if incident.state is _WAITING else None
        proposed = _named(incident.proposed, answer.action_id)
        if asked is None and proposed is None:
            return []
        effects: list[Effect] = [Note("answer", incident.incident_id, answer)]
        action = proposed or asked
        if action is None or action.action_id != answer.action_id:
            return effects
        if answer.digest != digest_of(action):
            return effects
        # Asked long ago, or before a restart: what has been protected since is not done.
        if not answer.granted or not self._options.allows(action, now):
            self._denied(incident, action, proposed is not None, now, effects)
        elif not self.killed:
            self._granted(incident, answer, action, now, effects)
        return effects

    def _denied(
        self, incident: Incident, action: Action, beside: bool, now: Now, effects: list[Effect]
    ) -> None:
        # Who had said yes before has to say so again, should it ever be asked again.
        left = [n for n, one in enumerate(incident.granted) if action.action_id not in one]
        granted = tuple(incident.granted[n] for n in left)
        approvals = tuple(incident.approvals[n] for n in left)
        incident = replace(incident, granted=granted, approvals=approvals)
        if beside:
            self._cases.keep(replace(incident, proposed=_without(incident.proposed, action)))
        else:
            self._cases.move(incident, Signal.DENIED, now, effects)

    def _granted(
        self, incident: Incident, answer: Answer, action: Action, now: Now, effects: list[Effect]
    ) -> None:
        granted, approvals = incident.granted, incident.approvals
        name = f"{action.action_id} {answer.subject}"
        if name not in granted:
            granted, approvals = (*granted, name), (*approvals, answer.approval)
        ours = [n for n, one in enumerate(granted) if one.startswith(f"{action.action_id} ")]
        if len(ours) < self.persons(action):
            self._cases.keep(replace(incident, granted=granted, approvals=approvals))
            return
        action = replace(action, approvals=tuple(approvals[n] for n in ours if approvals[n]))
        self._options.spend(action)
        cleared: dict[str, object] = {"granted": (), "approvals": ()}
        if _named(incident.proposed, action.action_id) is not None:
            left = _without(incident.proposed, action)
            incident = replace(incident, proposed=left, granted=(), approvals=())
            self.carry_out_beside(incident, action, effects)
            return
        until_ns = now.boot_ns + self._lease_max_ns
        decision = incident.decision and replace(incident.decision, action=action)
        self._cases.move(
            incident,
            Signal.GRANTED,
            now,
            effects,
            lease_until_boot_ns=until_ns,
            decision=decision,
            **cleared,
        )
        effects.append(Do(Operation.APPLY, action))

    def carry_out_beside(self, incident: Incident, action: Action, effects: list[Effect]) -> None:
        """Order an action besides the decision's own; it is renewed and released with that."""
        if len(incident.beside) >= MOST_BESIDE:
            self._cases.keep(incident)
            return
        self._cases.keep(replace(incident, beside=(*incident.beside, action)))
        effects.append(Do(Operation.APPLY, action))
        renewal = Renewal(incident.incident_id, action.action_id)
        effects.append(After(action.lease_ns // 3, renewal))

    def on_verdict(self, verdict: Verdict, _now: Now) -> list[Effect]:
        """Keep what a person made of an incident; it ends nothing by itself."""
        cases = self._cases
        incident = cases.open.get(verdict.incident_id) or cases.closed.get(verdict.incident_id)
        if incident is None:
            return []
        told = "malicious" if verdict.malicious else "benign"
        cases.keep(replace(incident, verdict=told))
        return [Note("verdict", verdict.incident_id, verdict)]

    # --- orders ------------------------------------------------------------------------------

    def on_release(self, release: Release, now: Now) -> list[Effect]:
        """End an isolation early because a person says so, and all that was done besides."""
        incident = self._cases.open.get(release.incident_id)
        if incident is None:
            return []
        effects: list[Effect] = [Note("release", incident.incident_id, release)]
        self._release(incident, now, effects)
        return effects

    def _release(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        beside = incident.beside
        if beside or incident.proposed:
            incident = replace(incident, beside=(), proposed=())
            self._cases.keep(incident)
            effects += [Do(Operation.UNDO, action) for action in beside]
        moved = self._cases.move(incident, Signal.RELEASE, now, effects)
        if moved.state is State.RELEASING and moved.decision and moved.decision.action:
            effects.append(Do(Operation.UNDO, moved.decision.action))

    def on_kill(self, kill: Kill, now: Now) -> list[Effect]:
        """Stop executing, or go on; an order of an older generation is ignored."""
        if kill.generation <= self._generation:
            return []
        self._generation, self.killed = kill.generation, kill.engaged
        effects: list[Effect] = [Note("kill", "", kill)]
        if kill.release_all:
            for incident in list(self._cases.open.values()):
                self._release(incident, now, effects)
        return effects


def _named(actions: tuple[Action, ...], action_id: str) -> Action | None:
    return next((one for one in actions if one.action_id == action_id), None)


def _without(actions: tuple[Action, ...], action: Action) -> tuple[Action, ...]:
    return tuple(one for one in actions if one.action_id != action.action_id)
