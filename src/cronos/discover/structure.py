"""What the structure that messages share says of their boundaries.

Boundaries are believed in one by one; a grammar of the messages has to explain them all together,
and so tells chance from rule: what a length counts, where most are cut and where what repeats
begins anew. It is heard as one more witness.
"""

import math
from typing import Final

import numpy as np

from cronos.discover import ir
from cronos.discover.division import divided
from cronos.discover.evidence import Array
from cronos.discover.grammar import chosen, samples_of
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.model import Discovery
from cronos.discover.verify import split

BEGINS: Final = 1
WITHIN: Final = -1
SOME: Final = 200
"""Messages that the structure is learnt from."""
WORK: Final = 50_000
"""Rows looked at, for each way to divide them: a few seconds at worst, nobody looks at the time."""


def shared(discovery: Discovery, work: int = WORK) -> Array:
    """Give for each byte of all messages what their structure says of a field that begins there.

    `BEGINS` is that one does, `WITHIN` that the byte stands within one, 0 is nothing: in data of
    any length the structure knows no boundaries. As a grammar it is learnt from two thirds of the
    messages alone, for the last third is to prove that grammar.
    """
    learnt_from, _ = split(len(discovery.messages))
    samples = samples_of(discovery, learnt_from)
    sizes = [len(message.payload) for message in discovery.messages]
    out = np.zeros(sum(sizes), dtype=np.int64)
    if not samples:
        return out
    # A first draft: the one that is proved is inferred from more, in more ways.
    some = chosen(samples)[:SOME]
    grammar = divided(some, "shared", work, bold=True, merged=False)
    leaves, run = ir.leaves(grammar), Interpreter(grammar)
    begin = 0
    for message, size in zip(discovery.messages, sizes, strict=True):
        parsed = run.parse(message.payload, message.direction, checksums=False, floor=-math.inf)
        for field in parsed.fields if isinstance(parsed, Parsed) else ():
            if _known_width(leaves[field.name]):
                out[begin + field.offset : begin + field.offset + field.length] = WITHIN
            if field.offset < size:
                out[begin + field.offset] = BEGINS
        begin += size
    return out


def _known_width(leaf: ir.Leaf) -> bool:
    """Say whether a leaf is one field, rather than all that stands up to somewhere."""
    return not isinstance(leaf, ir.Until) and (
        not isinstance(leaf, ir.Data) or leaf.size.of == "fixed"
    )
