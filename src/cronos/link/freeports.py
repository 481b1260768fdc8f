"""Ports for servers that are started in a moment, out of the way of all other connections.

A port that the system deals out (bound as 0) and that is let go again may be dealt to any outgoing
connection before its server has it. So these come from below the range that the system deals from.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cronos.errors import UnreachableError

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 10_000
_DEALT_FROM: Final = 32_768
_ENOUGH: Final = 1_000
# Processes that start one after another begin this far apart, and go on in steps of one.
_APART: Final = 101

_turn: Final = itertools.count()


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Find ports that are free for TCP and UDP just now; none is given twice by a process soon.

    Args:
        count: how many, from 1 to a thousand.
        host: the local address they are to be free at.

    Raises:
        UnreachableError: there are not so many.
    """
    found = list(itertools.islice((p for p in _candidates() if _is_free(host, p)), count))
    if len(found) < count:
        raise UnreachableError(
            "link.no_free_port",
            f"Fewer than {count} ports of {host} are free.",
            "See what listens (`ss -ltnup`), and end what is not needed.",
        )
    return found


def dealt_from(path: Path = _RANGE) -> int:
    """Read the first port that the system deals to outgoing connections."""
    try:
        first = int(path.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _DEALT_FROM
    # Where it deals nearly all of them, there is no place below, and the usual one is as good.
    return first if first >= _LOWEST + _ENOUGH else _DEALT_FROM


def _candidates() -> Iterator[int]:
    span = dealt_from() - _LOWEST
    for _ in range(span):
        yield _LOWEST + (os.getpid() * _APART + next(_turn)) % span


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with (
            socket.socket(family, socket.SOCK_STREAM) as tcp,
            socket.socket(family, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind((host, port))
            udp.bind((host, port))
    except OSError:
        return False
    return True
