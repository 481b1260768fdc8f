"""Infers a grammar from what discovery found: structure, then probabilities.

Structure: the messages are divided into types so that the description is shortest, see `division`,
and each type's body is inferred, see `inference`. Probabilities: every training message
is parsed with the structure, and what was seen is counted; a grammar whose parse is determined by
the message needs no more than counting to be a maximum-likelihood PCFG.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover import ir
from cronos.discover.attested import said_of
from cronos.discover.division import OTHER, Direction, Sample, described_bits, divided, with_others
from cronos.discover.interpreter import Interpreter, Parsed, Refused, whole
from cronos.discover.model import Discovery
from cronos.errors import InputError

MAX_SAMPLE: Final = 400  # messages that structure is inferred from
WORK: Final = 200_000  # rows looked at, for one division into types
NOISE: Final = 300  # random messages that a grammar is tried on
_SEED: Final = 6
_GUARDS: Final = 600  # random messages that floors are set by; not those of the proof
_GUARD_SEED: Final = 16
_FEW: Final = 300  # of fewer messages too few can be held back to tell what is left out
_SIDES: Final[tuple[tuple[Direction, ...], ...]] = (("",), ("c2s", "s2c"))
_RARE: Final = 250  # one message in so many may be refused
_MANY_ZEROS: Final = 0.05
_LEAST_FLOOR: Final = -64.0  # where no random message fits the last type at all
_SPARED: Final = 400  # one message in so many may fall below
_MAX_KNOWN: Final = 32
_COVERED: Final = 0.6


def samples_of(discovery: Discovery, which: Sequence[int]) -> list[Sample]:
    """Give the messages of these numbers with their fields and what is claimed of them."""
    said = said_of(discovery.claims, len(discovery.messages))
    return [
        Sample(
            discovery.messages[i].payload,
            tuple([(f.offset, f.length, f.sem) for f in discovery.fields[i]]),
            discovery.types[i],
            discovery.messages[i].direction,
            said[i],
        )
        for i in which
        if discovery.messages[i].payload
    ]


def infer(samples: Sequence[Sample], name: str = "learnt", work: int = WORK) -> ir.Grammar:
    """Infer a grammar; deterministic, and bounded: no more than `work` rows for one division.

    Raises:
        InputError: there is no message.
    """
    if not samples:
        raise InputError(
            "discover.no_messages",
            "There is no message to learn a grammar from.",
            "Give a capture of the protocol, or another filter.",
        )
    some = chosen(samples)
    # Cut where nearly all are, or boldly as most are: what describes the messages in fewer bits.
    ways = [divided(some, name, work, bold=bold, merged=bold) for bold in (False, True)]
    grammar = min(ways, key=lambda one: described_bits(one, some))
    if grammar is ways[1] and len(samples) < _FEW and _bolder_loses(samples, work):
        grammar = ways[0]
    plain = guarded(estimate(grammar, samples), samples)
    lost = _refused(plain, samples)
    if not _refuses_noise(plain, samples):
        # Some type cuts nothing, so nothing speaks for its messages: cut more, at some loss.
        bold = guarded(estimate(ways[1], samples), samples)
        more = _refused(bold, samples)
        if _refuses_noise(bold, samples) and 2 * more < len(samples):
            grammar, plain, lost = ways[1], bold, more
    bolder = grammar is ways[1]
    if lost <= len(samples) // _RARE and _takes_the_unseen(samples, work, bold=bolder):
        return plain
    wider = _wider(grammar, some, samples, work)
    if wider is None and bolder and len(samples) < _FEW:
        # Nothing takes what bold cuts leave out, and few messages tell little of how much that is.
        cautious = guarded(estimate(ways[0], samples), samples)
        return cautious if _refuses_noise(cautious, samples) else plain
    return plain if wider is None else wider


def _wider(
    grammar: ir.Grammar, some: Sequence[Sample], samples: Sequence[Sample], work: int
) -> ir.Grammar | None:
    """Give the grammar with a last type for what is none of the others, if that tells noise."""
    for sides in _SIDES:
        wider = _with_evidence(with_others(grammar, some, work, sides), samples)
        wider = _telling(guarded(estimate(wider, samples), samples), samples)
        if wider.types[-1].name.startswith(OTHER) and _refuses_noise(wider, samples):
            return wider
    return None


def _telling(grammar: ir.Grammar, samples: Sequence[Sample]) -> ir.Grammar:
    """Leave out the last types that take random bytes by themselves."""
    kept = [
        kind
        for kind in grammar.types
        if not kind.name.startswith(OTHER)
        or _refuses_noise(msgspec.structs.replace(grammar, types=(kind,)), samples)
    ]
    return msgspec.structs.replace(grammar, types=tuple(kept) or grammar.types)


def _with_evidence(grammar: ir.Grammar, samples: Sequence[Sample]) -> ir.Grammar:
    """Tell the last types what all messages begin with: none may reach them, to be counted."""
    types = [
        msgspec.structs.replace(
            kind, body=ir.Seq(tuple(_told(kind.body, 0, _meant(kind, samples))))
        )
        if kind.name.startswith(OTHER)
        else kind
        for kind in grammar.types
    ]
    return msgspec.structs.replace(grammar, types=tuple(types))


def _meant(kind: ir.MessageType, samples: Sequence[Sample]) -> Sequence[Sample]:
    """Give the messages of a type's direction."""
    if not kind.direction:
        return samples
    return [one for one in samples if one.direction == kind.direction]


def _told(body: ir.Node, at: int, samples: Sequence[Sample]) -> Iterator[ir.Node]:
    for node in body.items if isinstance(body, ir.Seq) else (body,):
        width = ir.width_of(node) if isinstance(node, ir.LEAVES) else 0
        if isinstance(node, ir.Number | ir.Data) and width:
            seen = Counter([_value(node, one.data[at : at + width]) for one in samples])
            yield msgspec.structs.replace(node, known=_known(seen))
        elif isinstance(node, ir.Data):
            yield msgspec.structs.replace(node, zeros=_zeros([one.data[at:] for one in samples]))
        elif isinstance(node, ir.Sized):
            inner = ir.Seq(tuple(_told(node.body, at, samples)))
            yield msgspec.structs.replace(node, body=inner)
        else:
            yield node
        at += width


def _zeros(rests: Sequence[bytes]) -> float:
    """Give the share of zeros, 0 where there are hardly more than in random bytes."""
    total = sum(map(len, rests))
    share = sum([rest.count(0) for rest in rests]) / max(1, total)
    return min(round(share, 3), 0.99) if share > _MANY_ZEROS else 0.0


def _value(leaf: ir.Number | ir.Data, raw: bytes) -> int | bytes:
    if isinstance(leaf, ir.Data):
        return raw
    return int.from_bytes(raw, "big" if leaf.endian == "be" else "little")


def _takes_the_unseen(samples: Sequence[Sample], work: int, *, bold: bool) -> bool:
    """Say whether a grammar of four fifths of the messages takes the last fifth.

    Of few messages it cannot be said: when none of `n` is refused, three in `n` may well be.
    """
    return len(samples) >= _FEW and _lost(samples, work, bold=bold) <= len(samples) // 5 // _RARE


def _bolder_loses(samples: Sequence[Sample], work: int) -> bool:
    """Say whether bold cuts of few messages leave out more unseen ones than others do."""
    return _lost(samples, work, bold=True) > _lost(samples, work, bold=False)


def _lost(samples: Sequence[Sample], work: int, *, bold: bool) -> int:
    """Count the messages of the last fifth that a grammar of the other four refuses."""
    train = [one for index, one in enumerate(samples) if index % 5 != 4] or list(samples)
    held = [one for index, one in enumerate(samples) if index % 5 == 4]
    grammar = divided(chosen(train), "trial", work, bold=bold, merged=bold)
    return _refused(estimate(grammar, train), held)


def _refused(grammar: ir.Grammar, samples: Sequence[Sample]) -> int:
    run = Interpreter(grammar)
    parsed = [run.parse(one.data, one.direction, checksums=False) for one in samples]
    return sum([isinstance(one, Refused) for one in parsed])


def _refuses_noise(grammar: ir.Grammar, samples: Sequence[Sample]) -> bool:
    run = Interpreter(grammar)
    messages = noise([len(one.data) for one in samples], NOISE, _GUARD_SEED)
    return sum([isinstance(run.parse(one), Parsed) for one in messages]) * 100 <= len(messages)


def guarded(grammar: ir.Grammar, samples: Sequence[Sample]) -> ir.Grammar:
    """Ask each type for evidence that random bytes do not reach and its own messages do.

    A floor is the most that 600 random messages reached, which one in 600 others exceeds, and at
    most half as high as what nearly all of the type's own messages have: an unseen one may say less
    than any that was learnt from. A type without evidence keeps none: it will not be proved. The
    last one, for what is none of the others, may ask for less than nothing: a rare message has
    values that no other has, and each of them speaks against it, though less than random bytes do.
    """
    run = Interpreter(grammar)
    own: dict[int, list[float]] = defaultdict(list)
    for one in samples:
        parsed = run.parse(one.data, one.direction, checksums=False)
        if isinstance(parsed, Parsed):
            own[parsed.type].append(parsed.bits)
    strange: dict[int, float] = {}
    lengths = [len(one.data) for one in samples]
    for data in noise(lengths, _GUARDS, _GUARD_SEED):
        parsed = run.parse(data)
        if isinstance(parsed, Parsed):
            strange[parsed.type] = max(strange.get(parsed.type, 0.0), parsed.bits)
    kinds = list(grammar.types)
    for index, bits in own.items():
        least = sorted(bits)[len(bits) // _SPARED]
        floor = max(0.0, min(strange.get(index, 0.0), least / 2))
        kinds[index] = msgspec.structs.replace(kinds[index], floor=round(floor, 3))
    for index, kind in enumerate(kinds):
        if kind.name.startswith(OTHER):
            kinds[index] = msgspec.structs.replace(kind, floor=_last_floor(grammar, kind, lengths))
    # What takes random bytes and none of the messages, as those before it take all, is no type.
    used = tuple([kind for n, kind in enumerate(kinds) if n in own or n not in strange])
    return msgspec.structs.replace(grammar, types=used or grammar.types)


def _last_floor(grammar: ir.Grammar, kind: ir.MessageType, lengths: Sequence[int]) -> float:
    """Give the most that random messages reach in such a type, if that is below nothing."""
    alone = Interpreter(msgspec.structs.replace(grammar, types=(kind,)))
    reached = [
        parsed.bits
        for data in noise(lengths, _GUARDS, _GUARD_SEED)
        if isinstance(parsed := alone.parse(data, floor=-math.inf), Parsed)
    ]
    most = math.ceil(max(reached, default=_LEAST_FLOOR))
    return min(kind.floor, max(_LEAST_FLOOR, most))


def noise(lengths: Sequence[int], count: int = NOISE, seed: int = _SEED) -> list[bytes]:
    """Give random messages of these lengths, in turn; those of under 8 bytes are made 8."""
    rng = np.random.default_rng(seed)
    return [rng.bytes(max(8, lengths[index % len(lengths)])) for index in range(count)]


def chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Take at most `MAX_SAMPLE`, of each type in turn, so that rare types are there."""
    if len(samples) <= MAX_SAMPLE:
        return list(samples)
    by: dict[tuple[int, str], list[Sample]] = defaultdict(list)
    for one in samples:
        by[one.type, one.direction].append(one)
    spread = [_spread(some, MAX_SAMPLE) for _, some in sorted(by.items())]
    out: list[Sample] = []
    for turn in range(MAX_SAMPLE):
        out += [some[turn] for some in spread if turn < len(some)]
        if len(out) >= MAX_SAMPLE:
            break
    return out[:MAX_SAMPLE]


def _spread(some: Sequence[Sample], most: int) -> list[Sample]:
    """Order messages so that any first ones are spread over time."""
    step = max(1, len(some) // most)
    thin = list(some[::step])
    stride = next(s for s in (7, 11, 13, 17, 1) if s == 1 or math.gcd(s, len(thin)) == 1)
    return [thin[index * stride % len(thin)] for index in range(len(thin))]


def estimate(grammar: ir.Grammar, samples: Sequence[Sample]) -> ir.Grammar:
    """Count what the training messages hold: shares of values, of cases, of types."""
    run = Interpreter(grammar)
    values: dict[str, Counter[int | bytes]] = defaultdict(Counter)
    counts: Counter[int] = Counter()
    for one in samples:
        parsed = run.parse(one.data, one.direction, checksums=False, floor=-math.inf)
        if isinstance(parsed, Parsed):
            counts[parsed.type] += 1
            for field in whole(parsed.fields):
                values[f"{parsed.type}/{field.name}"][field.value] += 1
                values[field.name][field.value] += 1
    total = max(1, sum(counts.values()))
    kinds: list[ir.MessageType] = []
    for index, kind in enumerate(grammar.types):
        body = ir.rewrite(kind.body, _Counted(values, f"{index}/"))
        kinds.append(
            msgspec.structs.replace(
                kind, body=body, probability=counts[index] / total, count=counts[index]
            )
        )
    rules = {name: ir.rewrite(body, _Counted(values, "")) for name, body in grammar.rules.items()}
    return msgspec.structs.replace(grammar, types=tuple(kinds), rules=rules)


class _Counted:
    """Puts what was counted into the nodes of one message type, or of the rules (no prefix)."""

    def __init__(self, values: dict[str, Counter[int | bytes]], prefix: str) -> None:
        self._values = values
        self._prefix = prefix

    def __call__(self, node: ir.Node) -> ir.Node:
        match node:
            case ir.Number() | ir.Data():
                seen = self._values.get(self._prefix + node.name)
                if not seen or ir.width_of(node) == 0:
                    return node
                known = _every(node, seen) if node.strict else _known(seen) or node.known
                return msgspec.structs.replace(node, known=known)
            case ir.Switch():
                seen = self._values.get(self._prefix + node.ref, Counter())
                return msgspec.structs.replace(node, cases=_shares(node, seen))
            case _:
                return node


def _known(seen: Counter[int | bytes]) -> tuple[tuple[int | bytes, float], ...]:
    """Keep the values that were seen again and again, if they are most of what was seen."""
    total = sum(seen.values())
    often = [(value, many) for value, many in seen.most_common(_MAX_KNOWN) if many > 1]
    if sum([many for _, many in often]) < _COVERED * total:
        return ()
    ordered = sorted(often, key=lambda one: (-one[1], one[0]))
    return tuple([(value, many / (total + 1)) for value, many in ordered])


def _every(
    node: ir.Number | ir.Data, seen: Counter[int | bytes]
) -> tuple[tuple[int | bytes, float], ...]:
    """Count the values of a strict leaf; those that only the sample had stay allowed."""
    total = sum(seen.values()) + len(node.known)
    return tuple([(value, (seen[value] + 0.5) / total) for value, _ in node.known])


def _shares(node: ir.Switch, seen: Counter[int | bytes]) -> tuple[ir.Case, ...]:
    shift, mask = ir.shift_of(node.mask), node.mask or -1
    tags: Counter[int] = Counter()
    for value, many in seen.items():
        tags[(int(value) & mask) >> shift] += many
    total = max(1, sum(tags.values()))
    cases = [
        msgspec.structs.replace(
            case, probability=sum([tags[value] for value in case.values]) / total
        )
        for case in node.cases
    ]
    return tuple(sorted(cases, key=lambda case: (-case.probability, case.values)))
