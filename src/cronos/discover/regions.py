"""Describe gaps by the region they lie in: how far from its ends, and how its bytes lean.

A message is made of regions whose ends are plain: what a detector vouches for, a text, a chain of
labels. Within one of them numbers lie on a grid that begins where the region does, and they count
in one byte order, whatever the regions around it do.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus, entropies, means, runs
from cronos.discover.model import Claim
from cronos.discover.vouched import chosen

Wide = Iterator[tuple[str, Array, tuple[int, ...], float]]
HERE: Final = (0,)
NEAR: Final = (-1, 0, 1)
FAR: Final = 32
TEXT: Final = 4
"""Printable bytes in a row that are taken for a text."""
WINDOW: Final = 24
LONGEST_LABEL: Final = 63
MAX_LABELS: Final = 128
MIN_LETTERS: Final = 3
POINTER: Final = 0xC0


def regions(corpus: Corpus, groups: Array, claims: Sequence[Claim]) -> tuple[Wide, ...]:
    """Give the sources of features, each as a name, values, a window and what stands outside."""
    role = labels(corpus)
    edge = edges(corpus, claims, role)
    return (_labels(corpus, role), _places(corpus, edge), _leaning(corpus, groups, edge))


def labels(corpus: Corpus) -> Array:
    """Mark chains of labels, each behind its length, that a zero or a reference back ends.

    1 a chain begins, 2 a further length, 3 within a label, 4 what ends the chain, 5 right behind
    it; 0 elsewhere. Source: RFC 1035, 4.1.4.
    """
    total = len(corpus.data)
    role = np.zeros(total, dtype=np.int64)
    size = corpus.data.astype(np.int64)
    letters, _ = _letters(corpus)
    upto = np.concatenate(([0], np.cumsum(letters)))
    index = np.arange(total)
    ahead = index + 1 + size
    fits = (size >= 1) & (size <= LONGEST_LABEL) & (size < corpus.left - 1)
    ahead = np.where(fits, ahead, 0)
    fits &= upto[np.where(fits, ahead, 0)] - upto[np.where(fits, index + 1, 0)] == size
    stop = np.where(corpus.data == 0, 1, 0)
    stop = np.where((corpus.data >= POINTER) & (corpus.left > 1), 2, stop)
    # Backward through each message: how far the chain from here runs, and over how many labels.
    reach = np.where(stop > 0, index + stop, 0)
    count = np.zeros(total, dtype=np.int64)
    text = np.zeros(total, dtype=np.int64)
    inside = np.flatnonzero(fits)
    for at in inside[::-1].tolist():
        to = int(ahead[at])
        if reach[to] and count[to] < MAX_LABELS:
            reach[at], count[at], text[at] = reach[to], count[to] + 1, text[to] + size[at]
    done = 0
    for at in np.flatnonzero((count > 0) & (text >= MIN_LETTERS)).tolist():
        if at < done:
            continue
        done = int(reach[at])
        _mark(role, at, done, ahead, stop)
    return role


def _letters(corpus: Corpus) -> tuple[Array, Array]:
    data = corpus.data
    lower = data | 0x20
    letters = ((lower >= 97) & (lower <= 122)) | ((data >= 48) & (data <= 57))
    letters |= (data == 45) | (data == 95) | (data == 42)
    return letters, lower


def _mark(role: Array, at: int, done: int, ahead: Array, stop: Array) -> None:
    role[at:done] = 3
    place, first = at, True
    while place < done and not (stop[place] and ahead[place] == 0):
        role[place] = 1 if first else 2
        place, first = int(ahead[place]), False
    role[place:done] = 4
    if done < len(role):
        role[done] = 5


def edges(corpus: Corpus, claims: Sequence[Claim], role: Array) -> Array:
    """Mark where a region surely begins: behind claims, texts and chains, and at a message."""
    edge = corpus.offset == 0
    for number in chosen(claims):
        for i, span in enumerate(claims[number].spans):
            if span is None or span[1] < 1 or span[0] + span[1] > corpus.sizes[i]:
                continue
            begin = int(corpus.starts[i]) + span[0]
            edge[begin] = True
            if begin + span[1] < len(edge):
                edge[begin + span[1]] = True
    printable = (corpus.data >= 32) & (corpus.data < 127)
    ending, beginning = runs(corpus, printable)
    edge |= (beginning >= TEXT) & ~corpus.near(printable, -1, False)
    edge |= (corpus.near(ending, -1, 0) >= TEXT) & ~printable
    return np.asarray(edge | (role == 1) | (role == 5))


def _labels(corpus: Corpus, role: Array) -> Wide:
    begun = role == 1
    yield "label_role", role, NEAR, 0
    further = float((role == 2).sum()) / max(1.0, float(begun.sum()))
    share = float(np.unique(corpus.of[begun]).size) / max(1, len(corpus.sizes))
    yield "labels_a_chain", np.full(len(role), further), HERE, 0
    yield "labelled", np.full(len(role), share), HERE, 0


def _since(corpus: Corpus, edge: Array) -> tuple[Array, Array]:
    """Give how far the last edge lies, itself included, and how far the next one."""
    index = np.arange(len(edge))
    last = np.maximum.accumulate(np.where(edge, index, 0))
    following = np.minimum.accumulate(np.where(edge, index, len(edge))[::-1])[::-1]
    ahead = np.append(following[1:], len(edge)) if len(edge) else following
    return index - last, np.minimum(ahead - index, corpus.left)


def _places(corpus: Corpus, edge: Array) -> Wide:
    left, right = _since(corpus, edge)
    yield "edge", edge.astype(np.int64), NEAR, 1
    yield "edge_left", np.minimum(left, FAR), HERE, 0
    yield "edge_right", np.minimum(right, FAR), HERE, 0
    for width in (2, 4):
        yield f"edge_left_of{width}", left % width, HERE, 0
        yield f"edge_right_of{width}", right % width, HERE, 0


def _leaning(corpus: Corpus, groups: Array, edge: Array) -> Wide:
    """Say for both places of a pair whether the later byte varies more, or is less often zero.

    Pairs are counted from the region's beginning. Where those that begin at even places lean to the
    right, numbers have the high byte first; where they lean to the left, the low one.
    """
    front = corpus.front(groups)
    left, _ = _since(corpus, edge)
    bits, _, _, _ = entropies(front, corpus.data.astype(np.int64), 256)
    zero = means(front, corpus.data == 0)
    inner = (corpus.left > 1).astype(np.float64)
    for name, values in (
        ("bits", np.tanh(corpus.near(bits, 1, 0.0) - bits) * inner),
        ("zero", (zero - corpus.near(zero, 1, 0.0)) * inner),
    ):
        for phase in (0, 1):
            here = (left % 2 == phase) * inner
            yield f"lean_{name}{phase}", _window(corpus, values * here, here), HERE, 0


def _window(corpus: Corpus, values: Array, weights: Array) -> Array:
    """Give the weighted mean over the bytes of the same message that are near."""
    here = np.arange(len(values))
    low = here - np.minimum(corpus.offset, WINDOW)
    high = here + np.minimum(corpus.left, WINDOW)
    total = np.concatenate(([0.0], np.cumsum(values)))
    count = np.concatenate(([0.0], np.cumsum(weights)))
    return np.asarray((total[high] - total[low]) / np.maximum(count[high] - count[low], 1e-9))
