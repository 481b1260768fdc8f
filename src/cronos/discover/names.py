"""Names and descriptions of fields, proposed by rules: the copilot, without a language model.

A rule looks at where a field stands, what it means and which values it takes, and says a name and
a sentence. It can do no harm: a proposal renames a leaf and never moves a boundary, and only names
that every export can write are made.
"""

import ipaddress
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from cronos.discover import ir
from cronos.discover.interpreter import Interpreter, Parsed, Value, whole
from cronos.discover.messages import Message
from cronos.discover.model import Sem

_SAMPLE: Final = 400
_MOSTLY: Final = 0.8
_NEARLY: Final = 0.95
_FEW: Final = 5
_MAX_FLAGS: Final = 8
_MAX_KINDS: Final = 64
_DAY_S: Final = 86_400.0
_TICKS: Final = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}


class Proposal(NamedTuple):
    """A better name for the leaf `name`, and what it seems to be."""

    name: str
    proposed: str
    description: str


class _Seen(NamedTuple):
    """One occurrence of a field."""

    message: Message
    offset: int
    length: int
    value: Value


class _Field(NamedTuple):
    """All that a rule looks at."""

    leaf: ir.Leaf
    seen: Sequence[_Seen]
    role: str
    """What the grammar uses it for: ``union``, ``size of x``, ``count``, or empty."""
    total: int

    @property
    def leaf_sem(self) -> Sem:
        return Sem.CHECKSUM if isinstance(self.leaf, ir.Checksum) else self.leaf.sem

    @property
    def values(self) -> Counter[Value]:
        return Counter(one.value for one in self.seen)

    @property
    def numbers(self) -> list[int]:
        return [one.value for one in self.seen if isinstance(one.value, int)]

    @property
    def texts(self) -> list[str]:
        raw = [one.value for one in self.seen if isinstance(one.value, bytes)]
        return [one.decode("utf-8", "replace") for one in raw]


Rule: TypeAlias = Callable[[_Field], tuple[str, str] | None]


def propose(grammar: ir.Grammar, messages: Sequence[Message]) -> tuple[Proposal, ...]:
    """Give a proposal for each leaf that a rule has something to say of; names are unique."""
    taken: set[str] = set()
    proposals: list[Proposal] = []
    for name, field in _fields(grammar, messages).items():
        said = next((one for rule in _RULES if (one := rule(field))), None)
        if said is None:
            continue
        proposed = _free(said[0], taken)
        taken.add(proposed)
        proposals.append(Proposal(name, proposed, said[1]))
    return tuple(proposals)


def applied(grammar: ir.Grammar, proposals: Sequence[Proposal]) -> ir.Grammar:
    """Give the grammar under the proposed names; it takes the same messages apart alike."""
    kept = set(ir.leaves(grammar)) - {one.name for one in proposals}
    names: dict[str, str] = {}
    for one in proposals:
        proposed = _free(one.proposed, kept)
        kept.add(proposed)
        names[one.name] = proposed
    return ir.renamed(grammar, names)


def _free(name: str, taken: set[str]) -> str:
    number, proposed = 1, name
    while proposed in taken:
        number += 1
        proposed = f"{name}_{number}"
    return proposed


def _fields(grammar: ir.Grammar, messages: Sequence[Message]) -> dict[str, _Field]:
    interpreter = Interpreter(grammar)
    seen: defaultdict[str, list[_Seen]] = defaultdict(list)
    total = 0
    for message in messages[:_SAMPLE]:
        parsed = interpreter.parse(message.payload, message.direction, checksums=False)
        if isinstance(parsed, Parsed):
            total += 1
            for one in whole(parsed.fields):
                seen[one.name].append(_Seen(message, one.offset, one.length, one.value))
    roles = dict(_roles(grammar))
    return {
        name: _Field(leaf, seen[name], roles.get(name, ""), total)
        for name, leaf in ir.leaves(grammar).items()
        if seen[name]
    }


def _roles(grammar: ir.Grammar) -> Iterator[tuple[str, str]]:
    """Say what the grammar itself uses a number for."""
    for body in (*grammar.rules.values(), *(kind.body for kind in grammar.types)):
        for node in ir.walk(body):
            match node:
                case ir.Switch(ref):
                    yield ref, "union"
                case ir.Repeat(_, ir.Size("field") as count):
                    yield count.ref, "count"
                case ir.Data(name, ir.Size("field") as size):
                    yield size.ref, f"size of {name}"
                case ir.Sized(ir.Size("field") as size):
                    yield size.ref, "size"
                case _:
                    pass


def _checksum(field: _Field) -> tuple[str, str] | None:
    if not isinstance(field.leaf, ir.Checksum):
        return None
    name = re.sub(r"[^a-z0-9]+", "_", field.leaf.algorithm)
    return f"checksum_{name}", f"{field.leaf.algorithm} over what stands before it"


def _length(field: _Field) -> tuple[str, str] | None:
    sized = field.role.startswith("size")
    if not sized and field.leaf_sem is not Sem.LENGTH:
        return None
    if field.role.startswith("size of "):
        of = field.role.removeprefix("size of ")
        return f"{of[:48]}_length", f"how many bytes {of} has"
    rests = [
        len(one.message.payload) - one.offset - one.length - one.value
        for one in field.seen
        if isinstance(one.value, int)
    ]
    if rests and _share([rest == 0 for rest in rests]) >= _MOSTLY:
        return "remaining_length", "how many bytes follow, to the end of the message"
    wholes = [len(one.message.payload) == one.value for one in field.seen]
    if _share(wholes) >= _MOSTLY:
        return "message_length", "how many bytes the message has"
    if not sized:
        always = _constant(field)
        return always or (
            "maybe_length",
            "looks like a length, and nothing was found that it measures",
        )
    return "length", "how many bytes a part of the message has"


def _count(field: _Field) -> tuple[str, str] | None:
    if field.role != "count" and field.leaf_sem is not Sem.COUNT:
        return None
    return "item_count", "how many items follow"


def _constant(field: _Field) -> tuple[str, str] | None:
    if len(field.values) != 1 or len(field.seen) < _FEW or field.role == "union":
        return None
    (value,) = field.values
    if value == 0 or (isinstance(value, bytes) and not value.strip(b"\0")):
        return "reserved", "always zero"
    first = field.seen[0]
    if first.offset == 0 and first.length > 1:
        return "magic", "always the same; it marks the protocol"
    if first.length == 1 and isinstance(value, int) and value < 16 and first.offset < 8:
        return "version", f"always {value}; a version, if anything"
    return "constant", "always the same in this capture"


def _many(field: _Field) -> tuple[str, str] | None:
    """Name what takes nearly any value: no kind, and no flags, but an id or a part of a number."""
    of_many = field.leaf_sem is Sem.ENUM_FLAGS and len(field.values) > _MAX_KINDS
    if not of_many or field.role == "union":
        return None
    if _echoes(field):
        return "transaction_id", "chosen by who asks; the answer repeats it"
    return _number(field)


def _kind(field: _Field) -> tuple[str, str] | None:
    if field.role == "union":
        return "message_kind", "decides what follows"
    if field.leaf_sem is not Sem.ENUM_FLAGS:
        return None
    numbers = field.numbers
    if _echoes(field) and len(field.values) > 1:
        return "function_code", "what is asked for; the answer repeats it"
    bits = {n for n in range(64) for number in field.values if _has_bit(number, n)}
    alone = sum(isinstance(v, int) and v & (v - 1) == 0 for v in field.values)
    if len(field.values) > len(bits) > 1 and len(bits) <= _MAX_FLAGS and alone:
        return "flags", f"bits {', '.join(map(str, sorted(bits)))} are used"
    answers = {one.message.direction for one in field.seen} == {"s2c"}
    if answers and numbers and numbers.count(0) >= _MOSTLY * len(numbers):
        return "status", "nearly always 0, and only in answers: 0 may well mean success"
    return "kind", f"one of {len(field.values)} values"


def _has_bit(value: Value, bit: int) -> bool:
    return isinstance(value, int) and bool(value >> bit & 1)


def _id(field: _Field) -> tuple[str, str] | None:
    if field.leaf_sem is not Sem.ID_SEQ:
        return None
    if _echoes(field):
        return "transaction_id", "chosen by who asks; the answer repeats it"
    steps = [b - a for of in _by_flow(field).values() for a, b in itertools.pairwise(of)]
    if steps and _share([step == 1 for step in steps]) >= _MOSTLY:
        return "sequence_number", "one more with each message"
    if steps and _share([step >= 0 for step in steps]) >= _NEARLY and any(steps):
        return "counter", "grows within a flow"
    if steps and not any(steps) and len(field.values) > 1:
        return "session_id", "the same within a flow, another one in the next"
    return "identifier", "differs from message to message"


def _time(field: _Field) -> tuple[str, str] | None:
    if field.leaf_sem is not Sem.TIMESTAMP:
        return None
    for ticks, unit in _TICKS.items():
        near = [
            abs(one.value / ticks - one.message.ts) < _DAY_S
            for one in field.seen
            if isinstance(one.value, int) and one.message.ts
        ]
        if near and _share(near) >= _MOSTLY:
            return "sent_at", f"{unit} since 1970, within a day of the capture"
    return "timestamp", "a time"


def _address(field: _Field) -> tuple[str, str] | None:
    if field.leaf_sem is not Sem.ADDRESS:
        return None
    for name, end in (("source", "source"), ("destination", "destination")):
        own = [_spelled(one) == getattr(one.message, end) for one in field.seen]
        if _share(own) >= _MOSTLY:
            return f"{name}_address", f"equal to the packet's own {name}"
    width = field.seen[0].length
    kind = {4: "an IPv4 address", 6: "a hardware address", 16: "an IPv6 address"}
    return "address", kind.get(width, "an address" if width > 2 else "the number of a station")


def _spelled(one: _Seen) -> str:
    value = one.value if isinstance(one.value, bytes) else one.value.to_bytes(one.length, "big")
    if len(value) in (4, 16):
        return str(ipaddress.ip_address(value))
    return value.hex(":")


_TEXTS: Final = (
    ("ip_text", "an address in writing", re.compile(r"\d{1,3}(\.\d{1,3}){3}(:\d+)?")),
    ("date_text", "a date in writing", re.compile(r"\d{4}-?\d\d-?\d\d([T ]?\d\d:?\d\d.*)?")),
    ("mail_address", "a mail address", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("number_text", "a number in writing", re.compile(r"[+-]?\d+([.,]\d+)?\s*")),
    ("path", "a path", re.compile(r"(/|[A-Za-z]:\\|\\\\)\S*")),
    ("host_name", "a host's name", re.compile(r"([\w-]+\.)+[A-Za-z]{2,}\.?")),
    ("token", "a word in capitals", re.compile(r"[A-Z][A-Z0-9_]{1,31}\s*")),
)


def _words(field: _Field) -> tuple[str, str] | None:
    texts = field.texts
    if field.leaf_sem is not Sem.TEXT or not texts:
        return None
    for name, description, pattern in _TEXTS:
        if _share([pattern.fullmatch(text[:200]) is not None for text in texts]) >= _MOSTLY:
            return name, description
    return "text", f"text of {min(map(len, texts))} to {max(map(len, texts))} characters"


def _number(field: _Field) -> tuple[str, str] | None:
    numbers = field.numbers
    if not numbers or len(field.seen) < _FEW:
        return None
    if field.leaf_sem is Sem.FLOAT:
        return "measurement", "a floating-point number"
    if _share([number == 0 for number in numbers]) >= _NEARLY:
        return "mostly_zero", "nearly always zero"
    return "value", f"{min(numbers)} to {max(numbers)} in this capture"


_RULES: Final[tuple[Rule, ...]] = (
    _checksum, _length, _count, _constant, _many, _kind, _id, _time, _address, _words, _number,
)  # fmt: skip


def _by_flow(field: _Field) -> dict[str, list[int]]:
    flows: defaultdict[str, list[int]] = defaultdict(list)
    for one in field.seen:
        if isinstance(one.value, int):
            flows[f"{one.message.flow} {one.message.direction}"].append(one.value)
    return flows


def _echoes(field: _Field) -> bool:
    """Say whether answers carry the value of the request before them, and requests vary."""
    asked: dict[str, Value] = {}
    same: list[bool] = []
    for one in field.seen:
        if one.message.direction == "c2s":
            asked[one.message.flow] = one.value
        elif one.message.direction == "s2c" and one.message.flow in asked:
            same.append(asked[one.message.flow] == one.value)
    return len(same) >= _FEW and sum(same) >= _MOSTLY * len(same)


def _share(holds: Sequence[bool]) -> float:
    return sum(holds) / max(1, len(holds))
