"""Tell what scorers are worth on protocols that they have not seen: families left out in turn."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.mutants import Fields
from cronos.discover.types_train import agreement

GROUPS: Final = (
    ("dns", "nbns", "smb", "smb2", "dcerpc"),
    ("snmp", "ldap", "kerberos"),
    ("dhcp", "modbus", "opcua"),
    ("dnp3", "enip", "ospf"),
    ("amqp", "sip", "pgsql"),
    ("icmp", "isakmp", "s7comm"),
)
"""What is left out together: whole families of the open protocols and more."""

FAMILIES: Final = (
    GROUPS[0],  # NBNS is of DNS's family and of SMB's, which carries DCE/RPC
    GROUPS[1],  # all of BER
    *((name,) for group in GROUPS[2:] for name in group),
)
"""The families alone, so that as much as may be is learnt from."""

HEAD: Final = (
    "| left out | F1 | perfection | false positives | accuracy | V of types | meaning F1 |\n"
    "|---|---|---|---|---|---|---|"
)
SCORED: Final = frozenset(set(Sem) - {Sem.VALUE, Sem.BYTES})
"""Meanings that count: the others say no more than that a field is there."""

Find = Callable[[Sequence[Message]], tuple[Sequence[Fields], Sequence[object]]]
"""Gives the fields of each message, and its type."""


class Figures:
    """Counts of right and wrong boundaries, of fields found whole, and of meanings."""

    def __init__(self) -> None:
        self.right = self.wrong = self.missed = self.clear = self.whole = self.fields = 0
        self.meant = self.told = self.both = 0
        self.types = 0.0
        """V-measure of the message types."""

    def mean(self, truth: Fields, found: Fields) -> None:
        """Count the meanings of a message; one is right where the field is right as well."""
        meant = {field for field in truth if field[2] in SCORED}
        told = {field for field in found if field[2] in SCORED}
        self.meant += len(meant)
        self.told += len(told)
        self.both += len(meant & told)

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

    @property
    def meaning(self) -> float:
        """Give F1 of fields found whole and with their meaning."""
        return 2 * self.both / max(1, self.meant + self.told)


def judged(
    messages: Sequence[Message], truth: Sequence[Fields], types: Sequence[str], find: Find
) -> Figures:
    """Compare what is found in messages with their truth."""
    out = Figures()
    found, kinds = find(messages)
    for message, fields, said in zip(messages, truth, found, strict=True):
        out.add(len(message.payload), fields, [offset for offset, _, _ in said])
        out.mean(fields, said)
    numbers = {kind: i for i, kind in enumerate(dict.fromkeys(map(str, kinds)))}
    labels = np.array([numbers[str(kind)] for kind in kinds], dtype=np.int64)
    out.types = agreement(np.unique(np.array(types), return_inverse=True)[1].reshape(-1), labels)
    return out


def line(name: str, figures: Sequence[Figures]) -> str:
    """Write a row of a table: the means over several protocols, or one's own figures."""
    parts = [
        float(np.mean([getattr(each, what) for each in figures]))
        for what in ("f1", "perfection", "alarms", "accuracy", "types", "meaning")
    ]
    return f"| {name} | " + " | ".join(f"{part:.3f}" for part in parts) + " |"
