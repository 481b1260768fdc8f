"""`cronos sign FILE`: sign a file with ML-DSA-87; the signature is a file of its own."""

import argparse

from cronos.front import settings
from cronos.front.documents_seal import SignDocument
from cronos.front.outputs import reading, writing
from cronos.front.plugins import load
from cronos.front.progress import ByteProgress
from cronos.front.result import print_json
from cronos.front.sealing import keys_of, output_of, plural
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="FILE", help="what to sign, or - for standard input")
    parser.add_argument(
        "--by",
        default="identity",
        metavar="NAME",
        help="the key of this node that signs (default: identity)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="",
        metavar="SIG",
        help="where to (default: FILE.sig, or standard output)",
    )
    parser.add_argument("--force", action="store_true", help="replace SIG if it is there")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Sign; the signature appears whole or not at all."""
    output = output_of(options, "-" if options.source == "-" else f"{options.source}.sig")
    with (
        reading(options.source) as source,
        keys_of(options, wanted=True) as keys,
        writing(output, source, force=options.force) as sink,
    ):
        with ByteProgress("signing", source.size) as progress:
            done = load("entry", "sign-file")(source, options.by, keys, progress)
        left = memoryview(done.line.encode())
        while left:
            left = left[sink.write(left) :]
    document = SignDocument(source.shown, sink.shown, done.length, done.kid)
    if options.json:
        print_json(document)
    elif output != "-":
        print(
            f"{plain(sink.shown)}: {plural(done.length, 'byte')} of {plain(source.shown)}"
            f" signed by {done.kid}."
        )
    return 0
