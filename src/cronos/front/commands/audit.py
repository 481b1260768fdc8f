"""`cronos audit verify`: recompute every hash of the ledger."""

import argparse
import sys
from pathlib import Path

from cronos.front import settings
from cronos.front.compose import verify_ledger
from cronos.front.result import AuditDocument, to_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=("verify",), help="what to do with the ledger")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Verify; a ledger that does not hold is an error that names the first bad record."""
    config = settings.config_of(options)
    folder: Path = settings.state_of(options) / config.node.instance / "ledger"
    checkpoint = verify_ledger(config, folder)
    document = AuditDocument(
        str(folder), checkpoint.size, checkpoint.head.hex(), checkpoint.sealing, verified=True
    )
    if options.json:
        sys.stdout.buffer.write(to_json(document))
    else:
        print(
            f"{checkpoint.size} records, every hash recomputed, {checkpoint.sealing}.\n"
            f"head {checkpoint.head.hex()}"
        )
    return 0
