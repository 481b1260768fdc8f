"""`cronos verify FILE SIG --by KEYFILE`: check a signature that `cronos sign` made."""

import argparse
from pathlib import Path
from typing import Any

from cronos.errors import DeniedError
from cronos.front.documents_seal import VerifyDocument
from cronos.front.outputs import RawInput, reading
from cronos.front.plugins import load
from cronos.front.progress import ByteProgress
from cronos.front.result import print_json
from cronos.front.sealing import plural, read_text
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="FILE", help="what was signed, or - for standard input")
    parser.add_argument("signature", type=Path, metavar="SIG", help="what `cronos sign` wrote")
    parser.add_argument(
        "--by",
        type=Path,
        required=True,
        metavar="KEYFILE",
        help="the public key of the one who must have signed it",
    )


def execute(options: argparse.Namespace) -> int:
    """Verify: 0 when this key signed exactly this file; whatever else ends in exit code 4."""
    text = read_text(options.signature, "signature")
    by = read_text(options.by, "public key")
    with (
        reading(options.source) as source,
        ByteProgress("verifying", source.size) as progress,
    ):
        done = _verify(source, text, by, progress)
    document = VerifyDocument(source.shown, done.length, done.kid)
    if options.json:
        print_json(document)
    else:
        print(f"{plain(source.shown)}: {plural(done.length, 'byte')}, signed by {done.kid}.")
    return 0


def _verify(source: RawInput, text: bytes, by: bytes, progress: ByteProgress) -> Any:
    """Verify; whatever was wrong is told in the same words, which speak of a signature here."""
    try:
        return load("entry", "verify-file")(source, text, by, progress)
    except DeniedError as error:
        raise DeniedError(
            error.code,
            "The signature does not hold: another key made it, or over something else.",
            "Check whose public key this is, and where file and signature have been since.",
        ) from None
