"""`cronos policy`: explain it, test a changed one, import and export playbooks."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cronos import config as configuration
from cronos.config import Config
from cronos.errors import InputError
from cronos.front import settings
from cronos.front.documents_policy import (
    AbilityView,
    Change,
    Judgement,
    MatrixRow,
    PlaybookDocument,
    PlaybookView,
    PolicyDocument,
    PolicyTestDocument,
    Refusal,
    StepChange,
)
from cronos.front.outputs import STANDARD, RawOutput, as_text, reading, writing
from cronos.front.plugins import load, make
from cronos.front.policy_cases import read_cases
from cronos.front.policy_trial import Side, Trial, options_of, points_of
from cronos.front.result import print_json
from cronos.link.text import plain
from cronos.types import Defect, Entity, Now, Option

_MAX_PLAYBOOK_BYTES = 1 << 20
_SHOWN = 50


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what", choices=("explain", "test", "import", "export"), help="what to do with the policy"
    )
    parser.add_argument(
        "subject", nargs="?", metavar="FILE|NAME", help="import: a file; export: a playbook's name"
    )
    parser.add_argument(
        "--policy-file", type=Path, metavar="FILE", help="test: the changed configuration"
    )
    parser.add_argument(
        "--playbooks", type=Path, metavar="DIR", help="use the playbooks of this folder"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="import, export: where to write")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Do it; `test` gives 1 where something would change."""
    if options.what in ("import", "export"):
        if not options.subject:
            raise InputError(
                "policy.nothing_named",
                f"`policy {options.what}` was not told what.",
                "Give a file to import, or the name of a playbook to export.",
            )
        return _import(options) if options.what == "import" else _export(options)
    if options.subject:
        raise InputError(
            "policy.no_subject", f"`policy {options.what}` takes no name.", "Leave it out."
        )
    return _explain(options) if options.what == "explain" else _test(options)


# --- playbooks ------------------------------------------------------------------------------------


def _import(options: argparse.Namespace) -> int:
    """Check a playbook, and write it as it was understood where --output says."""
    with reading(options.subject) as source:
        data = bytearray(_MAX_PLAYBOOK_BYTES + 1)
        length = 0
        while taken := source.readinto(memoryview(data)[length:]):
            length += taken
        playbook = load("entry", "read-playbook")(bytes(data[:length]), source.shown)
        written = ""
        if options.output:
            with writing(options.output, source, force=options.force) as output:
                _pour(load("entry", "write-playbook")(playbook), output)
                written = output.shown
    return _told(options, playbook, source.shown, written)


def _export(options: argparse.Namespace) -> int:
    """Write one of the playbooks in use."""
    config = _with_folder(settings.config_of(options), options.playbooks)
    planner = _planner(config)
    wanted = options.subject
    found = [one for one in planner.playbooks if wanted in (one.name, one.playbook_id)]
    if len(found) != 1:
        names = ", ".join(plain(one.name, 80) for one in planner.playbooks) or "none"
        raise InputError(
            "policy.no_playbook",
            f"{len(found)} playbooks in use are called `{plain(wanted, 100)}`.",
            f"Give a name, or an id, and their folder with --playbooks. In use: {names}.",
        )
    folder = config.plugin["playbooks"]["folder"]
    with reading(folder) as source:
        given = options.output or STANDARD
        with writing(given, source, force=options.force) as output:
            _pour(load("entry", "write-playbook")(found[0]), output)
            written = output.shown
    if given == STANDARD:
        return 0  # what was written is the playbook; nothing is said beside it
    return _told(options, found[0], folder, written)


def _pour(data: bytes, output: RawOutput) -> None:
    view = memoryview(data)
    while view:
        view = view[output.write(view) :]


def _told(options: argparse.Namespace, playbook: Any, source: str, written: str) -> int:
    document = PlaybookDocument(
        as_text(source),
        written,
        playbook.name,
        playbook.playbook_id,
        len(playbook.steps),
        playbook.applies.techniques,
    )
    if options.json and options.output != STANDARD:
        print_json(document)
    elif options.output != STANDARD:
        techniques = ", ".join(document.techniques)
        print(f"{plain(playbook.name)}: {document.steps} steps, for {techniques}.")
        if written:
            print(f"Written to {plain(written)}.")
    return 0


def _with_folder(config: Config, folder: Path | None) -> Config:
    """Give the configuration with the folder of playbooks that the command line names."""
    if folder is None:
        return config
    own = {**config.plugin.get("playbooks", {}), "folder": str(folder.absolute())}
    return replace(config, plugin={**config.plugin, "playbooks": own})


def _planner(config: Config) -> Any:
    return make("planner", "playbooks", config, abilities=points_of(config), assets=config.asset)


def _refusals(remarks: Sequence[Defect]) -> tuple[Refusal, ...]:
    return tuple(Refusal(one.source, one.reason, one.remedy) for one in remarks)


def _print_refused(refused: Sequence[Refusal]) -> None:
    for one in refused:
        print(f"Not in use: {plain(one.source)}: {plain(one.reason)}. {plain(one.remedy)}")


# --- test -----------------------------------------------------------------------------------------


def _test(options: argparse.Namespace) -> int:
    """Judge recorded incidents again; 1 where anything would be decided otherwise."""
    old = settings.config_of(options)
    new = old
    if options.policy_file is not None:
        new = configuration.parse(
            settings.read_table(options.policy_file), str(options.policy_file)
        )
    new = _with_folder(new, options.playbooks)
    sides = [Side(one, options_of(one), _planner(one)) for one in (old, new)]
    state = settings.state_of(options)
    cases = read_cases(old, state)
    trial = Trial(*sides)
    changes: list[Change] = []
    steps: list[StepChange] = []
    for incident_id, case in cases.by_id.items():
        changes += trial.changes(incident_id, case)
        steps += trial.steps(incident_id, case)
    document = PolicyTestDocument(
        as_text(state / old.node.instance / "ledger"),
        len(cases.by_id),
        trial.decisions,
        trial.reproduced,
        cases.left_out,
        cases.unreadable,
        len(changes) + len(steps),
        trial.bolder,
        trial.more_careful,
        tuple(changes),
        tuple(steps),
        _refusals(sides[1].planner.remarks),
    )
    if options.json:
        print_json(document)
    else:
        _print_test(document)
    return 1 if document.changed else 0


def _print_test(document: PolicyTestDocument) -> None:
    print(
        f"{document.incidents} incidents, {document.decisions} decisions, "
        f"{document.reproduced} of them decided now as they were recorded."
    )
    for one in document.changes[:_SHOWN]:
        what = "step" if one.step else "decision"
        print(f"{plain(one.incident_id, 100)} {what} {one.number}:")
        print(f"  was    {_told_judgement(one.old)}")
        print(f"  would  {_told_judgement(one.new)}")
        for reason in one.new.reasons:
            print(f"         {plain(reason)}")
    for step in document.steps[:_SHOWN]:
        print(f"{plain(step.incident_id, 100)} step {plain(step.action)}:")
        print(f"  was    {step.old or 'not proposed'}")
        print(f"  would  {step.new or 'not proposed'}")
    left = len(document.changes[_SHOWN:]) + len(document.steps[_SHOWN:])
    if left:
        print(f"… and {left} more: --json shows all.")
    _print_refused(document.refused)
    print(
        f"{document.changed} would change: {document.bolder} bolder, "
        f"{document.more_careful} more careful."
    )
    if document.left_out or document.unreadable:
        print(
            f"Left out: {document.left_out} decisions beyond the bounds, {document.unreadable} "
            "records that hold nothing readable."
        )


def _told_judgement(one: Judgement) -> str:
    proposal = f"; asks about {plain(one.proposal)}" if one.proposal else ""
    return f"{one.disposition} {plain(one.action) or 'nothing'} ({one.cell}){proposal}"


# --- explain --------------------------------------------------------------------------------------


def _explain(options: argparse.Namespace) -> int:
    """Say what the policy comes to: matrix, dials, budgets, protected assets, playbooks."""
    config = _with_folder(settings.config_of(options), options.playbooks)
    policy, planner = config.policy, _planner(config)
    document = PolicyDocument(
        policy.version,
        policy.autonomy,
        tuple(
            MatrixRow(name, *(one.value for one in row))
            for _, name, row in load("entry", "policy-matrix")
        ),
        _abilities(config),
        {
            name: most * policy.budget_share
            for name, most in {
                "all": policy.actions_per_minute,
                **policy.blast_per_minute,
            }.items()
        },
        policy.protected,
        config.lease.default_s,
        config.lease.max_s,
        tuple(
            PlaybookView(one.name, one.playbook_id, len(one.steps), one.applies.techniques)
            for one in planner.playbooks
        ),
        _refusals(planner.remarks),
    )
    if options.json:
        print_json(document)
    else:
        _print_policy(document)
    return 0


def _abilities(config: Config) -> tuple[AbilityView, ...]:
    """List what could be done, each with the risk and the dial that the kernel would use."""
    options = options_of(config)
    found: list[AbilityView] = []
    for point, abilities in points_of(config).items():
        for one in abilities:
            given = Option(point, one.verb, Entity(one.kind, ""), one.risk, 0.0)
            option = options.complete(given, Now(0, 0))
            found.append(
                AbilityView(
                    point,
                    one.verb.value,
                    one.kind.value,
                    one.openc2,
                    one.d3fend,
                    one.reversal.value,
                    one.blast.value,
                    option.risk,
                    option.dial.value,
                )
            )
    return tuple(found)


def _print_policy(document: PolicyDocument) -> None:
    print(f"policy {document.version}, autonomy {document.autonomy}\n")
    print(f"{'confidence':<12}{'low risk':<16}{'medium':<16}high")
    for row in document.matrix:
        print(f"{row.confidence:<12}{row.low:<16}{row.medium:<16}{row.high}")
    print("\nwhat can be done           risk  dial     blast     undone by  at")
    for one in document.abilities:
        what = f"{one.verb} {one.kind}"
        row_text = f"{what:<27}{one.risk:<6.2f}{one.dial:<9}{one.blast:<10}{one.reversal:<11}"
        print(f"{row_text}{one.point}")
    print("\nactions that may start in a minute")
    for name, most in document.budgets.items():
        print(f"{name:<12}{most:g}")
    print(f"\nlease       {document.lease_s} s, at most {document.lease_max_s} s without a person")
    print(f"protected   {plain(', '.join(document.protected)) or 'nothing'}")
    print(f"playbooks   {len(document.playbooks)}")
    for playbook in document.playbooks:
        print(f"  {plain(playbook.name)}: {', '.join(playbook.techniques)}")
    _print_refused(document.refused)
