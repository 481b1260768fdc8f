"""Cut messages into fields: the segmentation that beliefs, usual lengths and claims make likeliest.

A semi-Markov search: for every message the best way to reach each offset, over all lengths of the
field that ends there. Beliefs weigh where fields end, a prior over lengths how long they are, and
what a verified detector vouches for is as good as certain.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus
from cronos.discover.model import Claim
from cronos.discover.walks import nested

BIAS: Final = -0.1
"""Added to the doubt of every boundary, in log odds; chosen on held-out families."""
PRIOR: Final = 0.5
LONGEST: Final = 16
"""Lengths that are told apart; all longer ones count alike."""
SEARCHED: Final = 2_048
"""Longer messages are cut where beliefs alone say so."""
CERTAIN: Final = 7.0
DOUBT: Final = 2.0
MOST: Final = 0.8
PLAIN: Final = 0.75
"""How each further byte would thin out lengths if boundaries fell by chance."""

# Kinds whose both ends are boundaries, and those that hold nothing inside.
ENDS: Final = ("checksum.", "length.", "tlv.", "timestamp.")
WHOLE: Final = ("checksum.", "length.whole", "length.plus", "tlv.tag", "timestamp.")


def boundaries(
    corpus: Corpus, belief: Array, claims: Sequence[Claim], lengths: Array, bias: float = BIAS
) -> Array:
    """Say for each byte whether a field begins with it; the first of a message always begins one.

    `lengths` is how often fields have 1, 2, ... bytes; its last entry stands for all longer ones.
    """
    share = np.clip(belief, 1e-3, 1 - 1e-3)
    odds = constrained(corpus, np.log(share / (1 - share)) - bias, claims)
    out = (odds > 0) | (corpus.offset == 0)
    short = np.flatnonzero((corpus.sizes > 1) & (corpus.sizes <= SEARCHED))
    if len(short):
        _search(corpus, odds, _prior(lengths), short, out)
    return np.asarray(out)


def constrained(corpus: Corpus, odds: Array, claims: Sequence[Claim]) -> Array:
    """Make certain what detectors vouch for; where claims differ the earlier one counts."""
    out = odds.copy()
    total = len(out)
    for claim in reversed(claims):
        sure = claim.kind.startswith(ENDS) or claim.terms.get("exact", 0)
        if claim.terms.get("choice", 0) or not sure:
            continue
        for number, span in enumerate(claim.spans):
            if span is None or span[1] < 1 or span[0] + span[1] > corpus.sizes[number]:
                continue
            begin = int(corpus.starts[number]) + span[0]
            end = begin + span[1]
            # A longer rest may be a flag beside a shorter length.
            whole = claim.kind.startswith(WHOLE) or claim.terms.get("exact", 0)
            if whole or (claim.kind == "length.rest" and span[1] == 2):
                out[begin + 1 : end] = -CERTAIN
            out[begin] = CERTAIN
            if end < total:
                out[end] = CERTAIN
    return _nesting(corpus, out)


def _nesting(corpus: Corpus, odds: Array) -> Array:
    """Follow BER where almost all messages read as such, and doubt every cut within values."""
    role = nested(corpus)
    inside = np.zeros(len(corpus.sizes), dtype=bool)
    inside[corpus.of[role > 0]] = True
    if inside.mean() < MOST:
        return odds
    seen = np.maximum.accumulate(np.where(role > 0, np.arange(len(role)), -1))
    begun = (seen >= 0) & (corpus.of[np.maximum(seen, 0)] == corpus.of)
    out = np.where(begun & (role == 0), odds - DOUBT, odds)
    return np.where(role > 0, CERTAIN, out)


def _prior(lengths: Array) -> Array:
    """Weigh each length against what boundaries by chance would give."""
    chance = np.append((1 - PLAIN) * PLAIN ** np.arange(LONGEST), PLAIN**LONGEST)
    return np.asarray(PRIOR * np.log((lengths + 0.003) / chance))


def _search(corpus: Corpus, odds: Array, prior: Array, rows: Array, out: Array) -> None:
    """Find the best segmentation of all the rows at once, an offset after another."""
    rows = rows[np.argsort(-corpus.sizes[rows], kind="stable")]
    sizes, starts = corpus.sizes[rows], corpus.starts[rows]
    most = int(sizes[0])
    best = np.full((len(rows), most + 1), -np.inf)
    best[:, 0] = 0.0
    back = np.zeros((len(rows), most + 1), dtype=np.int32)
    far, far_at = np.full(len(rows), -np.inf), np.zeros(len(rows), dtype=np.int32)
    last = len(odds) - 1
    for t in range(1, most + 1):
        alive = int(np.searchsorted(-sizes, -t, side="right"))
        near = min(t, LONGEST)
        ways = best[:alive, t - near : t][:, ::-1] + prior[:near]
        if t > LONGEST:
            come = best[:alive, t - LONGEST - 1]
            better = come > far[:alive]
            far[:alive][better] = come[better]
            far_at[:alive][better] = t - LONGEST - 1
            ways = np.concatenate((ways, (far[:alive] + prior[LONGEST])[:, None]), axis=1)
        choice = ways.argmax(axis=1)
        gain = np.where(sizes[:alive] == t, 0.0, odds[np.minimum(starts[:alive] + t, last)])
        best[:alive, t] = ways[np.arange(alive), choice] + gain
        back[:alive, t] = np.where(choice < near, t - 1 - choice, far_at[:alive])
    for row, (size, start) in enumerate(zip(sizes.tolist(), starts.tolist(), strict=True)):
        out[start + 1 : start + size] = False
        t = size
        while t > 0:
            t = int(back[row, t])
            out[start + t] = True


def spans(corpus: Corpus, begins: Array) -> tuple[Array, Array]:
    """Give the flat start of each field and its length; fields tile the messages."""
    starts = np.flatnonzero(begins)
    return starts, np.diff(np.concatenate((starts, [len(corpus.data)])))
