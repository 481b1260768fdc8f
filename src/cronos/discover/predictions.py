"""A line for every message: its fields, what they mean, how sure that is, and its type."""

from collections.abc import Iterator
from typing import Final

import msgspec

from cronos.discover import ir
from cronos.discover.interpreter import Interpreter, Parsed
from cronos.discover.learned import Learned
from cronos.discover.messages import Message, Service
from cronos.discover.model import Field, Sem


class FieldLine(msgspec.Struct, frozen=True):
    """One field of a message."""

    offset: int
    length: int
    sem: str
    confidence: float


class Prediction(msgspec.Struct, frozen=True):
    """What is said of one message; `i` is its number in the input, from 0."""

    i: int
    fields: tuple[FieldLine, ...]
    message_type: int


_NO_TYPE: Final = -1


def predictions(service: Service, learned: Learned) -> Iterator[Prediction]:
    """Give a prediction for each message of a service, in order.

    What was learnt from has the fields that were found in it; any other message is parsed with
    the grammar. What neither says anything of has no fields.
    """
    found = learned.discovery
    known = {number: at for at, number in enumerate(learned.sample)} if found else {}
    parser = _Parser(learned.grammar)
    numbers = service.numbers or range(len(service.messages))
    for at, (number, message) in enumerate(zip(numbers, service.messages, strict=True)):
        row = known.get(at)
        if found is not None and row is not None:
            yield Prediction(number, _lines(found.fields[row]), found.types[row])
        else:
            yield parser.prediction(number, message)


class _Parser:
    """Parses what was not learnt from."""

    def __init__(self, grammar: bytes) -> None:
        self._interpreter = Interpreter(ir.decode(grammar)) if grammar else None
        self._leaves = ir.leaves(self._interpreter.grammar) if self._interpreter else {}

    def prediction(self, number: int, message: Message) -> Prediction:
        parsed = self._interpreter and self._interpreter.parse(message.payload, message.direction)
        if self._interpreter is None or not isinstance(parsed, Parsed):
            return Prediction(number, (), _NO_TYPE)
        kind = self._interpreter.grammar.types[parsed.type]
        fields = tuple(
            [
                FieldLine(one.offset, one.length, self._sem(one.name), self._sure(one.name))
                for one in parsed.fields
                if one.length
            ]
        )
        return Prediction(number, fields, kind.members[0] if kind.members else parsed.type)

    def _sem(self, name: str) -> str:
        leaf = self._leaves[name]
        return (Sem.CHECKSUM if isinstance(leaf, ir.Checksum) else leaf.sem).value

    def _sure(self, name: str) -> float:
        return round(self._leaves[name].confidence, 4)


def _lines(fields: tuple[Field, ...]) -> tuple[FieldLine, ...]:
    return tuple(
        [
            FieldLine(one.offset, one.length, one.sem.value, round(one.confidence, 4))
            for one in fields
        ]
    )
