"""The other half of `cronos.respond.child`: the process that holds one executor and its secrets.

It does what it is asked, one call after the other, and ends at once when the enforcer's end of
the socket closes: an effect that its own restart is about to undo must not be applied after.
"""

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from cronos.errors import CronosError
from cronos.link.frames import FrameSplitter, frame
from cronos.ports import Executor
from cronos.respond.child import READY, VERBS, Call, Reply
from cronos.types import MAX_FRAME_BYTES, Action, Datum, Plan, decode, encode

_READ_BYTES: Final = 1 << 18
_MAX_WAITING: Final = 4
_STANDARD_INPUT: Final = 0
DatumT = TypeVar("DatumT", bound=Datum)


def serve(build: Callable[[], Executor]) -> None:
    """Be the child: make the executor, say so, and answer calls until the enforcer is gone.

    Raises:
        CronosError: the executor cannot be made; the enforcer has been told.
    """
    with _taken_over(_STANDARD_INPUT) as connected:
        calls: queue.Queue[bytes] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=_read, args=(connected, calls, _leave), daemon=True).start()
        try:
            executor = build()
        except CronosError as error:
            connected.sendall(frame(msgspec.msgpack.encode(_failed(READY, error))))
            raise
        connected.sendall(frame(msgspec.msgpack.encode(Reply(READY))))
        while True:
            connected.sendall(frame(answer(executor, calls.get())))


def answer(executor: Executor, data: bytes) -> bytes:
    """Carry out one call and give the bytes of its reply; any bytes have one."""
    call_id = READY
    try:
        call = msgspec.msgpack.decode(data, type=Call)
        call_id = call.call_id
        reply = _carried_out(executor, call)
    except CronosError as error:
        reply = _failed(call_id, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reply = _fault(call_id, f"was asked what it does not understand: {type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a plug-in's fault; its text may hold a secret
        reply = _fault(call_id, f"failed: {type(error).__name__}")
    encoded = msgspec.msgpack.encode(reply)
    if len(encoded) > MAX_FRAME_BYTES:
        encoded = msgspec.msgpack.encode(_fault(call_id, "has more to say than a frame holds"))
    return encoded


def _carried_out(executor: Executor, call: Call) -> Reply:
    if call.verb == "observe":
        return Reply(call.call_id, names=tuple(sorted(executor.observe())))
    if call.verb == "plan":
        return Reply(call.call_id, _encoded(executor.plan(_given(call, Action))))
    plans = _given(call, Plan)
    if call.verb == "verify":
        return Reply(call.call_id, seen=tuple(executor.verify(plans)))
    if call.verb not in VERBS:
        raise ValueError("no such verb")
    return Reply(call.call_id, _encoded(getattr(executor, call.verb)(plans)))


def _given(call: Call, kind: type[DatumT]) -> list[DatumT]:
    given: list[DatumT] = []
    for item in call.items:
        datum = decode(item)
        if not isinstance(datum, kind):
            raise ValueError("another kind of datum")  # noqa: TRY004 - what came is no argument
        given.append(datum)
    return given


def _encoded(data: Sequence[Datum]) -> tuple[bytes, ...]:
    return tuple(encode(datum) for datum in data)


def _failed(call_id: int, error: CronosError) -> Reply:
    return Reply(call_id, code=error.code, sentence=error.sentence, remedy=error.remedy)


def _fault(call_id: int, what: str) -> Reply:
    return Reply(
        call_id,
        code="respond.child_fault",
        sentence=f"The executor {what}.",
        remedy="Report it: this is a fault of the executor.",
    )


def _taken_over(descriptor: int) -> socket.socket:
    """Take the socket that is our standard input, so that nothing started here inherits it."""
    connected = socket.socket(fileno=os.dup(descriptor))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    return connected


def _read(connected: socket.socket, calls: "queue.Queue[bytes]", leave: Callable[[], None]) -> None:
    """Read calls beside the work; at the end of the connection nothing more is worked on."""
    splitter = FrameSplitter()
    with contextlib.suppress(OSError, CronosError):
        while data := connected.recv(_READ_BYTES):
            for received in splitter.feed(data):
                calls.put(received)
    leave()


def _leave() -> None:
    os._exit(0)
