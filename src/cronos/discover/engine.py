"""Find message types, boundaries and what fields mean: evidence, two scorers, a decoder.

`discover` reads nothing but the messages it is given. The models are files beside this one, and
`cronos discover train` makes them anew.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from cronos.discover.byteorder import orders
from cronos.discover.context import surround
from cronos.discover.decode import boundaries, doubts, leaning, spans, trusts, voted
from cronos.discover.detectors import registry
from cronos.discover.evidence import Array, Corpus
from cronos.discover.features import describe
from cronos.discover.labeller import Labeller, read
from cronos.discover.meaning import CLASSES, NONE, addressed, agreed, chosen, encoded, fields
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Discovery, Field, Limits, Sem
from cronos.discover.scorer import Trees, sigmoid
from cronos.discover.shipped import Models, shipped
from cronos.discover.structure import shared
from cronos.discover.types import classify
from cronos.discover.vouched import all_claims, claimed_order, claims_of_types
from cronos.errors import CronosError
from cronos.ports import Clock

Progress = Callable[[str, float], None]
Found: TypeAlias = tuple[tuple[Field, ...], ...]

# What the tables cost for each byte of traffic; see bench/bench_discovery.py.
BYTES_A_BYTE: Final = 900
MAX_BYTES: Final = 1_000_000
LONGEST: Final = 65_536
"""Bytes of one message that are looked at: no stretch is shorter than a message."""
NS: Final = 1_000_000_000
LATE: Final = "The time was up before"
SECOND_SHARE: Final = 0.7
"""Weight of the scorer in context, in log odds; chosen on held-out families."""
# How often a field of the sequence network has both its ends right, on held-out families.
LABELLED: Final = 0.12
# Kinds of claims that say what a field means, as far as held-out protocols bear them out.
TOLD: Final = (
    "checksum.", "length.", "timestamp.", "tlv.tag", "tlv.length", "id.echo", "address.private",
)  # fmt: skip
STRUCTURE: Final = 1.0
"""Weight of what the structure says that messages share, likewise."""
HALF: Final = 0.5
"""Share of the time after which no structure is looked for."""
MOST: Final = 0.8
"""Share of the time after which it is not heard any more."""
STRETCH: Final = 120
"""Messages that are looked at together: as many as the scorers learnt from at a time, about."""
STRETCH_BYTES: Final = 80_000
"""And bytes, up to one message more, lest long ones take long past the time that there is."""


class Course:
    """One discovery: what is known so far, and when it has to end."""

    def __init__(self, messages: Sequence[Message], limits: Limits, clock: Clock) -> None:
        self.messages = tuple(messages[: limits.max_messages])
        self.heads = _heads(self.messages, limits)
        self.corpus = Corpus(self.heads)
        self.types: Array = np.zeros(len(self.messages), dtype=np.int64)
        self.claims: list[Claim] = []
        """What detectors verified of all messages, and then of single types."""
        self.typed: list[Claim] = []
        """The latter alone."""
        self.scored: Array = np.zeros(0)
        """What the scorers alone believe of each byte."""
        self.remarks: list[str] = []
        self._clock = clock
        self._began_ns = clock.now().boot_ns
        self._most_ns = int(limits.max_seconds * NS)

    def late(self, what: str, share: float = 1.0) -> bool:
        """Say whether this share of the time is up, and remember what was left out first."""
        if self._clock.now().boot_ns - self._began_ns < share * self._most_ns:
            return False
        if not any(remark.startswith(LATE) for remark in self.remarks):
            self.remarks.append(f"{LATE} {what}.")
        return True

    def late_for_types(self) -> bool:
        """Say whether there is no time to ask detectors about one more type."""
        return self.late("detectors were asked about each type")


class Known(NamedTuple):
    """What is known of a stretch of messages before the scorers are asked."""

    corpus: Corpus
    types: Array
    """A number below the number of types for each message."""
    claims: Sequence[Claim]


class Seen(NamedTuple):
    """What the scorers of boundaries found."""

    belief: Array
    """For each byte how sure it is that a field begins there; 1 at the first of a message."""
    meaning: Array
    """What meanings will be judged by, a table of bins over all bytes.

    Counting it once more would cost as much again.
    """
    own: bool = False
    """Whether trees of the messages' own protocol were asked."""


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
    course.types = np.array(classify(course.heads, models.keys), dtype=np.int64)
    corpus = course.corpus
    if not len(corpus.data) or course.late("detectors were asked"):
        return _blank(course)
    course.claims = all_claims(course.heads)
    progress("boundaries", 0.2)
    if course.late("boundaries were looked for"):
        return _blank(course)
    if limits.labeller:
        return _told(course, _labelled(course, Labeller(read(Path(limits.labeller)))))
    types = course.types.tolist()
    course.typed = list(claims_of_types(course.heads, types, course.claims, course.late_for_types))
    course.claims += course.typed
    name = models.published.recognise(course.heads) if models.published else ""
    own = models.published.trees(name) if models.published and name else None
    seen = look(course, models, own, progress)
    course.scored = seen.belief
    progress("semantics", 0.8)
    trees = None if course.late("meanings were looked for") else models.meaning
    if seen.own:
        course.remarks.append(
            f"They begin as those of {name} do: boundaries are set as learnt from it."
        )
        # They know better than detectors and usual lengths do.
        begins = (seen.belief > 0.5) | (corpus.offset == 0)
        return _told(course, _fields(course, begins, seen, trees))
    seen = seen._replace(belief=voted(corpus, course.types, seen.belief))
    found = _fields(course, cut(course, seen.belief, models), seen, trees)
    said = structure(course, found)
    if said is not None:
        belief = leaning(seen.belief, STRUCTURE * said)
        seen = seen._replace(belief=np.where(corpus.offset == 0, 1.0, belief))
        found = _fields(course, cut(course, seen.belief, models), seen, trees)
    progress("semantics", 1.0)
    return _told(course, found)


def cut(course: Course, belief: Array, models: Models) -> Array:
    """Say for each byte whether a field begins with it."""
    doubt = doubts(belief[course.corpus.gaps()])
    return boundaries(course.corpus, belief, course.claims, models.second.pairs, doubt)


def structure(course: Course, found: Found) -> Array | None:
    """Give what the structure that messages share says of each byte, where there is time."""
    if course.late("a structure was looked for that they share", HALF):
        return None
    types = tuple(course.types.tolist())
    try:
        said = shared(Discovery(course.heads, types, found, tuple(course.claims)))
    except MemoryError:
        course.remarks.append("There was too little memory to look for a structure they share.")
        return None
    except (CronosError, RecursionError, ValueError):
        # One witness less: what was found so far stands without it.
        course.remarks.append("No structure was found that they share.")
        return None
    # Meanings are looked for anew, which takes as long as before.
    return None if course.late("boundaries were held against their structure", MOST) else said


def _told(course: Course, found: Found) -> Discovery:
    types, remarks = tuple(course.types.tolist()), tuple(course.remarks)
    return Discovery(course.messages, types, found, tuple(course.claims), remarks)


def _labelled(course: Course, labeller: Labeller) -> Found:
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
    if sizes.sum() <= most and sizes.max(initial=0) <= LONGEST:
        return tuple(messages)
    low, high = 1, min(int(sizes.max()), LONGEST)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= most else (low, middle - 1)
    return tuple(
        Message(m.payload[:low], m.flow, m.direction, m.ts, m.source, m.destination)
        for m in messages
    )


def _blank(course: Course) -> Discovery:
    """Give one field for each message: all that is known is where it ends."""
    whole = tuple(
        (Field(0, len(m.payload), Sem.BYTES, 0.0),) if m.payload else () for m in course.messages
    )
    course.claims = []
    return _told(course, whole)


def stretches(sizes: Array) -> list[slice]:
    """Divide messages evenly into stretches of about `STRETCH`, and these by `STRETCH_BYTES`."""
    count = len(sizes)
    parts = max(1, round(count / STRETCH))
    edges = [count * number // parts for number in range(parts + 1)]
    begun = np.cumsum(sizes) - sizes
    for begin, end in list(itertools.pairwise(edges)):
        part = begun[begin:end]
        edges += (begin + 1 + np.flatnonzero(np.diff((part - part[:1]) // STRETCH_BYTES))).tolist()
    return [slice(begin, end) for begin, end in itertools.pairwise(sorted(edges))]


def look(course: Course, models: Models, own: Trees | None, progress: Progress) -> Seen:
    """Look for boundaries, one stretch after another; those that there is no time for have none.

    Scorers that learnt from 120 messages at a time judge a thousand better in such pieces: what
    followed one another is alike, and no column has more values than they ever saw in one.
    """
    seen: list[Seen] = []
    parts = stretches(course.corpus.sizes)
    for number, part in enumerate(parts):
        corpus = Corpus(course.heads[part])
        if not len(corpus.data) or course.late("boundaries of all messages were looked for"):
            table = models.meaning.table(len(corpus.data))
            seen.append(Seen((corpus.offset == 0) * 1.0, table, not len(corpus.data)))
            continue
        types = np.unique(course.types[part], return_inverse=True)[1]
        claims = (
            course.claims
            if len(parts) == 1
            else registry.claims_of_part(course.heads, part, course.claims, course.typed)
        )
        seen.append(believe(course, Known(corpus, types, claims), models, own))
        progress("boundaries", 0.2 + 0.6 * (number + 1) / len(parts))
    return Seen(
        np.concatenate([each.belief for each in seen]),
        np.concatenate([each.meaning for each in seen], axis=1),
        own is not None and all(each.own for each in seen),
    )


def believe(course: Course, known: Known, models: Models, own: Trees | None) -> Seen:
    """Give what the scorers of boundaries find in a stretch.

    Trees of the messages' own protocol are asked alone, where there are any and there is time.
    """
    corpus, types, claims = known
    at = corpus.gaps()
    order = orders(corpus, claimed_order(claims), models.order)
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
        return Seen(belief, meaning)
    for name, values in surround(corpus, types, belief):
        context.put(second, name, values, at)
    # The first scorer knows more protocols, the second more of this one: both are heard.
    share = 1.0 if own else SECOND_SHARE
    odds = (1 - share) * first_odds + share * context.raw(second)[:, 0]
    belief[at] = sigmoid(odds)
    return Seen(belief, meaning, own is not None)


def mean(course: Course, starts: Array, seen: Array, trees: Trees | None) -> Array:
    """Give for each field how likely each of `CLASSES` is; `seen` is what `believe` counted.

    What is left to 1 is how likely there is no such field. Without trees all are bytes.
    """
    out = np.zeros((len(starts), NONE + 1))
    if not trees:
        out[:, CLASSES.index(Sem.BYTES)] = 1.0
        return out[:, :NONE]
    table = seen[:, starts]
    for name, values in fields(course.corpus, course.types, starts, course.claims):
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


def _fields(course: Course, begins: Array, seen: Seen, trees: Trees | None) -> Found:
    corpus, belief = course.corpus, seen.belief
    out: list[list[Field]] = [[] for _ in course.messages]
    starts, sizes = spans(corpus, begins)
    shares = mean(course, starts, seen.meaning, trees)
    ends = np.append(belief, 1.0)[starts + sizes]
    # A field is right when both of its ends are; neither is more likely than the less sure one.
    sure = np.minimum(belief[starts], ends)
    told = encoded(corpus, starts)
    trust = trusts(corpus, course.scored, starts, sizes)
    kinds = np.where(told >= 0, told, chosen(shares, sure))
    kinds[(told < 0) & addressed(corpus, course.types, starts)] = CLASSES.index(Sem.ADDRESS)
    vouched = _vouched(course.claims)
    for start, size, kind, share in zip(
        starts.tolist(), sizes.tolist(), kinds.tolist(), trust.tolist(), strict=True
    ):
        number = int(corpus.of[start])
        offset = int(start - corpus.starts[number])
        claim = vouched.get((number, offset, size), -1)
        sem = course.claims[claim].sem if claim >= 0 else CLASSES[int(kind)]
        out[number].append(Field(offset, size, sem, round(share, 4), claim))
    for number, message in enumerate(course.messages):
        size = int(corpus.sizes[number])
        if len(message.payload) > size:
            out[number].append(Field(size, len(message.payload) - size, Sem.BYTES, 0.0))
    return tuple(tuple(each) for each in out)
