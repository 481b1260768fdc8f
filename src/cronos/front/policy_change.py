"""What a changed policy makes of a recorded snapshot.

Recomputed from the new `[policy]` and `[lease]`, for each recorded option:

* the dial: `dial` for its class, or else `autonomy`;
* whether its target is protected;
* its budget, and that of all actions: what was left then, more or less by what the limits differ;
* the length of a lease, and the policy's version.

As recorded stay: the evidence and its confidence, the impact, the losses, the kill switch, and of
each option risk, utility, efficacy and disruption, and that there are just these options. What a
changed `[[asset]]`, a further enforcement point or another detector would change is not shown.
"""

from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from cronos.config import Config, Policy
from cronos.types import Blast, Dial, Entity, Option, Snapshot

_SECOND_NS = 1_000_000_000
Covers: TypeAlias = Callable[[Entity], bool]


def under(snapshot: Snapshot, old: Config, new: Config, covers: Covers) -> Snapshot:
    """Give the snapshot that the new policy would have been asked about.

    Args:
        snapshot: as it was recorded.
        old: the configuration it was recorded under; only its budgets are read.
        new: the one that is tried.
        covers: says whether the new one protects a target.
    """
    options = tuple(
        replace(
            option,
            dial=dial_of(option, new.policy),
            protected=covers(option.target),
            budget=_shifted(option.budget, option.blast, old.policy, new.policy),
        )
        for option in snapshot.options
    )
    return replace(
        snapshot,
        options=options,
        # Both are said of each option now; earlier versions said them of the whole.
        protected=False,
        autonomy="act",
        budget=_shifted(snapshot.budget, Blast.NARROW, old.policy, new.policy),
        lease_ns=new.lease.default_s * _SECOND_NS,
        policy_version=new.policy.version,
    )


def dial_of(option: Option, policy: Policy) -> Dial:
    """Say how far an option may go by itself under a policy."""
    return Dial(policy.dial.get(f"{option.verb}:{option.target.kind}", policy.autonomy))


def _shifted(left: int, blast: Blast, old: Policy, new: Policy) -> int:
    return max(0, left + _most(blast, new) - _most(blast, old))


def _most(blast: Blast, policy: Policy) -> int:
    most = policy.actions_per_minute
    return int(min(most, policy.blast_per_minute.get(blast.value, most)) * policy.budget_share)
