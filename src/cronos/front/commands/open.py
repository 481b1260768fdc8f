"""`cronos open [FILE]`: decrypt what `cronos seal` wrote."""

import argparse
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from cronos.errors import CronosError, InputError
from cronos.front import settings
from cronos.front.documents_seal import OpenDocument
from cronos.front.outputs import RawInput, RawOutput, reading, refuse_terminal, writing
from cronos.front.plugins import load
from cronos.front.progress import ByteProgress
from cronos.front.result import print_json
from cronos.front.sealing import SUFFIX, keys_of, output_of, plural, read_passphrase, read_text
from cronos.link.text import plain
from cronos.ports import KeyProvider


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        nargs="?",
        default="-",
        metavar="FILE",
        help="what to open (default: standard input)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="",
        metavar="OUT",
        help=f"where to (default: FILE without {SUFFIX}, or standard output)",
    )
    parser.add_argument(
        "--key",
        default="",
        metavar="NAME",
        help="only with this key of this node (default: whichever fits)",
    )
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="F",
        help="with the passphrase in the first line of F",
    )
    parser.add_argument(
        "--by",
        type=Path,
        metavar="KEYFILE",
        help="refuse it unless the owner of this public key signed it",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Open; a file appears whole or not at all, a stream that is not whole ends in exit code 4."""
    output = output_of(options, _default(options.source))
    refuse_terminal(output, asked=bool(options.output))
    how = load("entry", "opening")(
        key=options.key,
        passphrase=read_passphrase(options.passphrase_file, options.source)
        if options.passphrase_file
        else b"",
        by=read_text(options.by, "public key") if options.by else b"",
    )
    with (
        reading(options.source) as source,
        _keys(options, wanted=not how.passphrase) as keys,
        writing(output, source, force=options.force) as sink,
    ):
        done = _open(source, sink, how, keys)
    document = OpenDocument(
        source.shown, sink.shown, done.plain_bytes, done.suite, done.signer, done.verified
    )
    if options.json:
        print_json(document)
    elif output != "-":
        _print(document)
    return 0


@contextlib.contextmanager
def _keys(options: argparse.Namespace, *, wanted: bool) -> Generator[KeyProvider | None]:
    """Open our keys; who has none may have been sent a passphrase."""
    try:
        with keys_of(options, wanted=wanted) as keys:
            yield keys
    except InputError as error:
        if error.code != "crypto.no_keystore":
            raise
        told = "Name a state folder with --state, or give a passphrase with --passphrase-file."
        raise InputError(error.code, error.sentence, told) from None


def _default(source: str) -> str:
    if source == "-":
        return "-"
    return source.removesuffix(SUFFIX) if source.endswith(SUFFIX) else ""


def _open(source: RawInput, sink: RawOutput, how: Any, keys: KeyProvider | None) -> Any:
    try:
        with ByteProgress("opening", source.size) as progress:
            return load("entry", "open-file")(source, sink, how, keys, progress)
    except CronosError as error:
        if sink.to_file or not sink.written:
            raise
        # Each chunk was authentic, but the end that was sealed never came; or it came, and
        # another recipient, who knows the data key, wrote what a signer was asked for.
        error.remedy += " What was written before this must not be used."
        raise


def _print(one: OpenDocument) -> None:
    signed = "nobody signed it"
    if one.signer:
        checked = "signature verified" if one.verified else "not checked: give --by"
        signed = f"signed by {one.signer} ({checked})"
    print(f"{plain(one.output)}: {plural(one.plain_bytes, 'byte')} opened; {signed}.")
