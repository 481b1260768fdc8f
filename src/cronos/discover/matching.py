"""Known protocols first: which stored profile takes these messages, if any.

A profile takes a message when its parser does, with evidence: bits by which the message is more
likely under the grammar than as random bytes. A grammar so loose that it takes anything has none,
and takes nobody's messages for its own.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cronos.discover import ir
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.messages import Message

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

    def names(self) -> tuple[str, ...]:
        """Give the profiles that are tried."""
        return tuple(self._ready)

    def match(self, messages: Sequence[Message]) -> Match | None:
        """Give the profile that takes these messages, by a sample of them; None when none does."""
        full = [message for message in messages if message.payload]
        count = min(SAMPLE, len(full))
        sample = [full[at * len(full) // count] for at in range(count)]
        found = [
            match
            for name in self._ready
            if (match := self.tried(name, sample)).share >= _TAKEN and match.bits >= _MIN_BITS
        ]
        return max(found, key=lambda one: (one.bits * one.share, one.name), default=None)

    def tried(self, name: str, sample: Sequence[Message]) -> Match:
        """Say how one profile does; what does not begin well is not tried to its end."""
        taken, size, bits = 0, 0, 0.0
        for number, message in enumerate(sample, 1):
            parsed = self._ready[name].parse(message.payload, message.direction)
            if isinstance(parsed, Parsed):
                taken += 1
                size += len(message.payload)
                bits += parsed.bits
            elif number >= _FIRST and taken < number / 2:
                return Match(name, taken / len(sample), 0.0)
        if bits < _OF_USUAL * self._usual.get(name, 0.0) * size:
            return Match(name, 0.0, 0.0)
        return Match(name, taken / max(1, len(sample)), bits / max(1, taken))
