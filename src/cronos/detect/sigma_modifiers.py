"""Sigma modifiers: what turns one field and one value into a check.

Source: Sigma specification 2.0, appendix "Modifiers".
"""

import base64
import ipaddress
import re
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cronos.detect.sigma_event import Event, strings, text
from cronos.detect.sigma_pattern import Pattern, Test, compile_pattern, parse
from cronos.detect.sigma_regex import TooCostly, subject_limit

Check = Callable[[Event], bool]
Number = int | float

_MAX_EXPRESSION_CHARS: Final = 8_192

_REGEX_FLAGS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
_ENCODINGS: Final = {
    "wide": "utf-16-le",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "utf16": "utf-16",
}
_TRANSFORMS: Final = frozenset({*_ENCODINGS, "base64", "base64offset", "windash"})
_EDGES: Final = {"contains": (True, True), "startswith": (False, True), "endswith": (True, False)}
_COMPARISONS: Final[dict[str, Callable[[Number, Number], bool]]] = {
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
    "gt": lambda value, limit: value > limit,
    "gte": lambda value, limit: value >= limit,
}
_DASH: Final = re.compile(r"\B[-/]\b")
_DASHES: Final = ("-", "/", "\u2013", "\u2014", "\u2015")


class Refused(Exception):  # noqa: N818 - it is caught in this room and becomes a listed refusal
    """A rule asks for what this matcher does not do; says what."""


class Compiled(NamedTuple):
    """A check, and exact lower-case texts of which one must be there (none: unknown)."""

    check: Check
    anchors: tuple[str, ...] = ()


def predicate(field: str, modifiers: tuple[str, ...], value: Any) -> Compiled:
    """Compile `field|modifiers: value`.

    Raises:
        Refused: an unknown modifier, or a value it cannot take.
    """
    transforms = [name for name in modifiers if name in _TRANSFORMS]
    rest = [name for name in modifiers if name not in _TRANSFORMS]
    if "re" in rest:
        return Compiled(_regex(field, rest, value))
    operator = next((name for name in rest if name in _OPERATORS), None)
    if operator is not None:
        _only(rest, {operator, *_EDGES} if operator == "fieldref" else {operator})
        return Compiled(_OPERATORS[operator](field, rest, value))
    _only(rest, {*_EDGES, "cased"})
    if value is None:
        return Compiled(_null(field))
    if isinstance(value, dict | list):
        message = f"a nested value under {field}"
        raise Refused(message)
    patterns = [_edged(parse(one), rest) for one in transform(text(value), transforms)]
    return _patterns(field, patterns, cased="cased" in rest)


def keyword(value: Any, modifiers: tuple[str, ...] = ()) -> Check:
    """Compile a value that may stand anywhere in the event.

    Raises:
        Refused: a modifier that keywords do not take.
    """
    rest = [name for name in modifiers if name not in _TRANSFORMS]
    if rest and rest[0] == "re":
        return _any_leaf(_searcher(rest, value))
    _only(rest, {"contains"})
    tests = [
        compile_pattern(parse(one).around(before=True, after=True).folded())
        for one in transform(text(value), [m for m in modifiers if m in _TRANSFORMS])
    ]
    return lambda event: any(test(leaf) for leaf in event.leaves() for test in tests)


def transform(value: str, names: list[str]) -> list[str]:
    """Apply encodings in order; each result is a Sigma string again."""
    if "windash" in names:
        return list(dict.fromkeys(_DASH.sub(dash, value) for dash in _DASHES))
    if not names:
        return [value]
    plain = parse(value).plain
    if plain is None:
        message = "wildcards in an encoded value"
        raise Refused(message)
    data = plain.encode()
    results = [plain]
    for name in names:
        if name in _ENCODINGS:
            data = plain.encode(_ENCODINGS[name])
            results = [data.decode("latin-1")]
        elif name == "base64":
            results = [base64.b64encode(data).decode()]
        else:
            results = [_at_offset(data, offset) for offset in range(3)]
    return results


def expression(modifiers: list[str], value: Any) -> re.Pattern[str]:
    """Compile a regular expression with its flags.

    Raises:
        Refused: it is none, too long, or carries an unknown flag.
    """
    _only(modifiers, {"re", *_REGEX_FLAGS})
    source = text(value)
    flags = re.RegexFlag(0)
    for name in modifiers:
        flags |= _REGEX_FLAGS.get(name, re.RegexFlag(0))
    if len(source) > _MAX_EXPRESSION_CHARS:
        message = f"a regular expression longer than {_MAX_EXPRESSION_CHARS} characters"
        raise Refused(message)
    try:
        with warnings.catch_warnings():
            # Python warns of constructs that may change their meaning; the rule means today's.
            warnings.simplefilter("ignore")
            return re.compile(source, flags)
    except (re.error, RecursionError, OverflowError) as error:
        message = f"the regular expression {source[:60]!r}: {error}"
        raise Refused(message) from error


def _only(modifiers: list[str], known: set[str]) -> None:
    unknown = [name for name in modifiers if name not in known]
    if unknown:
        message = f"the modifier {'|'.join(unknown)}"
        raise Refused(message)


def _edged(pattern: Pattern, modifiers: list[str]) -> Pattern:
    for name in modifiers:
        if name in _EDGES:
            before, after = _EDGES[name]
            pattern = pattern.around(before, after)
    return pattern


def _patterns(field: str, patterns: list[Pattern], cased: bool) -> Compiled:
    if cased:
        tests = [compile_pattern(pattern) for pattern in patterns]
        return Compiled(_cased(field, tests))
    folded = [pattern.folded() for pattern in patterns]
    anchors = [_anchor(pattern) for pattern in folded]
    known = tuple(one for one in anchors if one is not None)
    compiled = [compile_pattern(pattern) for pattern in folded]
    check = _one(field, compiled[0]) if len(compiled) == 1 else _many(field, compiled)
    return Compiled(check, known if len(known) == len(anchors) else ())


def _null(field: str) -> Check:
    return lambda event: event[field] is None


def _cased(field: str, tests: list[Test]) -> Check:
    return lambda event: _any(strings(event.raw(field)), tests)


def _one(field: str, test: Test) -> Check:
    def check(event: Event) -> bool:
        value = event[field]
        if isinstance(value, str):
            return test(value)
        return value is not None and any(map(test, value))

    return check


def _many(field: str, tests: list[Test]) -> Check:
    def check(event: Event) -> bool:
        value = event[field]
        if value is None:
            return False
        return _any((value,) if isinstance(value, str) else value, tests)

    return check


def _any(values: tuple[str, ...], tests: list[Test]) -> bool:
    return any(test(value) for value in values for test in tests)


def _anchor(pattern: Pattern) -> str | None:
    r"""Give the exact value, or the last part of a path that must end in ``\name``."""
    plain = pattern.plain
    if plain is not None:
        return plain
    if len(pattern.pieces) == 2 and not pattern.pieces[0]:
        ending = Pattern(pattern.pieces[1:]).plain or ""
        # What ends in `\a\b` has the last part `\b`, whatever stands before.
        at = ending.rfind("\\")
        return ending[at:] if at >= 0 else None
    return None


def _any_leaf(test: Test) -> Check:
    return lambda event: any(map(test, event.leaves()))


def _searcher(modifiers: list[str], value: Any) -> Test:
    """Search no more text than the expression can bear: attackers write it."""
    pattern = expression(modifiers, value)
    try:
        most = subject_limit(pattern)
    except TooCostly as error:
        message = f"a regular expression that may never end: {pattern.pattern[:60]!r}"
        raise Refused(message) from error
    search = pattern.search
    return lambda found: search(found[:most]) is not None


def _regex(field: str, modifiers: list[str], value: Any) -> Check:
    search = _searcher(modifiers, value)

    def check(event: Event) -> bool:
        return any(map(search, strings(event.raw(field))))

    return check


def _cidr(field: str, _modifiers: list[str], value: Any) -> Check:
    try:
        network = ipaddress.ip_network(text(value), strict=False)
    except ValueError as error:
        message = f"the network {text(value)[:60]!r}"
        raise Refused(message) from error

    def check(event: Event) -> bool:
        for one in strings(event.raw(field)):
            try:
                if ipaddress.ip_address(one) in network:
                    return True
            except ValueError:
                continue
        return False

    return check


def _exists(field: str, _modifiers: list[str], value: Any) -> Check:
    wanted = text(value).lower() == "true"
    return lambda event: event.exists(field) == wanted


def _fieldref(field: str, modifiers: list[str], value: Any) -> Check:
    other = text(value)
    edge = next((name for name in modifiers if name in _EDGES), "")

    def check(event: Event) -> bool:
        left, right = event[field], event[other]
        if not isinstance(left, str) or not isinstance(right, str):
            return False
        if edge == "contains":
            return right in left
        if edge == "startswith":
            return left.startswith(right)
        return left.endswith(right) if edge else left == right

    return check


def _compare(field: str, modifiers: list[str], value: Any) -> Check:
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"a comparison with {text(value)[:60]!r}"
        raise Refused(message)
    limit: Number = value
    holds = _COMPARISONS[modifiers[0]]

    def check(event: Event) -> bool:
        numbers = map(_number, strings(event.raw(field)))
        return any(holds(number, limit) for number in numbers if number is not None)

    return check


def _number(value: str) -> Number | None:
    try:
        return int(value, 0) if value[:2] == "0x" else float(value)
    except ValueError:
        return None


def _at_offset(data: bytes, offset: int) -> str:
    """Encode as if `offset` bytes stood before; what depends on the neighbours is cut off."""
    start = (0, 2, 3)[offset]
    end = (None, -3, -2)[(len(data) + offset) % 3]
    return base64.b64encode(b" " * offset + data)[start:end].decode()


_OPERATORS: Final[dict[str, Callable[[str, list[str], Any], Check]]] = {
    "cidr": _cidr,
    "exists": _exists,
    "fieldref": _fieldref,
    **dict.fromkeys(_COMPARISONS, _compare),
}
