"""What a playbook's step risks, disturbs and is worth: judgement in one table, by class of action.

The kernel has the last word: it looks risk up in its matrix and holds every option against its
guardrails. These are the figures it begins with, for actions that no finding suggests by itself.
"""

from collections.abc import Mapping
from typing import Final

from cronos.types import Ability, Blast, Entity, Incident, Option, Reversal, Verb

# Risk and disruption in [0, 1]: what is leased and narrow is medium, a host or more is high.
BY_BLAST: Final[Mapping[Blast, tuple[float, float]]] = {
    Blast.NARROW: (0.40, 0.20),
    Blast.IDENTITY: (0.55, 0.30),
    Blast.SERVICE: (0.60, 0.40),
    Blast.HOST: (0.75, 0.60),
    Blast.FLEET: (0.85, 0.80),
}
# How surely it ends what the attacker does, in [0, 1].
BY_VERB: Final[Mapping[Verb, float]] = {
    Verb.DENY: 0.80,
    Verb.LIMIT: 0.50,
    Verb.CONTAIN: 0.90,
    Verb.PAUSE: 0.40,
    Verb.REDIRECT: 0.50,
    Verb.UPDATE: 0.70,
    Verb.RESTORE: 0.50,
    Verb.STOP: 0.90,
    Verb.DELETE: 0.90,
}
IRREVERSIBLE_RISK: Final = 0.95
_LOSS_PER_SEVERITY: Final = 0.2


def option_of(point: str, ability: Ability, target: Entity, incident: Incident) -> Option:
    """Give the option that an ability is against a target, with its figures.

    Utility is p · efficacy · loss - (1 - p) · disruption, the loss taken from the severity, as for
    the options of the kernel.
    """
    risk, disruption = BY_BLAST[ability.blast]
    if ability.reversal is Reversal.NONE:
        risk = IRREVERSIBLE_RISK
    efficacy = BY_VERB[ability.verb]
    gain = incident.confidence * efficacy * incident.severity * _LOSS_PER_SEVERITY
    return Option(
        point,
        ability.verb,
        target,
        risk,
        gain - (1 - incident.confidence) * disruption,
        efficacy,
        disruption,
        ability.reversal,
        ability.blast,
    )
