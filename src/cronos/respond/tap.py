"""Blocks flows and addresses in the forwarding tap, over its control socket.

The tap forwards the plant's traffic without privilege and times its blocks out by itself. An
order without actions asks what it holds: that is how an effect is looked at.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from cronos.config import Positive, Section
from cronos.errors import CronosError, UnreachableError
from cronos.link.frames import FrameSocket, connect
from cronos.link.text import plain
from cronos.respond.nftargets import element_of
from cronos.types import (
    Ability,
    Action,
    Blast,
    EntityKind,
    Manifest,
    Operation,
    Order,
    Outcome,
    Outcomes,
    Plan,
    Reversal,
    Verb,
    decode,
    encode,
)

_PART: Final = 1000
_MAX_STALE_FRAMES: Final = 64
_TARGETS: Final = (EntityKind.FLOW, EntityKind.ADDRESS)


class TapConfig(Section, frozen=True):
    """Where the tap listens for orders, and how long an answer may take."""

    control_socket: str = ""
    timeout_ms: Positive = 1000


class TapExecutor:
    """Denies what passes the tap. The connection is made on first use and again when it broke."""

    manifest = Manifest(
        "tap",
        "Cuts connections and refuses new ones in the forwarding tap",
        abilities=(
            Ability(
                Verb.DENY,
                EntityKind.ADDRESS,
                "ipv4_net",
                "D3-NTF",
                Reversal.KERNEL,
                Blast.NARROW,
                50,
                risk=0.40,
                efficacy=0.95,
                disruption=0.20,
            ),
            Ability(
                Verb.DENY,
                EntityKind.FLOW,
                "ipv4_connection",
                "D3-NTF",
                Reversal.KERNEL,
                Blast.NARROW,
                50,
                risk=0.30,
                efficacy=0.50,
                disruption=0.05,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = TapConfig

    def __init__(self, config: TapConfig) -> None:
        self._path = Path(config.control_socket)
        self._timeout_s = config.timeout_ms / 1000
        self._connection: FrameSocket | None = None
        self._order_id = 0

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Say what the tap would do; see `Executor.plan`."""
        return [_plan(action) for action in actions]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Order the blocks; see `Executor.apply`."""
        return self._order(Operation.APPLY, plans)

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Ask the tap what it holds; see `Executor.verify`.

        Raises:
            UnreachableError: the tap does not answer, so nobody can say.
        """
        there = self.observe() if plans else frozenset[str]()
        return [plan.action.action_id in there for plan in plans]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Begin the blocks' leases anew; see `Executor.renew`."""
        return self._order(Operation.RENEW, plans)

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Let the traffic pass again; see `Executor.undo`."""
        return self._order(Operation.UNDO, plans)

    def observe(self) -> frozenset[str]:
        """Give the ids of what the tap holds; see `Executor.observe`.

        Raises:
            UnreachableError: the tap does not answer.
        """
        held = self._ask(Operation.APPLY, ())
        return frozenset(outcome.action_id for outcome in held.outcomes if outcome.ok)

    def close(self) -> None:
        """End the connection; the tap keeps its leases."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _order(self, operation: Operation, plans: Sequence[Plan]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for at in range(0, len(plans), _PART):
            part = plans[at : at + _PART]
            try:
                answer = self._ask(operation, tuple(plan.action for plan in part))
                if len(answer.outcomes) != len(part):
                    raise _strange(f"{len(answer.outcomes)} outcomes for {len(part)} actions")
                outcomes += answer.outcomes
            except CronosError as error:
                outcomes += [_said(plan.action, operation, str(error)) for plan in part]
        return outcomes

    def _ask(self, operation: Operation, actions: tuple[Action, ...]) -> Outcomes:
        """Send one order and wait for its answer, over a new connection where the old one broke.

        Sending it twice is harmless: the same order again leaves one effect.
        """
        self._order_id += 1
        order = encode(Order(self._order_id, operation, actions))
        for last in (False, True):
            try:
                if self._connection is None:
                    self._connection = connect(self._path)
                self._connection.send(order)
                return self._answer(self._connection)
            except UnreachableError:
                self.close()
                if last:
                    raise
        raise _strange("no answer")

    def _answer(self, connection: FrameSocket) -> Outcomes:
        for _ in range(_MAX_STALE_FRAMES):
            received = connection.receive(self._timeout_s)
            if received is None:
                raise _strange(f"no answer within {self._timeout_s} s")
            try:
                answer = decode(received)
            except ValueError as error:
                raise _strange(str(error)) from error
            if isinstance(answer, Outcomes) and answer.order_id == self._order_id:
                return answer
        raise _strange("answers to other orders only")


def _plan(action: Action) -> Plan | Outcome:
    if action.verb is not Verb.DENY or action.target.kind not in _TARGETS:
        why = f"The tap denies flows and addresses; it cannot {action.verb} a {action.target.kind}."
        return _said(action, Operation.APPLY, why)
    if element_of(action.target) is None:
        why = f"{plain(action.target.value)} is no flow or address in canonical spelling."
        return _said(action, Operation.APPLY, why)  # the tap would hold it and never meet it
    recipe = json.dumps({"action_id": action.action_id, "target": action.target.value})
    return Plan(
        action,
        recipe.encode(),
        f"cut {action.target.value} at the tap and refuse it again",
        f"let {action.target.value} pass the tap again",
        kernel_timeout=True,
    )


def _said(action: Action, operation: Operation, detail: str) -> Outcome:
    return Outcome(
        action.action_id, action.incident_id, operation, ok=False, verified=False, detail=detail
    )


def _strange(what: str) -> UnreachableError:
    return UnreachableError(
        "respond.tap_silent",
        f"The tap did not answer as it should: {what}.",
        "See the tap's last log line, and whether `control_socket` is its own.",
    )
