"""`cronos audit verify`: recompute every hash of the ledger."""

import argparse
from pathlib import Path

from cronos.config import Config
from cronos.errors import CronosError, DeniedError, InputError
from cronos.front import settings
from cronos.front.compose import verify_ledger
from cronos.front.result import AuditDocument, print_json
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("verify",), help="what to do with the ledger")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Verify: 0 when every hash holds, 1 when one does not, with the first bad record named."""
    config = settings.config_of(options)
    folder: Path = settings.state_of(options) / config.node.instance / "ledger"
    document = _verified(config, folder)
    if options.json:
        print_json(document)
    elif document.verified:
        print(
            f"{document.records} records, every hash recomputed, {document.sealing}.\n"
            f"head {document.head}"
        )
    else:
        print(f"The ledger does not hold: {plain(document.problem)}")
    return 0 if document.verified else 1


def _verified(config: Config, folder: Path) -> AuditDocument:
    """Verify; that there is no ledger, or that it may not be read, is for the caller to say."""
    try:
        checkpoint = verify_ledger(config, folder)
    except (InputError, DeniedError):
        raise
    except CronosError as error:
        return AuditDocument(str(folder), 0, "", "", verified=False, problem=str(error))
    return AuditDocument(
        str(folder), checkpoint.size, checkpoint.head.hex(), checkpoint.sealing, verified=True
    )
