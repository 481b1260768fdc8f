"""`cronos release`: ends the isolation of an incident."""

import argparse

from cronos.front import orders
from cronos.front.documents_people import ReleaseDocument
from cronos.front.result import print_json
from cronos.link.clerk import About
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    orders.arguments(parser)
    parser.add_argument("incident", metavar="INCIDENT", help="as `cronos incidents` lists it")


def execute(options: argparse.Namespace) -> int:
    """Tell the node, and tell what came of it."""
    line = orders.Line(options)
    state = orders.state_of(line.order("release", About(options.incident)))
    if options.json:
        print_json(ReleaseDocument(options.incident, state, line.signed))
    else:
        print(f"released: incident {plain(options.incident, 256)} is {state}")
    return 0
