"""A tree that keys grow from, one at each leaf, any of which can be cut out for good.

A leaf is named by its path of 80 bits. Each step down is SHA-256 of the step's digit and the key of
the node; a last one gives the leaf's key. To cut a leaf out, the secret of the node above it is
replaced by those of all side branches of its path: every other leaf can be reached from them, and
this one cannot.

A step takes so many bits that their number divides 80. With one bit it is the binary tree of the
source: 80 hashes a leaf, 80 branches a cut. With four, 20 hashes and 300 branches (14 kB): the wide
tree is for leaves that are many and cuts that are few.

Source: Goldreich, Goldwasser, Micali 1986 (the tree); Boneh, Waters 2013 (its puncturing).
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

PATH_BITS: Final = 80
PATH_BYTES: Final = PATH_BITS // 8
NARROW: Final = 1
WIDE: Final = 4

Place: TypeAlias = tuple[int, int]
"""How many bits lead to a node, and those bits."""

# Each is 16 bytes long, so that a step hashes one block; no two are alike.
_LABELS: Final = {
    NARROW: ({"0": b"cronos subject 0", "1": b"cronos subject 1"}, b"cronos subject k"),
    WIDE: ({d: b"cronos subjects" + d.encode() for d in "0123456789abcdef"}, b"cronos subjectsk"),
}
_WRITTEN: Final = {NARROW: f"0{PATH_BITS}b", WIDE: f"0{PATH_BITS // WIDE}x"}


class KeyTree:
    """The nodes that leaves still grow from.

    Args:
        bits: of a step, `NARROW` or `WIDE`.
        nodes: place and secret of each.
    """

    def __init__(self, bits: int, nodes: Iterable[tuple[Place, bytes]]) -> None:
        self.bits: Final = bits
        self._nodes: dict[Place, bytes] = dict(nodes)
        self._steps, self._last = _LABELS[bits]
        self._written = _WRITTEN[bits]

    def __len__(self) -> int:
        """Count the nodes; none is a tree that was never begun."""
        return len(self._nodes)

    def __iter__(self) -> Iterator[tuple[Place, bytes]]:
        """Give the nodes."""
        return iter(self._nodes.items())

    def leaf(self, path: int) -> bytes | None:
        """Give the key at the end of a path; None when it was cut out."""
        above = self._above(path)
        if above is None:
            return None
        key, steps, sha256 = self._nodes[above], self._steps, hashlib.sha256
        # Both inputs have one length, so a bare hash is as good as HMAC here, and twice as fast.
        for digit in format(path, self._written)[above[0] // self.bits :]:
            key = sha256(steps[digit] + key).digest()
        return sha256(self._last + key).digest()

    def cut(self, path: int) -> "KeyTree":
        """Give the tree without the leaf of a path."""
        above = self._above(path)
        if above is None:
            return self
        left = {place: key for place, key in self._nodes.items() if place != above}
        key, bits = self._nodes[above], self.bits
        for depth in range(above[0] + bits, PATH_BITS + 1, bits):
            taken = path >> (PATH_BITS - depth)
            for digit, label in enumerate(self._steps.values()):
                child = hashlib.sha256(label + key).digest()
                left[depth, taken >> bits << bits | digit] = child
            key = left.pop((depth, taken))
        return KeyTree(bits, left.items())

    def _above(self, path: int) -> Place | None:
        """Find the node that a leaf grows from; None when it was cut out."""
        for depth in range(0, PATH_BITS + 1, self.bits):
            place = (depth, path >> (PATH_BITS - depth))
            if place in self._nodes:
                return place
        return None
