"""`cronos incidents`: what a running node knows, live, and what people make of it.

Why something was decided is read from the ledger and explained here, beside the node, which has
better to do; what became of everything is counted from the ledger, with or without a node.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cronos.errors import CronosError, InputError, UnreachableError
from cronos.front import orders
from cronos.front.documents_people import IncidentsDocument, VerdictDocument
from cronos.front.result import IncidentView, print_json, show
from cronos.link.clerk import MAX_PAGE, About, Judgement, Page, QuestionView
from cronos.link.text import plain

if TYPE_CHECKING:
    from cronos.front.recorded import Told

_MOST: Final = 10_000
_VERDICTS: Final = {"malicious": True, "benign": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    orders.arguments(parser)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="INCIDENT",
        help="one incident; or `verdict INCIDENT malicious|benign`: what it turned out to be",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--open", action="store_true", help="those that are not closed")
    kinds.add_argument("--waiting", action="store_true", help="those that ask a person")
    kinds.add_argument(
        "--stats",
        action="store_true",
        help="what became of them, counted from the ledger: autonomy, success, false alarms, "
        "the shadow score",
    )
    parser.add_argument(
        "--candidates",
        type=Path,
        metavar="FILE",
        help="with --stats: write what people judged as calibration candidates to a new file",
    )


def execute(options: argparse.Namespace) -> int:
    """Show them, tell the node what one turned out to be, or count what became of all."""
    line = orders.Line(options)
    if options.stats or options.candidates:
        return _count(line, options)
    match options.what:
        case ["verdict", incident, word] if word in _VERDICTS:
            return _judge(line, incident, malicious=_VERDICTS[word], json=options.json)
        case ["verdict", *_]:
            raise InputError(
                "incidents.usage",
                "A verdict names one incident and what it turned out to be.",
                "Say `cronos incidents verdict INCIDENT malicious|benign`.",
            )
        case []:
            shown, total = _all(line, _kind(options))
            document = _document(line, shown, total)
        case [incident]:
            document = _one(line, incident)
        case _:
            raise InputError(
                "incidents.usage",
                "This names more than one incident.",
                "Give none, one, or `cronos incidents verdict INCIDENT malicious|benign`.",
            )
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 0


def _document(line: orders.Line, shown: list[Any], total: int) -> IncidentsDocument:
    views = msgspec.convert(shown, tuple[IncidentView, ...])
    names = {one.incident_id for one in views}
    questions = tuple([one for one in line.questions() if one.incident in names])
    killed = bool(line.ask("status")["kill"]["engaged"])
    return IncidentsDocument(views, questions, total, killed=killed)


# --- one, and why -----------------------------------------------------------------------------


def _one(line: orders.Line, incident: str) -> IncidentsDocument:
    """Show one as the node knows it, or the ledger where none runs, and why it was decided so."""
    told, why_not = _told(line, incident)
    try:
        document = _document(line, [line.ask("incidents.show", About(incident))], 1)
    except (UnreachableError, InputError):
        # No node runs, or it was restarted since: the ledger knows.
        if told is None or told.incident is None:
            raise
        positions = told.first, told.last, 0
        view = show(told.incident, told.findings, list(told.outcomes), told.question, positions)
        document = IncidentsDocument((view,), (), 1, live=False)
    if told is None or told.snapshot is None or told.decision is None:
        why_not = why_not or "the ledger holds no decision about it"
        return msgspec.structs.replace(document, unexplained=why_not)
    from cronos.front.commands.decide import view as explained  # noqa: PLC0415 - slow to import

    decision = explained(told.snapshot, told.decision, told.findings)
    return msgspec.structs.replace(document, decision=decision)


def _told(line: orders.Line, incident: str) -> "tuple[Told | None, str]":
    """Read what the ledger tells of an incident; or say why it does not."""
    from cronos.front.recorded import records_of, told_of  # noqa: PLC0415 - slow to import

    try:
        return told_of(records_of(line.config, line.state), incident), ""
    except CronosError as error:
        return None, error.sentence


# --- all, and what became of them ---------------------------------------------------------------


def _count(line: orders.Line, options: argparse.Namespace) -> int:
    if not options.stats or options.what:
        raise InputError(
            "incidents.usage",
            "Statistics are of all incidents, and candidates are made with them.",
            "Say `cronos incidents --stats`, with --candidates FILE if you want them.",
        )
    from cronos.front.documents_outcomes import say_outcomes, show_outcomes  # noqa: PLC0415
    from cronos.front.plugins import load  # noqa: PLC0415
    from cronos.front.recorded import tracked_of  # noqa: PLC0415

    tracked = tracked_of(line.config, line.state)
    document = show_outcomes(tracked)
    if options.candidates:
        file = options.candidates.absolute()
        load("entry", "write-private")(file, load("entry", "calibration-candidates")(tracked))
    if options.json:
        print_json(document)
        return 0
    print("\n".join(say_outcomes(document)))
    if options.candidates:
        count = len(tracked.candidates)
        print(
            f"{count} calibration candidate{'s' * (count != 1)} written to "
            f"{plain(str(options.candidates), 300)}; nothing reads them by itself."
        )
    return 0


# --- many ---------------------------------------------------------------------------------------


def _kind(options: argparse.Namespace) -> Any:
    return "open" if options.open else "waiting" if options.waiting else "all"


def _all(line: orders.Line, kind: Any) -> tuple[list[Any], int]:
    """Ask page by page, up to a bound; what changes meanwhile may be missed or stand twice."""
    rows: list[Any] = []
    while True:
        page = line.ask("incidents.list", Page(kind, len(rows), MAX_PAGE))
        rows += page["incidents"]
        if not page["incidents"] or len(rows) >= min(page["total"], _MOST):
            return rows, int(page["total"])


def _judge(line: orders.Line, incident: str, *, malicious: bool, json: bool) -> int:
    state = orders.state_of(line.order("verdict", Judgement(incident, malicious)))
    if json:
        print_json(VerdictDocument(incident, malicious, state, line.signed))
    else:
        word = "malicious" if malicious else "benign"
        print(f"noted: incident {plain(incident, 256)} was {word}; it is {state}")
    return 0


def _print(document: IncidentsDocument) -> None:
    from cronos.front.text import print_incidents  # noqa: PLC0415 - tables are slow to import

    if not document.live:
        print("No running node knows it; this is how the ledger held it last.\n")
    views = document.incidents
    print_incidents(views)
    if document.total > len(views):
        print(f"\n{len(views)} of {document.total} are shown.")
    if document.decision is not None:
        print("\nits last decision")
        for said in document.decision.why:
            print(f"  {said}")
    elif document.unexplained:
        print(f"\nWhy it was decided so cannot be told: {plain(document.unexplained, 400)}")
    for asked in document.questions:
        _print_question(asked)
    if document.killed:
        print("\nThe kill switch is engaged: nothing new is done to anyone (`cronos kill --off`).")


def _print_question(asked: QuestionView) -> None:
    print()
    for told in orders.described(asked):
        print(told)
    print(f"answer    cronos approve {asked.question}, or cronos deny {asked.question}")
