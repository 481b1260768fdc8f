"""Which message follows which: a grammar learnt over conversations, and how well it foresees.

The kinds are the grammar's message types. Four ways of saying which comes next are compared on the
messages themselves, each asked before it is shown the answer: the grammar's probabilities, counts
behind the last kind of the flow, the network of `sequences`, and a mixture of all three.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.messages import Message
from cronos.discover.sequences import (
    Surprise,
    Turn,
    counted,
    mixed,
    shipped,
    surprise,
    told_apart,
)

FEWEST: Final = 16  # messages; fewer say nothing about order
REFUSED: Final = "no type"
_SIDES: Final = {"c2s": 1, "s2c": 2}
_MOST_FOLLOWS: Final = 24


class Foresight(NamedTuple):
    """How well the next message was foreseen, by each of the four ways."""

    grammar: Surprise
    previous: Surprise
    network: Surprise
    mixture: Surprise


class Follows(NamedTuple):
    """A kind that came behind another one in a flow: how often, and its share of what came."""

    before: str
    after: str
    times: int
    share: float


class Order(NamedTuple):
    """What is known of the order of messages."""

    messages: int
    foresight: Foresight
    follows: tuple[Follows, ...]


def turns_of(messages: Sequence[Message], kinds: Sequence[object]) -> list[Turn]:
    """Give conversations as numbers: kinds and flows in the order in which they came."""
    flows: dict[str, int] = {}
    numbered = told_apart(kinds)
    return [
        Turn(kind, flows.setdefault(one.flow, len(flows)), _SIDES.get(one.direction, 0))
        for kind, one in zip(numbered, messages, strict=True)
    ]


def foreseen(turns: Sequence[Turn]) -> Foresight:
    """Compare the four ways on these messages; the models see only what came before."""
    experts = [counted(turns, 0), counted(turns, 1), shipped().chances(turns)]
    ways = [surprise(turns, one) for one in (*experts, mixed(turns, experts))]
    return Foresight(*ways)


def order_of(run: Interpreter, messages: Sequence[Message]) -> Order | None:
    """Say what is known of the order of messages that a grammar parses; None where too few.

    The messages are taken in the order of their time.
    """
    timed = sorted([one for one in messages if one.payload], key=lambda one: one.ts)
    kinds = [_kind(run, one) for one in timed]
    if len(timed) < FEWEST or len(set(kinds)) < 2:
        return None
    return Order(len(timed), foreseen(turns_of(timed, kinds)), _follows(timed, kinds))


def _kind(run: Interpreter, message: Message) -> str:
    parsed = run.parse(message.payload, message.direction, checksums=False)
    return run.grammar.types[parsed.type].name if isinstance(parsed, Parsed) else REFUSED


def _follows(messages: Sequence[Message], kinds: Sequence[str]) -> tuple[Follows, ...]:
    last: dict[str, str] = {}
    pairs: Counter[tuple[str, str]] = Counter()
    for one, kind in zip(messages, kinds, strict=True):
        before = last.get(one.flow)
        if before is not None:
            pairs[before, kind] += 1
        last[one.flow] = kind
    behind: Counter[str] = Counter()
    for (before, _), count in pairs.items():
        behind[before] += count
    often = sorted(pairs.items(), key=lambda one: (-one[1], one[0]))[:_MOST_FOLLOWS]
    return tuple([Follows(a, b, count, count / behind[a]) for (a, b), count in often])
