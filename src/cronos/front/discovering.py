"""What `cronos discover` does with an input: read it, learn each service, write what was found."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from cronos.errors import CronosError, InputError
from cronos.front import settings
from cronos.front.documents_discover import DiscoverDocument, ServiceView
from cronos.front.folders import fill
from cronos.front.learner import launch
from cronos.front.limits import held_to
from cronos.front.outputs import as_text, reading, writing
from cronos.front.plugins import load
from cronos.front.profiles import FOLDER, store_of
from cronos.front.result import to_line
from cronos.front.text import console, is_terminal

_MIN_MESSAGES: Final = 8
_MAX_SERVICES: Final = 32
_MIN_SECONDS: Final = 1.0
# For the start of a process, its grace, and the reports: at most a quarter of all.
_KEPT_S: Final = 6.0
_AT_A_LIMIT: Final = frozenset({"discover.stopped", "discover.memory"})
_S_NS: Final = 1e9


class Found(NamedTuple):
    """One service, and what became of it."""

    service: Any
    learned: Any


def discover(options: argparse.Namespace) -> DiscoverDocument:
    """Carry everything out.

    Raises:
        CronosError: the input cannot be read, or nothing can be written.
    """
    clock = load("entry", "clock")()
    began_ns = clock.now().boot_ns
    known = _known(options)  # opening the keys takes memory of its own, by design
    with held_to(options.max_memory), Work(options, clock) as work:
        services = work.services()
        wanted, left_out = _wanted(services, options.min_messages, work.room())
        found = work.learned(wanted, known)
    predicted = _write_predictions(options, found) if options.predictions else ""
    written = _write_reports(options, found, clock) if options.out else [()] * len(found)
    _save(options, found, clock)
    return DiscoverDocument(
        as_text(options.input),
        tuple([_view(one, files) for one, files in zip(found, written, strict=True)]),
        left_out,
        predicted,
        round((clock.now().boot_ns - began_ns) / _S_NS, 3),
    )


class Work:
    """The jobs of one command, and what a person sees of them."""

    def __init__(self, options: argparse.Namespace, clock: Any) -> None:
        self._options = options
        self._clock = clock
        self._began_ns = clock.now().boot_ns
        self._shown = Shown()
        at_once = options.jobs or max(1, min(10, os.cpu_count() or 1))
        self._at_once = at_once
        self._jobs = load("entry", "discover-jobs")(launch(), clock, self._shown.heard, at_once)
        self._limits = load("entry", "discover-limits")

    def __enter__(self) -> Self:
        """Show progress where a person watches."""
        self._shown.begin()
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        self._shown.end()
        self._jobs.close()

    def services(self) -> Sequence[Any]:
        """Read the input, in a process of its own.

        Raises:
            CronosError: it cannot be read.
        """
        ask = load("entry", "discover-read")(
            str(Path(self._options.input).absolute()),
            self._options.filter,
            self._bounded(self._options.max_seconds),
        )
        self._shown.names[1] = "reading"
        answer = self._jobs.wait(self._jobs.submit(ask))
        if isinstance(answer, CronosError):
            raise answer
        services: Sequence[Any] = answer
        return services

    def room(self) -> int:
        """Give how many services there is time to learn."""
        left_s = float(self._options.max_seconds) - self._spent_s()
        return max(1, min(_MAX_SERVICES, int(left_s * self._at_once / _MIN_SECONDS)))

    def _spent_s(self) -> float:
        return float((self._clock.now().boot_ns - self._began_ns) / _S_NS)

    def _left_s(self) -> float:
        """Give the time there is to learn in: a part is kept for the end and for what follows."""
        whole_s = float(self._options.max_seconds)
        return max(_MIN_SECONDS, whole_s - min(_KEPT_S, whole_s / 4) - self._spent_s())

    def learned(self, services: Sequence[Any], known: dict[str, bytes]) -> list[Found]:
        """Learn services beside one another, each in its share of the time.

        Raises:
            CronosError: there is one service, and its discovery failed for no limit's sake.
        """
        share_s = self._left_s() * min(1.0, self._at_once / max(1, len(services)))
        make = load("entry", "discover-learn")
        numbers: list[int] = []
        for service in services:
            numbers.append(self._jobs.submit(make(service, self._bounded(share_s), known)))
            self._shown.names[numbers[-1]] = service.name
        answers = [self._answer(number) for number in numbers]
        for answer in answers[:1] if len(answers) == 1 else ():
            if isinstance(answer, CronosError) and answer.code not in _AT_A_LIMIT:
                raise answer
        nothing = load("entry", "discover-nothing")
        return [
            Found(service, nothing(service, answer.sentence))
            if isinstance(answer, CronosError)
            else Found(service, answer)
            for service, answer in zip(services, answers, strict=True)
        ]

    def _answer(self, number: int) -> Any:
        """Wait for an answer; when all of the time is spent, whatever there is by then."""
        while (answer := self._jobs.answer(number)) is None:
            if self._spent_s() > float(self._options.max_seconds):
                self._jobs.hurry()
            else:
                self._jobs.step(0.1)
        return answer

    def _bounded(self, seconds: float) -> Any:
        one = self._options
        seconds = max(_MIN_SECONDS, seconds)
        return self._limits(seconds, one.max_memory, one.max_messages, one.labeller)


class Shown:
    """A bar for each discovery that runs, on standard error, where a person watches."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self._tasks: dict[int, Any] = {}
        self._phases: Any = ()
        self._bars: Any = None

    def begin(self) -> None:
        """Draw."""
        if not is_terminal():
            return
        self._phases = load("entry", "discover-phases")
        from rich import progress  # noqa: PLC0415 - a third of a second, only to draw

        columns = (
            progress.TextColumn("{task.fields[service]}"),
            progress.BarColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeElapsedColumn(),
        )
        self._bars = progress.Progress(*columns, console=console(to_stderr=True), transient=True)
        self._bars.start()

    def heard(self, event: Any) -> None:
        """Move a bar: a seventh of it for each phase."""
        if self._bars is None:
            return
        if event.job not in self._tasks:
            name = self.names.get(event.job, "")
            self._tasks[event.job] = self._bars.add_task("", total=None, service=name)
        phases = [str(phase) for phase in self._phases]
        done = phases.index(str(event.told.phase)) + event.told.share
        self._bars.update(
            self._tasks[event.job],
            completed=done,
            total=len(phases),
            description=event.told.phase.value,
        )

    def end(self) -> None:
        """Take them away."""
        if self._bars is not None:
            self._bars.stop()


def _wanted(services: Sequence[Any], least: int, most: int) -> tuple[list[Any], dict[str, int]]:
    """Choose the services that are worth learning, at most so many; a single one always is."""
    if len(services) == 1:
        return list(services), {}
    chosen = [one for one in services if len(one.messages) >= (least or _MIN_MESSAGES)]
    chosen = (chosen or list(services[:1]))[:most]
    names = {one.name for one in chosen}
    return chosen, {one.name: len(one.messages) for one in services if one.name not in names}


def _known(options: argparse.Namespace) -> dict[str, bytes]:
    """Give the active profiles of this node, if it has a store of them."""
    config, state = settings.config_of(options), settings.state_of(options)
    if options.relearn or not (state / config.node.instance / FOLDER / "profiles.db").is_file():
        return {}
    encode: Callable[[Any], bytes] = load("entry", "encode-grammar")
    with store_of(options) as store:
        return {name: encode(profile.grammar) for name, profile in store.actives().items()}


def _write_predictions(options: argparse.Namespace, found: Sequence[Found]) -> str:
    """Write a line for each message of every service, in the order of the input."""
    predict = load("entry", "predictions")
    lines = [line for one in found for line in predict(one.service, one.learned)]
    lines.sort(key=lambda line: line.i)
    with (
        reading(options.input) as source,
        writing(options.predictions, source, force=True) as sink,
    ):
        for line in lines:
            left = memoryview(to_line(line))
            while left:
                left = left[sink.write(left) :]
    return as_text(options.predictions)


def _write_reports(
    options: argparse.Namespace, found: Sequence[Found], clock: Any
) -> list[tuple[str, ...]]:
    """Write a folder of files: of the only service into OUT itself, else into one for each."""
    report = load("entry", "discover-report")
    safe = load("entry", "profile-name")
    written: list[tuple[str, ...]] = []
    for one in found:
        name = safe(options.save or one.service.name)
        below = "" if len(found) == 1 else safe(one.service.name)
        files = report(one.service, one.learned, name, clock.now().wall_ns).files
        written.append(fill(Path(options.out), below, files))
    return written


def _save(options: argparse.Namespace, found: Sequence[Found], clock: Any) -> None:
    """Put what was learnt into the store, as candidates.

    Raises:
        InputError: there are several services, and one name.
    """
    if not options.save:
        return
    if len(found) > 1:
        raise InputError(
            "discover.one_name",
            f"{len(found)} services were found, and --save names one.",
            "Choose one with --filter.",
        )
    profile_of = load("entry", "discover-profile")
    profile = profile_of(found[0].service, found[0].learned, options.save, clock.now().wall_ns)
    if profile is None:
        raise InputError(
            "discover.nothing_to_save",
            f"No grammar was found for {found[0].service.name}.",
            "Capture more of it; `cronos discover` says what was found.",
        )
    with store_of(options) as store:
        store.add(profile)


def _view(one: Found, files: tuple[str, ...]) -> ServiceView:
    learned, found = one.learned, one.learned.discovery
    proof, summary = learned.validation, learned.summary
    return ServiceView(
        one.service.name,
        learned.verdict.value,
        learned.why,
        learned.profile,
        summary.messages,
        summary.bytes,
        summary.flows,
        len(learned.sample),
        len(set(found.types)) if found else 0,
        sum(len(fields) for fields in found.fields) if found else 0,
        tuple(sorted({claim.kind for claim in found.claims})) if found else (),
        proof.held_back if proof else 0,
        proof.parsed if proof else 0.0,
        proof.exact if proof else 0.0,
        proof.noise_refused if proof else 0.0,
        learned.seconds,
        learned.stopped,
        (*learned.remarks, *(found.remarks if found else ())),
        files,
    )
