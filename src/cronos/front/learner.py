"""The process of one discovery: `python -m cronos.front.learner`, asked on its standard input."""

import signal

from cronos.front.plugins import load


def main() -> int:
    """Answer the one ask that comes, and leave."""
    # An interrupt of the terminal is the parent's to handle: it ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load("entry", "discover-child")(load("entry", "clock")())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
