"""Text for a terminal: strangers' strings are stripped of whatever could steer it."""

import sys
from typing import Any

from cronos.front.result import IncidentView
from cronos.link.text import plain


def console(*, to_stderr: bool = False) -> Any:
    """Give a rich console that treats no text as markup."""
    from rich.console import Console  # noqa: PLC0415 - a third of a second, only for tables

    return Console(markup=False, highlight=False, emoji=False, stderr=to_stderr)


def print_incidents(incidents: tuple[IncidentView, ...]) -> None:
    """Print a table of incidents, then the path of each of the first ten."""
    from rich.table import Table  # noqa: PLC0415

    if not incidents:
        print("No incidents.")
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in ("incident", "sev", "what", "who", "against", "done", "state"):
        table.add_column(name, overflow="fold")
    for one in incidents:
        table.add_row(
            plain(one.incident_id, 100),
            str(one.severity),
            plain(one.title, 80),
            plain(one.actor, 60),
            plain(one.target, 60),
            _done(one),
            plain(one.state, 40),
        )
    out = console()
    out.print(table)
    for one in incidents[:10]:
        _print_path(one)
    if len(incidents) > 10:
        print(f"\n… and {len(incidents) - 10} more: --json shows the path of each.")


def _done(one: IncidentView) -> str:
    if not one.done.action:
        return plain(one.done.disposition, 40) or "nothing"
    dry = " (dry run)" if one.done.dry_run else ""
    return f"{plain(one.done.disposition, 40)}: {plain(one.done.action, 80)}{dry}"


def _print_path(one: IncidentView) -> None:
    steps = "  ".join(f"{step.moment} {step.ms:+.2f} ms" for step in one.timeline)
    techniques = plain(", ".join(one.techniques), 200)
    print(f"\n{plain(one.incident_id, 100)}  {plain(one.title, 100)}  [{techniques}]")
    print(f"  path    {plain(steps, 1_000)}")
    print(f"  why     {plain(one.why, 400)}")
    for reason in one.done.reasons:
        print(f"          {plain(reason)}")
    print(f"  done    {_done(one)}: {plain(one.done.result, 200)}")
    if one.done.undo:
        print(f"  undo    {plain(one.done.undo, 200)} (lease {one.done.lease_s:g} s)")
    print(f"  ledger  records {one.ledger.first} to {one.ledger.last}")


def is_terminal() -> bool:
    """Say whether a person watches standard error."""
    # None where the process was started with it closed.
    return sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]
