"""What a playbook's step risks, disturbs and is worth: judgement in one table, by class of action.

The kernel has the last word: it looks risk up in its matrix and holds every option against its
guardrails. These are the figures it begins with, for actions that no finding suggests by itself.
"""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from cronos.types import Ability, Blast, Dial, Entity, Incident, Option, Reversal, Verb

# What an action risks at least, as for the kernel: what is leased and narrow is medium.
BY_BLAST: Final[Mapping[Blast, float]] = {
    Blast.NARROW: 0.30,
    Blast.IDENTITY: 0.50,
    Blast.SERVICE: 0.50,
    Blast.HOST: 0.70,
    Blast.FLEET: 0.70,
}
# How surely it ends what the attacker does, where its executor does not say so.
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
# High in every row of the matrix: what a question is about needs a person's word.
QUESTION_RISK: Final = 0.95
_LOSS_PER_SEVERITY: Final = 0.2


def asking(option: Option) -> Option:
    """Give the same option, to be had by a person's word alone.

    The dial says so, and so does the risk, which nobody downstream may lower.
    """
    return replace(option, dial=Dial.ASK, risk=max(option.risk, QUESTION_RISK))


def option_of(point: str, ability: Ability, target: Entity, incident: Incident) -> Option:
    """Give the option that an ability is against a target, with its figures.

    Utility is p · efficacy · loss - (1 - p) · disruption, the loss taken from the severity, as for
    the options of the kernel.
    """
    risk = max(ability.risk, BY_BLAST[ability.blast])
    if ability.reversal is Reversal.NONE:
        risk = IRREVERSIBLE_RISK
    efficacy, disruption = ability.efficacy or BY_VERB[ability.verb], ability.disruption
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
