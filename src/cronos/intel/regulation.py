"""Which clocks the law may start: text for people, who alone decide whether one runs.

What an asset holds says which law is concerned; what the attack does, by ATT&CK's tactics, says
whether the event that the law speaks of is likely. Nothing here is read by a decision, and none of
it is legal advice: the articles are cited so that they can be read.

Source: Regulation (EU) 2016/679 (GDPR) art. 33 and 34; Directive (EU) 2022/2555 (NIS2) art. 23;
PCI DSS 4.0.1 requirement 12.10; 45 CFR 164.404, 164.406 and 164.408 (HIPAA).
"""

from typing import Final

import msgspec

_HOUR: Final = 3_600
_DAY: Final = 24 * _HOUR

# Tactics whose success touches data or the service itself: it was taken, changed, or stopped.
# Credential access stands here because who holds an account can read what it can.
_HARM: Final = {
    "TA0006": "Credential Access",
    "TA0009": "Collection",
    "TA0010": "Exfiltration",
    "TA0040": "Impact",
    "TA0100": "Collection",
    "TA0105": "Impact",
    "TA0106": "Impair Process Control",
    "TA0107": "Inhibit Response Function",
}


class Clock(msgspec.Struct, frozen=True):
    """One duty and its time. `deadline_s` runs from `runs_from`; 0 is "at once".

    `likely` says that the attack as observed is of the kind that the duty speaks of; otherwise
    the clock starts only if that turns out to have happened.
    """

    law: str
    source: str
    duty: str
    trigger: str
    runs_from: str
    deadline_s: int
    deadline: str
    likely: bool


class _Duty(msgspec.Struct, frozen=True):
    law: str
    source: str
    duty: str
    trigger: str
    runs_from: str
    deadline_s: int
    deadline: str


_BREACH: Final = "personal data was lost, altered, disclosed or made unavailable"
_SIGNIFICANT: Final = (
    "the incident is significant: severe disruption or loss, or considerable damage to others"
)
_PHI: Final = "unsecured protected health information was acquired, accessed, used or disclosed"
_GDPR: Final = (
    _Duty("GDPR", "Regulation (EU) 2016/679, art. 33", "notify the supervisory authority, unless a"
          " risk to persons is unlikely", _BREACH, "awareness of the breach", 72 * _HOUR,
          "72 hours"),
    _Duty("GDPR", "Regulation (EU) 2016/679, art. 34", "tell the persons concerned, if the risk to"
          " them is high", _BREACH, "awareness of the breach", 0, "without undue delay"),
)  # fmt: skip
# What an asset holds -> the duties about it. Health data is personal data too (GDPR art. 9).
_DUTIES: Final[dict[str, tuple[_Duty, ...]]] = {
    "personal": _GDPR,
    "health": (
        *_GDPR,
        _Duty("HIPAA", "45 CFR 164.404", "notify each individual", _PHI, "discovery of the breach",
              60 * _DAY, "without unreasonable delay, 60 days at most"),
        _Duty("HIPAA", "45 CFR 164.406", "notify the media, if more than 500 residents of a State"
              " are concerned", _PHI, "discovery of the breach", 60 * _DAY, "60 days at most"),
        _Duty("HIPAA", "45 CFR 164.408", "notify the Secretary; of fewer than 500 individuals with"
              " the year's others, 60 days after its end", _PHI, "discovery of the breach",
              60 * _DAY, "with the individuals' notice, 60 days at most"),
    ),
    "card": (
        _Duty("PCI DSS", "PCI DSS 4.0.1, requirement 12.10", "activate the incident response plan;"
              " notify payment brands and acquirers as they require",
              "a security incident is suspected or confirmed that may touch account data",
              "suspicion", 0, "at once; each brand's own time limit applies"),
    ),
    "essential": (
        _Duty("NIS2", "Directive (EU) 2022/2555, art. 23(4)(a)", "give the CSIRT or authority an"
              " early warning", _SIGNIFICANT, "awareness of the incident", 24 * _HOUR, "24 hours"),
        _Duty("NIS2", "Directive (EU) 2022/2555, art. 23(4)(b)", "notify the incident, with a first"
              " assessment", _SIGNIFICANT, "awareness of the incident", 72 * _HOUR, "72 hours"),
        _Duty("NIS2", "Directive (EU) 2022/2555, art. 23(4)(d)", "give the final report",
              _SIGNIFICANT, "the notification of the incident", 30 * _DAY, "one month"),
    ),
}  # fmt: skip
# Account data is concerned by a suspicion already; the others speak of what has happened.
_ON_SUSPICION: Final = frozenset({"card"})


def clocks(data: tuple[str, ...], tactics: frozenset[str]) -> tuple[Clock, ...]:
    """Give the duties about these classes of data, the likely and most urgent ones first.

    Args:
        data: the attacked asset's classes: personal, health, card, essential; others are passed
            over.
        tactics: ids of ATT&CK tactics that the findings speak of.
    """
    harmed = not tactics.isdisjoint(_HARM)
    found: dict[_Duty, bool] = {}
    for name in sorted(set(data)):
        for duty in _DUTIES.get(name, ()):
            found[duty] = found.get(duty, False) or harmed or name in _ON_SUSPICION
    told = [
        Clock(
            duty.law,
            duty.source,
            duty.duty,
            duty.trigger,
            duty.runs_from,
            duty.deadline_s,
            duty.deadline,
            likely,
        )
        for duty, likely in found.items()
    ]
    return tuple(sorted(told, key=lambda one: (not one.likely, one.deadline_s, one.source)))


def sentence(clock: Clock) -> str:
    """Say a clock: what is to be done, by when, and what starts it."""
    starts = "may have started" if clock.likely else "starts only if"
    link = ", if" if clock.likely else ""
    return (
        f"{clock.law}: {clock.duty} ({clock.deadline} from {clock.runs_from}); "
        f"the clock {starts}{link} {clock.trigger} [{clock.source}]."
    )
