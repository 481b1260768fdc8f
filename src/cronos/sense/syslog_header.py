"""Take a syslog line apart: priority, time, host, program, process and message.

Sources: RFC 5424 section 6 (structured data, byte order mark), RFC 3164 section 4, and what
rsyslog and journald write to files: either form of time without a priority.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import msgspec

from cronos.sense.normal import time_ns

_PRIORITY: Final = re.compile(r"<(\d{1,3})>")
_BSD: Final = re.compile(
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([ \d]\d|\d)"
    r" (\d\d):(\d\d):(\d\d)(?:\.\d{1,9})? "
)
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?) ")
_TAG: Final = re.compile(r"([\w./@+-]{1,64})(?:\[(\d{1,10})\])?:(?: |$)")
_HOST: Final = re.compile(r"([^\s:\[\]]{1,255}|[0-9a-fA-F:.]{2,45}) ")
# Backslash escapes a quote, a bracket and itself. Each text matches in one way, so that failing
# takes linear time; possessive quantifiers would say so, but Python before 3.11.5 mismatches them.
_VALUE: Final = r'[^"\\\]]*(?:\\.[^"\\\]]*)*'
_ELEMENT: Final = re.compile(
    rf'\[([^ =\]"]{{1,64}})((?: [^ =\]"]{{1,64}}="{_VALUE}")*)\]', re.DOTALL
)
_PARAMETER: Final = re.compile(rf' ([^ =\]"]{{1,64}})="({_VALUE})"', re.DOTALL)
_ESCAPED: Final = re.compile(r'\\(["\\\]])')
_MONTHS: Final = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]
_MAX_ELEMENTS: Final = 32
_DAY_NS: Final = 86_400_000_000_000


class Header(msgspec.Struct):
    """A syslog line in its parts; what it does not say is empty, or -1 for the priority."""

    message: str
    priority: int = -1
    time_ns: int = 0
    host: str = ""
    program: str = ""
    pid: str = ""
    data: dict[str, str] = {}

    @property
    def facility(self) -> int:
        """The facility, 0..23, or -1."""
        return self.priority >> 3 if self.priority >= 0 else -1

    @property
    def severity(self) -> int:
        """The severity, 0 (emergency) to 7 (debug), or -1."""
        return self.priority & 7 if self.priority >= 0 else -1


class YearRule(msgspec.Struct, frozen=True):
    """How a time without a year or a zone is read: as the last one not in the future.

    `now_ns` is the wall time, or 0 where there is no clock; then `year` is taken as it is.
    """

    now_ns: int = 0
    year: int = 1970
    utc_offset_minutes: int = 0


def parse(line: str, years: YearRule) -> Header | None:
    """Give the parts of a line, or None: it has neither a priority nor a time.

    A message with a priority alone is whole: RFC 3164 section 4.3.3.
    """
    priority, at = -1, 0
    found = _PRIORITY.match(line)
    if found is not None and int(found[1]) <= 191:
        priority, at = int(found[1]), found.end()
        if line.startswith("1 ", at):
            return _modern(line, at + 2, priority)
    header = Header(line[at:], priority)
    if (stamp := _BSD.match(line, at)) is not None:
        header.time_ns = _bsd_ns(stamp, years)
        _rest(line, stamp.end(), header)
    elif (iso := _ISO.match(line, at)) is not None:
        header.time_ns = time_ns(iso[1].replace(",", "."))
        _rest(line, iso.end(), header)
    elif priority < 0:
        return None
    else:
        _tag(line, at, header)
    return header


def _rest(line: str, at: int, header: Header) -> None:
    """Take host and tag; a program that names no host writes its tag at once."""
    if _TAG.match(line, at) is None and (named := _HOST.match(line, at)) is not None:
        header.host = named[1]
        at = named.end()
    _tag(line, at, header)


def _tag(line: str, at: int, header: Header) -> None:
    tag = _TAG.match(line, at)
    if tag is None:
        header.message = line[at:]
        return
    header.program, header.pid = tag[1].rpartition("/")[2], tag[2] or ""
    header.message = line[tag.end() :]


def _modern(line: str, at: int, priority: int) -> Header:
    parts = line[at:].split(" ", 5)
    parts += [""] * (6 - len(parts))
    stamp, host, program, pid, _, rest = ("" if part == "-" else part for part in parts)
    data, message = _structured(rest)
    return Header(
        message.removeprefix("\ufeff"),
        priority,
        time_ns(stamp),
        host[:255],
        program[:48].rpartition("/")[2],
        pid[:128],
        data,
    )


def _structured(rest: str) -> tuple[dict[str, str], str]:
    """Give structured data as ``element.parameter`` and the message after it."""
    if rest.startswith("- "):
        return {}, rest[2:]
    data: dict[str, str] = {}
    at = 0
    for _ in range(_MAX_ELEMENTS):
        element = _ELEMENT.match(rest, at)
        if element is None:
            break
        at = element.end()
        for name, value in _PARAMETER.findall(element[2]):
            data[f"{element[1]}.{name}"] = _ESCAPED.sub(r"\1", value)
    return data, rest[at:].removeprefix(" ")


def _bsd_ns(stamp: re.Match[str], years: YearRule) -> int:
    zone = timezone(timedelta(minutes=years.utc_offset_minutes))
    now = datetime.fromtimestamp(years.now_ns // 1_000_000_000, UTC)
    year = now.year if years.now_ns else years.year
    when = _moment(stamp, year, zone)
    if years.now_ns and when > years.now_ns + _DAY_NS:
        return _moment(stamp, year - 1, zone)
    return when


def _moment(stamp: re.Match[str], year: int, zone: timezone) -> int:
    month, day = _MONTHS.index(stamp[1]) + 1, int(stamp[2])
    try:
        when = datetime(year, month, day, int(stamp[3]), int(stamp[4]), int(stamp[5]), tzinfo=zone)
    except ValueError:  # the 31st of February, the 61st second
        return 0
    return max(int(when.timestamp()) * 1_000_000_000, 0)
