"""`cronos seal [FILE]`: encrypt a file or a stream to keys or to a passphrase."""

import argparse
from pathlib import Path

from cronos.errors import InputError
from cronos.front import settings
from cronos.front.documents_seal import SealDocument
from cronos.front.outputs import reading, refuse_terminal, writing
from cronos.front.plugins import load
from cronos.front.progress import ByteProgress
from cronos.front.result import print_json
from cronos.front.sealing import SUFFIX, keys_of, output_of, plural, read_passphrase, read_text
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        nargs="?",
        default="-",
        metavar="FILE",
        help="what to seal (default: standard input)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="",
        metavar="OUT",
        help=f"where to (default: FILE{SUFFIX}, or standard output)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEYFILE",
        help="public keys to seal to, up to 64",
    )
    parser.add_argument("--key", default="", metavar="NAME", help="a key of this node to seal to")
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="F",
        help="seal to the passphrase in the first line of F",
    )
    parser.add_argument(
        "--sign-by",
        default="",
        metavar="NAME",
        help="sign it with a key of this node, such as identity",
    )
    parser.add_argument(
        "--suite",
        default="",
        metavar="SUITE",
        help="hybrid, cnsa or rate (default: that of the keys)",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Seal; the output appears whole or not at all."""
    if not (options.to or options.key or options.passphrase_file):
        raise InputError(
            "crypto.recipients",
            "It is not said for whom.",
            "Name whom it is for, with --to, --key or --passphrase-file.",
        )
    output = output_of(options, "-" if options.source == "-" else options.source + SUFFIX)
    refuse_terminal(output, asked=bool(options.output))
    how = load("entry", "sealing")(
        to=tuple(read_text(path, "public key") for path in options.to),
        key=options.key,
        passphrase=read_passphrase(options.passphrase_file, options.source)
        if options.passphrase_file
        else b"",
        sign_by=options.sign_by,
        suite=options.suite,
    )
    with (
        reading(options.source) as source,
        keys_of(options, wanted=bool(options.key or options.sign_by)) as keys,
        writing(output, source, force=options.force) as sink,
        ByteProgress("sealing", source.size) as progress,
    ):
        done = load("entry", "seal-file")(source, sink, how, keys, progress)
    document = SealDocument(
        source.shown, sink.shown, done.plain_bytes, done.suite, done.recipients, done.signer
    )
    if options.json:
        print_json(document)
    elif output != "-":
        _print(document, by_passphrase=bool(how.passphrase))
    return 0


def _print(one: SealDocument, *, by_passphrase: bool) -> None:
    whom = "a passphrase" if by_passphrase else plural(len(one.recipients), "key")
    print(
        f"{plain(one.output)}: {plural(one.plain_bytes, 'byte')} sealed to {whom} ({one.suite})"
        f"{f', signed by {one.signer}' if one.signer else ''}."
    )
