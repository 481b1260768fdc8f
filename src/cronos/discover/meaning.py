"""Describe fields so that a learned scorer can say what they mean."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from cronos.discover.detectors.addresses import beside_local, is_local
from cronos.discover.evidence import Array, Corpus, entropies, means, previous
from cronos.discover.meaning_links import Tiles, links
from cronos.discover.model import Claim, Sem
from cronos.discover.walks import nested

CLASSES: Final = tuple(Sem)
NONE: Final = len(CLASSES)
"""The class of what is not a field: a scorer may know it besides the others."""
FAR: Final = 64
SAID: Final = 0.2
"""How likely field and meaning together must be for a meaning to be said.

The harmonic mean of precision and recall is highest where all is said that is likelier than half of
what it reaches. Source: Lipton, Elkan, Naryanaswamy, Thresholding Classifiers to Maximize F1 Score
(ECML 2014).
"""
PLAIN: Final = np.array([sem in (Sem.VALUE, Sem.BYTES) for sem in CLASSES])
YEAR_S: Final = 366 * 86_400.0
NESTED: Final = 0.1
"""Share of the messages that have to read as BER before its word is taken for what fields mean."""
TAG, LENGTH, OCTETS, CONTENT = 1, 2, 3, 4
"""What `nested` marks: a tag, a length or how many octets it has, those octets, a plain value."""
BER: Final = {
    **dict.fromkeys((0x01, 0x0A), Sem.ENUM_FLAGS),
    **dict.fromkeys((0x0C, 0x12, 0x13, 0x14, 0x16, 0x1A, 0x1B, 0x1E), Sem.TEXT),
    **dict.fromkeys((0x17, 0x18), Sem.TIMESTAMP),
}
"""What values of universal types mean: truths and enumerations, strings, times.

Source: ITU-T X.680 (02/2021) table 1, X.690 §8.
"""
# Seconds from other epochs to 1970: NTP (1900), file times (1601, 100 ns).
NTP_S: Final = 2_208_988_800
FILETIME_S: Final = 11_644_473_600


def fields(
    corpus: Corpus, groups: Array, starts: Array, claims: Sequence[Claim] = ()
) -> Iterator[tuple[str, Array]]:
    """Give the name and the values of each feature of the fields that begin at `starts`.

    Fields tile the messages, so each ends where the next one begins.
    """
    sizes = np.diff(np.concatenate((starts, [len(corpus.data)])))
    owner = corpus.of[starts]
    yield "length", np.minimum(sizes, FAR)
    for by in (-2, -1, 1, 2):
        yield f"length{by:+d}", _beside(np.minimum(sizes, FAR), owner, by)
    first = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
    ordinal = np.arange(len(starts)) - np.repeat(first, np.diff(np.append(first, len(starts))))
    yield "ordinal", np.minimum(ordinal, FAR)
    yield "last", corpus.left[starts] == sizes
    yield "place", np.minimum(corpus.offset[starts], FAR)
    yield from _content(corpus, starts, sizes)
    yield from _numbers(corpus, groups, starts, sizes)
    yield from _history(corpus, groups, starts, sizes)
    yield from _sizes(corpus, groups, starts, sizes)
    yield from _spread(corpus, groups, starts, sizes)
    yield from _claimed(corpus, claims, starts, sizes)
    numbers = {name: _number(corpus, starts, sizes, name == "be") for name in ("be", "le")}
    yield from links(Tiles(corpus, groups, starts, numbers))


def chosen(shares: Array, trust: Array) -> Array:
    """Give the number of each field's class, where nothing better is likely enough a plain one.

    Args:
        shares: how likely each of `CLASSES` is, a row for each field.
        trust: how likely the field is one at all.
    """
    told: Array = np.where(PLAIN, 0.0, shares).argmax(axis=1)
    out: Array = np.where(PLAIN, shares, -1.0).argmax(axis=1)
    likely: Array = shares[np.arange(len(told)), told] * trust
    sure = likely >= SAID
    out[sure] = told[sure]
    return out


def agreed(corpus: Corpus, starts: Array, shares: Array) -> Array:
    """Let fields of one place and size hear one another: half of each row is the mean of theirs."""
    sizes = np.diff(np.append(starts, len(corpus.data)))
    _, column, seen = np.unique(
        corpus.offset[starts] << 32 | sizes, return_inverse=True, return_counts=True
    )
    column = column.reshape(-1)
    total = np.zeros((len(seen), shares.shape[1]))
    np.add.at(total, column, shares)
    return np.asarray((shares + (total / seen[:, None])[column]) / 2)


def encoded(corpus: Corpus, starts: Array) -> Array:
    """Give the number of the class that BER itself tells of each field, -1 where it tells none."""
    role = nested(corpus)
    seen = np.zeros(len(corpus.sizes), dtype=bool)
    seen[corpus.of[role > 0]] = True
    out = np.full(len(starts), -1)
    if not len(seen) or seen.mean() < NESTED:
        return out
    here = role[starts]
    out[here == TAG] = CLASSES.index(Sem.ENUM_FLAGS)
    out[(here == LENGTH) | (here == OCTETS)] = CLASSES.index(Sem.LENGTH)
    last = np.maximum.accumulate(np.where(role == TAG, np.arange(len(role)), 0))[starts]
    for tag, sem in BER.items():
        out[(here == CONTENT) & (corpus.data[last] == tag)] = CLASSES.index(sem)
    return out


def addressed(corpus: Corpus, groups: Array, starts: Array) -> Array:
    """Say which fields hold IPv4 addresses by what they begin with, or as most of their column do.

    A number of four bytes begins as networks do that are nobody's own once in some 4,000 times.
    """
    sizes = np.diff(np.append(starts, len(corpus.data)))
    four = np.flatnonzero(sizes == 4)
    out = np.zeros(len(starts), dtype=bool)
    if not len(four):
        return out
    at = starts[four]
    values = np.zeros(len(four), dtype=np.int64)
    for step in range(4):
        values = values << 8 | corpus.data[at + step]
    local = is_local(values)
    _, column = np.unique(groups[corpus.of[at]] << 32 | corpus.offset[at], return_inverse=True)
    column = column.reshape(-1)
    seen = np.bincount(column, weights=values != 0)
    mostly = np.bincount(column, weights=local) * 2 >= np.maximum(seen, 1)
    out[four] = local | (mostly[column] & beside_local(values))
    return out


def _beside(values: Array, owner: Array, by: int) -> Array:
    """Give the value of the field `by` fields on in the same message, else 0."""
    index = np.arange(len(values)) + by
    inside = (index >= 0) & (index < len(values))
    index = np.clip(index, 0, max(len(values) - 1, 0))
    return np.where(inside & (owner[index] == owner), values[index], 0)


def _content(corpus: Corpus, starts: Array, sizes: Array) -> Iterator[tuple[str, Array]]:
    data = corpus.data
    digit = (data >= 48) & (data <= 57)
    letter = ((data | 0x20) >= 97) & ((data | 0x20) <= 122)
    for name, flags in (
        ("texts", (data >= 32) & (data < 127)),
        ("digits", digit),
        ("letters", letter),
        ("zeros", data == 0),
        ("dots", (data == 46) | (data == 58) | (data == 45)),
        ("breaks", (data == 10) | (data == 13)),
    ):
        share = np.add.reduceat(flags.astype(np.int64), starts) / sizes
        yield f"own_{name}", share
        yield f"next_{name}", _beside(share, corpus.of[starts], 1)


def _number(corpus: Corpus, starts: Array, sizes: Array, big: bool) -> Array:
    """Give the first eight bytes of each field as an unsigned number."""
    value = np.zeros(len(starts), dtype=np.uint64)
    width = np.minimum(sizes, 8)
    for k in range(8):
        at = starts + (k if big else width - 1 - k)
        byte = corpus.data[np.clip(at, 0, len(corpus.data) - 1)].astype(np.uint64)
        value = np.where(k < width, value * np.uint64(256) + byte, value)
    return value


def _numbers(
    corpus: Corpus, groups: Array, starts: Array, sizes: Array
) -> Iterator[tuple[str, Array]]:
    owner = corpus.of[starts]
    rest = corpus.left[starts] - sizes
    following = _beside(sizes, owner, 1)
    columns = corpus.front(groups)[starts] * 16 + np.minimum(sizes, 15)
    for name, big in (("be", True), ("le", False)):
        value = _number(corpus, starts, sizes, big)
        small = np.minimum(value, np.uint64(1 << 40)).astype(np.int64)
        short = sizes <= 4
        yield f"{name}_value", np.where(short, np.log2(1.0 + small), -1)
        yield f"{name}_next", np.where(short, np.clip(following - small, -9, 9), 99)
        yield f"{name}_rest", np.where(short, np.clip(rest - small, -99, 99), 199)
        yield f"{name}_time", _times(corpus, value, sizes, owner)
        yield f"{name}_float", _floats(value, sizes)
        bits, seen, kinds, mode = entropies(
            columns, (value % np.uint64(65_521)).astype(np.int64), 65_521
        )
        if big:
            yield "field_bits", bits
            yield "field_kinds", kinds / seen
            yield "field_seen", seen
            yield "field_mode", mode


def _times(corpus: Corpus, value: Array, sizes: Array, owner: Array) -> Array:
    """Give how near a number is to the time of capture, in any of the usual forms; 9 if far."""
    stamp = np.array([m.ts for m in corpus.messages])[owner]
    number = value.astype(np.float64)
    out = np.full(len(value), 9.0)
    for width, scale, epoch in (
        (4, 1.0, 0.0),
        (4, 1.0, NTP_S),
        (8, 1e3, 0.0),
        (8, 1e6, 0.0),
        (8, 1e9, 0.0),
        (8, 1e7, FILETIME_S),
        (8, 2.0**32, NTP_S),
        (6, 1e3, 0.0),
        (8, 1.0, 0.0),
    ):
        apart = np.abs(number / scale - epoch - stamp)
        near = np.log10(1.0 + apart / 86_400)
        out = np.where((sizes == width) & (stamp > 0), np.minimum(out, near), out)
    return out


def _floats(value: Array, sizes: Array) -> Array:
    """Give the decimal exponent of a field read as a float, 99 where it is none of use."""
    out = np.full(len(value), 99.0)
    four = sizes == 4
    eight = sizes == 8
    with np.errstate(all="ignore"):
        single = value[four].astype(np.uint32).view(np.float32).astype(np.float64)
        double = value[eight].view(np.float64)
        for where, number in ((four, single), (eight, double)):
            fine = np.isfinite(number) & (number != 0)
            out[where] = np.where(fine, np.clip(np.log10(np.abs(number)), -40, 40), 99.0)
    return out


def _columns(corpus: Corpus, groups: Array, starts: Array, sizes: Array) -> Array:
    """Number the columns of fields: those of one type, place and size are one."""
    return np.asarray(corpus.front(groups)[starts] * 16 + np.minimum(sizes, 15))


def _there(
    corpus: Corpus, starts: Array, sizes: Array, other: Array, big: bool
) -> tuple[Array, Array]:
    """Read each field's place in another message; the second array says where there is one."""
    owner = corpus.of[starts]
    target = other[owner]
    offset = starts - corpus.starts[owner]
    valid = (target >= 0) & (offset + np.minimum(sizes, 8) <= corpus.sizes[target])
    at = np.where(valid, corpus.starts[np.maximum(target, 0)] + offset, 0)
    return _number(corpus, at, sizes, big), valid


def _partners(corpus: Corpus) -> Array:
    """Give for each answer its question and for each question its first answer, else -1."""
    asked: dict[str, int] = {}
    out = np.full(len(corpus.messages), -1)
    for i, message in enumerate(corpus.messages):
        if message.direction != "s2c":
            asked[message.flow] = i
            continue
        question = asked.get(message.flow, -1)
        out[i] = question
        if question >= 0 and out[question] < 0:
            out[question] = i
    return out


def _history(
    corpus: Corpus, groups: Array, starts: Array, sizes: Array
) -> Iterator[tuple[str, Array]]:
    """Say how the fields of a column move from message to message, and what answers repeat."""
    columns = _columns(corpus, groups, starts, sizes)
    before, partners = previous(corpus), _partners(corpus)
    for name, big in (("be", True), ("le", False)):
        value = _number(corpus, starts, sizes, big)
        prior, valid = _there(corpus, starts, sizes, before, big)
        step = value - prior  # wraps around, as counters do
        yield f"{name}_counts", _share(columns, (step > 0) & (step <= 3), valid)
        yield f"{name}_rises", _share(columns, value > prior, valid)
        if big:
            yield "stays", _share(columns, value == prior, valid)
            other, known = _there(corpus, starts, sizes, partners, big)
            yield "echoed", _share(columns, value == other, known & (value != 0))
            flows = np.unique([m.flow for m in corpus.messages], return_inverse=True)[1]
            flow = flows.reshape(-1)[corpus.of[starts]]
            small = (value % np.uint64(65_521)).astype(np.int64)
            within = entropies(columns * 4_096 + flow % 4_096, small, 65_521)[0]
            whole = entropies(columns, small, 65_521)[0]
            yield "flow_bits", means(columns, within) / np.maximum(whole, 1e-6)


def _share(columns: Array, flags: Array, valid: Array) -> Array:
    """Give for each field in how many of its column's valid fields the flag is set, else -1."""
    seen = means(columns, valid.astype(np.float64))
    hits = means(columns, (flags & valid).astype(np.float64))
    return np.where(seen > 0, hits / np.maximum(seen, 1e-9), -1.0)


def _sizes(
    corpus: Corpus, groups: Array, starts: Array, sizes: Array
) -> Iterator[tuple[str, Array]]:
    """Say whether numbers count bytes, those of the next field or all that follow."""
    columns = _columns(corpus, groups, starts, sizes)
    owner = corpus.of[starts]
    rest = corpus.left[starts] - sizes
    short = sizes <= 4
    places = corpus.front(groups)[starts]
    yield "size_fixed", entropies(places, np.minimum(sizes, FAR), FAR + 1)[3]
    for name, big in (("be", True), ("le", False)):
        value = np.minimum(_number(corpus, starts, sizes, big), np.uint64(1 << 31)).astype(np.int64)
        counted = (_beside(np.where(short, value, -1), owner, -1) == sizes) & (sizes > 0)
        yield f"{name}_counted", counted
        yield f"{name}_counted_all", means(columns, counted.astype(np.float64))
        follows = short & (_beside(sizes, owner, 1) == value) & (value > 0)
        yield f"{name}_follows_all", means(columns, follows.astype(np.float64))
        apart = np.where(short & (np.abs(rest - value) < 200), rest - value + 256, 0)
        _, _, kinds, most = entropies(columns, apart, 1_024)
        _, _, values, _ = entropies(columns, np.minimum(value, 65_520), 65_521)
        hit = np.where(short & (values > 1) & (means(columns, (apart == 0) * 1.0) < 0.5), most, 0.0)
        yield f"{name}_rest_all", hit
        yield f"{name}_rest_kinds", kinds / values
        number = np.where(short, np.log2(1.0 + value), -1.0)
        yield f"{name}_mean", means(columns, number)
        yield f"{name}_top", _largest(columns, number)


def _largest(columns: Array, values: Array) -> Array:
    _, inverse = np.unique(columns, return_inverse=True)
    out = np.full(int(inverse.max()) + 1 if len(inverse) else 0, -np.inf)
    np.maximum.at(out, inverse, values)
    return np.asarray(out[inverse])


def _spread(
    corpus: Corpus, groups: Array, starts: Array, sizes: Array
) -> Iterator[tuple[str, Array]]:
    """Say how the first and the last byte of a column vary, and how varied a field's own are."""
    columns = _columns(corpus, groups, starts, sizes)
    data = corpus.data.astype(np.int64)
    first, last = data[starts], data[starts + sizes - 1]
    for name, values in (("first", first), ("last", last)):
        bits, _, kinds, most = entropies(columns, values, 256)
        yield f"{name}_bits", bits
        yield f"{name}_kinds", kinds
        yield f"{name}_mode", most
        yield f"{name}_zero", means(columns, (values == 0).astype(np.float64))
        yield f"{name}_byte", values
    pairs = np.unique(np.repeat(np.arange(len(starts)), sizes) * 256 + data)
    yield "own_kinds", np.bincount(pairs // 256, minlength=len(starts)) / np.minimum(sizes, 256)
    high = np.add.reduceat((data >= 128).astype(np.int64), starts) / sizes
    yield "own_high", high
    local = (
        (first == 10) | (first == 127) | (first == 172) | (first == 192) | (first >= 224)
    ) * 1.0
    yield "net_like", np.where((sizes == 4) | (sizes == 16), means(columns, local), -1.0)
    exact = np.unique(columns, return_inverse=True, return_counts=True)
    yield "column_seen", np.log2(exact[2][exact[1].reshape(-1)])


def _claimed(
    corpus: Corpus, claims: Sequence[Claim], starts: Array, sizes: Array
) -> Iterator[tuple[str, Array]]:
    """Say which meaning a detector claims for just this field, or for one that begins with it."""
    exact, begun = np.full(len(starts), -1), np.full(len(starts), -1)
    for claim in reversed(claims):
        number = CLASSES.index(claim.sem)
        spans = [
            (int(corpus.starts[i]) + span[0], span[1])
            for i, span in enumerate(claim.spans)
            if span is not None and span[0] + span[1] <= corpus.sizes[i]
        ]
        if not spans:
            continue
        table = np.array(spans, dtype=np.int64)
        at = np.minimum(np.searchsorted(starts, table[:, 0]), len(starts) - 1)
        hit = starts[at] == table[:, 0]
        begun[at[hit]] = number
        whole = hit & (sizes[at] == table[:, 1])
        exact[at[whole]] = number
    yield "claim_exact", exact
    yield "claim_begins", begun
    for by in (-1, 1):
        yield f"claim_exact{by:+d}", _beside(exact, corpus.of[starts], by)
