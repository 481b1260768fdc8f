"""Orders to the tap, carried out: what to block, which connections that ends, what came of it.

An outcome is said to be verified once every connection that the action bars is really gone.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from cronos.gateway.blocks import BlockTable
from cronos.gateway.relay import Relay
from cronos.ports import Clock
from cronos.types import Action, Operation, Order, Outcome, Outcomes

_NS_PER_S: Final = 1_000_000_000
_GONE_TIMEOUT_S: Final = 0.5  # below the second that the executor waits for an answer


class Orders:
    """Applies orders to the table of blocks and to the connections that stand."""

    def __init__(self, blocks: BlockTable, relays: Mapping[int, Relay], clock: Clock) -> None:
        self._blocks = blocks
        self._relays = relays
        self._clock = clock

    async def obey(self, order: Order) -> Outcomes:
        """Carry an order out; an outcome is verified when its connections are gone."""
        now_ns = self._clock.now().boot_ns
        if not order.actions:
            return Outcomes(order.order_id, self._held(now_ns))
        refusals = [self._change(order.operation, action, now_ns) for action in order.actions]
        await until_gone(self._cut_barred(now_ns))
        barred = self._lingering()
        at_ns = self._clock.now().boot_ns
        return Outcomes(
            order.order_id,
            tuple(
                _outcome(order.operation, action, refusal, action.action_id not in barred, at_ns)
                for action, refusal in zip(order.actions, refusals, strict=True)
            ),
        )

    def _held(self, now_ns: int) -> tuple[Outcome, ...]:
        """Give what is in force; a block whose connections linger is not in force yet."""
        lingering = self._lingering()
        return tuple(
            _looked(block.action, block.action.action_id not in lingering)
            for block in self._blocks.held(now_ns)
        )

    def _lingering(self) -> set[str]:
        return {relay.cut_by for relay in self._relays.values() if relay.cut_by}

    def _change(self, operation: Operation, action: Action, now_ns: int) -> str:
        match operation:
            case Operation.APPLY:
                return self._blocks.grant(action, now_ns)
            case Operation.RENEW:
                return self._blocks.renew(action, now_ns)
            case Operation.UNDO:
                return self._blocks.lift(action)

    def _cut_barred(self, now_ns: int) -> list[Relay]:
        """Cut every connection that a block bars, and give them."""
        barred: list[Relay] = []
        for relay in list(self._relays.values()):
            block = self._blocks.barring(relay.names, now_ns)
            if block is not None:
                relay.cut("blocked", block.action.action_id)
                barred.append(relay)
        return barred


async def until_gone(relays: Sequence[Relay]) -> None:
    """Wait until both sides of each are closed, at most half a second."""
    if not relays:
        return
    left = len(relays)
    done = asyncio.Event()

    def gone() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for relay in relays:
        relay.when_gone(gone)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), _GONE_TIMEOUT_S)


def _looked(action: Action, gone: bool) -> Outcome:
    detail = "held" if gone else "held, but a connection lingers"
    return Outcome(action.action_id, action.incident_id, Operation.APPLY, gone, gone, detail)


def _outcome(
    operation: Operation, action: Action, refusal: str, gone: bool, at_boot_ns: int
) -> Outcome:
    seconds = action.lease_ns / _NS_PER_S
    done = {
        Operation.APPLY: f"The tap refuses {action.target.value} for {seconds:g} s.",
        Operation.RENEW: f"The tap refuses {action.target.value} for {seconds:g} s more.",
        Operation.UNDO: f"The tap lets {action.target.value} pass.",
    }[operation]
    return Outcome(
        action_id=action.action_id,
        incident_id=action.incident_id,
        operation=operation,
        ok=not refusal,
        verified=not refusal and gone,
        detail=refusal or done,
        undo="" if operation is Operation.UNDO else "The lease ends by itself; undo ends it now.",
        at_boot_ns=at_boot_ns,
    )
