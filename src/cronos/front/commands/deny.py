"""`cronos deny`: says no to what a node asks."""

import argparse

from cronos.front import orders
from cronos.front.documents_people import DenyDocument
from cronos.front.result import print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    orders.answering(parser)


def execute(options: argparse.Namespace) -> int:
    """Tell the node, and tell what came of it."""
    line = orders.Line(options)
    asked = line.question(options.question)
    state = orders.state_of(line.answer("deny", asked))
    if options.json:
        print_json(DenyDocument(asked, state, line.signed))
    else:
        print(f"denied: incident {asked.incident} is {state}")
    return 0
