"""The discovery of one service, phase by phase, within its limits.

What comes next is cheap or can be bounded; what is expensive looks at the time itself. After each
phase the result so far is told, so that whoever runs this in another process has it when the
process is ended. Running out of memory ends a phase, not the discovery.
"""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from cronos.discover.learned import Learned, Phase, Told, Validation, Verdict
from cronos.discover.messages import Message, Service
from cronos.discover.model import Discovery, Field, Limits, Sem
from cronos.discover.statistics import summarise
from cronos.errors import CronosError
from cronos.ports import Clock

_S_NS: Final = 1e9
# What is learnt from at most, for each MiB of memory: evidence about a byte takes some 300 bytes.
_BYTES_PER_MIB: Final = 2_000
_LONGEST: Final = 16_384
_FEWEST: Final = 64
# Of the time that is left; a grammar and its proof need some too.
_ENGINES_SHARE: Final = 0.7

Progress = Callable[[str, float], None]


class Known(NamedTuple):
    """What messages are taken for, why, and which profile they fit."""

    verdict: Verdict
    why: str = ""
    profile: str = ""
    grammar: bytes = b""


class Parts(NamedTuple):
    """What the phases are carried out by; a discovery may end with its fields."""

    classify: Callable[[Sequence[Message]], Known]
    first: Callable[[Sequence[Message]], Discovery]
    """Gives a first answer within a moment, for those who have no time for a better one."""
    discover: Callable[[Sequence[Message], Limits, Clock, Progress], Discovery]
    infer: Callable[[Discovery], bytes] | None = None
    export: Callable[[bytes], dict[str, bytes]] | None = None
    verify: Callable[[bytes, Discovery], Validation] | None = None


class Teller(NamedTuple):
    """Hears how far a discovery is, and what it would give if it ended now."""

    told: Callable[[Told], None]
    so_far: Callable[[Learned], None]


class _Stopped(Exception):  # noqa: N818 - control flow within this file, it never leaves it
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def learn(service: Service, limits: Limits, clock: Clock, parts: Parts, teller: Teller) -> Learned:
    """Carry out the phases on the messages of one service."""
    return _Course(service, limits, clock, parts, teller).run()


class _Course:
    def __init__(
        self, service: Service, limits: Limits, clock: Clock, parts: Parts, teller: Teller
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._parts = parts
        self._teller = teller
        self._began_ns = clock.now().boot_ns
        self._messages = service.messages
        self._chosen: tuple[list[int], list[Message]] = [], []
        self._learned = Learned(
            service.name, Verdict.UNKNOWN, summarise(()), remarks=service.remarks
        )

    def run(self) -> Learned:
        try:
            self._phase(Phase.STATISTICS, self._statistics)
            self._phase(Phase.CLASSIFICATION, self._classification)
            if self._learned.verdict is Verdict.UNKNOWN:
                # The engine tells of message types and boundaries itself: it refines them in turn.
                self._phase(Phase.TYPES, self._first)
                self._phase(Phase.BOUNDARIES, self._boundaries)
                self._parse()
        except _Stopped as stopped:
            self._learned = replace(self._learned, stopped=stopped.why)
        return self._learned

    def _left_s(self) -> float:
        return self._limits.max_seconds - (self._clock.now().boot_ns - self._began_ns) / _S_NS

    def _phase(self, phase: Phase, work: Callable[[], str]) -> None:
        if self._left_s() <= 0:
            raise _Stopped(f"The time was up before {phase}.")
        self._teller.told(Told(phase))
        began_ns = self._clock.now().boot_ns
        try:
            found = work()
        except MemoryError:
            raise _Stopped(
                f"{phase} needed more than {self._limits.max_memory_mb} MiB of memory."
            ) from None
        except CronosError as error:
            raise _Stopped(f"{phase} stopped: {error.sentence}") from error
        except Exception as error:
            # A fault of ours that some input brings about costs what would have followed.
            if self._learned.discovery is None:
                raise
            raise _Stopped(_fault(phase, error)) from error
        took = (self._clock.now().boot_ns - began_ns) / _S_NS
        seconds = {**self._learned.seconds, phase.value: round(took, 3)}
        self._learned = replace(self._learned, seconds=seconds)
        self._teller.told(Told(phase, 1.0, found))
        self._teller.so_far(self._learned)

    def _statistics(self) -> str:
        summary = summarise(self._messages)
        self._learned = replace(self._learned, summary=summary)
        return f"{summary.messages} messages, {summary.bytes} bytes, {summary.flows} flows"

    def _classification(self) -> str:
        if not any(message.payload for message in self._messages):
            self._learned = replace(
                self._learned, verdict=Verdict.EMPTY, why="No message holds any byte."
            )
            return self._learned.why
        known = self._parts.classify(self._messages)
        self._learned = replace(
            self._learned,
            verdict=known.verdict,
            why=known.why,
            profile=known.profile,
            grammar=known.grammar,
        )
        return known.why or known.verdict.value

    def _parse(self) -> None:
        for phase, work, part in (
            (Phase.GRAMMAR, self._grammar, self._parts.infer),
            (Phase.PARSER, self._parser, self._parts.export),
            (Phase.VALIDATION, self._validation, self._parts.verify),
        ):
            if part is not None:
                self._phase(phase, work)

    def _first(self) -> str:
        self._chosen = sampled(self._messages, self._limits)
        return self._keep(self._parts.first(self._chosen[1]))

    def _boundaries(self) -> str:
        messages = self._chosen[1]
        limits = replace(self._limits, max_seconds=max(0.1, _ENGINES_SHARE * self._left_s()))
        found = self._parts.discover(messages, limits, self._clock, self._engine_told)
        return self._keep(found)

    def _keep(self, found: Discovery) -> str:
        sample = self._chosen[0]
        found = _restored(found, [self._messages[number] for number in sample])
        self._learned = replace(self._learned, sample=tuple(sample), discovery=found)
        count = sum(len(fields) for fields in found.fields)
        return f"{len(set(found.types))} message types, {count} fields, {len(found.claims)} claims"

    def _engine_told(self, phase: str, share: float) -> None:
        known = {one.value: one for one in Phase}
        self._teller.told(Told(known.get(phase, Phase.BOUNDARIES), min(1.0, max(0.0, share))))

    def _grammar(self) -> str:
        assert self._parts.infer is not None  # noqa: S101 - asked before
        grammar = self._parts.infer(self._found())
        self._learned = replace(self._learned, grammar=grammar)
        return f"{len(grammar)} bytes of grammar"

    def _parser(self) -> str:
        assert self._parts.export is not None  # noqa: S101 - asked before
        files = self._parts.export(self._learned.grammar)
        self._learned = replace(self._learned, files=files)
        return ", ".join(sorted(files))

    def _validation(self) -> str:
        assert self._parts.verify is not None  # noqa: S101 - asked before
        proof = self._parts.verify(self._learned.grammar, self._found())
        self._learned = replace(self._learned, validation=proof)
        return f"{proof.parsed:.1%} of {proof.held_back} held-back messages parse"

    def _found(self) -> Discovery:
        if self._learned.discovery is None:
            raise _Stopped("No fields were found.")
        return self._learned.discovery


def sampled(messages: Sequence[Message], limits: Limits) -> tuple[list[int], list[Message]]:
    """Choose what is learnt from: evenly over time, within the limits; give numbers and messages.

    Fewer messages rather than shorter ones, since what ends a message is evidence; but what is
    longer than 16 KiB is cut.
    """
    full = [number for number, message in enumerate(messages) if message.payload]
    numbers = _evenly(full, limits.max_messages)
    budget = limits.max_memory_mb * _BYTES_PER_MIB
    longest = _LONGEST
    while _size(messages, numbers, longest) > budget and len(numbers) > _FEWEST:
        numbers = _evenly(numbers, max(_FEWEST, len(numbers) // 2))
    while _size(messages, numbers, longest) > budget and longest > 1:
        longest //= 2
    chosen = [messages[number] for number in numbers]
    return numbers, [
        replace(one, payload=one.payload[:longest]) if len(one.payload) > longest else one
        for one in chosen
    ]


def _evenly(numbers: list[int], most: int) -> list[int]:
    if len(numbers) <= most:
        return numbers
    return [numbers[at * len(numbers) // most] for at in range(max(1, most))]


def _size(messages: Sequence[Message], numbers: Sequence[int], longest: int) -> int:
    return sum(min(longest, len(messages[number].payload)) for number in numbers)


def _restored(found: Discovery, messages: Sequence[Message]) -> Discovery:
    """Put whole messages where cut ones were learnt from; what was cut off is bytes."""
    fields = [
        (*of, Field(len(cut.payload), len(whole.payload) - len(cut.payload), Sem.BYTES, 0.0))
        if len(cut.payload) < len(whole.payload)
        else of
        for of, cut, whole in zip(found.fields, found.messages, messages, strict=True)
    ]
    return replace(found, messages=tuple(messages), fields=tuple(fields))


def _fault(phase: Phase, error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return f"{phase} failed: {type(error).__name__} ({where}). This is a fault of ours; report it."


def nothing(service: Service, why: str) -> Learned:
    """Give the result of a discovery of which there is none."""
    return Learned(service.name, Verdict.UNKNOWN, summarise(service.messages), stopped=why)
