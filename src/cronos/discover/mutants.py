"""Make protocols that nobody speaks out of ones whose truth is known, to learn boundaries from.

A mutant keeps what real traffic looks like (how numbers are spread, what repeats, what never
varies) and loses what is this protocol's own: byte order, widths, the order of fields, constants,
which fields there are and what comes before them. Lengths are found again and written anew.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from cronos.discover.messages import Message
from cronos.discover.model import Sem

Fields = tuple[tuple[int, int, Sem], ...]
Named = tuple[tuple[str, str], ...]
Rng = np.random.Generator

SIZES: Final = (40, 60, 100)
HOLDS: Final = 0.9
CONSTANTS: Final = (0, 4, -4, 2, -2, 1, -1, 8, -8, 3, -3, 6, -6, 12, -12)
NUMERIC: Final = ("uint", "int", "float", "double", "boolean", "absolute_time", "relative_time")
WIDER: Final = {1: (2, 2, 4), 2: (1, 4, 4), 3: (2, 4), 4: (2, 2, 8, 3), 8: (4, 4)}
RESIZED: Final = frozenset({Sem.LENGTH, Sem.COUNT, Sem.ID_SEQ, Sem.ENUM_FLAGS, Sem.VALUE})
MAX_BYTES: Final = 1_500
MAX_CARRIED: Final = 80
"""Bytes that a carrier's header may have."""


class Part:
    """A field on its way through the changes; what was added stands behind it."""

    __slots__ = ("added", "constant", "covers", "data", "kind", "little", "name", "sem")

    def __init__(self, name: str, kind: str, sem: Sem, data: bytes, little: bool = False) -> None:
        self.name = name
        self.kind = kind
        self.sem = sem
        self.data = data
        self.little = little
        self.covers: range | None = None
        """Which parts of its message a length counts, and `constant` bytes besides."""
        self.constant = 0
        self.added: list[Part] = []

    @property
    def size(self) -> int:
        """Give the bytes it takes with what was added."""
        return len(self.data) + sum(len(each.data) for each in self.added)

    @property
    def numeric(self) -> bool:
        """Say whether it is a number whose bytes have an order."""
        return self.kind.startswith(NUMERIC) and len(self.data) in WIDER

    @property
    def value(self) -> int:
        """Read its bytes as a number."""
        return int.from_bytes(self.data, "little" if self.little else "big")

    def write(self, value: int, width: int) -> None:
        """Write a number, cut to the width."""
        cut = value % (1 << 8 * width)
        self.data = cut.to_bytes(width, "little" if self.little else "big")


Parts = list[list[Part]]
Place = tuple[list[Part], int]


class Known(NamedTuple):
    """A protocol's messages with the place, the meaning, the name and the type of each field."""

    messages: Sequence[Message]
    fields: Sequence[Fields]
    names: Sequence[Named]


def mutant(
    known: Known, seed: int, carrier: Known | None = None
) -> tuple[tuple[Message, ...], tuple[Fields, ...]]:
    """Change some of a protocol's messages, all in the same way; the same seed, the same mutant.

    With a `carrier` they come behind the first fields of that other protocol's messages.
    """
    messages, fields, names = known
    rng = np.random.default_rng([13, seed])
    most = int(rng.choice(SIZES))
    first = int(rng.integers(max(1, len(messages) - most + 1)))
    spread = rng.random() < 0.5
    order = (
        np.sort(rng.permutation(len(messages))[:most])
        if spread
        else np.arange(first, min(len(messages), first + most))
    )
    chosen: list[int] = order.tolist()
    parts = [_parts(messages[i].payload, fields[i], names[i]) for i in chosen]
    _orders(parts)
    _link(parts)
    for change in (_constants, _codes, _drop, _resize, _flip, _swap, _insert):
        change(parts, rng)
    if carrier is None:
        _prefix(parts, rng)
    else:
        _carry(parts, carrier, rng)
    return _written([messages[i] for i in chosen], parts)


def _parts(payload: bytes, fields: Fields, names: Named) -> list[Part]:
    return [
        Part(name, kind, sem, payload[offset : offset + length])
        for (offset, length, sem), (name, kind) in zip(fields, names, strict=True)
    ]


def _by_name(parts: Parts) -> dict[str, list[Part]]:
    out: dict[str, list[Part]] = defaultdict(list)
    for message in parts:
        for part in message:
            out[part.name].append(part)
    return out


def _orders(parts: Parts) -> None:
    """Judge the byte order of each number: the end that is more often zero is the high one."""
    for group in _by_name(parts).values():
        votes = sum((p.data[-1] == 0) - (p.data[0] == 0) for p in group if len(p.data) > 1)
        for part in group:
            part.little = part.numeric and votes > 0


def _link(parts: Parts) -> None:
    """Find out what each length counts: a run of parts behind it, or the whole message."""
    places: dict[str, list[Place]] = defaultdict(list)
    for message in parts:
        for index, part in enumerate(message):
            if part.sem is Sem.LENGTH and part.numeric:
                places[part.name].append((message, index))
    for group in places.values():
        _link_group(group)


def _link_group(group: list[Place]) -> None:
    totals = Counter(m[i].value - sum(p.size for p in m) for m, i in group)
    constant, often = totals.most_common(1)[0]
    if often >= HOLDS * len(group):
        reached: list[range | None] = [range(len(message)) for message, _ in group]
    else:
        constant = max(CONSTANTS, key=lambda c: sum(_reach(m, i, c) is not None for m, i in group))
        reached = [_reach(m, i, constant) for m, i in group]
        if sum(r is not None for r in reached) < HOLDS * len(group):
            return
    for (message, index), covers in zip(group, reached, strict=True):
        message[index].covers, message[index].constant = covers, constant


def _reach(message: list[Part], index: int, constant: int) -> range | None:
    """Give the parts behind a length that take as many bytes as it says."""
    wanted = message[index].value - constant
    end = index + 1
    while wanted > 0 and end < len(message):
        wanted -= message[end].size
        end += 1
    return range(index + 1, end) if wanted == 0 else None


def _flip(parts: Parts, rng: Rng) -> None:
    """Turn the bytes of numbers round: of all, or of all but those of the first few names."""
    if rng.random() < 0.45:
        return
    spared = set[str]()
    if rng.random() < 0.2:
        heads = Counter(part.name for message in parts for part in message[:3])
        spared = {name for name, _ in heads.most_common(3)}
    for message in parts:
        for part in message:
            if part.numeric and part.name not in spared:
                part.data, part.little = part.data[::-1], not part.little


def _resize(parts: Parts, rng: Rng) -> None:
    share = float(rng.choice((0.0, 0.15, 0.4)))
    for name, group in _by_name(parts).items():
        width = len(group[0].data)
        plain = all(p.sem in RESIZED and p.numeric and len(p.data) == width for p in group)
        if not plain or name.startswith("ber.") or rng.random() >= share:
            continue
        wider = int(rng.choice(WIDER[width]))
        if all(p.value < 1 << 8 * wider for p in group):
            for part in group:
                part.write(part.value, wider)


def _drop(parts: Parts, rng: Rng) -> None:
    share = float(rng.choice((0.0, 0.05, 0.15)))
    for name, group in _by_name(parts).items():
        if not name.startswith("ber.") and rng.random() < share:
            for part in group:
                part.data = b""


def _codes(parts: Parts, rng: Rng) -> None:
    """Give the codes of small fields other values of the same magnitude."""
    for name, group in _by_name(parts).items():
        fits = all(len(p.data) == 1 and p.sem in (Sem.ENUM_FLAGS, Sem.VALUE) for p in group)
        if not fits or name.startswith("ber.") or rng.random() >= 0.4:
            continue
        table = np.concatenate(
            ([0 if rng.random() < 0.8 else 1], rng.permutation(np.arange(1, 16)))
        )
        table = np.concatenate((table, rng.permutation(np.arange(16, 128))))
        table = np.concatenate((table, rng.permutation(np.arange(128, 256))))
        for part in group:
            part.data = bytes([int(table[part.data[0]])])


def _constants(parts: Parts, rng: Rng) -> None:
    """Give what never varies another value, mostly one that says little; and silence some."""
    for name, group in _by_name(parts).items():
        first = group[0]
        free = first.covers is None and not name.startswith("ber.")
        if not free or not all(len(p.data) == len(first.data) for p in group):
            continue
        still = all(p.data == first.data for p in group)
        if (still and rng.random() < 0.4) or (first.numeric and rng.random() < 0.05):
            value = _plain(rng, len(first.data), first.little)
            for part in group:
                part.data = value


def _plain(rng: Rng, width: int, little: bool) -> bytes:
    match int(rng.integers(4)):
        case 0 | 1:
            return bytes(width)
        case 2:
            value = int(rng.integers(1, 256)).to_bytes(width, "little" if little else "big")
            return value if width <= 4 else bytes(width)
        case _:
            return rng.bytes(width)


def _swap(parts: Parts, rng: Rng) -> None:
    """Let pairs of neighbours change places wherever they are neighbours."""
    pairs = Counter(
        (a.name, b.name)
        for message in parts
        for a, b in itertools.pairwise(message)
        if a.covers is None and b.covers is None and a.name != b.name
    )
    for pair, _ in pairs.most_common(60):
        if rng.random() >= 0.08 or pair[0].startswith("ber.") or pair[1].startswith("ber."):
            continue
        for message in parts:
            for i in range(len(message) - 1):
                if (message[i].name, message[i + 1].name) == pair:
                    message[i], message[i + 1] = message[i + 1], message[i]


Draw = Callable[[int], int]


def _drawn(rng: Rng, width: int) -> Draw:
    """Give what a new number says in the message of each index."""
    top = 1 << 8 * width
    base = int(rng.integers(min(top, 1 << 16)))
    fixed = int(rng.integers(1, 32))
    match int(rng.integers(7)):
        case 0 | 1:
            return lambda _: 0
        case 2:
            return lambda _: fixed
        case 3:
            return lambda _: int(rng.geometric(0.4)) - 1
        case 4:
            return lambda index: base + index
        case 5:
            return lambda index: base * (1 + index // 20)
        case _:
            return lambda _: int.from_bytes(rng.bytes(width), "big")


def _insert(parts: Parts, rng: Rng) -> None:
    """Put new numbers behind some of the more frequent fields."""
    little = _mostly_little(parts)
    usual = [name for name, count in _counted(parts) if count >= 0.3 * len(parts)]
    for _ in range(int(rng.choice((0, 0, 1, 2, 4))) if usual else 0):
        behind = usual[int(rng.integers(len(usual)))]
        width = int(rng.choice((1, 1, 2, 2, 4, 4, 8)))
        draw = _drawn(rng, width)
        for index, message in enumerate(parts):
            for part in message:
                if part.name == behind and part.data:
                    new = Part("new", f"uint{8 * width}", Sem.VALUE, b"", little)
                    new.write(draw(index), width)
                    part.added.append(new)


def _counted(parts: Parts) -> Iterable[tuple[str, int]]:
    return Counter(
        name
        for message in parts
        for name in dict.fromkeys(p.name for p in message)
        if not name.startswith("ber.")
    ).items()


def _mostly_little(parts: Parts) -> bool:
    wide = [p.little for message in parts for p in message if p.numeric and len(p.data) > 1]
    return sum(wide) * 2 > len(wide)


def _prefix(parts: Parts, rng: Rng) -> None:
    """Put a header before every message, as a carrier would: now and then of another byte order."""
    if rng.random() >= 0.35:
        return
    little = _mostly_little(parts) ^ bool(rng.random() < 0.3)
    plan: list[tuple[int, Draw | None]] = []
    for _ in range(int(rng.integers(1, 6))):
        width = int(rng.choice((1, 1, 2, 2, 4)))
        plan.append((width, _drawn(rng, width)))
    counted = rng.random() < 0.7
    if counted:
        plan.insert(int(rng.integers(len(plan) + 1)), (int(rng.choice((2, 2, 4, 3))), None))
    for index, message in enumerate(parts):
        _carried(message, [_headed(w, draw(index) if draw else None, little) for w, draw in plan])


def _carry(parts: Parts, carrier: Known, rng: Rng) -> None:
    """Put another protocol's first fields before each message; their lengths count what follows."""
    most = int(rng.integers(2, 11))
    first = int(rng.integers(len(carrier.messages)))
    heads: Parts = []
    for index in range(len(parts)):
        at = (first + index) % len(carrier.messages)
        head = _parts(carrier.messages[at].payload, carrier.fields[at], carrier.names[at])[:most]
        while sum(part.size for part in head) > MAX_CARRIED:
            head.pop()
        heads.append(head)
    _orders(heads)
    for message, head in zip(parts, heads, strict=True):
        _carried(message, head)


def _carried(message: list[Part], head: list[Part]) -> None:
    """Put the header before the message; what counted parts counts the same ones as before."""
    for part in message:
        if part.covers is not None:
            begin = part.covers.start and part.covers.start + len(head)
            part.covers = range(begin, part.covers.stop + len(head))
    message[:0] = head
    for place, part in enumerate(head):
        if part.sem is Sem.LENGTH and part.numeric:
            part.covers = range(place + 1, len(message))


def _headed(width: int, value: int | None, little: bool) -> Part:
    sem = Sem.LENGTH if value is None else Sem.VALUE
    part = Part("head", f"uint{8 * width}", sem, bytes(width), little)
    part.write(value or 0, width)
    return part


def _written(
    messages: Sequence[Message], parts: Parts
) -> tuple[tuple[Message, ...], tuple[Fields, ...]]:
    out: list[Message] = []
    truth: list[Fields] = []
    seen = set[bytes]()
    for message, pieces in zip(messages, parts, strict=True):
        for part in pieces:
            if part.covers is not None and part.data:
                size = sum(pieces[i].size for i in part.covers)
                part.write(size + part.constant, len(part.data))
        flat = [each for part in pieces for each in (part, *part.added) if each.data]
        payload = b"".join(each.data for each in flat)
        if not payload or payload in seen or len(payload) > MAX_BYTES:
            continue
        seen.add(payload)
        place = 0
        fields: list[tuple[int, int, Sem]] = []
        for each in flat:
            fields.append((place, len(each.data), each.sem))
            place += len(each.data)
        out.append(msgspec.structs.replace(message, payload=payload))
        truth.append(tuple(fields))
    return tuple(out), tuple(truth)
