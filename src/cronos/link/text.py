"""Strangers' text made fit to be shown: nothing in it steers a terminal, a log or a reader."""

import unicodedata
from typing import Final

# Control, format (bidirectional overrides among them), surrogate, private use and unassigned
# characters, and the two separators that some viewers take for a new line.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: str, most: int = 2_000, instead: str = "\ufffd") -> str:
    """Put `instead` for each character that hides or steers, and cut the text at `most`.

    It is cut first: the cost is bounded whatever arrives.
    """
    kept = text if len(text) <= most else text[: most - 1] + "…"
    if kept.isascii() and kept.isprintable():
        return kept
    return "".join([instead if unicodedata.category(c) in _HIDDEN else c for c in kept])
