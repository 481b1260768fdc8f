"""What cannot be taken back: done once, on the word of two persons, and never forgotten in time.

Such a deed has no lease, since nobody could end it. What stands for one in the book is a record
that is durable before the deed is: of which approvals it was done on, so that none serves twice,
and then of what came of it, so that the same order again is answered and not carried out. A crash
between the two leaves a deed that was meant: the same order is carried out then, on the same
approvals and by the plan of then, which tells its target from another that took the name since.
Executors see to it that doing it twice is doing it once.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from cronos.errors import CronosError
from cronos.ports import Clock, Sealer
from cronos.respond.budgets import SECOND_NS, Deed
from cronos.respond.leasebook import Key, LeaseBook, key_of
from cronos.respond.points import Points, outcome_of
from cronos.types import Action, Lease, Operation, Outcome, Plan, digest_of

FOLDER: Final = "deeds"
PERSONS: Final = 2
# An approval is no older than half an hour when it is used (see `cronos.link.people`); with the
# clocks of two machines between, twice that is plenty.
_REMEMBERED_NS: Final = 3600 * SECOND_NS
_MOST: Final = 10_000

Approved: TypeAlias = Sequence[tuple[str, bytes]]
"""Who approved, each with the number (nonce) of the order; distinct persons, one a manager."""
Approvals: TypeAlias = Callable[[Action], Approved | str]
"""Gives who approved exactly this action, or a sentence on why that is not enough."""


def nobody(_action: Action) -> Approved | str:
    """Approve nothing: what an enforcer does that was told of no operators."""
    return "this enforcer was told of nobody whose approval it could check"


class Done(msgspec.Struct, frozen=True):
    """What the record of a deed says besides its action."""

    digest: str
    wall_ns: int
    boot: str
    boot_ns: int
    by: tuple[tuple[str, bytes], ...]
    packets: bytes  # SHA-256 of the approvals: whether an order is the same again
    outcome: Outcome | None = None
    recipe: bytes = b""  # the plan's own, which the record's place for it has no room for


class Deeds:
    """The book of deeds.

    Args:
        folder: of its own; made with mode 0700.
        sealer: as for `LeaseBook`.
        clock: the time.
        approvals: who knows whether two persons approved.

    Raises:
        CronosError: as `LeaseBook` does.
    """

    def __init__(
        self, folder: Path, sealer: Sealer | None, clock: Clock, approvals: Approvals = nobody
    ) -> None:
        self.book = LeaseBook(folder, sealer, "deeds")
        self._clock = clock
        self._approvals = approvals
        self._done: dict[Key, Done] = {}
        self._used: dict[bytes, Key] = {}
        self._forgot_wall_ns: int | None = None  # of the latest deed that was forgotten
        for key, lease in self.book.leases.items():
            try:
                self._remember(key, msgspec.json.decode(lease.plan.recipe, type=Done))
            except msgspec.DecodeError:
                self.book.defects.append(f"The record of the deed {key[0]} is not understood.")

    def close(self) -> None:
        """Let go of the book."""
        self.book.close()

    def granted_since(self, boot_id: str, boot_ns: int) -> list[Deed]:
        """See `LeaseBook.granted_since`."""
        return self.book.granted_since(boot_id, boot_ns)

    def answer(self, action: Action) -> Outcome | None:
        """Give what came of exactly this action before.

        What failed is tried again only on new approvals: the order that is merely sent again, as
        after a crash, gets the answer it had.
        """
        done = self._done.get(key_of(action))
        if done is None or done.outcome is None or done.digest != digest_of(action):
            return None
        again = done.outcome.ok or done.packets == _packets(action)
        return done.outcome if again else None

    def meant(self, action: Action) -> Plan | None:
        """Give the plan of exactly this where it was begun and a crash came between."""
        key = key_of(action)
        done = self._done.get(key)
        if done is None or done.outcome is not None or done.digest != digest_of(action):
            return None
        return Plan(action, done.recipe, self.book.leases[key].plan.summary, "")

    def approved(self, action: Action) -> Approved | str:
        """Give who approved exactly this action; or a sentence on what is missing."""
        found = self._approvals(action)
        if isinstance(found, str):
            return f"What cannot be taken back needs two persons: {found}."
        if len({subject for subject, _ in found}) < PERSONS:
            return "What cannot be taken back needs two persons, and this is one."
        spent = self._spent(action, [nonce for _, nonce in found])
        if spent is not None:
            return spent
        if len(self._done) >= _MOST:
            return f"{_MOST} such deeds are on record, the most that are kept at a time."
        return found

    def _spent(self, action: Action, nonces: Sequence[bytes]) -> str | None:
        """Say why these approvals, or any, serve no more for it; None where they do."""
        key = key_of(action)
        if any(self._used.get(nonce, key) != key for nonce in nonces):
            return "One of the approvals has served already, for another action."
        forgot = self._forgot_wall_ns
        if forgot is not None and self._clock.now().wall_ns - forgot <= _REMEMBERED_NS:
            return "The clock was set back to where approvals are forgotten that served already."
        done = self._done.get(key)
        if done is None:
            return None
        if done.digest != digest_of(action) or _succeeded(done):
            return "This incident has done this already, or began it in another form."
        if done.outcome is not None and any(nonce in nonces for _, nonce in done.by):
            return "One of the approvals has served already, when it failed: give both anew."
        return None

    def carry_out(self, plan: Plan, points: Points, killed: Callable[[], str | None]) -> Outcome:
        """Write down what is about to be done, do it, look, and write down what came of it.

        Args:
            plan: an action that was authorised, made ready.
            points: where it is done.
            killed: gives the refusal while the kill switch is engaged.
        """
        action = plan.action
        done = self.answer(action)
        if done is not None:
            return done
        approved = self.approved(action)
        if isinstance(approved, str):
            return _refused(action, f"refused: {approved}")
        try:
            self._intend(plan, approved)
        except CronosError as error:
            return _refused(action, f"refused: It could not be recorded: {error}")
        why = killed()
        if why is not None:
            # Meant and not done: the same order, after the switch, goes on from here.
            return _refused(action, why)
        (outcome,) = points.apply([plan])
        outcome = msgspec.structs.replace(outcome, undo="")
        self._settle(plan, outcome)
        return outcome

    def _intend(self, plan: Plan, approved: Approved) -> None:
        now = self._clock.now()
        digest, packets = digest_of(plan.action), _packets(plan.action)
        boot = self._clock.boot_id()
        # Those of an attempt that failed stay with them: they serve no more.
        former = self._done.get(key_of(plan.action))
        served = former.by if former is not None and former.outcome is not None else ()
        by = (*[(subject, nonce) for subject, nonce in approved], *served)
        done = Done(digest, now.wall_ns, boot, now.boot_ns, by, packets, recipe=plan.recipe)
        self.book.write([self._record(plan, done)], durable=True)
        self._remember(key_of(plan.action), done)

    def _settle(self, plan: Plan, outcome: Outcome) -> None:
        """Write down what came of it; on a full disk it is known until the next start."""
        key = key_of(plan.action)
        done = msgspec.structs.replace(self._done[key], outcome=outcome)
        self._remember(key, done)
        self.book.note([self._record(plan, done)])

    def tidy(self) -> None:
        """Forget what is so old that none of its approvals would be believed any more."""
        now, boot = self._clock.now(), self._clock.boot_id()
        # Of this boot by its own time: a clock that is set forward makes nothing be forgotten.
        ages = {
            key: now.boot_ns - it.boot_ns if it.boot == boot else now.wall_ns - it.wall_ns
            for key, it in self._done.items()
        }
        old = [key for key, age in ages.items() if age > _REMEMBERED_NS]
        ended = [Outcome(*key, Operation.UNDO, ok=True, verified=False, detail="") for key in old]
        if ended:
            self.book.note(ended)
        for key in old:
            done = self._done.pop(key)
            self._forgot_wall_ns = max(self._forgot_wall_ns or 0, done.wall_ns)
            for _, nonce in done.by:
                self._used.pop(nonce, None)
        self.book.tidy(now.boot_ns - _REMEMBERED_NS)

    def _remember(self, key: Key, done: Done) -> None:
        self._done[key] = done
        for _, nonce in done.by:
            self._used[nonce] = key

    def _record(self, plan: Plan, done: Done) -> Lease:
        action = msgspec.structs.replace(plan.action, approvals=())
        kept = Plan(action, msgspec.json.encode(done), plan.summary, "it cannot be taken back")
        held = self.book.leases.get(key_of(action))
        now = self._clock.now().boot_ns if held is None else held.granted_boot_ns
        ended = done.outcome is not None
        until = now + min(action.lease_ns, _REMEMBERED_NS)  # nothing ends then; but it must encode
        return Lease(kept, self._clock.boot_id(), now, until, applied=ended)


def _succeeded(done: Done) -> bool:
    return done.outcome is not None and done.outcome.ok


def _packets(action: Action) -> bytes:
    digest = hashlib.sha256()
    for packet in action.approvals:
        digest.update(hashlib.sha256(packet).digest())
    return digest.digest()


def _refused(action: Action, detail: str) -> Outcome:
    return outcome_of(action, Operation.APPLY, detail, ok=False)
