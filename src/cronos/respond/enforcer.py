"""The enforcer: it alone may change the world, and it takes back what has expired.

The order of steps is its promise. An action is authorised again; planned; its lease and undo
recipe are made durable, all of a batch with one sync; only then is it applied, looked at and
answered. What the kernel times out by itself is applied first and recorded after: were this
process killed in between, the effect would end with its lease all the same. A lease that is
found recorded but not applied tells of a crash at an unknown point, and is undone.

What nobody can take back has no lease: it takes two persons, is written down before it is done,
and is done once (see `cronos.respond.deeds`).

While the kill switch is engaged nothing is applied, renewed or put back; to undo always works. It
is looked at before an order, between its plan and its effect, and after: what was applied while
someone threw it is undone again where everything is to be released.

Nothing here waits for anyone, and every method can be called again.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Final, assert_never

import msgspec

from cronos.config import Section
from cronos.errors import CronosError
from cronos.link.killswitch import KillSwitch, Token
from cronos.ports import Clock, Executor
from cronos.respond.budgets import MINUTE_NS, SECOND_NS, Abilities, Budgets, Deed, deed_of
from cronos.respond.deeds import Deeds
from cronos.respond.guards import EnforcerConfig, Guard
from cronos.respond.leasebook import Key, LeaseBook, key_of
from cronos.respond.machine import own_addresses
from cronos.respond.points import Points, outcome_of
from cronos.respond.reaper import Reaper, remaining
from cronos.types import Action, Kill, Lease, Operation, Order, Outcome, Outcomes, Plan

# Else one forged order could fence off, for good, every order that follows.
_MAX_EPOCH_LEAP: Final = 1_000_000


class Enforcer:
    """Carries orders out under leases, and undoes what has expired.

    Args:
        config: its own terms; it trusts nobody else's.
        executors: by the name of their enforcement point.
        book: leases, durable.
        clock: boot time counts the leases.
        own: gives this machine's own addresses, which no action may name either.

    Raises:
        InputError: an entry of the protected list is not understood.
    """

    config_type: ClassVar[type[Section]] = EnforcerConfig

    def __init__(
        self,
        config: EnforcerConfig,
        executors: Mapping[str, Executor],
        book: LeaseBook,
        clock: Clock,
        own: Callable[[], Mapping[str, str]] = own_addresses,
    ) -> None:
        self.config = config
        self._book = book
        self._executors = dict(executors)
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._guard = Guard(config, own)
        self._abilities = Abilities(executors)
        self._switch: KillSwitch | None = None
        self._deeds: Deeds | None = None
        self._released: Token | None = None  # whose release of everything was carried out
        self._news: list[Outcome] = []
        self._points = Points(executors, clock)
        self._reaper = Reaper(config, self._points, book, clock)
        self.budgets = self._new_budgets()

    def arm(self, switch: KillSwitch | None, deeds: Deeds | None) -> None:
        """Heed a kill switch, and let two persons do what cannot be taken back; before anything.

        Without the first nothing stops this enforcer, without the second it refuses all that.
        """
        self._switch, self._deeds = switch, deeds
        self._reaper.is_killed = lambda: self._killed() is not None
        if deeds is not None:
            now = self._clock.now().boot_ns
            spent = deeds.granted_since(self._boot_id, now - MINUTE_NS)
            self.budgets.spend(map(self._abilities.blast_of, spent))

    def kill(self, kill: Kill) -> Kill:
        """Throw the kill switch, or take it back; give how it stands then.

        When this returns nothing new happens, and where everything is to be released it has been.
        """
        if self._switch is not None:
            self._switch.take(kill, self._clock.now().wall_ns)
            self.heed()
        return self.switched()

    def switched(self) -> Kill:
        """Say how the kill switch stands."""
        return self._switch.state() if self._switch is not None else Kill(0, engaged=False)

    def heed(self) -> None:
        """Look at the kill switch, and release everything where it says so, once for each order."""
        token = self._switch.token() if self._switch is not None else None
        if token is None or token == self._released:
            return
        self._released = token
        self._end(self._book.leases.values())
        self._news += self._reaper.expire()

    def handle(self, order: Order) -> Outcomes:
        """Carry an order out and give one outcome per action, in order; the same twice is once."""
        killed = self._killed() if order.operation is not Operation.UNDO else None
        match order.operation:
            case Operation.APPLY | Operation.RENEW if killed is not None:
                answers = {
                    key_of(action): outcome_of(action, order.operation, killed, ok=False)
                    for action in order.actions
                }
            case Operation.APPLY:
                answers = self._apply(order.actions)
            case Operation.RENEW:
                answers = self._renew(order.actions)
            case Operation.UNDO:
                answers = self._undo(order.actions)
            case _:
                assert_never(order.operation)
        return Outcomes(order.order_id, tuple(answers[key_of(a)] for a in order.actions))

    def recover(self) -> Outcomes:
        """Take up what an earlier process left; give what had to be undone or put back.

        Leases of this boot are kept, and put back where their effect is gone. Those of another
        boot, those that a crash left half done, and those whose target is protected by now, end.
        """
        self._end(
            lease
            for lease in self._book.leases.values()
            if not lease.applied
            or lease.boot_id != self._boot_id
            or self._guard.protects(lease.plan.action.target) is not None
        )
        undone = self._reaper.expire()
        return Outcomes(0, (*undone, *self._put_back()))

    def expire(self) -> Outcomes:
        """Undo all leases that have ended; what fails is tried again, until it is gone.

        What was undone since the last call because the kill switch said so is told here too.
        """
        self.heed()
        told, self._news = self._news, []
        return Outcomes(0, (*told, *self._reaper.expire()))

    @property
    def reconciling(self) -> bool:
        """Say whether `reconcile` has not looked at everything yet since it began."""
        return self._reaper.looking

    def reconcile(self, most: int | None = None) -> Outcomes:
        """Put back what should be there and is not; end what has become this machine's own.

        At most `most` effects are looked at in one call; see `Reaper.reconcile`.
        """
        undone: list[Outcome] = []
        if not self.reconciling and self._guard.refresh():
            self._end(
                lease
                for lease in self._book.leases.values()
                if self._guard.protects(lease.plan.action.target) is not None
            )
            undone = self._reaper.expire()
        if self._deeds is not None and not self.reconciling:
            self._deeds.tidy()
        return Outcomes(0, (*undone, *self._put_back(most)))

    def next_expiry_ns(self) -> int | None:
        """Give the boot time at which `expire` has something to do, or None."""
        return self._reaper.next_due_ns()

    def held(self) -> tuple[Lease, ...]:
        """Give the leases that are in force."""
        now = self._clock.now().boot_ns
        return tuple(
            lease
            for lease in self._book.leases.values()
            if lease.applied and lease.expires_boot_ns > now
        )

    def unaccounted(self) -> tuple[str, ...]:
        """Name the effects that are there though the book holds no lease on them, sorted.

        After a book was lost these are what it held, as far as anyone can see. An order to undo
        one still takes it away; what the kernel times out goes by itself.
        """
        seen: set[str] = set()
        for executor in self._executors.values():
            # A plug-in may fail in any way; the others are still asked.
            with contextlib.suppress(Exception):
                seen |= executor.observe()
        return tuple(sorted(name for name in seen if not any(self._book.holders(name))))

    def idle(self) -> bool:
        """Say whether nothing is held and nothing is left to undo."""
        return not self._book.leases

    def share_budget(self, other: "Enforcer") -> None:
        """Spend from the budgets of another enforcer of this process; before either is asked."""
        self.budgets = other.budgets
        self.budgets.spend(map(self._abilities.blast_of, self._lately()))

    def _killed(self) -> str | None:
        """Give the sentence that refuses everything while the kill switch is engaged, or None."""
        state = self.switched()
        if not state.engaged:
            return None
        return f"refused: the kill switch is engaged (generation {state.generation})."

    def _put_back(self, most: int | None = None) -> list[Outcome]:
        """Put back what has vanished; while the kill switch is engaged what is gone stays gone."""
        if self._killed() is None:
            return self._reaper.reconcile(most)
        self._reaper.tidy()
        return []

    def _end(self, leases: Iterable[Lease]) -> None:
        """Let leases end now; to undo them is the reaper's next step."""
        now = self._clock.now().boot_ns
        ended = [
            msgspec.structs.replace(lease, boot_id=self._boot_id, expires_boot_ns=now)
            for lease in leases
        ]
        self._book.note(ended)
        self._watch(ended)

    def _lately(self) -> list[Deed]:
        """Say for what leases were granted within the last minute."""
        now = self._clock.now().boot_ns
        return self._book.granted_since(self._boot_id, now - MINUTE_NS)

    def _new_budgets(self) -> Budgets:
        # A crash must not refill them, or crashing the enforcer would be a way around them.
        spent = map(self._abilities.blast_of, self._lately())
        now = self._clock.now().boot_ns
        config = self.config
        return Budgets(config.actions_per_minute, config.blast_per_minute, now, spent)

    # --- apply ---------------------------------------------------------------------------------

    def _apply(self, actions: Sequence[Action]) -> dict[Key, Outcome]:
        now = self._clock.now().boot_ns
        answers: dict[Key, Outcome] = {}
        leases: dict[Key, Lease] = {}
        fresh: dict[Key, Action] = {}
        for action in actions:
            key = key_of(action)
            if key in answers or key in leases or key in fresh:
                continue
            held = self._live(key, now)
            admitted = self._admit(action, held, now)
            if isinstance(admitted, Outcome):
                answers[key] = admitted
            elif held is not None:
                plan = msgspec.structs.replace(held.plan, action=admitted)
                leases[key] = msgspec.structs.replace(held, plan=plan)
            else:
                fresh[key] = admitted
        unplanned, granted, finals = self._ready(fresh, now)
        answers |= unplanned
        leases |= granted
        killed = self._killed()
        if killed is not None:
            ready = {key: lease.plan.action for key, lease in leases.items()}
            ready |= {key_of(plan.action): plan.action for plan in finals}
            return answers | {key: _said(action, killed) for key, action in ready.items()}
        timed = [lease for lease in leases.values() if lease.plan.kernel_timeout]
        others = [lease for lease in leases.values() if not lease.plan.kernel_timeout]
        answers |= self._apply_timed(timed) | self._apply_recorded(others)
        asked = {key_of(action): action for action in reversed(actions)}
        for plan in finals:  # as it was asked, its lease uncut: that is what was approved
            key = key_of(plan.action)
            answers[key] = self._do_once(msgspec.structs.replace(plan, action=asked[key]))
        return self._after_release(answers)

    def _ready(
        self, fresh: Mapping[Key, Action], now: int
    ) -> tuple[dict[Key, Outcome], dict[Key, Lease], list[Plan]]:
        """Plan what was admitted: give refusals, leases to grant, and what has no undo."""
        refused: dict[Key, Outcome] = {}
        leases: dict[Key, Lease] = {}
        finals: list[Plan] = []
        # What is there already, or half there, is no state to go back to: the first plan knows it.
        known = {key: self._known(action) for key, action in fresh.items()}
        planned = iter(self._points.plan([it for key, it in fresh.items() if known[key] is None]))
        for key, action in fresh.items():
            ready = known[key] or next(planned)
            if not isinstance(ready, Plan):
                refused[key] = ready
            elif self._is_final(ready):
                finals.append(ready)
            else:
                leases[key] = Lease(ready, self._boot_id, now, now + action.lease_ns)
        return refused, leases, finals

    def _known(self, action: Action) -> Plan | None:
        """Give the plan of what was begun, or is held already, made this action's own."""
        meant = self._deeds.meant(action) if self._deeds is not None else None
        if meant is not None:
            return meant
        held = next(self._book.holders(action.action_id), None)
        return msgspec.structs.replace(held.plan, action=action) if held is not None else None

    def _after_release(self, answers: dict[Key, Outcome]) -> dict[Key, Outcome]:
        """Undo what was applied while everything was to be released, and say so."""
        before = self._released
        self.heed()
        if self._released == before:
            return answers
        why = "the kill switch was thrown meanwhile; it was undone again."
        return {
            key: msgspec.structs.replace(answer, ok=False, verified=False, detail=f"refused: {why}")
            if answer.ok and answer.undo and not any(self._book.holders(key[0]))
            else answer
            for key, answer in answers.items()
        }

    def _admit(self, action: Action, held: Lease | None, now: int) -> Action | Outcome:
        """Authorise an action, its lease cut to what is allowed; or refuse it."""
        why = self._guard.objection(action) or self._fenced(action)
        if why is not None:
            return _refused(action, why)
        if held is not None:  # the same order again, or a higher epoch: nothing new is granted
            return msgspec.structs.replace(action, lease_ns=held.plan.action.lease_ns)
        if self._abilities.is_final(deed_of(action)):
            return self._admit_final(action, now)
        allowed = self._allowed_until(action, now) - now
        why = self._beyond(action, allowed, now)
        if why is not None:
            return _refused(action, why)
        return msgspec.structs.replace(action, lease_ns=min(action.lease_ns, allowed))

    def _beyond(self, action: Action, allowed_ns: int, now: int) -> str | None:
        """Say which bound an action goes beyond; the budgets are asked last, and spent."""
        if allowed_ns <= 0:
            return (
                f"Incident {action.incident_id} has held {action.target.value} for as long as "
                f"it may ({self.config.max_lease_s} s); a person or a new incident can go on."
            )
        if len(self._book.leases) >= self.config.max_leases:
            return f"{self.config.max_leases} leases are held, the most allowed."
        return self.budgets.take(self._abilities.blast_of(deed_of(action)), now)

    def _admit_final(self, action: Action, now: int) -> Action | Outcome:
        """Authorise what cannot be taken back, as it is: its approvals bind all of it."""
        if self._deeds is None:
            return _refused(action, "It cannot be taken back, and no approval can be checked here.")
        done = self._deeds.answer(action)
        if done is not None:
            return done
        approved = self._deeds.approved(action)
        if isinstance(approved, str):
            return _refused(action, approved)
        if self._deeds.meant(action) is not None:
            return action
        why = self.budgets.take(self._abilities.blast_of(deed_of(action)), now)
        return action if why is None else _refused(action, why)

    def _is_final(self, plan: Plan) -> bool:
        """Say whether nobody can take a plan back: its ability says so, or it has no recipe."""
        return not plan.recipe or self._abilities.is_final(deed_of(plan.action))

    def _do_once(self, plan: Plan) -> Outcome:
        if self._deeds is None:
            return _refused(plan.action, "It has no undo, and nobody's approval can be checked.")
        return self._deeds.carry_out(plan, self._points, self._killed)

    def _fenced(self, action: Action) -> str | None:
        highest = self._book.epoch(action.action_id)
        if action.epoch < highest:
            return f"Epoch {action.epoch} is over: {highest} was seen for this action."
        # A number of starts, or the seconds since 1970 where that was lost: see the caller's own.
        most = max(highest, self._clock.now().wall_ns // SECOND_NS) + _MAX_EPOCH_LEAP
        if action.epoch > most:
            return f"Epoch {action.epoch} is none that can be: {most} is the highest by now."
        return None

    def _allowed_until(self, action: Action, now: int) -> int:
        first = self._book.first_granted_ns(action, self._boot_id)
        return (now if first is None else first) + self.config.max_lease_s * SECOND_NS

    def _live(self, key: Key, now: int) -> Lease | None:
        lease = self._book.leases.get(key)
        return lease if lease is not None and lease.expires_boot_ns > now else None

    def _apply_timed(self, leases: Sequence[Lease]) -> dict[Key, Outcome]:
        """Apply what the kernel times out by itself, then record it, before it is answered."""
        if not leases:
            return {}
        answers, settled = self._put(leases)
        try:
            self._book.write(settled, durable=True)
        except CronosError as error:
            self._book.note(settled)
            why = f" Held by the kernel's timeout alone: {error.sentence}"
            answers = [
                msgspec.structs.replace(answer, detail=answer.detail + why) for answer in answers
            ]
        self._watch(settled)
        return {key_of(le.plan.action): a for le, a in zip(leases, answers, strict=True)}

    def _apply_recorded(self, leases: Sequence[Lease]) -> dict[Key, Outcome]:
        """Record leases and undo recipes with one sync, then apply."""
        if not leases:
            return {}
        try:
            self._book.write(leases, durable=True)
        except CronosError as error:
            return {
                key_of(le.plan.action): _refused(le.plan.action, f"It could not be undone: {error}")
                for le in leases
            }
        killed = self._killed()
        if killed is not None:  # while the disk was waited for; that it never was is looked at
            self._end(leases)
            return {key_of(le.plan.action): _said(le.plan.action, killed) for le in leases}
        answers, settled = self._put(leases)
        # No sync: were this lost with the power, the lease would be undone after the reboot.
        self._book.note(settled)
        self._watch(settled)
        return {key_of(le.plan.action): a for le, a in zip(leases, answers, strict=True)}

    def _put(self, leases: Sequence[Lease]) -> tuple[list[Outcome], list[Lease]]:
        """Apply, and give the leases as they stand after: what failed ends now."""
        now = self._clock.now().boot_ns
        longest = self._longest(leases)
        plans = [remaining(le.plan, longest[le.plan.action.action_id] - now) for le in leases]
        answers = self._points.apply(plans)
        # An effect another incident holds may be there with a shorter timeout of the kernel's.
        shared = [plan for plan, le in zip(plans, leases, strict=True) if self._is_shared(le)]
        self._points.renew(shared)
        now = self._clock.now().boot_ns
        settled = [
            msgspec.structs.replace(le, applied=True)
            if answer.ok
            else msgspec.structs.replace(le, expires_boot_ns=now)
            for le, answer in zip(leases, answers, strict=True)
        ]
        return answers, settled

    def _longest(self, leases: Sequence[Lease]) -> dict[str, int]:
        until: dict[str, int] = {}
        for lease in leases:
            name = lease.plan.action.action_id
            held = (other.expires_boot_ns for other in self._book.holders(name))
            until[name] = max(until.get(name, 0), lease.expires_boot_ns, *held)
        return until

    def _is_shared(self, lease: Lease) -> bool:
        key = key_of(lease.plan.action)
        return any(key_of(other.plan.action) != key for other in self._book.holders(key[0]))

    def _watch(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._reaper.watch(key_of(lease.plan.action), lease.expires_boot_ns)

    # --- renew and undo ------------------------------------------------------------------------

    def _renew(self, actions: Sequence[Action]) -> dict[Key, Outcome]:
        now = self._clock.now().boot_ns
        answers: dict[Key, Outcome] = {}
        longer: dict[Key, Lease] = {}
        for action in actions:
            answer = self._extended(action, now)
            if isinstance(answer, Outcome):
                answers[key_of(action)] = answer
            else:
                longer[key_of(action)] = answer
        leases = list(longer.values())
        longest = self._longest(leases)
        plans = [remaining(le.plan, longest[le.plan.action.action_id] - now) for le in leases]
        renewed = self._points.renew(plans)
        kept = [le for le, answer in zip(leases, renewed, strict=True) if answer.ok]
        self._book.note(kept)
        self._watch(kept)
        return answers | dict(zip(longer, renewed, strict=True))

    def _extended(self, action: Action, now: int) -> Lease | Outcome:
        held = self._live(key_of(action), now)
        why = self._guard.objection(action) or self._fenced(action)
        if held is None or not held.applied:
            why = why or "No lease of this incident is held for it; apply it anew."
        if held is None or why is not None:
            return outcome_of(action, Operation.RENEW, why or "", ok=False)
        limit = self._allowed_until(action, now)
        if limit <= held.expires_boot_ns and now + action.lease_ns > held.expires_boot_ns:
            return outcome_of(
                action, Operation.RENEW, "It has reached the longest time allowed.", ok=False
            )
        until = max(held.expires_boot_ns, min(now + action.lease_ns, limit))
        plan = msgspec.structs.replace(
            held.plan, action=msgspec.structs.replace(held.plan.action, epoch=action.epoch)
        )
        return msgspec.structs.replace(held, plan=plan, expires_boot_ns=until)

    def _undo(self, actions: Sequence[Action]) -> dict[Key, Outcome]:
        now = self._clock.now().boot_ns
        answers: dict[Key, Outcome] = {}
        ending: dict[Key, Lease] = {}
        loose: dict[Key, Action] = {}
        for action in actions:
            key = key_of(action)
            lease = self._book.leases.get(key)
            why = self._guard.malformed(action) or self._fenced(action)
            if why is not None:
                answers[key] = outcome_of(action, Operation.UNDO, why, ok=False)
            elif lease is not None:
                until = min(lease.expires_boot_ns, now)
                ending[key] = msgspec.structs.replace(lease, expires_boot_ns=until)
            elif key not in answers:
                loose[key] = action
        answers = self._undo_unheld(loose) | answers
        # Said before it is done: a crash between the two must not bring the isolation back.
        self._book.note(list(ending.values()))
        return answers | dict(zip(ending, self._reaper.undo(list(ending)), strict=True))

    def _undo_unheld(self, actions: Mapping[Key, Action]) -> dict[Key, Outcome]:
        """End effects that no leases of their incidents hold: only where no others hold them.

        What is there is listed once for all: an enforcement point may hold thousands.
        """
        there = self._points.held(list(actions.values()))
        answers: dict[Key, Outcome] = {}
        plans: dict[str, Plan] = {}
        ending: list[tuple[Key, Action]] = []
        for key, action in actions.items():
            others = [le.plan.action.incident_id for le in self._book.holders(action.action_id)]
            if self._abilities.is_final(deed_of(action)):
                detail = "Nothing is held: what was done cannot be taken back."
            elif others:
                detail = f"This incident holds no lease on it; {others[0]} does."
            elif action.action_id not in there:
                detail = "It is not there: nothing to undo."
            else:
                plan = plans.get(action.action_id) or self._points.plan([action])[0]
                if isinstance(plan, Plan):
                    plans[action.action_id] = plan
                    ending.append((key, action))
                else:
                    answers[key] = plan
                continue
            done = outcome_of(action, Operation.UNDO, detail, ok=True)
            at = self._clock.now().boot_ns
            answers[key] = msgspec.structs.replace(done, verified=True, at_boot_ns=at)
        undone = dict(zip(plans, self._points.undo(list(plans.values())), strict=True))
        for key, action in ending:
            # Incidents that end the same effect get the same answer, each with its own name.
            answers[key] = msgspec.structs.replace(
                undone[action.action_id], incident_id=action.incident_id
            )
        return answers


def _refused(action: Action, why: str) -> Outcome:
    return _said(action, f"refused: {why}")


def _said(action: Action, detail: str) -> Outcome:
    return outcome_of(action, Operation.APPLY, detail, ok=False)
