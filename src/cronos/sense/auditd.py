"""Read the records of the Linux audit system, one line each: ``type=EXECVE msg=audit(…): …``.

What a user controls (a file name, an argument, an account) is written in quotes, or in hex as
soon as it holds a quote, a space or a control character: it cannot pose as another field.
Source: the audit event format of linux-audit/audit-documentation.
"""

import re
from typing import Final

from cronos.sense.records import Record
from cronos.types import Scalar

_BEGIN: Final = re.compile(
    r"(?:node=(\S{1,255}) )?type=([\w\[\]]{1,64}) "
    r"(?:msg=)?audit\((\d{1,12})\.(\d{1,9}):(\d{1,20})\): ?"
)
_FIELD: Final = re.compile(r"""([\w\[\]-]{1,64})=("[^"]*"|'[^']*'|\([^)]*\)|[^\s'"]*)""")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_MAYBE_HEX: Final = frozenset(("proctitle", "comm", "exe", "name", "cwd", "acct", "cmd", "key"))
_ARGUMENT: Final = re.compile(r"a\d{1,4}(?:\[\d{1,4}\])?")
_MAX_FIELDS: Final = 2048
_SHOWN_ARGUMENTS: Final = 64
_EXECVE_CALLS: Final = frozenset(("59", "322", "11", "221", "281", "execve", "execveat"))
_LOGINS: Final = frozenset(("USER_LOGIN", "USER_AUTH", "USER_ERR"))


def parse(message: str) -> tuple[Record, int] | None:
    """Give an audit record's fields and its time, or None if it is none.

    The fields inside a trusted program's ``msg='…'`` are lifted out beside the others.
    """
    begin = _BEGIN.match(message)
    if begin is None:
        return None
    record: Record = {"type": begin[2], "audit_id": begin[5]}
    if begin[1]:
        record["node"] = begin[1]
    _fields(message, begin.end(), record)
    inner = record.pop("msg", None)
    if isinstance(inner, str):
        _fields(inner, 0, record)
    stamp = int(begin[3]) * 1_000_000_000 + int(f"{begin[4]:0<9.9}")
    return record, stamp if stamp < 1 << 63 else 0


def _fields(text: str, at: int, record: Record) -> None:
    for match, _ in zip(_FIELD.finditer(text, at), range(_MAX_FIELDS), strict=False):
        name, value = match[1], match[2]
        if value[:1] in ("'", '"'):
            value = value[1:-1]
        elif _encoded(name, value, record):
            value = bytes.fromhex(value).replace(b"\0", b" ").decode(errors="replace")
        record.setdefault(name, value)


def _encoded(name: str, value: str, record: Record) -> bool:
    """Say whether a bare value is hex: in EXECVE an argument, elsewhere what a user controls."""
    argument = record["type"] == "EXECVE" and _ARGUMENT.fullmatch(name) is not None
    return (argument or name in _MAYBE_HEX) and _HEX.fullmatch(value) is not None


def normalise(record: Record, fields: dict[str, Scalar]) -> str:
    """Fill in the normalised fields and give the activity."""
    kind = record["type"]
    if kind == "EXECVE":
        shown = [record[f"a{i}"] for i in range(_SHOWN_ARGUMENTS) if f"a{i}" in record]
        fields["process.cmd_line"] = " ".join(shown)[:8192]
        if shown:
            fields["process.file.path"] = shown[0][:4096]
        return "process_activity"
    if kind == "SYSCALL":
        _put(fields, "process.file.path", record.get("exe"))
        pid = record.get("pid", "")
        if pid.isascii() and pid.isdecimal() and len(pid) < 12:
            fields["process.pid"] = int(pid)
        _put(fields, "actor.user.name", record.get("UID"))
        called = record.get("SYSCALL", record.get("syscall"))
        return "process_activity" if called in _EXECVE_CALLS else "base_event"
    if kind in _LOGINS:
        _put(fields, "user.name", record.get("acct"))
        fields["status"] = "success" if record.get("res") in ("success", "yes", "1") else "failure"
        return "authentication"
    _put(fields, "file.path", record.get("name"))
    return "file_activity" if kind == "PATH" else "base_event"


def _put(fields: dict[str, Scalar], name: str, value: object) -> None:
    if isinstance(value, str) and value not in ("", "?", "(null)"):
        fields[name] = value[:8192]
