"""Read the messages of programs that authenticate people, and of the kernel's packet filter.

Rule: a user name is the attacker's text. Where a message holds one, its pattern is anchored at
both ends and the name takes everything it can, so that the address is the last one, which the
program wrote; a name like ``root from 192.0.2.1 port 22`` stays a name.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from cronos.sense.normal import address, user
from cronos.types import Entity, Scalar

MAX_MESSAGE_CHARS: Final = 8192


class Reading(msgspec.Struct):
    """What a message says. `proved` says that its address completed a TCP handshake."""

    activity: str = "authentication"
    actor: Entity | None = None
    target: Entity | None = None
    proved: bool = False


_Pattern = re.Pattern[str]
_END: Final = r" from (?P<ip>\S+)(?: port (?P<port>\d{1,5}))?(?: ssh\d?)?(?: \[preauth\])?$"
_SSHD: Final[tuple[tuple[_Pattern, str], ...]] = (
    (
        # The name of an account that exists holds no space; what follows the port is sshd's.
        re.compile(
            r"^Accepted (?P<how>[\w/-]{1,40}) for (?P<user>\S+) from (?P<ip>\S+)"
            r" port (?P<port>\d{1,5})(?: |$)"
        ),
        "success",
    ),
    (
        re.compile(
            r"^Failed (?P<how>[\w/-]{1,40}) for (?:invalid user |illegal user )?(?P<user>.*)" + _END
        ),
        "failure",
    ),
    (
        re.compile(
            r"^(?:error: )?maximum authentication attempts exceeded for (?:invalid user )?"
            r"(?P<user>.*)" + _END
        ),
        "failure",
    ),
    (
        # With keys alone this is the only trace of a failure; after a failed password it counts
        # the connection once more.
        re.compile(
            r"^(?:Connection (?:closed|reset) by|Disconnected from)"
            r" (?:authenticating|invalid) user (?P<user>.*) (?P<ip>\S+) port (?P<port>\d{1,5})"
            r" \[preauth\]$"
        ),
        "failure",
    ),
    # Followed by the failure itself, which is what counts.
    (re.compile(r"^(?:Invalid|Illegal) user (?P<user>.*)" + _END), ""),
)
_PAM: Final = re.compile(
    r"^pam_\w{1,20}\((?P<service>[\w-]{1,40}):auth\): authentication failure; logname=\S* uid=\d+"
    r" euid=\d+ tty=\S* ruser=\S* rhost=(?P<ip>\S*)(?:\s{1,4}user=(?P<user>.*))?$"
)
_SUDO_RUN: Final = re.compile(
    r"^\s{0,16}(?P<by>[^\s:;]{1,255}) : (?:(?P<why>[^;=]{1,200}) ; )?TTY=[^;]{1,64} ; PWD="
    # A folder may be called " ; USER=", but not so often that trying each takes long.
    r"(?:(?! ; USER=).)*(?: ; USER=(?:(?! ; USER=).)*){0,8}?"
    r" ; USER=(?P<user>[^\s;]{1,255}) ; (?:ENV=(?:(?! ; COMMAND=).)* ; )?COMMAND=(?P<command>.*)$"
)
_SU: Final[tuple[tuple[_Pattern, str], ...]] = (
    (re.compile(r"^FAILED SU \(to (?P<user>[^)]{1,255})\) (?P<by>\S+) on \S+$"), "failure"),
    (re.compile(r"^\(to (?P<user>[^)]{1,255})\) (?P<by>\S+) on \S+$"), "success"),
    (re.compile(r"^Successful su for (?P<user>\S+) by (?P<by>\S+)$"), "success"),
    (re.compile(r"^FAILED su for (?P<user>\S+) by (?P<by>\S+)$"), "failure"),
)
_FILTER: Final = re.compile(r"\b(IN|OUT|SRC|DST|PROTO|SPT|DPT)=([^\s\]]{0,64})")
_STOPPED: Final = re.compile(r"BLOCK|DROP|DENY|DENIED|REJECT", re.IGNORECASE)


def read(program: str, message: str, fields: dict[str, Scalar]) -> Reading | None:
    """Fill in what a known program's message says, or give None if it is not understood."""
    if len(message) > MAX_MESSAGE_CHARS:
        return None
    reader = _PROGRAMS.get(program)
    found = reader(message, fields) if reader is not None else None
    if found is not None and found.activity == "authentication":
        fields["service.name"] = "sshd" if program.startswith("sshd") else program
    return found if found is not None else _pam(message, fields)


def _login(match: re.Match[str], status: str, fields: dict[str, Scalar]) -> Reading:
    named = match.groupdict()
    source = address(named.get("ip"))
    if source is not None:
        fields["src_endpoint.ip"] = source.value
    if named.get("port"):
        fields["src_endpoint.port"] = min(int(named["port"]), 65535)
    if named.get("user"):
        fields["user.name"] = named["user"][:255]
    if named.get("by"):
        fields["actor.user.name"] = named["by"][:255]
    if status:
        fields["status"] = status
    return Reading(actor=source or user(named.get("by")) or user(named.get("user")))


def _first(
    patterns: tuple[tuple[_Pattern, str], ...], message: str, fields: dict[str, Scalar]
) -> Reading | None:
    for pattern, status in patterns:
        match = pattern.match(message)
        if match is not None:
            return _login(match, status, fields)
    return None


def _sshd(message: str, fields: dict[str, Scalar]) -> Reading | None:
    found = _first(_SSHD, message, fields)
    if found is not None:
        # sshd speaks of a user only after it and the client exchanged keys over TCP.
        found.proved = "src_endpoint.ip" in fields
    return found


def _su(message: str, fields: dict[str, Scalar]) -> Reading | None:
    return _first(_SU, message, fields)


def _sudo(message: str, fields: dict[str, Scalar]) -> Reading | None:
    match = _SUDO_RUN.match(message)
    if match is None:
        return None
    fields["actor.user.name"] = match["by"]
    fields["user.name"] = match["user"]
    fields["process.cmd_line"] = match["command"]
    if match["why"] is not None:
        fields["status"] = "failure"
        return Reading(actor=user(match["by"]))
    return Reading("process_activity", user(match["by"]))


def _pam(message: str, fields: dict[str, Scalar]) -> Reading | None:
    match = _PAM.match(message)
    if match is None:
        return None
    fields["service.name"] = match["service"]
    # sshd reports the same failure itself; counting both would double it.
    return _login(match, "" if match["service"] == "sshd" else "failure", fields)


def _kernel(message: str, fields: dict[str, Scalar]) -> Reading | None:
    """Read a line of netfilter's LOG target; the first of each key, not the quoted inner packet."""
    at = message.find("SRC=")
    if at < 0:
        return None
    told: dict[str, str] = {}
    for key, value in _FILTER.findall(message):
        told.setdefault(key, value)
    source, target = address(told.get("SRC")), address(told.get("DST"))
    if source is None or target is None:
        return None
    protocol = told.get("PROTO", "").lower()
    fields["src_endpoint.ip"], fields["dst_endpoint.ip"] = source.value, target.value
    fields["connection_info.protocol_name"] = protocol
    for name, key in (("src_endpoint.port", "SPT"), ("dst_endpoint.port", "DPT")):
        value = told.get(key, "")
        if value.isascii() and value.isdecimal():
            fields[name] = min(int(value), 65535)
    if _STOPPED.search(message[:at]) is not None:
        fields["status"] = "no_answer" if protocol == "tcp" else "datagram"
    return Reading("network_activity", source, target)


_PROGRAMS: Final[dict[str, Callable[[str, dict[str, Scalar]], Reading | None]]] = {
    "sshd": _sshd,
    "sshd-session": _sshd,
    "sudo": _sudo,
    "su": _su,
    "kernel": _kernel,
}
