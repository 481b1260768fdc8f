"""Tell what scorers are worth on protocols that they have not seen: families left out in turn."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from cronos.discover.messages import Message
from cronos.discover.mutants import Fields

GROUPS: Final = (
    ("dns", "nbns", "smb", "smb2", "dcerpc"),
    ("snmp", "ldap", "kerberos"),
    ("dhcp", "modbus", "opcua"),
    ("dnp3", "enip", "ospf"),
    ("amqp", "sip", "pgsql"),
    ("icmp", "isakmp", "s7comm"),
)
"""What is left out together: whole families of the open protocols and more."""

Cuts = Callable[[Sequence[Message]], Sequence[Sequence[int]]]
"""Gives the offsets inside each message before which a field begins."""


class Figures:
    """Counts of right and wrong boundaries, and of fields found whole."""

    def __init__(self) -> None:
        self.right = self.wrong = self.missed = self.clear = self.whole = self.fields = 0

    def add(self, size: int, truth: Fields, cuts: Iterable[int]) -> None:
        """Count a message of `size` bytes."""
        said = {cut for cut in cuts if 0 < cut < size}
        real = {offset for offset, _, _ in truth if 0 < offset < size}
        self.right += len(said & real)
        self.wrong += len(said - real)
        self.missed += len(real - said)
        self.clear += max(0, size - 1) - len(real)
        edges = {0, size, *said}
        inside = np.array(sorted(said), dtype=np.int64)
        for offset, length, _ in truth:
            end = offset + length
            upto = np.searchsorted(inside, (offset, end), side="left")
            holds = int(upto[1] - upto[0]) - (offset in said)
            self.whole += offset in edges and end in edges and holds == 0
        self.fields += len(truth)

    @property
    def f1(self) -> float:
        """Give F1 of the boundaries inside messages."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)

    @property
    def perfection(self) -> float:
        """Give the share of fields whose both ends are found and nothing between them."""
        return self.whole / max(1, self.fields)

    @property
    def alarms(self) -> float:
        """Give the share of the gaps without a boundary at which one is set."""
        return self.wrong / max(1, self.clear)

    @property
    def accuracy(self) -> float:
        """Give the share of all gaps that are judged right."""
        wrong = self.wrong + self.missed
        return 1 - wrong / max(1, self.right + self.missed + self.clear)


def judged(messages: Sequence[Message], truth: Sequence[Fields], cuts: Cuts) -> Figures:
    """Compare what is found in messages with their truth."""
    out = Figures()
    for message, fields, found in zip(messages, truth, cuts(messages), strict=True):
        out.add(len(message.payload), fields, found)
    return out


def line(name: str, figures: Sequence[Figures]) -> str:
    """Write a row of a table: the means over several protocols, or one's own figures."""
    parts = [
        float(np.mean([getattr(each, what) for each in figures]))
        for what in ("f1", "perfection", "alarms", "accuracy")
    ]
    return f"| {name} | " + " | ".join(f"{part:.3f}" for part in parts) + " |"
