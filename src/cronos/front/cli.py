"""The command line: finds the command, imports only that, and turns errors into sentences.

Exit codes: 0 done, 1 finding or refusal, 2 usage or nothing readable, 3 unreachable, 4 denied,
70 a fault of ours.
"""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from cronos import __version__
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError

COMMANDS: Final = {
    "run": "process captures and logs to the end and print the incidents in them",
    "up": "watch live sources until stopped",
    "node": "be one node of a federation, until stopped",
    "mesh": "show the federation as a running node sees it, or leave it",
    "demo": "attack a Modbus plant on this machine and see the attack end, with proof",
    "incidents": "show what a running node knows, and say what people made of it",
    "approve": "say yes to what a node asks, after seeing exactly what that is",
    "deny": "say no to what a node asks",
    "release": "end the isolation of an incident",
    "kill": "stop every action at once, and release what is held",
    "discover": "learn a protocol from its traffic, and write a verified parser for it",
    "parse": "take messages apart with what was learnt of their protocol",
    "decide": "say what would be decided about an event, and why",
    "replay": "decide again what was decided about an incident, and compare",
    "audit": "verify the ledger, or erase a subject from it",
    "keys": "make, list, rotate, export and destroy keys",
    "pki": "run the certificate authority, join it, revoke",
    "seal": "encrypt a file or a stream to a key or a passphrase",
    "open": "decrypt what `seal` wrote",
    "sign": "sign a file with ML-DSA-87",
    "verify": "check a signature",
    "policy": "explain it, test a changed one on recorded incidents, import and export playbooks",
    "config": "explain every setting, its value and where it came from",
    "bench": "measure a promise of docs/benchmarks.md",
}
_CODES: Final = ((DeniedError, 4), (UnreachableError, 3), (InputError, 2))
_FAULT: Final = 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    _occupy_standard_descriptors()
    given = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in given if not word.startswith("-")), "")
    parser = _parser(name)
    options = parser.parse_args(given)
    if not options.command:
        parser.print_help()
        return 2
    command = importlib.import_module(f"cronos.front.commands.{name}")
    try:
        return int(command.execute(options))
    except CronosError as error:
        return explain(error, json_wanted=bool(getattr(options, "json", False)))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; what is left unsaid was not wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence
        told = _unanswered() if isinstance(error, EOFError) else _fault(error)
        return explain(told, json_wanted=bool(getattr(options, "json", False)))


def _parser(name: str) -> argparse.ArgumentParser:
    """Build the parser; only the chosen command's own options are imported."""
    parser = argparse.ArgumentParser(
        prog="cronos",
        description="Federated cyber defence that isolates in milliseconds and proves what it did.",
        epilog="`cronos COMMAND --help` tells more. Every command has --json.",
    )
    parser.add_argument("--version", action="version", version=f"cronos {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command, summary in COMMANDS.items():
        own = commands.add_parser(command, help=summary, description=f"{summary.capitalize()}.")
        if command == name:
            importlib.import_module(f"cronos.front.commands.{name}").arguments(own)
            own.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _occupy_standard_descriptors() -> None:
    """Keep what is opened later from becoming an output that the caller had closed."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(lowest)


def _unanswered() -> CronosError:
    return InputError(
        "front.unanswered",
        "A question was not answered: the input ended.",
        "Answer it at a terminal, or name a file that holds the answer.",
    )


def _fault(error: Exception) -> CronosError:
    """Say where our own fault lies; a stranger's traceback helps nobody who only ran it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return CronosError(
        "front.fault",
        f"Cronos failed: {type(error).__name__}: {error} ({last.filename}, line {last.lineno}).",
        "This is a fault of ours; report it with this line and what you ran.",
    )


def explain(error: CronosError, *, json_wanted: bool) -> int:
    """Print what happened and what to do, and give the exit code that says whose doing it is."""
    from cronos.link.text import plain  # noqa: PLC0415 - only errors need it

    if json_wanted:
        from cronos.front.result import ErrorDocument, print_json  # noqa: PLC0415

        document = ErrorDocument(error.code, error.sentence, error.remedy, error.blame)
        print_json(document)
    print(f"cronos: {plain(error.sentence)}\n        {plain(error.remedy)}", file=sys.stderr)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return 2 if error.blame == "input" else _FAULT


if __name__ == "__main__":
    sys.exit(main())
