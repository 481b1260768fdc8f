"""Know published protocols again by how their messages begin, and cut them by trees of their own.

What is believed of a protocol that nobody has seen is learnt from others. For one that was learnt
from, trees that saw nothing else cut better. They are asked only where messages are taken for
theirs: the bytes at the beginning of most messages have to be far likelier in that protocol than
in others and in drawn ones. Values that a column of it never had speak against it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cronos.discover.evidence import Array
from cronos.discover.messages import Message
from cronos.discover.scorer import Trees, damaged

HEAD: Final = 16
"""Bytes that are looked at."""
SYMBOLS: Final = 257
"""Values of a column: a byte, or that the message has ended before."""
UNSEEN: Final = 0.1
"""How often every value counts as seen from the start."""
LEAST: Final = 8
"""Messages that are too few to tell by."""
SURE_BITS: Final = 12.0
"""What speaks for a protocol in the middle one of its messages."""
MOST: Final = 0.6
"""Share of messages that `LIKELY_BITS` have to speak for."""
LIKELY_BITS: Final = 8.0
PARTS: Final = (
    *("names", "edges", "edge_sizes", "nodes", "node_counts"),
    *("leaves", "leaf_counts", "classes", "base"),
)
"""What the trees of a protocol are packed in, each behind its name and a stop."""


class Published:
    """The protocols that were learnt from: how they begin, and trees for each."""

    def __init__(self, parts: dict[str, Array]) -> None:
        """Take the arrays of a file; raises InputError where they do not fit together."""
        seen, usual = parts.get("seen"), parts.get("usual")
        self.names = tuple(str(name) for name in parts.get("protocols", ()))
        if seen is None or usual is None or seen.shape != (len(self.names), HEAD, SYMBOLS):
            raise damaged("what published protocols begin with is not told")
        if usual.shape != (HEAD, SYMBOLS) or not (usual > 0).all():
            raise damaged("how usual beginnings are is not told")
        counts = seen.astype(np.float64) + UNSEEN
        self._bits = np.log2(counts / counts.sum(axis=2, keepdims=True)) - np.log2(usual)
        self._parts = parts

    def recognise(self, messages: Sequence[Message]) -> str:
        """Give the name of the protocol that messages are taken for, "" if of none."""
        if len(messages) < LEAST or not self.names:
            return ""
        heads = beginnings(messages)
        best, most = "", SURE_BITS
        for name, table in zip(self.names, self._bits, strict=True):
            bits = table[np.arange(HEAD), heads].sum(axis=1)
            middle = float(np.median(bits))
            if middle >= most and (bits >= LIKELY_BITS).mean() >= MOST:
                best, most = name, middle
        return best

    def trees(self, name: str) -> Trees:
        """Give the trees of a protocol; raises InputError where the file has none."""
        try:
            return Trees({part: self._parts[f"{name}.{part}"] for part in PARTS})
        except KeyError as error:
            raise damaged(f"it has no trees for {name}") from error


def beginnings(messages: Sequence[Message]) -> Array:
    """Give the first bytes of each message, a row each; 256 stands for none."""
    out = np.full((len(messages), HEAD), SYMBOLS - 1)
    for row, message in enumerate(messages):
        head = message.payload[:HEAD]
        out[row, : len(head)] = np.frombuffer(head, np.uint8)
    return out


def tally(messages: Sequence[Message]) -> Array:
    """Count how often each column has each value."""
    heads = beginnings(messages)
    return np.stack([np.bincount(column, minlength=SYMBOLS) for column in heads.T])
