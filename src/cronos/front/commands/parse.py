"""`cronos parse PROFILE INPUT`: messages taken apart by what was learnt of their protocol."""

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

from cronos.errors import InputError
from cronos.front import settings
from cronos.front.documents_discover import ParseDocument
from cronos.front.limits import held_to, positive, size
from cronos.front.outputs import STANDARD, as_text, reading, refuse_terminal, writing
from cronos.front.plugins import load
from cronos.front.profiles import profile_of
from cronos.front.result import print_json, to_line
from cronos.link.text import plain

_FORMATS: Final = ("jsonl", "table", "arrow", "parquet")
_COLUMNS: Final = ("arrow", "parquet")
_MAX_REASONS: Final = 20
_MAX_CELL_CHARS: Final = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "profile",
        metavar="PROFILE",
        help="a folder that `cronos discover --out` wrote, a profile's file, or a stored name",
    )
    parser.add_argument("input", metavar="INPUT", help="pcap, pcapng or JSON lines; - for stdin")
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="jsonl",
        help="how messages are written (default: jsonl)",
    )
    parser.add_argument("-o", "--output", default=STANDARD, metavar="OUT", help="where to")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    parser.add_argument(
        "--filter", default="", metavar="EXPR", help="which packets are meant: tcp port 502"
    )
    limits = parser.add_argument_group("limits of a capture, which is read before it is parsed")
    limits.add_argument("--max-seconds", type=positive, default=600.0, metavar="S")
    limits.add_argument("--max-memory", type=size, default=1024, metavar="MIB")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Parse; 1 where a message was refused."""
    if options.format == "parquet" and options.output == STANDARD:
        raise InputError("output.unnamed", "Parquet is written to a file.", "Name it with -o FILE.")
    if options.format in _COLUMNS:
        refuse_terminal(options.output, asked=False)
    profile = profile_of(options, options.profile)
    remarks: list[str] = []
    limits = load("entry", "discover-limits")(options.max_seconds, options.max_memory)
    reader = limits, load("entry", "clock")(), remarks.append
    rows = load("entry", "parse-rows")(profile, options.input, options.filter, reader)
    count = _Count()
    with held_to(options.max_memory), contextlib.ExitStack() as held:
        for row in held.enter_context(_written(options, profile, rows)):
            count.add(row)
    document = count.document(options, profile, remarks)
    if options.json:
        print_json(document)
    else:
        _tell(document)
    return 1 if document.refused else 0


class _Count:
    """Counts what passes by."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._bad = 0
        self._all = 0

    def add(self, row: Any) -> None:
        if row.refused:
            # A sentence may name a place; what it is about comes before.
            self._reasons[plain(row.refused, 80)] += 1
            if len(self._reasons) > 10 * _MAX_REASONS:
                self._reasons = Counter(dict(self._reasons.most_common(_MAX_REASONS)))
        else:
            self._types[row.type] += 1
            self._bad += bool(row.bad_checksums)
        self._all += 1

    def document(
        self, options: argparse.Namespace, profile: Any, remarks: Sequence[str]
    ) -> ParseDocument:
        parsed = sum(self._types.values())
        return ParseDocument(
            profile.name,
            profile.version,
            as_text(options.input),
            self._all,
            parsed,
            self._all - parsed,
            self._bad,
            dict(sorted(self._types.items())),
            dict(self._reasons.most_common(_MAX_REASONS)),
            "" if options.output == STANDARD else as_text(options.output),
            tuple(remarks),
        )


@contextlib.contextmanager
def _written(
    options: argparse.Namespace, profile: Any, rows: Iterator[Any]
) -> Generator[Iterator[Any]]:
    """Write rows while they are counted; with --json and no file they are only counted."""
    if options.output == STANDARD and options.json:
        yield rows
    elif options.format in _COLUMNS:
        write = load("entry", "parse-columns")
        with (
            reading(options.input) as source,
            writing(options.output, source, force=options.force) as sink,
        ):
            yield write(profile, rows, sink, options.format)
    elif options.output == STANDARD:
        yield _through(rows, sys.stdout.buffer, options.format)
        sys.stdout.buffer.flush()
    else:
        with (
            reading(options.input) as source,
            writing(options.output, source, force=options.force) as sink,
        ):
            yield _through(rows, sink, options.format)


def _through(rows: Iterator[Any], sink: Any, form: str) -> Iterator[Any]:
    line = to_line if form == "jsonl" else _table_line
    for row in rows:
        left = memoryview(line(row))
        while left:
            left = left[sink.write(left) :]
        yield row


def _table_line(row: Any) -> bytes:
    """Give one message as one line: number, flow, direction, type, and each field's value."""
    head = f"{row.i:>7}  {plain(row.flow, 48):<24}  {row.direction or '-':<3}"
    if row.refused:
        return f"{head}  refused at {row.at}: {plain(row.refused, 120)}\n".encode()
    cells = [f"{one.name}={plain(str(one.value), _MAX_CELL_CHARS)}" for one in row.fields]
    bad = f"  bad: {', '.join(row.bad_checksums)}" if row.bad_checksums else ""
    return f"{head}  {row.type}  {'  '.join(cells)}{bad}\n".encode()


def _tell(document: ParseDocument) -> None:
    refused = f", {document.refused} refused" if document.refused else ""
    bad = f", {document.bad_checksums} with a wrong checksum" if document.bad_checksums else ""
    print(
        f"{document.parsed} of {document.messages} messages parsed{refused}{bad}.", file=sys.stderr
    )
    for remark in document.remarks:
        print(plain(remark), file=sys.stderr)
