"""The commands' end of the control socket: one call, one answer, blocking.

It imports no event loop: a command that stops everything has no time for one.
"""

import os
import socket
from pathlib import Path
from typing import Final, TypeAlias

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.frames import FrameSocket, require_same_user
from cronos.types import ControlCall, ControlReply, decode, encode

SOCKET_NAME: Final = "control.sock"
_LOST: Final = "control.silent"
# How an error comes back to life at the other end: its class stands where the result would.
_Kind: TypeAlias = type[DeniedError] | type[UnreachableError] | type[InputError]
KINDS: Final[dict[bytes, _Kind]] = {
    b'"denied"': DeniedError,
    b'"unreachable"': UnreachableError,
    b'"input"': InputError,
}


def ask(path: Path, call: ControlCall, timeout_s: float = 10.0) -> bytes:
    """Give a running node's answer to a command, as JSON.

    Raises:
        UnreachableError: no node runs there, or it does not answer in time.
        InputError: the node does not know what was named.
        DeniedError: it refuses.
    """
    link = _connected(path, timeout_s)
    try:
        link.send(encode(call))
        body = link.receive(timeout_s)
    except UnreachableError as error:
        raise _silent(path) from error
    finally:
        link.close()
    if body is None:
        raise _silent(path)
    try:
        reply = decode(body)
    except ValueError:
        raise _silent(path) from None
    if not isinstance(reply, ControlReply) or reply.request_id != call.request_id:
        raise _silent(path)
    if not reply.code:
        return reply.result
    if (kind := KINDS.get(reply.result)) is not None:
        raise kind(reply.code, reply.sentence, reply.remedy)
    raise CronosError(reply.code, reply.sentence, reply.remedy)


def _connected(path: Path, timeout_s: float) -> FrameSocket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout_s)
        connected.connect(os.fspath(path))
        if os.geteuid() != 0:  # root may speak to anyone's node
            require_same_user(connected)
    except PermissionError as error:
        connected.close()
        raise DeniedError(
            "control.other_user",
            f"{path} is not this user's to use.",
            "Run the command as the user that the node runs as, or as root.",
        ) from error
    except OSError as error:
        connected.close()
        raise UnreachableError(
            "control.no_node",
            f"No node answers on {path}: {error.strerror or error}.",
            "Start one with `cronos up`, or name its --state and --config; what an earlier one did "
            "`cronos audit` still tells from its ledger.",
        ) from error
    except DeniedError:
        connected.close()
        raise
    return FrameSocket(connected)


def _silent(path: Path) -> UnreachableError:
    return UnreachableError(
        _LOST,
        f"What listens on {path} gave no answer that is understood.",
        "It may be ending, or be of another version; try again, and see its log.",
    )
