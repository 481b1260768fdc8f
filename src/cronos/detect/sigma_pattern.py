r"""Sigma strings: ``*`` is any run of characters, ``?`` any one, a backslash makes either plain.

A pattern becomes a test on lower-case text. Runs are matched piece by piece from the left, in
linear time each, so that no rule and no event can make a match exponential.

Source: Sigma specification 2.0, "Escaping" and "Wildcards".
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

Test = Callable[[str], bool]

_SPECIAL: Final = "*?\\"


class Pattern(NamedTuple):
    """Pieces between the ``*``; within a piece None stands for ``?``."""

    pieces: tuple[tuple[str | None, ...], ...]

    @property
    def plain(self) -> str | None:
        """Give the text of a pattern without wildcards, None for any other."""
        return _plain(self.pieces[0]) if len(self.pieces) == 1 else None

    def around(self, before: bool, after: bool) -> "Pattern":
        """Let anything stand before or after."""
        pieces = self.pieces
        if before and (len(pieces) == 1 or pieces[0]):
            pieces = ((), *pieces)
        if after and (len(pieces) == 1 or pieces[-1]):
            pieces = (*pieces, ())
        return Pattern(pieces)

    def folded(self) -> "Pattern":
        """Give the pattern in lower case."""
        return Pattern(tuple(tuple(c.lower() if c else c for c in piece) for piece in self.pieces))


def parse(text: str) -> Pattern:
    """Read a Sigma string; a backslash before anything but a wildcard or itself is plain."""
    pieces: list[list[str | None]] = [[]]
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and text[at + 1 : at + 2] and text[at + 1] in _SPECIAL:
            at += 1
            pieces[-1].append(text[at])
        elif char == "*":
            pieces.append([])
        else:
            pieces[-1].append(None if char == "?" else char)
        at += 1
    # Runs of stars are one star.
    middle = [piece for piece in pieces[1:-1] if piece]
    kept = [pieces[0], *middle, pieces[-1]] if len(pieces) > 1 else pieces
    return Pattern(tuple(map(tuple, kept)))


def compile_pattern(pattern: Pattern) -> Test:
    """Give the test of a whole value; the common shapes use the string's own methods."""
    texts = [_plain(piece) for piece in pattern.pieces]
    plain = [text for text in texts if text is not None]
    if len(plain) < len(texts):
        return _general(pattern)
    if len(plain) == 1:
        return plain[0].__eq__
    if len(plain) == 2:
        return _edges(plain[0], plain[1])
    if len(plain) == 3 and not plain[0] and not plain[2]:
        return _inside(plain[1])
    return _general(pattern)


def _plain(piece: tuple[str | None, ...]) -> str | None:
    text = "".join(char for char in piece if char is not None)
    return text if len(text) == len(piece) else None


def _edges(first: str, last: str) -> Test:
    if not first:
        return lambda value: value.endswith(last)
    if not last:
        return lambda value: value.startswith(first)
    least = len(first) + len(last)
    return lambda value: len(value) >= least and value.startswith(first) and value.endswith(last)


def _inside(part: str) -> Test:
    return lambda value: part in value


def _general(pattern: Pattern) -> Test:
    """Match edge pieces in place and the others greedily from the left: never backtracks."""
    pieces = [(_expression(piece), len(piece)) for piece in pattern.pieces]
    first, first_length = pieces[0]
    if len(pieces) == 1:
        return lambda value: first.fullmatch(value) is not None
    last, last_length = pieces[-1]
    middle = [expression for expression, _ in pieces[1:-1]]

    def test(value: str) -> bool:
        end = len(value) - last_length
        if end < first_length or not first.match(value) or not last.match(value, end):
            return False
        at = first_length
        for expression in middle:
            found = expression.search(value, at, end)
            if found is None:
                return False
            at = found.end()
        return True

    return test


def _expression(piece: tuple[str | None, ...]) -> re.Pattern[str]:
    return re.compile("".join("." if c is None else re.escape(c) for c in piece), re.DOTALL)
