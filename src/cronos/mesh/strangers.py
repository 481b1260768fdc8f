"""Who could not come in, told in sums: one record for each reason and minute, never one for each.

Whoever can reach the port chooses how often it is refused, and from how many addresses. So what is
kept is a count for each reason and the addresses that were most often there, both bounded; the
first of a reason is told within a second, and what follows once a minute, with how many they were.
"""

import ipaddress
from collections import Counter
from typing import Final

import msgspec

from cronos.link.upkeep import Report
from cronos.ports import Clock

INTERVAL_NS: Final = 60_000_000_000
_MOST_ADDRESSES: Final = 256
_NAMED: Final = 3

REASONS: Final = {
    "mesh.no_tls": "said what is no TLS",
    "mesh.old_tls": "offered no TLS 1.3, or no group of ours",
    "mesh.no_certificate": "showed no certificate",
    "mesh.foreign_certificate": "showed a certificate that is none of this domain, or has ended",
    "mesh.unfinished": "broke their handshake off, or did not end it in time",
    "mesh.handshake_failed": "failed in their handshake",
    "mesh.crowded_port": "stood without a stream while they were too many, and were ended",
}
"""What is told of each, after how many connections it is told of."""


class _Sum(msgspec.Struct):
    count: int = 0
    addresses: Counter[str] = msgspec.field(default_factory=Counter[str])
    told_ns: int = -INTERVAL_NS


class Strangers:
    """Sums up connections that were refused.

    Args:
        clock: the time.
        report: told the sums.
    """

    def __init__(self, clock: Clock, report: Report) -> None:
        self._clock = clock
        self._report = report
        self._sums: dict[str, _Sum] = {}

    def refused(self, reason: str, address: str) -> None:
        """Count one connection.

        Args:
            reason: one of `REASONS`.
            address: where it came from; shown only if it is an IP address.
        """
        if reason not in REASONS:
            raise KeyError(reason)
        one = self._sums.setdefault(reason, _Sum())
        one.count += 1
        if address in one.addresses or len(one.addresses) < _MOST_ADDRESSES:
            one.addresses[address] += 1

    def tick(self) -> None:
        """Tell what is due; once a second is often enough."""
        now_ns = self._clock.now().boot_ns
        for reason, one in self._sums.items():
            if one.count and now_ns - one.told_ns >= INTERVAL_NS:
                self._report("warning", reason, detail=_sentence(reason, one))
                self._sums[reason] = _Sum(told_ns=now_ns)


def _sentence(reason: str, one: _Sum) -> str:
    named = [(text, n) for text, n in one.addresses.most_common(_NAMED) if _is_address(text)]
    others = one.count - sum(n for _, n in named)
    parts = [f"{n} from {text}" for text, n in named] + ([f"{others} others"] if others else [])
    return f"Connections to the mesh's port {REASONS[reason]}: {', '.join(parts)}."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
