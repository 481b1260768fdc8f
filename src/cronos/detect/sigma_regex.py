"""How much text a rule's regular expression may meet: the engine backtracks without a limit.

An expression with d choices of position needs up to n^d / d! steps on n characters. Each one is
given as much text as keeps that below a budget; one for which no useful length does, such as
``(a+)+$``, is refused. Two neighbours that share no character leave no choice: `"[^"]*"` costs one
scan. Every doubt counts as a choice.
"""

import importlib
import itertools
import math
import re
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

MAX_SUBJECT_CHARS: Final = 65_536
_MIN_SUBJECT_CHARS: Final = 32
# A step takes 10 to 150 ns: less than a second for a text that was made for it.
_MAX_STEPS: Final = 6_000_000
_MAX_CHOICES: Final = 6
_MAX_WAYS: Final = 1 << 16
# A counted repeat beyond this is reckoned as one without end.
_MAX_COUNTED: Final = 32

# Sets of characters are bits: 128 of ASCII; spaces, word characters and all others beyond it; and
# the three beyond it that fold to ASCII letters: Kelvin sign, long s, and the Turkish i's.
_SPACES: Final = 1 << 128
_FOLDS: Final = {"k": 1 << 129, "s": 1 << 130, "i": 1 << 131}
_WORDS: Final = 1 << 132 | _FOLDS["k"] | _FOLDS["s"] | _FOLDS["i"]
_BEYOND: Final = _SPACES | _WORDS | 1 << 133
_ALL: Final = (1 << 134) - 1
_CHARACTERS: Final = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
_ASCII_FLAG: Final = re.compile(r"\(\?[a-zA-Z]*[aL]")


class Cost(NamedTuple):
    """What an expression costs: positions it may choose, ways beside, and how it may begin."""

    choices: int = 0
    ways: int = 1
    scans: bool = False
    first: int = 0
    nullable: bool = True


class TooCostly(ValueError):  # noqa: N818 - it is caught next door and becomes a refusal
    """No length of text keeps the expression within its budget."""


def subject_limit(pattern: re.Pattern[str]) -> int:
    """Say how many characters an expression may be given.

    Raises:
        TooCostly: not even a short text keeps it within its budget.
    """
    source = pattern.pattern
    if _ASCII_FLAG.search(source):
        raise TooCostly  # it changes what the sets below mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constructs that may change their meaning one day
        # The standard parser has no public name; it is what `re.compile` itself calls.
        parsed = importlib.import_module("re._parser").parse(source, pattern.flags & ~re.UNICODE)
    items = list(parsed)
    cost = _sequence(items, 0)
    single_start = _starts_once(items) and not parsed.state.flags & re.MULTILINE
    depth = max(1, cost.choices + cost.scans + (not single_start))
    limit = int((_MAX_STEPS * math.factorial(depth) / cost.ways) ** (1 / depth))
    if limit < _MIN_SUBJECT_CHARS:
        raise TooCostly
    return min(limit, MAX_SUBJECT_CHARS)


def _starts_once(items: list[tuple[Any, Any]]) -> bool:
    return bool(items) and str(items[0][1]) in {"AT_BEGINNING", "AT_BEGINNING_STRING"}


def _sequence(items: list[tuple[Any, Any]], follow: int) -> Cost:
    """Reckon from the end: what a repeat costs depends on what may come after it."""
    total = Cost()
    for operator, argument in reversed(items):
        after = total.first | (follow if total.nullable else 0)
        one = _item(str(operator), argument, after)
        ways = one.ways * total.ways
        choices = one.choices + total.choices
        if ways > _MAX_WAYS or choices > _MAX_CHOICES:
            raise TooCostly
        total = Cost(
            choices,
            ways,
            one.scans or total.scans,
            one.first | (total.first if one.nullable else 0),
            one.nullable and total.nullable,
        )
    return total


def _item(operator: str, argument: Any, follow: int) -> Cost:
    if operator in _CHARACTERS:
        return Cost(first=_characters(operator, argument), nullable=False)
    if operator == "AT":
        return Cost()
    if operator == "GROUPREF":
        return Cost(scans=True, first=_ALL)
    reckon = _COMPOUNDS.get(operator)
    if reckon is None:
        raise TooCostly
    return reckon(argument, follow)


def _group(argument: Any, follow: int) -> Cost:
    return _sequence(list(argument[3]), follow)


def _atomic(argument: Any, follow: int) -> Cost:
    return _sequence(list(argument), follow)


def _assertion(argument: Any, _follow: int) -> Cost:
    # What stands before is tried again with each of its lengths: it shares everything.
    return _sequence(list(argument[1]), _ALL)._replace(first=_ALL, nullable=True)


def _branch(argument: Any, follow: int) -> Cost:
    branches: list[list[tuple[Any, Any]]] = [list(one) for one in argument[1]]
    costs = [_sequence(one, follow) for one in branches]
    seen = 0
    distinct = True
    for cost in costs:
        start = cost.first | (follow if cost.nullable else 0)
        distinct = distinct and not seen & start
        seen |= start
    ways = [cost.ways for cost in costs]
    return Cost(
        max(cost.choices for cost in costs),
        max(ways) if distinct or _prefix_free(branches) else sum(ways),
        any(cost.scans for cost in costs),
        _union(cost.first for cost in costs),
        any(cost.nullable for cost in costs),
    )


def _repeat(argument: Any, follow: int) -> Cost:
    least, most, items = cast("tuple[int, int, Any]", argument)
    body = _sequence(list(items), 0)
    if most <= 1:
        body = _sequence(list(items), follow)
        free = body.first & follow or body.nullable
        return body._replace(ways=body.ways * (1 + bool(free)), nullable=body.nullable or not least)
    body = _sequence(list(items), follow | body.first)
    nullable = body.nullable or not least
    if body.ways == 1 and not body.choices and not body.nullable:
        # Each round has one way: only the number of rounds is free, unless the next one decides.
        scans = body.scans or most > _MAX_COUNTED
        if not body.first & follow or most == least:
            return Cost(0, 1, scans, body.first, nullable)
        if most - least <= _MAX_COUNTED:
            return Cost(0, most - least + 1, scans, body.first, nullable)
        return Cost(1, 1, body.scans, body.first, nullable)
    if most > _MAX_COUNTED:
        raise TooCostly
    ways = (body.ways**most) * (most - least + 1)
    if ways > _MAX_WAYS or body.choices * most > _MAX_CHOICES:
        raise TooCostly
    return Cost(body.choices * most, ways, True, body.first, nullable)


def _prefix_free(branches: list[list[tuple[Any, Any]]]) -> bool:
    """Say whether the branches are plain texts of which none begins another."""
    texts: list[str] = []
    for branch in branches:
        if any(str(operator) != "LITERAL" for operator, _ in branch):
            return False
        texts.append("".join(chr(argument) for _, argument in branch).casefold())
    texts.sort()
    return not any(after.startswith(before) for before, after in itertools.pairwise(texts))


def _union(sets: Any) -> int:
    result = 0
    for one in sets:
        result |= one
    return result


def _characters(operator: str, argument: Any) -> int:
    """Give every character that may stand here; rather too many, whatever the flags."""
    match operator:
        case "LITERAL":
            return _either_case(argument, argument)
        case "NOT_LITERAL":
            return _ALL & ~_ascii(argument, argument)
        case "IN":
            return _set(argument)
        case _:
            return _ALL


def _set(members: list[tuple[Any, Any]]) -> int:
    exact = folded = 0
    for operator, argument in members:
        match str(operator):
            case "LITERAL":
                exact |= _ascii(argument, argument)
                folded |= _either_case(argument, argument)
            case "RANGE":
                exact |= _ascii(*argument)
                folded |= _either_case(*argument)
            case "CATEGORY":
                exact |= _category(str(argument))
                folded |= _category(str(argument))
            case _:
                continue
    negated = bool(members) and str(members[0][0]) == "NEGATE"
    return _ALL & ~exact if negated else folded


def _ascii(low: int, high: int) -> int:
    return _union(1 << code for code in range(low, min(high, 127) + 1))


def _either_case(low: int, high: int) -> int:
    bits = _ascii(low, high)
    for code in range(low, min(high, 127) + 1):
        letter = chr(code)
        bits |= 1 << ord(letter.swapcase()) | _FOLDS.get(letter.lower(), 0)
    if high > 127:
        bits |= _BEYOND | _union(_ascii(ord(x), ord(x)) for x in "kKsSiI")
    return bits


def _category(name: str) -> int:
    match name.removeprefix("CATEGORY_").removeprefix("NOT_"):
        case "DIGIT":
            found = _union(1 << code for code in range(128) if chr(code).isdigit())
            # Of the word characters beyond ASCII only some are digits: neither may lack them.
            return _ALL & ~found if "NOT_" in name else found | _WORDS
        case "SPACE":
            found = _union(1 << code for code in range(128) if chr(code).isspace()) | _SPACES
        case "WORD":
            word = (code for code in range(128) if chr(code).isalnum() or chr(code) == "_")
            found = _union(1 << code for code in word) | _WORDS
        case _:
            return _ALL
    return _ALL & ~found if "NOT_" in name else found


_COMPOUNDS: Final[dict[str, Callable[[Any, int], Cost]]] = {
    "SUBPATTERN": _group,
    "ATOMIC_GROUP": _atomic,
    "BRANCH": _branch,
    **dict.fromkeys(("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"), _repeat),
    **dict.fromkeys(("ASSERT", "ASSERT_NOT"), _assertion),
}
