"""Sigma conditions: ``selection and not 1 of filter_*`` as one check.

Grammar, loosest first: or, and, not, then a name, ``1 of``/``all of`` a pattern, or parentheses.

Source: Sigma specification 2.0, "Condition".
"""

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from cronos.detect.sigma_match import Node, conjunction, disjunction, negation
from cronos.detect.sigma_modifiers import Refused

_TOKEN: Final = re.compile(r"\s*(\(|\)|[^\s()]+)")
_MAX_TOKENS: Final = 512
_MAX_DEPTH: Final = 32
_QUANTIFIERS: Final[dict[str, Callable[[list[Node]], Node]]] = {
    "1": disjunction,
    "any": disjunction,
    "all": conjunction,
}


def compile_condition(condition: str, names: Mapping[str, Node]) -> Node:
    """Compile a condition over named detections.

    Raises:
        Refused: an aggregation, an unknown name, or no condition at all.
    """
    if "|" in condition:
        message = "an aggregation in the condition"
        raise Refused(message)
    tokens = _TOKEN.findall(condition)
    if not 0 < len(tokens) <= _MAX_TOKENS:
        message = f"a condition of {len(tokens)} words"
        raise Refused(message)
    parser = _Parser(tokens, names)
    node = parser.disjunction(0)
    if parser.peek():
        message = f"{parser.peek()!r} in the condition"
        raise Refused(message)
    return node


class _Parser:
    def __init__(self, tokens: list[str], names: Mapping[str, Node]) -> None:
        self._tokens = tokens
        self._names = names
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def disjunction(self, depth: int) -> Node:
        nodes = [self._conjunction(depth)]
        while self.peek().lower() == "or":
            self._next()
            nodes.append(self._conjunction(depth))
        return disjunction(nodes)

    def _conjunction(self, depth: int) -> Node:
        nodes = [self._negation(depth)]
        while self.peek().lower() == "and":
            self._next()
            nodes.append(self._negation(depth))
        return conjunction(nodes)

    def _negation(self, depth: int) -> Node:
        inverted = False
        while self.peek().lower() == "not":
            self._next()
            inverted = not inverted
        node = self._primary(depth)
        return negation(node) if inverted else node

    def _primary(self, depth: int) -> Node:
        word = self._next()
        if word == "(":
            if depth >= _MAX_DEPTH:
                message = "a condition nested too deeply"
                raise Refused(message)
            node = self.disjunction(depth + 1)
            if self._next() != ")":
                message = "an unbalanced parenthesis in the condition"
                raise Refused(message)
            return node
        if self.peek().lower() == "of" and word.lower() in _QUANTIFIERS:
            self._next()
            return _QUANTIFIERS[word.lower()](self._selected(self._next()))
        if word not in self._names:
            message = f"{word!r} in the condition"
            raise Refused(message)
        return self._names[word]

    def _selected(self, pattern: str) -> list[Node]:
        if pattern.lower() == "them":
            # Names that begin with an underscore are helpers, not meant by "them".
            chosen = [name for name in self._names if not name.startswith("_")]
        else:
            chosen = [name for name in self._names if fnmatchcase(name, pattern)]
        if not chosen:
            message = f"{pattern!r}, which no detection matches, in the condition"
            raise Refused(message)
        return [self._names[name] for name in chosen]
