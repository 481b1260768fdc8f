"""`cronos approve`: shows exactly what is asked, and says yes to that and nothing else."""

import argparse

from cronos.front import orders
from cronos.front.documents_people import ApproveDocument
from cronos.front.result import print_json
from cronos.link.clerk import QuestionView


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    orders.answering(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask: what is asked was seen")


def _lacks_one(asked: QuestionView, state: str) -> bool:
    return asked.persons > 1 and state == "waiting"


def execute(options: argparse.Namespace) -> int:
    """Show it, ask, and tell the node; 1 where the person then said no."""
    line = orders.Line(options)
    asked = line.question(options.question)
    given = bool(options.yes) or orders.consents(asked)
    state = orders.state_of(line.answer("approve", asked)) if given else "waiting"
    if options.json:
        print_json(ApproveDocument(asked, given, state, line.signed))
    elif given:
        more = "; a second operator has to approve it" if _lacks_one(asked, state) else ""
        print(f"approved: incident {asked.incident} is {state}{more}")
    else:
        print("Nothing was approved; the question still waits.")
    return 0 if given else 1
