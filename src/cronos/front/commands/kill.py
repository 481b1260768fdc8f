"""`cronos kill`: stops every action of this machine at once, whatever else still works.

Three ways, each as well as it can: a file that the enforcer looks at before each action; the
enforcer's own socket, which also answers; and each running node, which records it. A full or
read-only disk, a dead node or a broken configuration stop none of the others. To take it back
goes the other way round: a node that knows operators has to be asked first.
"""

import argparse
import os
from pathlib import Path
from typing import Final

import msgspec

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.front import orders, settings
from cronos.front.documents_people import KillDocument
from cronos.front.result import print_json
from cronos.link.asking import SOCKET_NAME, ask
from cronos.link.clerk import EVERY_NODE, Throw
from cronos.link.killswitch import FILE_NAME, MAX_GENERATION, KillFile, tell
from cronos.link.text import plain
from cronos.ports import Clock
from cronos.types import ControlCall, Kill

_PATIENCE_S: Final = 5.0
_SETTLE_S: Final = 10.0
_TRIES: Final = 3
_MS_NS: Final = 1_000_000
_ACKNOWLEDGED: Final = "acknowledged"
_ABSENT: Final = "absent"
_SILENT: Final = "silent"
_STALE: Final = "stale"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    orders.arguments(parser)
    parser.add_argument("--off", action="store_true", help="take it back: actions may happen again")
    parser.add_argument(
        "--release-all", action="store_true", help="undo all that is held, not only stop"
    )


def execute(options: argparse.Namespace) -> int:
    """Throw it, and tell what answered.

    3 where an enforcer is there and silent, 1 where it was not taken back.
    """
    from cronos.front.plugins import load  # noqa: PLC0415 - for the clock alone

    clock: Clock = load("entry", "clock")()
    throwing = _Throwing(options, clock)
    document = throwing.off() if options.off else throwing.on()
    if options.json:
        print_json(document)
    else:
        _print(document)
    if document.enforcer == _SILENT:
        return 3
    return 1 if options.off and document.engaged else 0


class _Answer(msgspec.Struct, frozen=True):
    """What a node says of its own switch; whatever else it says is of no matter here."""

    taken: bool
    generation: int


class _Throwing:
    """One throw of the switch: each way, and what came of it."""

    def __init__(self, options: argparse.Namespace, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._began_ns = clock.now().boot_ns
        self._state: Path = settings.state_of(options)
        self._file = KillFile(self._state / FILE_NAME)
        known = self._file.look().generation
        now_ms = clock.now().wall_ns // _MS_NS
        self._generation = min(max(now_ms, known + 1), MAX_GENERATION)
        self._highest = known
        self._remarks: list[str] = []
        self._enforcer = _ABSENT
        self._settled = True
        self._is_engaged = False  # as the enforcer said last
        self._nodes: dict[str, str] = {}
        self._acknowledged_ms = 0.0
        self._line: orders.Line | None = None

    def on(self) -> KillDocument:
        """Engage: the quickest way first, none of them waiting for another's success."""
        everything = bool(self._options.release_all)
        why = ""
        for _ in range(_TRIES):
            why = self._file.put(self._generation, release_all=everything)
            self._tell_enforcer(engaged=True, release_all=everything)
            if why and not self._file.look().engaged and self._enforcer != _ACKNOWLEDGED:
                raise UnreachableError(
                    "kill.nowhere",
                    f"Nothing could be stopped: {why} No enforcer answers either.",
                    "Run it as the user of the node, name its --state, or end its processes.",
                )
            self._tell_nodes(engaged=True, release_all=everything)
            if self._is_newest():
                break
        self._remarks += [why] if why else []
        return self._document(engaged=True, release_all=everything, file=not why)

    def off(self) -> KillDocument:
        """Take it back: whoever may refuse is asked first.

        Raises:
            DeniedError: a node takes that only from an operator who signs it.
        """
        why = ""
        for _ in range(_TRIES):
            self._tell_nodes(engaged=False, release_all=False)
            why = self._file.remove()
            self._tell_enforcer(engaged=False, release_all=False)
            if self._is_newest():
                break
        self._remarks += [why] if why else []
        if self._is_engaged and not why:
            self._remarks.append("It is still engaged: another order or file came after this one.")
        return self._document(
            engaged=bool(why) or self._is_engaged, release_all=False, file=not why
        )

    def _is_newest(self) -> bool:
        """Say whether no order is later than ours, by a clock that was ahead; or number it anew."""
        if self._highest <= self._generation:
            return True
        self._generation = min(self._highest + 1, MAX_GENERATION)
        return False

    def _tell_enforcer(self, *, engaged: bool, release_all: bool) -> None:
        path = self._state / "enforcer" / "enforcer.sock"
        kill = Kill(self._generation, engaged, release_all, "the command `cronos kill`")
        try:
            told = tell(path, kill, _PATIENCE_S, _SETTLE_S)
        except CronosError as error:
            self._enforcer = _ABSENT if error.code == "link.unreachable" else _SILENT
            if os.path.exists(path):  # noqa: PTH110 - False, too, where we may not even look
                self._remarks.append(error.sentence)
            return
        self._enforcer, self._settled = _ACKNOWLEDGED, told.settled
        self._highest = max(self._highest, told.state.generation)
        self._is_engaged = told.state.engaged
        if told.state.engaged != engaged:  # another order bears the same number, and came first
            self._highest = max(self._highest, self._generation + 1)
        self._acknowledged_ms = (self._clock.now().boot_ns - self._began_ns) / _MS_NS

    def _tell_nodes(self, *, engaged: bool, release_all: bool) -> None:
        words = msgspec.json.encode(Throw(self._generation, engaged, release_all))
        for socket in sorted(self._state.glob(f"*/run/{SOCKET_NAME}")):
            node = socket.parts[-3]
            try:
                call = ControlCall(1, "kill", words, self._signed(words))
                answer = msgspec.json.decode(ask(socket, call, _PATIENCE_S), type=_Answer)
            except CronosError as error:
                if isinstance(error, DeniedError) and not engaged:
                    raise
                self._nodes[node] = _ABSENT if error.code == "control.no_node" else _SILENT
                self._remarks.append(f"{node}: {error.sentence}")
            else:
                self._nodes[node] = _ACKNOWLEDGED if answer.taken else _STALE
                self._highest = max(self._highest, answer.generation)

    def _signed(self, words: bytes) -> bytes:
        """Sign it where a credential was given: not before all that needs none was told."""
        if self._options.credential is None:
            return b""
        self._line = self._line or orders.Line(self._options)
        return self._line.sign(EVERY_NODE, "kill", words)

    def _document(self, *, engaged: bool, release_all: bool, file: bool) -> KillDocument:
        return KillDocument(
            self._generation,
            engaged,
            release_all,
            file,
            self._enforcer,
            self._nodes,
            self._settled,
            round(self._acknowledged_ms, 3),
            tuple([plain(one) for one in self._remarks]),
        )


def _held(document: KillDocument) -> str:
    """Say what becomes of what is held, and no more than an enforcer has confirmed."""
    if not document.release_all:
        return "ends with its leases"
    if document.enforcer != _ACKNOWLEDGED:
        return "is released as soon as an enforcer runs and looks"
    return "has been released" if document.settled else "is being released"


def _print(document: KillDocument) -> None:
    word = "killed" if document.engaged else "on again"
    print(f"{word}: generation {document.generation}")
    if document.engaged:
        print(f"Nothing new is done to anyone; what is held {_held(document)}.")
    took = f" after {document.acknowledged_ms:.1f} ms" if document.acknowledged_ms else ""
    print(f"enforcer: {document.enforcer}{took}")
    for node, answer in document.nodes.items():
        print(f"node {plain(node, 80)}: {answer}")
    if not document.settled:
        print("An order is still under way at a foreign system; see the ledger.")
    for remark in document.remarks:
        print(remark)
