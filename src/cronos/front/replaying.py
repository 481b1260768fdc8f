"""Decides again, in a process of its own: snapshots in, decisions out, nothing else.

``python -m cronos.front.replaying`` reads frames (``length u32 | canonical bytes``) of snapshots
from standard input to its end, and writes one frame for each: the decision, or nothing where the
bytes are no snapshot of this version. Another process and another hash seed show that a decision
depends on its snapshot alone.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, TypeGuard

import msgspec

from cronos.errors import CronosError
from cronos.front.plugins import load
from cronos.types import MAX_FRAME_BYTES, Datum, Decision, Snapshot, decode, encode

HASH_SEED: Final = "4711"
_OTHER_SEED: Final = "1147"
_LENGTH_BYTES: Final = 4
_MOST_S: Final = 120


def hash_seed() -> str:
    """Give a hash seed that is not this process's own."""
    return _OTHER_SEED if os.environ.get("PYTHONHASHSEED") == HASH_SEED else HASH_SEED


def decide_afresh(snapshots: Sequence[bytes], seed: str) -> list[bytes]:
    """Give the canonical decision about each snapshot, b"" where it is none, of a fresh process.

    Raises:
        CronosError: the process failed.
    """
    # The paths of this process, in their order: the same code, wherever it was started from.
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cronos.front.replaying"],
            input=b"".join(_frame(one) for one in snapshots),
            capture_output=True,
            env=environment,
            timeout=_MOST_S,
            check=True,
        )
        decisions = list(_frames(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise _failed(str(error)) from error
    if len(decisions) != len(snapshots):
        raise _failed(f"it gave {len(decisions)} answers to {len(snapshots)} snapshots")
    return decisions


def difference(recorded: bytes, replayed: bytes) -> tuple[str, bool]:
    """Say how a replayed decision differs from the record, and whether the record is older.

    Fields are only ever appended. A record of before one was is compared in what it holds.

    Raises:
        ValueError: either is no decision.
    """
    if recorded == replayed:
        return "", False
    then, now = _fields(recorded), _fields(replayed)
    names = ("", *Decision.__struct_fields__)
    for index, one in enumerate(then):
        if index >= len(now):
            return f"{len(then) - len(now)} fields are of a later version", False
        if not _same(one, now[index]):
            name = names[index] if index < len(names) else f"field {index}"
            return f"{name}: recorded {_said(one)}, replayed {_said(now[index])}", False
    return "", True


def _fields(data: bytes) -> list[Any]:
    if not isinstance(decode(data), Decision):
        raise ValueError("it is no decision")  # noqa: TRY004 - what decode raises
    fields: list[Any] = msgspec.msgpack.decode(data[2 + data[1] :])
    return fields


def _same(then: object, now: object) -> bool:
    """Compare what both hold; what was appended since, at any depth, is no difference."""
    if not _is_list(then) or not _is_list(now):
        return type(then) is type(now) and bool(then == now)
    # A datum begins with its tag; a plain list must be as long as it was.
    tagged = bool(then and now) and then[0] == now[0] and str(then[0]) in _TAGS
    if len(then) > len(now) or (len(then) != len(now) and not tagged):
        return False
    return all(_same(one, other) for one, other in zip(then, now, strict=False))


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


_TAGS: Final = frozenset(kind.__name__ for kind in Datum.__subclasses__())


def _said(value: Any) -> str:
    told = msgspec.json.encode(value).decode(errors="replace")
    return told if len(told) <= 120 else f"{told[:119]}…"


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def _frames(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if end > len(data) or end - at > MAX_FRAME_BYTES + _LENGTH_BYTES:
            raise ValueError("a frame is cut off")
        yield data[at + _LENGTH_BYTES : end]
        at = end


def _failed(why: str) -> CronosError:
    return CronosError(
        "front.replay_failed",
        f"The process that decides again failed: {why}.",
        "Run it again; report it if it stays so.",
    )


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer each snapshot of `source`."""
    decide = load("entry", "decide")
    target.writelines(_frame(_decided(decide, data)) for data in _frames(source.read()))


def _decided(decide: Any, data: bytes) -> bytes:
    try:
        snapshot = decode(data)
    except ValueError:
        return b""
    return encode(decide(snapshot)) if isinstance(snapshot, Snapshot) else b""


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
