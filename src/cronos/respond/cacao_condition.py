"""Conditions of playbooks: comparisons of a closed list of variables, never run as code.

The grammar is the part of STIX patterning that CACAO 2.0 uses for conditions::

    either     = both *( "OR" both )
    both       = part *( "AND" part )
    part       = "NOT" part / "(" either ")" / comparison
    comparison = variable ( relation literal / [ "NOT" ] "IN" "(" literal *( "," literal ) ")" )
    variable   = "__" name "__" [ ":value" ]
    relation   = "=" / "==" / "!=" / "<" / "<=" / ">" / ">="

Text, comparisons and nesting are bounded; a variable or value that nothing could ever match is
refused when the playbook is read.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from cronos.respond.cacao_place import Place
from cronos.types import EntityKind, EvidenceClass, Provenance

MAX_CONDITION_CHARS: Final = 2_000
MAX_COMPARISONS: Final = 64
MAX_NESTING: Final = 16

Fact: TypeAlias = float | str | frozenset[str]
Facts: TypeAlias = Mapping[str, Fact]

NUMBERS: Final = frozenset({"severity", "confidence", "criticality"})
SETS: Final = frozenset({"techniques", "labels"})
_KINDS: Final = frozenset({"", *(kind.value for kind in EntityKind)})
# What a variable may be; None where any text may.
WORDS: Final[Mapping[str, frozenset[str] | None]] = {
    "actor_kind": _KINDS,
    "target_kind": _KINDS,
    "target_asset": None,
    "evidence": frozenset(one.value for one in EvidenceClass),
    "provenance": frozenset(one.value for one in Provenance),
}
OUTCOME: Final = "outcome_"
OUTCOMES: Final = frozenset({"ok", "failed", "none"})

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<variable>__[a-zA-Z][a-zA-Z0-9_-]{0,198}?__)(?::value)?(?![\w:-])"
    r"|(?P<number>-?[0-9]{1,9}(?:\.[0-9]{1,9})?)(?![\w.])"
    r"|'(?P<text>[^'\\]{0,256})'"
    r"|(?P<word>AND|OR|NOT|IN)(?!\w)"
    r"|(?P<mark><=|>=|!=|==|[=<>(),]))"
)
_ORDER: Final = frozenset({"<", "<=", ">", ">="})


class Compare(msgspec.Struct, frozen=True):
    """A variable against values: for ``=``, ``!=``, ``<`` … against one, for ``IN`` any of them."""

    variable: str
    relation: str
    values: tuple[float | str, ...]


class Not(msgspec.Struct, frozen=True):
    """The contrary."""

    part: "Condition"


class Both(msgspec.Struct, frozen=True):
    """All parts hold."""

    parts: tuple["Condition", ...]


class Either(msgspec.Struct, frozen=True):
    """At least one part holds."""

    parts: tuple["Condition", ...]


Condition: TypeAlias = Compare | Not | Both | Either


def parse(place: Place) -> Condition:
    """Read the condition that stands at a place.

    Raises:
        InputError: it is none of this grammar, too long, or can never hold.
    """
    text = place.text()
    if len(text) > MAX_CONDITION_CHARS:
        raise place.refuse(
            f"the condition is longer than {MAX_CONDITION_CHARS} letters",
            "Split it into several steps.",
        )
    return _Parser(place, text).whole()


class _Parser:
    """Recursive descent over the tokens; its depth is bounded before the stack's is."""

    def __init__(self, place: Place, text: str) -> None:
        self._place = place
        self._tokens = self._split(text.rstrip())
        self._next = 0
        self._compared = 0

    def whole(self) -> Condition:
        found = self._either(0)
        if self._next < len(self._tokens):
            raise self._wrong("the end")
        return found

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self._place.refuse(
                    f"the condition cannot be read from letter {position + 1} on",
                    "Write comparisons such as __severity__:value >= 4 AND "
                    "__techniques__:value IN ('T1110').",
                )
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def _either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._take("word", "OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Condition:
        parts = [self._part(depth)]
        while self._take("word", "AND"):
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _part(self, depth: int) -> Condition:
        if depth > MAX_NESTING:
            raise self._place.refuse(
                f"the condition is nested more than {MAX_NESTING} deep", "Split it into steps."
            )
        if self._take("word", "NOT"):
            return Not(self._part(depth + 1))
        if self._take("mark", "("):
            inner = self._either(depth + 1)
            self._require("mark", ")")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        self._compared += 1
        if self._compared > MAX_COMPARISONS:
            raise self._place.refuse(
                f"the condition has more than {MAX_COMPARISONS} comparisons", "Split it into steps."
            )
        variable = self._require("variable")[2:-2]
        negated = self._take("word", "NOT")
        if negated or self._peek() == ("word", "IN"):
            self._require("word", "IN")
            self._require("mark", "(")
            values = [self._literal()]
            while self._take("mark", ","):
                values.append(self._literal())
            self._require("mark", ")")
            found = self._checked(Compare(variable, "IN", tuple(values)))
            return Not(found) if negated else found
        relation = self._require("mark")
        if relation not in _RELATIONS:
            self._next -= 1
            raise self._wrong("a relation such as = or >=")
        shown = "=" if relation == "==" else relation
        return self._checked(Compare(variable, shown, (self._literal(),)))

    def _literal(self) -> float | str:
        kind, text = self._peek()
        if kind not in ("number", "text"):
            raise self._wrong("a number or a text in single quotes")
        self._next += 1
        return float(text) if kind == "number" else text

    def _checked(self, found: Compare) -> Compare:
        """Refuse what could never hold: an unknown variable, a value it cannot have."""
        name, values = found.variable, found.values
        if name in NUMBERS:
            fits = all(isinstance(value, float) for value in values)
            said = "a number"
        elif name in SETS or name.startswith(OUTCOME) or name in WORDS:
            words = OUTCOMES if name.startswith(OUTCOME) else WORDS.get(name)
            fits = found.relation not in _ORDER and all(
                isinstance(value, str) and (words is None or value in words) for value in values
            )
            said = "=, != or IN with " + (
                "a text" if words is None else ", ".join(repr(word) for word in sorted(words))
            )
        else:
            known = ", ".join(f"__{one}__" for one in sorted({*NUMBERS, *SETS, *WORDS}))
            raise self._place.refuse(
                f"the condition names an unknown variable __{name}__",
                f"Use one of {known}, or __{OUTCOME}STEP__ with the id of an earlier step.",
            )
        if not fits:
            raise self._place.refuse(
                f"the condition compares __{name}__ with what it can never be",
                f"Compare it with {said}.",
            )
        return found

    # --- tokens ----------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, kind: str, text: str) -> bool:
        if self._peek() != (kind, text):
            return False
        self._next += 1
        return True

    def _require(self, kind: str, text: str = "") -> str:
        found, said = self._peek()
        if found != kind or (text and said != text):
            raise self._wrong(text or f"a {kind}")
        self._next += 1
        return said

    def _wrong(self, expected: str) -> Exception:
        kind, text = self._peek()
        found = "its end" if kind == "end" else f"`{text}`"
        return self._place.refuse(
            f"the condition has {found} where {expected} should stand",
            "Write comparisons joined by AND, OR and NOT; docs/playbooks.md has the grammar.",
        )


_RELATIONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def holds(condition: Condition, facts: Facts) -> bool:
    """Say whether a condition holds for these facts; pure, its cost is that of its length."""
    match condition:
        case Compare():
            return _compared(condition, facts)
        case Not(part):
            return not holds(part, facts)
        case Both(parts):
            return all(holds(part, facts) for part in parts)
        case Either(parts):
            return any(holds(part, facts) for part in parts)


def _compared(one: Compare, facts: Facts) -> bool:
    fact = facts.get(one.variable, "none" if one.variable.startswith(OUTCOME) else "")
    if isinstance(fact, frozenset):
        meets = not fact.isdisjoint(str(value) for value in one.values)
        return not meets if one.relation == "!=" else meets
    if one.relation == "IN":
        return fact in one.values
    (value,) = one.values
    if isinstance(fact, str) or isinstance(value, str):
        return (fact != value) if one.relation == "!=" else (fact == value)
    return _RELATIONS[one.relation](fact, value)


def render(condition: Condition) -> str:
    """Write a condition in the one spelling that `parse` gives back as it was."""
    match condition:
        case Compare(variable, "IN", values):
            return f"__{variable}__:value IN ({', '.join(_literal(value) for value in values)})"
        case Compare(variable, relation, values):
            return f"__{variable}__:value {relation} {_literal(values[0])}"
        case Not(part):
            return f"NOT {_within(part)}"
        case Both(parts):
            return " AND ".join(_within(part) for part in parts)
        case Either(parts):
            return " OR ".join(_within(part) for part in parts)


def _within(part: Condition) -> str:
    return render(part) if isinstance(part, Compare) else f"({render(part)})"


def _literal(value: float | str) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    whole = int(value)
    return str(whole) if whole == value else format(value, ".9f").rstrip("0")


def outcomes_named(condition: Condition) -> frozenset[str]:
    """Give the ids of the steps whose outcomes a condition asks about."""
    match condition:
        case Compare(variable):
            name = variable.removeprefix(OUTCOME)
            return frozenset() if name == variable else frozenset({name})
        case Not(part):
            return outcomes_named(part)
        case Both(parts) | Either(parts):
            return frozenset(name for part in parts for name in outcomes_named(part))
