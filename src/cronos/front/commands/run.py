"""`cronos run SOURCE…`: process sources to their end and print the incidents in them."""

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any, Self

from msgspec.structs import replace

from cronos.config import Config, SourceEntry
from cronos.errors import InputError
from cronos.front import settings
from cronos.front.compose import Node, run_loop, verify_ledger
from cronos.front.layout import Layout
from cronos.front.plugins import load, names
from cronos.front.result import DefectView, LedgerView, RunResult, SourceView, print_json
from cronos.front.text import console, is_terminal, print_incidents
from cronos.link.text import plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a capture, a log (gzip too), a folder of them, or - for standard input",
    )
    parser.add_argument(
        "--format", default="", choices=names("sensor"), help="do not recognise, take this format"
    )
    parser.add_argument("--policy", type=Path, help="the declared Modbus policy (TOML)")
    parser.add_argument("--rules", type=Path, action="append", help="a folder of Sigma rules")
    parser.add_argument(
        "--enforce",
        action="store_true",
        help="act through the configured executors; without it a run only records what it would do",
    )
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Process everything; 1 when there are incidents, 2 when nothing could be read."""
    config = with_detection(settings.config_of(options), options)
    for name in config.executors:
        load("executor", name)  # a name that is wrong is wrong in a dry run too
    if not options.enforce:
        # Who attacked when the capture was taken need not be who has that address today.
        config = replace(config, executors=("recording",), workload=())
    sources = [
        spec for given in options.sources for spec in files(given, options.format, follow=False)
    ]
    named = [entry for entry in sources if _is_named(entry)]
    unnamed = [_unnamed(entry) for entry in sources if not _is_named(entry)]
    result = run_loop(
        _process(config, settings.state_of(options), named, session=not options.enforce)
    )
    result = replace(result, defects=(*unnamed, *result.defects))
    if options.json:
        print_json(result)
    else:
        _print(result)
    if not any(one.observations for one in result.sources) and result.defects:
        return 2
    return 1 if result.incidents else 0


def with_detection(config: Config, options: argparse.Namespace) -> Config:
    """Put --policy and --rules over the configuration's own tables."""
    plugin = dict(config.plugin)
    if options.policy:
        plugin["modbus-policy"] = {
            **plugin.get("modbus-policy", {}),
            "policy_file": str(options.policy.absolute()),
        }
    if options.rules:
        folders = [str(folder.absolute()) for folder in options.rules]
        plugin["sigma"] = {**plugin.get("sigma", {}), "rules": folders}
    return replace(config, plugin=plugin)


def files(given: str, sensor: str, *, follow: bool) -> list[SourceEntry]:
    """List the files that a SOURCE stands for.

    Raises:
        InputError: there is nothing of that name, or nothing in it.
    """
    if given == "-":
        return [SourceEntry("stdin", sensor)]
    kind = "follow" if follow else "file"
    paths: list[Path] = load("entry", "list-files")(given)
    if not paths:
        raise InputError(
            "run.nothing_there", f"There is no file in {given}.", "Name a capture or a log."
        )
    return [SourceEntry(kind, sensor, {"path": os.fspath(path.absolute())}) for path in paths]


def _is_named(entry: SourceEntry) -> bool:
    """Say whether a source's path is text: other names cannot be written into any record."""
    return not any(0xD800 <= ord(c) < 0xE000 for c in str(entry.given.get("path", "")))


def _unnamed(entry: SourceEntry) -> DefectView:
    shown = os.fsencode(str(entry.given["path"])).decode("utf-8", "backslashreplace")
    return DefectView(shown, 0, "its name is no UTF-8 text", "Rename the file.")


async def _process(
    config: Config, state: Path, sources: list[SourceEntry], *, session: bool
) -> RunResult:
    # What is really done must be undone though this process ends: its book has to stay.
    layout = Layout(state, config.node.instance, session=session)
    began = time.perf_counter()  # noqa: TID251 - how long the command took, for display
    try:
        node = Node(config, layout, sources, live=False)
        try:
            await node.start()
            with Progress(len(sources)) as progress:
                await node.finish(lambda: progress.show(node))
        finally:
            await asyncio.shield(node.stop())
        incidents = node.incidents()
        checkpoint = verify_ledger(layout.ledger)
    finally:
        layout.close()
    return RunResult(
        incidents,
        tuple(
            SourceView(name, count, name in node.ended and name not in node.broken)
            for name, count in sorted(node.processed.items())
        ),
        tuple(node.defects),
        sum(node.processed.values()),
        round(time.perf_counter() - began, 3),  # noqa: TID251 - as above
        LedgerView(str(layout.ledger), checkpoint.size, checkpoint.sealing, checkpoint.head.hex()),
        node.restarts,
        node.metrics(),
    )


class Progress:
    """A bar on standard error where a person watches; nothing elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Draw it."""
        if is_terminal():
            from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[n]}"),
            )
            self._bar = Progress(*columns, console=console(to_stderr=True), transient=True)
            self._task = self._bar.add_task("sources", total=self._total, n="")
            self._bar.start()
        return self

    def show(self, node: Node) -> None:
        """Bring it up to date."""
        if self._bar is not None:
            count = f"{sum(node.processed.values()):,} observations"
            self._bar.update(self._task, completed=len(node.ended), n=count)

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()


def _print(result: RunResult) -> None:
    print_incidents(result.incidents)
    count = len(result.sources)
    print(
        f"\n{result.observations:,} observations from {count} source{'s' * (count != 1)}"
        f" in {result.seconds:.2f} s, {len(result.defects)} unreadable records."
    )
    for defect in result.defects[:10]:
        record = f", record {defect.position}" if defect.position else ""
        where = f"{plain(defect.source, 200)}{record}"
        print(f"  {where}: {plain(defect.reason, 200).rstrip('.')}. {plain(defect.remedy, 200)}")
    if len(result.defects) > 10:
        print(f"  … and {len(result.defects) - 10} more: --json lists them.")
    print(
        f"Ledger {plain(result.ledger.path)}: {result.ledger.records} records, verified,"
        f" {result.ledger.sealing}."
    )
