"""Known protocols first: which stored profile takes these messages, if any.

A profile takes a message when its parser does, with evidence: bits by which the message is more
likely under the grammar than as random bytes. A grammar so loose that it takes anything has none,
and takes nobody's messages for its own. One that knows no more than that its messages are text
takes those of its own services alone: elsewhere any other text protocol would do as well.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Final, NamedTuple

from cronos.discover import ir
from cronos.discover.division import OTHER
from cronos.discover.interpreter import Interpreter, Parsed, text_bits, zero_bits
from cronos.discover.messages import Message
from cronos.discover.model import Sem

SAMPLE: Final = 48
_FIRST: Final = 6
_TAKEN: Final = 0.8
_MIN_BITS: Final = 12.0
_OF_USUAL: Final = 0.6


class Match(NamedTuple):
    """The profile that fits best: the share of messages it takes, and its bits for each."""

    name: str
    share: float
    bits: float


class Matcher:
    """Profiles made ready to be tried; grammars are compiled once."""

    def __init__(
        self,
        grammars: Mapping[str, bytes | ir.Grammar],
        usual: Mapping[str, float] | None = None,
    ) -> None:
        """Compile grammars.

        Args:
            grammars: of the profiles, by name.
            usual: the bits per byte that a profile's own messages have, where that is known.

        Raises:
            InputError: one of them may not run.
        """
        self._ready = {
            name: Interpreter(one if isinstance(one, ir.Grammar) else ir.decode(one))
            for name, one in sorted(grammars.items())
        }
        self._usual = usual or {}
        self._plains = {name: _plains(run.grammar) for name, run in self._ready.items()}

    def names(self) -> tuple[str, ...]:
        """Give the profiles that are tried."""
        return tuple(self._ready)

    def match(self, messages: Sequence[Message], own: Container[str] = ()) -> Match | None:
        """Give the profile that takes these messages, by a sample of them; None when none does.

        Args:
            messages: of one flow.
            own: the profiles that were learnt from the flow's service.
        """
        full = [message for message in messages if message.payload]
        count = min(SAMPLE, len(full))
        sample = [full[at * len(full) // count] for at in range(count)]
        found = [
            match
            for name in self._ready
            if (match := self.tried(name, sample, name in own)).share >= _TAKEN
            and match.bits >= _MIN_BITS
        ]
        return max(found, key=lambda one: (one.bits * one.share, one.name), default=None)

    def tried(self, name: str, sample: Sequence[Message], own: bool = False) -> Match:
        """Say how one profile does; what does not begin well is not tried to its end."""
        taken, size, bits, plain = 0, 0, 0.0, 0.0
        for number, message in enumerate(sample, 1):
            parsed = self._ready[name].parse(message.payload, message.direction)
            # What only the last type takes is like nothing that was learnt: no sign of a protocol.
            if isinstance(parsed, Parsed) and (own or not self._last(name, parsed)):
                taken += 1
                size += len(message.payload)
                bits += parsed.bits
                plain += self._plain(name, parsed)
            elif number >= _FIRST and taken < number / 2:
                return Match(name, taken / len(sample), 0.0)
        if bits < _OF_USUAL * self._usual.get(name, 0.0) * size:
            return Match(name, 0.0, 0.0)
        if not own and bits - plain < _MIN_BITS * taken:
            return Match(name, 0.0, 0.0)
        return Match(name, taken / max(1, len(sample)), bits / max(1, taken))

    def _last(self, name: str, parsed: Parsed) -> bool:
        return self._ready[name].grammar.types[parsed.type].name.startswith(OTHER)

    def _plain(self, name: str, parsed: Parsed) -> float:
        """Give the part of the evidence that any text would have, or any row of zeros."""
        plain = self._plains[name]
        if not plain:
            return 0.0
        return sum([_plain_bits(plain[f.name], f.value) for f in parsed.fields
                    if f.name in plain and isinstance(f.value, bytes)])  # fmt: skip


def _plain_bits(zeros: float, value: bytes) -> float:
    return zero_bits(value, zeros) if zeros else text_bits(value)


def _plains(grammar: ir.Grammar) -> dict[str, float]:
    """Give the leaves of which nothing is known but that they are text, or have many zeros.

    Of the latter the share of zeros, of text 0.
    """
    return {
        name: leaf.zeros if isinstance(leaf, ir.Data) else 0.0
        for name, leaf in ir.leaves(grammar).items()
        if isinstance(leaf, ir.Data | ir.Until)
        and (leaf.sem is Sem.TEXT or (isinstance(leaf, ir.Data) and leaf.zeros > 0))
        and not (isinstance(leaf, ir.Data) and leaf.known)
    }
