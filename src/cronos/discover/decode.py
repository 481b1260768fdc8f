"""Cut messages into fields: the segmentation that beliefs, usual lengths and claims make likeliest.

A semi-Markov search: for every message the best way to reach each offset, over all lengths of the
field that ends there and of the one before it. Beliefs weigh where fields end, a prior over pairs
of lengths how long they are, and what a verified detector vouches for is as good as certain.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from cronos.discover.detectors.fillers import RAMP
from cronos.discover.evidence import Array, Corpus, means
from cronos.discover.model import Claim
from cronos.discover.scorer import sigmoid
from cronos.discover.walks import nested

BIAS: Final = -0.1
"""Added to the doubt of every boundary, in log odds; chosen on held-out families."""
USUAL: Final = 0.3
"""Odds of a boundary where that is all; denser ones are doubted more, rarer ones less.

F1 gains by every boundary that is likelier than half of it, wherever it is; but where
there is little that is not a boundary, a wrong one weighs much in the rate of false ones.
"""
SWAY: Final = (-0.7, 0.5)
"""How far the doubt may come by that."""
PRIOR: Final = 0.5
LONGEST: Final = 16
"""Lengths that are told apart; all longer ones count alike."""
KINDS: Final = LONGEST + 1
CELLS: Final = 200_000
"""Offsets of messages that are searched at once; one takes 170 bytes."""
SEARCHED: Final = 2_048
"""Longer messages are cut where beliefs alone say so."""
CERTAIN: Final = 7.0
VOTE: Final = 0.5
"""Weight of what is believed of a column, in log odds of its mean; chosen on held-out families."""
DOUBT: Final = 2.0
MOST: Final = 0.8
PLAIN: Final = 0.75
"""How each further byte would thin out lengths if boundaries fell by chance."""

# Kinds whose both ends are boundaries, and those that hold nothing inside.
ENDS: Final = ("checksum.", "length.", "tlv.", "timestamp.", "address.private")
WHOLE: Final = (
    "checksum.", "length.whole", "length.plus", "tlv.tag", "timestamp.", "address.private",
)  # fmt: skip


def boundaries(
    corpus: Corpus, belief: Array, claims: Sequence[Claim], pairs: Array, doubt: float = BIAS
) -> Array:
    """Say for each byte whether a field begins with it; the first of a message always begins one.

    `pairs` is how often fields of one length follow those of another, as `followers` counts; all
    boundaries are doubted by so much, in log odds.
    """
    odds = constrained(corpus, _odds(belief) - doubt, claims)
    out = (odds > 0) | (corpus.offset == 0)
    short = np.flatnonzero((corpus.sizes > 1) & (corpus.sizes <= SEARCHED))
    prior = _prior(pairs)
    for turn in _batches(corpus.sizes[short]):
        rows = short[turn]
        _Search(corpus.sizes[rows], corpus.starts[rows], odds, prior).run(out)
    return np.asarray(out)


def voted(corpus: Corpus, types: Array, belief: Array) -> Array:
    """Let each gap hear what is believed of its column within a type, where that is agreed on."""
    column = means(corpus.front(types), belief)
    heard = leaning(belief, VOTE * np.abs(2 * column - 1) * _odds(column))
    return np.where(corpus.offset == 0, 1.0, heard)


def leaning(belief: Array, odds: Array) -> Array:
    """Give beliefs after a witness that adds to their log odds."""
    return sigmoid(_odds(belief) + odds)


def _odds(belief: Array) -> Array:
    share = np.clip(belief, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(share / (1 - share)))


def doubts(belief: Array, bias: float = BIAS) -> float:
    """Give what a capture's boundaries are doubted by, from what is believed of all its gaps."""
    share = float(np.clip(belief.mean(), 1e-3, 1 - 1e-3)) if len(belief) else 0.5
    return float(np.clip(bias + np.log(share / (1 - share) / USUAL), *SWAY))


def constrained(corpus: Corpus, odds: Array, claims: Sequence[Claim]) -> Array:
    """Make certain what detectors vouch for; where claims differ the earlier one counts."""
    out = odds.copy()
    total = len(out)
    for claim in reversed(claims):
        if claim.kind == RAMP:
            _filled(corpus, claim, out)
            continue
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


def _filled(corpus: Corpus, claim: Claim, odds: Array) -> None:
    """Cut nothing within a filler; what stands before it may belong to the same field."""
    for number, span in enumerate(claim.spans):
        if span is not None:
            begin = int(corpus.starts[number]) + span[0]
            last = int(corpus.starts[number] + min(span[0] + span[1], corpus.sizes[number]))
            odds[begin + 1 : last] = -CERTAIN


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


def followers(sizes: Sequence[Sequence[int]]) -> Array:
    """Count how often a field of one length follows one of another, over messages' field lengths.

    A row for each length of the field before, the last one for the beginning of a message; a column
    for each length. All lengths beyond `LONGEST` count as one.
    """
    out = np.zeros((KINDS + 1, KINDS))
    for each in sizes:
        kinds = np.minimum(np.array(each, dtype=np.int64), KINDS) - 1
        np.add.at(out, (np.concatenate(([KINDS], kinds))[:-1], kinds), 1)
    return out


def _prior(pairs: Array) -> Array:
    """Weigh each length, behind each other one, against what boundaries by chance would give."""
    chance = np.append((1 - PLAIN) * PLAIN ** np.arange(LONGEST), PLAIN**LONGEST)
    share = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1e-9)
    return np.asarray(PRIOR * np.log((share + 0.003) / chance))


def _batches(sizes: Array) -> Iterator[Array]:
    """Give indices of messages, the longest first, in turns that need bounded memory."""
    order = np.argsort(-sizes, kind="stable")
    begin = 0
    while begin < len(order):
        most = max(1, CELLS // (int(sizes[order[begin]]) + 1))
        yield order[begin : begin + most]
        begin += most


class _Search:
    """Finds the best segmentation of many messages at once, an offset after another.

    `best[t, row, kind]` is the best way to cut the first t bytes of a message so that the last
    field has that length; before the first field stands a kind of its own.
    """

    def __init__(self, sizes: Array, starts: Array, odds: Array, prior: Array) -> None:
        self.sizes, self.starts, self.odds, self.prior = sizes, starts, odds, prior
        most, rows = int(sizes[0]), len(sizes)
        self.best = np.full((most + 1, rows, KINDS + 1), -np.inf)
        self.best[0, :, KINDS] = 0.0
        self.before = np.zeros((most + 1, rows, KINDS), dtype=np.int8)
        """The kind of the field before the last one."""
        self.begun = np.zeros((most + 1, rows), dtype=np.int32)
        """Where the last field begins, if it is a long one."""
        self._far = np.full((rows, KINDS + 1), -np.inf)
        self._far_at = np.zeros((rows, KINDS + 1), dtype=np.int32)

    def run(self, out: Array) -> None:
        """Search, and mark where fields begin."""
        for t in range(1, len(self.best)):
            alive = int(np.searchsorted(-self.sizes, -t, side="right"))
            at = np.minimum(self.starts[:alive] + t, len(self.odds) - 1)
            gain = np.where(self.sizes[:alive] == t, 0.0, self.odds[at])
            self._near(t, alive, gain)
            if t > LONGEST:
                self._long(t, alive, gain)
        for row, (size, start) in enumerate(
            zip(self.sizes.tolist(), self.starts.tolist(), strict=True)
        ):
            out[start + 1 : start + size] = False
            for t in self._way(row, size):
                out[start + t] = True

    def _near(self, t: int, alive: int, gain: Array) -> None:
        near = min(t, LONGEST)
        ways = self.best[t - near : t, :alive][::-1] + self.prior[:, :near].T[:, None, :]
        choice = ways.argmax(axis=2)
        self.before[t, :alive, :near] = choice.T
        reached = np.take_along_axis(ways, choice[:, :, None], axis=2)[:, :, 0]
        self.best[t, :alive, :near] = (reached + gain).T

    def _long(self, t: int, alive: int, gain: Array) -> None:
        come = self.best[t - LONGEST - 1, :alive]
        far, far_at = self._far[:alive], self._far_at[:alive]
        better = come > far
        far[better] = come[better]
        far_at[better] = t - LONGEST - 1
        ways = far + self.prior[:, LONGEST]
        choice = ways.argmax(axis=1)
        rows = np.arange(alive)
        self.before[t, :alive, LONGEST] = choice
        self.begun[t, :alive] = far_at[rows, choice]
        self.best[t, :alive, LONGEST] = ways[rows, choice] + gain

    def _way(self, row: int, size: int) -> Iterator[int]:
        t, kind = size, int(self.best[size, row, :KINDS].argmax())
        while True:
            before = int(self.before[t, row, kind])
            t = t - kind - 1 if kind < LONGEST else int(self.begun[t, row])
            if t <= 0:
                return
            yield t
            kind = before


def spans(corpus: Corpus, begins: Array) -> tuple[Array, Array]:
    """Give the flat start of each field and its length; fields tile the messages."""
    starts = np.flatnonzero(begins)
    return starts, np.diff(np.concatenate((starts, [len(corpus.data)])))


def trusts(corpus: Corpus, belief: Array, starts: Array, sizes: Array) -> Array:
    """Give for each field how likely it is that both its ends are boundaries and nothing within.

    Where messages begin and end there is nothing to doubt.
    """
    inner = np.where(corpus.offset == 0, 0.0, belief)
    upto = np.concatenate(([0.0], np.cumsum(np.log(np.clip(1 - inner, 1e-3, 1.0)))))
    ends = starts + sizes
    begin = np.where(corpus.offset[starts] == 0, 1.0, belief[starts])
    end = np.where(sizes == corpus.left[starts], 1.0, np.append(belief, 1.0)[ends])
    return np.asarray(begin * end * np.exp(upto[ends] - upto[starts + 1]))
