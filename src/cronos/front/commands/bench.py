"""`cronos bench NAME`: run a benchmark of a source checkout, and pass its figures on."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

import cronos
from cronos.errors import InputError

_FOLDER: Final = Path(cronos.__file__).parents[2] / "bench"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    known = ", ".join(benchmarks()) or "only in a source checkout"
    parser.add_argument("name", metavar="NAME", help=f"what to measure: {known}")


def benchmarks() -> tuple[str, ...]:
    """List the benchmarks of this checkout; an installed package carries none."""
    return tuple(sorted(file.stem.removeprefix("bench_") for file in _FOLDER.glob("bench_*.py")))


def execute(options: argparse.Namespace) -> int:
    """Run one benchmark in a process of its own, so that nothing else weighs on it."""
    if options.name not in benchmarks():
        known = ", ".join(benchmarks())
        raise InputError(
            "bench.unknown",
            f"There is no benchmark called `{options.name}` here.",
            f"Choose one of: {known}." if known else "Run it from a source checkout.",
        )
    command = [sys.executable, str(_FOLDER / f"bench_{options.name}.py")]
    return subprocess.run([*command, *["--json"] * options.json], check=False).returncode  # noqa: S603 - our own file
