"""`cronos incidents`: what a running node knows, live, and what people make of it."""

import argparse
from typing import Any, Final

import msgspec

from cronos.errors import InputError
from cronos.front import orders
from cronos.front.documents_people import IncidentsDocument, VerdictDocument
from cronos.front.result import IncidentView, print_json
from cronos.link.clerk import MAX_PAGE, About, Judgement, Page, QuestionView
from cronos.link.text import plain

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


def execute(options: argparse.Namespace) -> int:
    """Show them, or tell the node what one turned out to be."""
    line = orders.Line(options)
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
        case [incident]:
            shown, total = [line.ask("incidents.show", About(incident))], 1
        case _:
            raise InputError(
                "incidents.usage",
                "This names more than one incident.",
                "Give none, one, or `cronos incidents verdict INCIDENT malicious|benign`.",
            )
    views = msgspec.convert(shown, tuple[IncidentView, ...])
    names = {one.incident_id for one in views}
    questions = tuple([one for one in line.questions() if one.incident in names])
    killed = bool(line.ask("status")["kill"]["engaged"])
    if options.json:
        print_json(IncidentsDocument(views, questions, total, killed))
    else:
        _print(views, questions, total)
        if killed:
            print(
                "\nThe kill switch is engaged: nothing new is done to anyone (`cronos kill --off`)."
            )
    return 0


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


def _print(
    views: tuple[IncidentView, ...], questions: tuple[QuestionView, ...], total: int
) -> None:
    from cronos.front.text import print_incidents  # noqa: PLC0415 - tables are slow to import

    print_incidents(views)
    if total > len(views):
        print(f"\n{len(views)} of {total} are shown.")
    for asked in questions:
        print()
        for told in orders.described(asked):
            print(told)
        print(f"answer    cronos approve {asked.question}, or cronos deny {asked.question}")
