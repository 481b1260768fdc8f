"""The planner of playbooks: what else should be done about an incident, as options for the matrix.

A playbook proposes and never acts. Its options go through the same matrix, budgets and protected
assets as an isolation, and its targets are entities of the incident or literals of the playbook's
own file: whatever text an attacker sends cannot become one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from cronos.config import Asset, Positive, Section
from cronos.errors import InputError
from cronos.respond.cacao_condition import Fact
from cronos.respond.playbook_assets import Assets
from cronos.respond.playbook_figures import option_of
from cronos.respond.playbook_files import PlaybookFolder
from cronos.respond.playbook_steps import Applies, Playbook, Wanted
from cronos.respond.playbook_walk import MAX_DUE, History, Walk
from cronos.types import (
    Ability,
    Answer,
    Defect,
    Dial,
    Entity,
    EntityKind,
    Incident,
    Manifest,
    Option,
    Outcome,
    State,
    action_id,
)

MAX_APPLIED: Final = 8
_OVER: Final = frozenset({State.CLOSED, State.RELEASING})


class PlaybooksConfig(Section, frozen=True):
    """Where the playbooks lie."""

    # A folder of CACAO 2.0 files (*.json); empty: none.
    folder: str = ""
    max_files: Positive = 64


class Asked(msgspec.Struct, frozen=True):
    """A question that a playbook puts to a person, and the option that is asked about."""

    playbook: str
    text: str
    option: Option


class PlaybookPlanner:
    """Proposes the steps of the playbooks in a folder.

    Args:
        config: which folder.
        abilities: what each enforcement point can do; the first that is able serves.
        assets: the site's assets, which conditions may ask about.

    Raises:
        InputError: the folder is not there.
        DeniedError: the folder may not be read, or others may write to it.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "playbooks",
        "Proposes the steps of CACAO 2.0 playbooks",
        limits={"due": MAX_DUE, "playbooks_per_incident": MAX_APPLIED},
    )
    config_type: ClassVar[type[Section]] = PlaybooksConfig

    def __init__(
        self,
        config: PlaybooksConfig,
        abilities: Mapping[str, tuple[Ability, ...]],
        assets: Sequence[Asset] = (),
    ) -> None:
        self._abilities = dict(abilities)
        self._assets = Assets(assets)
        self._folder: PlaybookFolder | None = None
        self._playbooks: tuple[Playbook, ...] = ()
        if config.folder:
            path = Path(config.folder)
            if not path.is_absolute():
                raise InputError(
                    "respond.playbooks_relative",
                    f"The folder of playbooks `{config.folder}` is no absolute path.",
                    "Write it from / on, under [plugin.playbooks].",
                )
            self._folder = PlaybookFolder(path, config.max_files)
            self.poll()

    # --- the folder ------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Take up what has changed in the folder; say whether anything has.

        Reads files: never called by `plan`, and not on the way of an isolation.

        Raises:
            InputError: the folder is not there any more; the playbooks stay as they were.
            DeniedError: others may write to it; likewise.
        """
        if self._folder is None or not self._folder.poll():
            return False
        self.use(self._folder.playbooks)
        return True

    def use(self, playbooks: Sequence[Playbook]) -> None:
        """Use these playbooks from now on, the one of the highest priority (1) first."""
        self._playbooks = tuple(
            sorted(playbooks, key=lambda one: (one.priority or 101, one.name, one.playbook_id))
        )

    @property
    def playbooks(self) -> tuple[Playbook, ...]:
        """Give the playbooks in use, in the order in which they are asked."""
        return self._playbooks

    @property
    def remarks(self) -> tuple[Defect, ...]:
        """Give what was refused in the folder, and why."""
        return self._folder.refused if self._folder is not None else ()

    # --- the incident ----------------------------------------------------------------------------

    def plan(self, incident: Incident, history: Sequence[Outcome | Answer]) -> Sequence[Option]:
        """Give the steps that are due now; see `Planner.plan`."""
        due: dict[str, Option] = {}
        for _, walk in self._walks(incident, history):
            for option in walk.due:
                name = action_id(option.enforcement_point, option.verb, option.target)
                # What one playbook asks a person about, another does not do unasked.
                if name not in due or option.dial is Dial.ASK:
                    due[name] = option
        return tuple(due.values())[:MAX_DUE]

    def questions(self, incident: Incident, history: Sequence[Outcome | Answer]) -> Sequence[Asked]:
        """Give the words of the questions among the steps that are due, for whoever is asked."""
        return tuple(
            Asked(playbook.name, text, option)
            for playbook, walk in self._walks(incident, history)
            for text, option in walk.questions
        )

    def _walks(
        self, incident: Incident, history: Sequence[Outcome | Answer]
    ) -> list[tuple[Playbook, Walk]]:
        if incident.state in _OVER or incident.verdict == "benign":
            return []
        asset = self._assets.of(incident.target)
        facts = _facts(incident, asset)
        found = History(incident.incident_id, history)
        pool = entities(incident)

        def resolve(wanted: Wanted) -> Option | None:
            return self._resolve(wanted, pool, incident)

        applying = [one for one in self._playbooks if applies(one.applies, incident, asset)]
        return [(one, Walk(one, facts, resolve, found)) for one in applying[:MAX_APPLIED]]

    def _resolve(
        self, wanted: Wanted, pool: Mapping[str, Entity], incident: Incident
    ) -> Option | None:
        """Find whom a step means and who can do it; None where there is no such one."""
        target = wanted.literal if wanted.literal is not None else pool.get(wanted.variable)
        if target is None or target.kind not in wanted.kinds:
            return None
        for point, abilities in self._abilities.items():
            if wanted.point not in ("", point):
                continue
            for ability in abilities:
                if (ability.verb, ability.kind) == (wanted.verb, target.kind):
                    return option_of(point, ability, target, incident)
        return None


def entities(incident: Incident) -> dict[str, Entity]:
    """Name the entities of an incident: ``actor``, ``target``, and the first one of each kind.

    Besides actor and target these are the targets of the decision about it; the service of a flow
    counts as well.
    """
    pool: dict[str, Entity] = {}
    found = [incident.actor, incident.target]
    if incident.decision is not None:
        chosen = (incident.decision.action, incident.decision.proposal)
        found += [action.target for action in chosen if action is not None]
    for one in found:
        if one is not None:
            pool.setdefault(one.kind.value, one)
    named = {"actor": incident.actor, "target": incident.target}
    pool |= {name: one for name, one in named.items() if one is not None}
    flow = pool.get(EntityKind.FLOW.value)
    if flow is not None:
        protocol, _, ends = flow.value.partition("/")
        server = ends.rpartition(">")[2]
        service = Entity(EntityKind.SERVICE, f"{protocol}/{server}")
        pool.setdefault(EntityKind.SERVICE.value, service)
    return pool


def applies(terms: Applies, incident: Incident, asset: Asset | None) -> bool:
    """Say whether a playbook is for an incident: every term that is stated must be met."""
    actor = incident.actor.kind.value if incident.actor is not None else ""
    target = incident.target.kind.value if incident.target is not None else ""
    return (
        any(_covers(one, found) for one in terms.techniques for found in incident.techniques)
        and incident.severity >= terms.min_severity
        and incident.confidence >= terms.min_confidence
        and (not terms.actor_kinds or actor in terms.actor_kinds)
        and (not terms.target_kinds or target in terms.target_kinds)
        and (not terms.assets or (asset is not None and asset.name in terms.assets))
        and (not terms.labels or not _labels(asset).isdisjoint(terms.labels))
    )


def _covers(technique: str, found: str) -> bool:
    return found == technique or found.startswith(f"{technique}.")


def _labels(asset: Asset | None) -> frozenset[str]:
    if asset is None:
        return frozenset()
    return frozenset((*asset.data, "legacy") if asset.legacy else asset.data)


def _facts(incident: Incident, asset: Asset | None) -> dict[str, Fact]:
    """Give what conditions may ask; text of strangers is not among it."""
    return {
        "severity": float(incident.severity),
        "confidence": incident.confidence,
        "criticality": float(asset.criticality if asset is not None else 3),
        "techniques": frozenset(incident.techniques),
        "labels": _labels(asset),
        "actor_kind": incident.actor.kind.value if incident.actor is not None else "",
        "target_kind": incident.target.kind.value if incident.target is not None else "",
        "target_asset": asset.name if asset is not None else "",
        "evidence": incident.evidence.value,
        "provenance": incident.provenance.value,
    }
