"""What people are shown of a protocol: its message types, each with fields, values and examples.

Both the document and the page are drawn from this; neither looks at messages itself.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cronos.discover import ir
from cronos.discover.diffs import describe
from cronos.discover.interpreter import Interpreter, Occurrence, Parsed
from cronos.discover.learned import Learned
from cronos.discover.messages import Message
from cronos.discover.model import Discovery, Sem
from cronos.discover.parsing import shown
from cronos.discover.statistics import entropy_bits

MAX_SHOWN_BYTES: Final = 256
_EXAMPLES: Final = 3
_MAX_FIELDS: Final = 64
_MAX_VALUES: Final = 4
_MAX_TYPES: Final = 40
_SAMPLE: Final = 1_000


class Span(NamedTuple):
    """A field as it stands in one message."""

    name: str
    offset: int
    length: int
    sem: Sem


class FieldView(NamedTuple):
    """One field of a message type, as it stands in its first example."""

    name: str
    offset: int
    length: int
    sem: Sem
    confidence: float
    form: str
    values: tuple[str, ...]
    """The most frequent ones, at most four, with their shares."""
    vouched: str
    """The kind of the claim behind it, and its false-alarm bound."""


class Example(NamedTuple):
    """One message, cut at 256 bytes."""

    data: bytes
    spans: tuple[Span, ...]
    size: int


class TypeView(NamedTuple):
    """One message type."""

    name: str
    direction: str
    messages: int
    share: float
    shortest: int
    longest: int
    fields: tuple[FieldView, ...]
    entropy: tuple[float, ...]
    """Bits per byte at each offset from the front, 0 to 8."""
    examples: tuple[Example, ...]

    @property
    def sizes(self) -> str:
        """How long its messages are, in words."""
        if self.shortest == self.longest:
            return str(self.shortest)
        return f"{self.shortest} to {self.longest}"


class _Row(NamedTuple):
    message: Message
    spans: tuple[Span, ...]
    values: tuple[str, ...]


def pictures(learned: Learned) -> tuple[TypeView, ...]:
    """Draw a discovery: by the grammar's types where there is one, else by what was clustered."""
    found = learned.discovery
    if found is None:
        return ()
    vouched = _vouched(found)
    if learned.grammar:
        return _by_grammar(ir.decode(learned.grammar), found, vouched)
    return _by_discovery(found, vouched)


Vouched = Mapping[tuple[int, int, int], tuple[str, float]]
"""(message, offset, length) -> what vouches for the field, and the confidence in it."""


def _vouched(found: Discovery) -> Vouched:
    said: dict[tuple[int, int, int], tuple[str, float]] = {}
    for number, fields in enumerate(found.fields):
        for field in fields:
            why = ""
            if 0 <= field.claim < len(found.claims):
                claim = found.claims[field.claim]
                why = f"{claim.kind}, by chance at most {claim.alarm:.0e}"
            said[number, field.offset, field.length] = why, field.confidence
    return said


def _by_grammar(grammar: ir.Grammar, found: Discovery, vouched: Vouched) -> tuple[TypeView, ...]:
    interpreter, leaves = Interpreter(grammar), ir.leaves(grammar)
    rows: defaultdict[int, list[tuple[int, _Row]]] = defaultdict(list)
    for number, message in enumerate(found.messages[:_SAMPLE]):
        parsed = interpreter.parse(message.payload, message.direction, checksums=False)
        kind = parsed.type if isinstance(parsed, Parsed) else -1
        fields = parsed.fields if isinstance(parsed, Parsed) else ()
        rows[kind].append((number, _row(message, fields, leaves)))
    views: list[TypeView] = []
    for kind, of in sorted(rows.items(), key=lambda item: (item[0] < 0, -len(item[1]))):
        name = grammar.types[kind].name if kind >= 0 else "taken by no type"
        views.append(_view(name, of, vouched, leaves, len(found.messages[:_SAMPLE])))
    return tuple(views[:_MAX_TYPES])


def _row(message: Message, fields: Sequence[Occurrence], leaves: Mapping[str, ir.Leaf]) -> _Row:
    kept = [one for one in fields if one.length][:_MAX_FIELDS]
    spans = tuple([Span(one.name, one.offset, one.length, _sem(leaves[one.name])) for one in kept])
    return _Row(message, spans, tuple([str(shown(leaves[one.name], one)) for one in kept]))


def _by_discovery(found: Discovery, vouched: Vouched) -> tuple[TypeView, ...]:
    rows: defaultdict[int, list[tuple[int, _Row]]] = defaultdict(list)
    together = zip(found.messages, found.types, found.fields, strict=True)
    for number, (message, kind, fields) in enumerate(together):
        spans = tuple(
            [
                Span(f"{one.sem.value}_{one.offset}", one.offset, one.length, one.sem)
                for one in fields[:_MAX_FIELDS]
            ]
        )
        values = tuple(
            [message.payload[one.offset : one.offset + one.length].hex() for one in spans]
        )
        rows[kind].append((number, _Row(message, spans, values)))
    views = [
        _view(f"type {kind}", of, vouched, {}, len(found.messages))
        for kind, of in sorted(rows.items(), key=lambda item: -len(item[1]))
    ]
    return tuple(views[:_MAX_TYPES])


def _sem(leaf: ir.Leaf) -> Sem:
    return Sem.CHECKSUM if isinstance(leaf, ir.Checksum) else leaf.sem


def _view(
    name: str,
    rows: Sequence[tuple[int, _Row]],
    vouched: Vouched,
    leaves: Mapping[str, ir.Leaf],
    total: int,
) -> TypeView:
    """Draw one type; its layout is that of its most usual form."""
    forms = Counter(tuple([span.name for span in row.spans]) for _, row in rows)
    usual = forms.most_common(1)[0][0]
    typical = sorted(
        (one for one in rows if tuple([span.name for span in one[1].spans]) == usual),
        key=lambda one: (len(one[1].message.payload), one[0]),
    )
    first = typical[len(typical) // 2]
    sizes = [len(row.message.payload) for _, row in rows]
    directions = {row.message.direction for _, row in rows}
    examples = [first, *[one for one in typical if one is not first][:: max(1, len(typical) // 3)]]
    return TypeView(
        name,
        directions.pop() if len(directions) == 1 else "",
        len(rows),
        len(rows) / max(1, total),
        min(sizes),
        max(sizes),
        _fields(first, [row for _, row in typical], vouched, leaves),
        _entropies([row.message.payload for _, row in rows]),
        tuple([_example(row) for _, row in examples[:_EXAMPLES]]),
    )


def _fields(
    first: tuple[int, _Row],
    rows: Sequence[_Row],
    vouched: Vouched,
    leaves: Mapping[str, ir.Leaf],
) -> tuple[FieldView, ...]:
    number, row = first
    views: list[FieldView] = []
    for at, span in enumerate(row.spans):
        counts = Counter(one.values[at] for one in rows)
        values = tuple(
            [
                f"{value[:24]}{'…' if len(value) > 24 else ''} ({count / len(rows):.0%})"
                for value, count in counts.most_common(_MAX_VALUES)
                if count > 1 or len(rows) == 1
            ]
        )
        leaf = leaves.get(span.name)
        why, sure = vouched.get((number, span.offset, span.length), ("", 0.0))
        confidence = sure or (leaf.confidence if leaf is not None else 0.0)
        form = (
            describe(leaf)
            if leaf is not None
            else f"{span.length} byte{'' if span.length == 1 else 's'}"
        )
        views.append(FieldView(*span, confidence, form, values, why))
    return tuple(views)


def _entropies(payloads: Sequence[bytes]) -> tuple[float, ...]:
    longest = min(MAX_SHOWN_BYTES, max(len(payload) for payload in payloads))
    return tuple(
        [
            round(entropy_bits(Counter(p[at] for p in payloads if at < len(p))), 3)
            for at in range(longest)
        ]
    )


def _example(row: _Row) -> Example:
    payload = row.message.payload
    spans = tuple([span for span in row.spans if span.offset < MAX_SHOWN_BYTES])
    return Example(payload[:MAX_SHOWN_BYTES], spans, len(payload))
