"""Options: what could be done about an incident, to whom, and what it would be worth.

Utility is p · efficacy · loss - (1 - p) · disruption: both in the site's money, from the asset
model where it knows the systems concerned, from middling figures where it does not.
"""

from typing import Final

from msgspec.structs import replace

from cronos import types as t
from cronos.config import Config
from cronos.errors import InputError
from cronos.kernel.assets import HOURLY, Assets, Protected
from cronos.kernel.budget import Budgets

# What an action risks at least, by how much it takes away: a narrow lease is medium, a system high.
LEAST_RISK: Final = {
    t.Blast.NARROW: 0.30,
    t.Blast.IDENTITY: 0.50,
    t.Blast.SERVICE: 0.50,
    t.Blast.FLEET: 0.60,
    t.Blast.HOST: 0.70,
}
_IRREVERSIBLE_RISK: Final = 0.90
_CAREFUL: Final = {dial: rank for rank, dial in enumerate(t.Dial)}
_LEGACY_RISK: Final = 0.10
_CRITICAL_RISK: Final = 0.05
_MOST_RISK: Final = 0.99
_HOUR_NS: Final = 3_600_000_000_000

# Looked up once: in Python 3.11 an enum's member costs a tenth of a microsecond each time.
_FLOW, _ADDRESS, _HOST = t.EntityKind.FLOW, t.EntityKind.ADDRESS, t.EntityKind.HOST
_NARROW: Final = t.Blast.NARROW
_NONE: Final = t.Reversal.NONE


class Options:
    """Knows what this node can do, what it may, and what that would cost.

    Args:
        config: dials, budgets, protected assets, the asset model.
        points: what each enforcement point can do.
        losses: what losing an asset costs.

    Raises:
        InputError: a dial or a budget is set for something that does not exist.
    """

    def __init__(
        self, config: Config, points: dict[str, tuple[t.Ability, ...]], losses: t.LossTable
    ) -> None:
        self._budgets = Budgets(config.policy)
        self.assets = Assets(config.asset, losses)
        self._protected = Protected(config.policy)
        self._dials = _dials(config)
        self._default_dial = t.Dial(config.policy.autonomy)
        self._hours = config.lease.max_s * 1_000_000_000 / _HOUR_NS
        self._abilities = {
            (name, one.verb, one.kind): one
            for name, abilities in points.items()
            for one in abilities
        }
        self._able = [
            (name, one, _least(one), self._dial(verb, kind))
            for (name, verb, kind), one in self._abilities.items()
            if one.efficacy > 0
        ]

    def against(
        self, finding: t.Finding, confidence: float, now: t.Now
    ) -> tuple[tuple[t.Option, ...], t.Impact]:
        """List what could be done, the most useful first, and say what is at stake.

        Of two alike the one of the earlier enforcement point counts as more useful.
        """
        impact = self.assets.impact(finding.target, now)
        gain = confidence * finding.severity * 0.2 * impact.loss_mean
        doubt = (1 - confidence) * self._hours
        actor, attacked = finding.actor, finding.target
        outside = actor is not None and actor.kind is _ADDRESS
        found: list[t.Option] = []
        for name, able, risk, dial in self._able:
            kind = able.kind
            if kind is _FLOW:
                target = finding.flow
            elif kind is _ADDRESS:
                target = actor if outside else None
            elif kind is _HOST and outside:
                # A host is contained only where no outside address acts: then it is the foothold.
                target = None
            else:
                target = _of_kind(kind, actor, attacked)
            if target is not None:
                risk, hourly = self._at(target, able, risk)  # noqa: PLW2901 - of this target
                disruption = able.disruption * hourly
                utility = gain * able.efficacy - doubt * disruption
                option = t.Option(
                    name,
                    able.verb,
                    target,
                    risk,
                    utility,
                    able.efficacy,
                    disruption,
                    able.reversal,
                    able.blast,
                    dial,
                    self._protected.covers(target),
                    self._budgets.left(able.blast, now),
                )
                best = not found or utility > found[0].utility
                found.insert(0 if best else len(found), option)
        return tuple(found), impact

    def complete(self, option: t.Option, now: t.Now) -> t.Option | None:
        """Put what is ours to say into an option from elsewhere; None where nothing here can do it.

        Its risk may be called higher than the ability's, never lower, and its dial more careful.
        """
        verb, kind = option.verb, option.target.kind
        able = self._abilities.get((option.enforcement_point, verb, kind))
        if able is None:
            return None
        risk, hourly = self._at(option.target, able, max(_least(able), option.risk))
        return replace(
            option,
            risk=risk,
            disruption=max(option.disruption, able.disruption * hourly),
            reversal=able.reversal,
            blast=able.blast,
            dial=max(self._dial(verb, kind), option.dial, key=_CAREFUL.__getitem__),
            protected=self._protected.covers(option.target),
            budget=self._budgets.left(able.blast, now),
        )

    def protects(self, entity: t.Entity) -> bool:
        """Say whether no action may name an entity."""
        return self._protected.covers(entity)

    def left(self, now: t.Now) -> int:
        """Say how many actions, of whatever class, may still start."""
        return self._budgets.left(_NARROW, now)

    def spend(self, action: t.Action) -> None:
        """Note that an action has started."""
        able = self._abilities.get((action.enforcement_point, action.verb, action.target.kind))
        self._budgets.spend(able.blast if able is not None else _NARROW)

    def allows(self, action: t.Action, now: t.Now) -> bool:
        """Say whether a person's yes is enough for an action, as things are configured now."""
        point, verb, target = action.enforcement_point, action.verb, action.target
        option = self.complete(t.Option(point, verb, target, 0.0, 0.0), now)
        return option is not None and not option.protected and option.dial is not t.Dial.OBSERVE

    def persons(self, action: t.Action) -> int:
        """Say how many persons must approve an action: two where it cannot be taken back."""
        able = self._abilities.get((action.enforcement_point, action.verb, action.target.kind))
        return 2 if able is not None and able.reversal is _NONE else 1

    def _at(self, target: t.Entity, able: t.Ability, risk: float) -> tuple[float, float]:
        """Give the risk of an action on just this target, and what an hour without it costs."""
        asset = self.assets.find(target)
        if asset is None and able.reversal is not _NONE:
            return risk, HOURLY
        if asset is not None:
            risk += _CRITICAL_RISK * (asset.criticality - 3) + _LEGACY_RISK * asset.legacy
        if able.reversal is _NONE:
            risk = max(risk, _IRREVERSIBLE_RISK)
        elif able.blast is not _NARROW and asset is not None and asset.criticality == 5:
            risk = max(risk, 0.7)
        return min(max(risk, 0.0), _MOST_RISK), self.assets.hourly(asset)

    def _dial(self, verb: t.Verb, kind: t.EntityKind) -> t.Dial:
        return self._dials.get((verb, kind), self._default_dial)


def _least(able: t.Ability) -> float:
    return max(able.risk, LEAST_RISK[able.blast])


def _of_kind(kind: t.EntityKind, *entities: t.Entity | None) -> t.Entity | None:
    return next((one for one in entities if one is not None and one.kind is kind), None)


def _dials(config: Config) -> dict[tuple[str, str], t.Dial]:
    dials: dict[tuple[str, str], t.Dial] = {}
    for name, setting in config.policy.dial.items():
        verb, _, kind = name.partition(":")
        if verb not in set(t.Verb) or kind not in set(t.EntityKind):
            raise InputError(
                "policy.unknown_class",
                f"[policy] dial names {name!r:.80}, which is no class of actions.",
                'Write a verb and a kind of target, such as "deny:address".',
            )
        dials[verb, kind] = t.Dial(setting)
    return dials
