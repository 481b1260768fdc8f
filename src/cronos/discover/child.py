"""The process that reads a hostile input, or learns from it, within limits that the kernel keeps.

It is asked one thing on its standard input, tells how far it is, and ends. Memory is limited by
`RLIMIT_DATA`: what asks for more gets a `MemoryError`, which ends a phase and not the result.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cronos.discover.captures import bounds_of
from cronos.discover.learned import Learned, Told
from cronos.discover.messages import Service
from cronos.discover.model import Limits
from cronos.discover.phases import Parts, Teller, learn
from cronos.discover.reading import read_input
from cronos.discover.wire import Unpacker, frames
from cronos.errors import CronosError, UnreachableError
from cronos.ports import Clock

READ, LEARN = "read", "learn"
TOLD, SO_FAR, DONE, FAILED = "told", "so far", "done", "failed"
_READ_BYTES: Final = 1 << 18
_STANDARD_INPUT: Final = 0
_MIB: Final = 1 << 20
_SPARE_S: Final = 10
_PR_SET_PDEATHSIG: Final = 1
_CORES: Final = 4


class ReadAsk(msgspec.Struct, frozen=True, tag=READ):
    """Read an input and give its services."""

    path: str
    filter_text: str
    limits: Limits


class LearnAsk(msgspec.Struct, frozen=True, tag=LEARN):
    """Learn one service; `profiles` are grammars by name, to be tried first."""

    service: Service
    limits: Limits
    profiles: dict[str, bytes] = {}


Ask = ReadAsk | LearnAsk
_ASK: Final = msgspec.msgpack.Decoder(ReadAsk | LearnAsk)


class Failure(msgspec.Struct, frozen=True):
    """The error that an ask ended in."""

    code: str
    sentence: str
    remedy: str
    blame: str


def serve(clock: Clock, parts_of: Callable[[dict[str, bytes]], Parts]) -> None:
    """Be the child: answer the one ask that comes on standard input, and leave.

    Args:
        clock: bounds the phases.
        parts_of: gives what the phases are carried out by, with the profiles to try first.
    """
    connected = socket.socket(fileno=os.dup(_STANDARD_INPUT))
    with connected:
        _end_with_parent()
        ask = _asked(connected)
        _limit(ask.limits)

        def tell(kind: str, data: object) -> None:
            # Whoever started this may have gone; then nobody wants the rest.
            for one in frames(kind, msgspec.msgpack.encode(data)):
                connected.sendall(one)

        try:
            tell(DONE, carried_out(ask, clock, parts_of, tell))
        except CronosError as error:
            tell(FAILED, Failure(error.code, error.sentence, error.remedy, error.blame))
        except MemoryError:
            tell(FAILED, _too_much(ask.limits))
        except BrokenPipeError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked gets a sentence
            tell(FAILED, _fault(error))


def carried_out(
    ask: Ask,
    clock: Clock,
    parts_of: Callable[[dict[str, bytes]], Parts],
    tell: Callable[[str, object], None],
) -> Sequence[Service] | Learned:
    """Do what is asked."""
    if isinstance(ask, ReadAsk):
        return read_input(ask.path, ask.filter_text, bounds_of(ask.limits, clock))

    def told(one: Told) -> None:
        tell(TOLD, one)

    def so_far(one: Learned) -> None:
        tell(SO_FAR, one)

    return learn(ask.service, ask.limits, clock, parts_of(ask.profiles), Teller(told, so_far))


def _asked(connected: socket.socket) -> Ask:
    unpacker = Unpacker()
    while data := connected.recv(_READ_BYTES):
        for _, ask in unpacker.feed(data):
            decoded: ReadAsk | LearnAsk = _ASK.decode(ask)
            return decoded
    raise UnreachableError(
        "discover.unasked", "Nothing was asked of this process.", "Run `cronos discover`."
    )


def _end_with_parent() -> None:
    """Let the kernel end this process when whoever started it ends, however that ends.

    A phase may take minutes without telling anything: until then nobody would notice. A parent
    that has gone before this is noticed by its closed socket, which never asks.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _limit(limits: Limits) -> None:
    """Let the kernel refuse more memory, and more processor time than the wall allows."""
    most, seconds = limits.max_memory_mb * _MIB, int(limits.max_seconds) + _SPARE_S
    for limit, value in ((resource.RLIMIT_DATA, most), (resource.RLIMIT_CPU, seconds * _CORES)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
            resource.setrlimit(limit, (value, value))


def _too_much(limits: Limits) -> Failure:
    return Failure(
        "discover.memory",
        f"More than {limits.max_memory_mb} MiB of memory were needed.",
        "Allow more with --max-memory, or choose less of the input with --filter.",
        "input",
    )


def _fault(error: Exception) -> Failure:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return Failure(
        "discover.fault",
        f"The discovery failed: {type(error).__name__} ({where}).",
        "This is a fault of ours; report it with the input.",
        "ours",
    )
