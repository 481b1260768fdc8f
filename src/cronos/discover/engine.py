"""Find message types, boundaries and what fields mean: evidence, two scorers, a decoder.

`discover` reads nothing but the messages it is given. The models are files beside this one, and
`cronos discover train` makes them anew.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from cronos.discover.byteorder import orders
from cronos.discover.context import surround
from cronos.discover.decode import boundaries, doubts, spans
from cronos.discover.evidence import Array, Corpus
from cronos.discover.features import describe
from cronos.discover.labeller import Labeller, read
from cronos.discover.meaning import CLASSES, NONE, agreed, chosen, encoded, fields
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Discovery, Field, Limits, Sem
from cronos.discover.scorer import Trees, sigmoid
from cronos.discover.shipped import Models, shipped
from cronos.discover.types import classify
from cronos.discover.vouched import all_claims, claimed_order
from cronos.ports import Clock

Progress = Callable[[str, float], None]

# What the tables cost for each byte of traffic; see bench/bench_discovery.py.
BYTES_A_BYTE: Final = 900
MAX_BYTES: Final = 1_000_000
NS: Final = 1_000_000_000
SECOND_SHARE: Final = 0.7
"""Weight of the scorer in context, in log odds; chosen on held-out families."""
# How often a field of the sequence network has both its ends right, on held-out families.
LABELLED: Final = 0.12
# Kinds of claims that say what a field means, as far as held-out protocols bear them out.
TOLD: Final = ("checksum.", "length.", "timestamp.", "tlv.tag", "tlv.length", "id.echo")


class Course:
    """One discovery: what is known so far, and when it has to end."""

    def __init__(self, messages: Sequence[Message], limits: Limits, clock: Clock) -> None:
        self.messages = tuple(messages[: limits.max_messages])
        self.heads = _heads(self.messages, limits)
        self.corpus = Corpus(self.heads)
        self._clock = clock
        self._until_ns = clock.now().boot_ns + int(limits.max_seconds * NS)
        self.remarks: list[str] = []
        self.claims: list[Claim] = []
        self.own = ""  # the published protocol whose trees set boundaries

    def late(self, what: str) -> bool:
        """Say whether the time is up, and remember what had to be left out."""
        if self._clock.now().boot_ns < self._until_ns:
            return False
        self.remarks.append(f"The time was up before {what}.")
        return True


def discover(
    messages: Sequence[Message],
    limits: Limits,
    clock: Clock,
    progress: Progress,
    models: Models | None = None,
) -> Discovery:
    """Find out about messages of one protocol, within the limits; any bytes give some result."""
    models = models or shipped()
    course = Course(messages, limits, clock)
    progress("types", 0.0)
    types = np.array(classify(course.heads, models.keys), dtype=np.int64)
    corpus = course.corpus
    if not len(corpus.data) or course.late("detectors were asked"):
        return _blank(course, types)
    course.claims = claims = all_claims(course.heads)
    progress("boundaries", 0.2)
    if course.late("boundaries were looked for"):
        return _blank(course, types)
    if limits.labeller:
        found = _labelled(course, Labeller(read(Path(limits.labeller))))
        return _told(course, types, found)
    belief, seen = believe(course, types, claims, models)
    if course.own:
        # They know better than detectors and usual lengths do.
        begins = (belief > 0.5) | (corpus.offset == 0)
    else:
        doubt = doubts(belief[corpus.gaps()])
        begins = boundaries(corpus, belief, claims, models.second.pairs, doubt)
    progress("semantics", 0.8)
    starts, sizes = spans(corpus, begins)
    shares = mean(course, types, claims, starts, seen, models.meaning)
    progress("semantics", 1.0)
    return _told(course, types, _fields(course, (starts, sizes), shares, belief))


def _own(course: Course, models: Models) -> Trees | None:
    """Give the trees of the published protocol that messages are taken for."""
    course.own = models.published.recognise(course.heads) if models.published else ""
    return models.published.trees(course.own) if models.published and course.own else None


def _told(course: Course, types: Array, found: tuple[tuple[Field, ...], ...]) -> Discovery:
    claims, remarks = tuple(course.claims), tuple(course.remarks)
    return Discovery(course.messages, tuple(types.tolist()), found, claims, remarks)


def _labelled(course: Course, labeller: Labeller) -> tuple[tuple[Field, ...], ...]:
    """Let a sequence network set the fields; what it did not look at is one of bytes."""
    out: list[tuple[Field, ...]] = []
    for message, found in zip(
        course.messages, labeller.label(course.heads, course.claims), strict=True
    ):
        given = [Field(offset, length, sem, LABELLED) for offset, length, sem in found]
        end = given[-1].offset + given[-1].length if given else 0
        if end < len(message.payload):
            given.append(Field(end, len(message.payload) - end, Sem.BYTES, 0.0))
        out.append(tuple(given))
    return tuple(out)


def _heads(messages: Sequence[Message], limits: Limits) -> tuple[Message, ...]:
    """Cut what is looked at to the bytes that memory allows; tails become one field each."""
    most = min(MAX_BYTES, limits.max_memory_mb * 1_000_000 // BYTES_A_BYTE)
    sizes = np.array([len(m.payload) for m in messages], dtype=np.int64)
    if sizes.sum() <= most:
        return tuple(messages)
    low, high = 1, int(sizes.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= most else (low, middle - 1)
    return tuple(
        Message(m.payload[:low], m.flow, m.direction, m.ts, m.source, m.destination)
        for m in messages
    )


def _blank(course: Course, types: Array) -> Discovery:
    """Give one field for each message: all that is known is where it ends."""
    whole = tuple(
        (Field(0, len(m.payload), Sem.BYTES, 0.0),) if m.payload else () for m in course.messages
    )
    return Discovery(course.messages, tuple(types.tolist()), whole, (), tuple(course.remarks))


def believe(
    course: Course,
    types: Array,
    claims: Sequence[Claim],
    models: Models,
) -> tuple[Array, Array]:
    """Give for each byte how sure it is that a field begins there; 1 at the first of a message.

    Trees of the messages' own protocol are asked alone, where there are any and there is time.
    The second array holds what meanings will be judged by, a table of bins over all bytes: counting
    it once more would cost as much again.
    """
    corpus = course.corpus
    at = corpus.gaps()
    order = orders(corpus, claimed_order(claims), models.order)
    own = _own(course, models)
    context = own or models.second
    first, second = models.first.table(len(at)), context.table(len(at))
    meaning = models.meaning.table(len(corpus.data))
    for name, values in describe(corpus, types, claims, order):
        models.first.put(first, name, values, at)
        context.put(second, name, values, at)
        models.meaning.put(meaning, name, values)
    belief = np.ones(len(corpus.data))
    first_odds = models.first.raw(first)[:, 0]
    belief[at] = sigmoid(first_odds)
    if course.late("boundaries were looked at a second time"):
        course.own = ""
        return belief, meaning
    for name, values in surround(corpus, types, belief):
        context.put(second, name, values, at)
    # The first scorer knows more protocols, the second more of this one: both are heard.
    if own:
        course.remarks.append(
            f"They begin as those of {course.own} do: boundaries are set as learnt from it."
        )
    share = 1.0 if own else SECOND_SHARE
    odds = (1 - share) * first_odds + share * context.raw(second)[:, 0]
    belief[at] = sigmoid(odds)
    return belief, meaning


def mean(
    course: Course, types: Array, claims: Sequence[Claim], starts: Array, seen: Array, trees: Trees
) -> Array:
    """Give for each field how likely each of `CLASSES` is; `seen` is what `believe` counted.

    What is left to 1 is how likely there is no such field.
    """
    out = np.zeros((len(starts), NONE + 1))
    if course.late("meanings were looked for"):
        out[:, CLASSES.index(Sem.BYTES)] = 1.0
        return out[:, :NONE]
    table = seen[:, starts]
    for name, values in fields(course.corpus, types, starts, claims):
        trees.put(table, name, values)
    raw = trees.raw(table)
    raw = np.exp(raw - raw.max(axis=1, keepdims=True))
    out[:, trees.labels] = raw / raw.sum(axis=1, keepdims=True)
    return agreed(course.corpus, starts, out[:, :NONE])


def _vouched(claims: Sequence[Claim]) -> dict[tuple[int, int, int], int]:
    """Give for (message, offset, length) the claim that vouches for it, the earliest of several."""
    out: dict[tuple[int, int, int], int] = {}
    for index, claim in enumerate(claims):
        if claim.kind.startswith(TOLD):
            for number, span in enumerate(claim.spans):
                if span is not None:
                    out.setdefault((number, *span), index)
    return out


def _fields(
    course: Course, places: tuple[Array, Array], shares: Array, belief: Array
) -> tuple[tuple[Field, ...], ...]:
    corpus = course.corpus
    out: list[list[Field]] = [[] for _ in course.messages]
    starts, sizes = places
    ends = np.append(belief, 1.0)[starts + sizes]
    # A field is right when both of its ends are; neither is more likely than the less sure one.
    sure = np.minimum(belief[starts], ends)
    told = encoded(corpus, starts)
    kinds = np.where(told >= 0, told, chosen(shares, sure)).tolist()
    vouched = _vouched(course.claims)
    for start, size, kind, trust in zip(
        starts.tolist(), sizes.tolist(), kinds, sure.tolist(), strict=True
    ):
        number = int(corpus.of[start])
        offset = int(start - corpus.starts[number])
        claim = vouched.get((number, offset, size), -1)
        sem = course.claims[claim].sem if claim >= 0 else CLASSES[int(kind)]
        out[number].append(Field(offset, size, sem, round(trust, 4), claim))
    for number, message in enumerate(course.messages):
        seen = int(corpus.sizes[number])
        if len(message.payload) > seen:
            out[number].append(Field(seen, len(message.payload) - seen, Sem.BYTES, 0.0))
    return tuple(tuple(each) for each in out)
