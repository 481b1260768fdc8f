"""Reading a foreign JSON document part by part: each refusal names the place and the remedy.

Nothing is coerced and nothing unknown is skipped: a playbook that was half understood would be
carried out half.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from cronos.errors import InputError
from cronos.link.text import plain

MAX_BYTES: Final = 1 << 20
MAX_TEXT_CHARS: Final = 4_000
_SHOWN_CHARS: Final = 80
_TOO_DEEP: Final = "it is nested too deeply"

Object: TypeAlias = dict[str, Any]


class Place(NamedTuple):
    """A value of a document and where it stands: ``playbook.json: workflow.action--1.agent``."""

    origin: str
    path: str
    value: Any

    def refuse(self, why: str, remedy: str) -> InputError:
        """Give the error that says what is wrong here."""
        where = f"{self.origin}: {self.path}" if self.path else self.origin
        return InputError("respond.playbook_refused", f"{plain(where, 400)}: {why}.", remedy)

    def at(self, key: str) -> "Place":
        """Go to a member of an object; its value is None where there is none."""
        path = f"{self.path}.{key}" if self.path else key
        return Place(self.origin, path, self.value.get(key) if _is(self.value, dict) else None)

    def keyed(
        self, known: frozenset[str], required: tuple[str, ...], remedies: Mapping[str, str]
    ) -> Object:
        """Require an object with no key beyond `known`, and with those that are `required`."""
        members = self.members()
        for key in members:
            if key not in known:
                raise self.at(key).refuse(
                    "this is outside the subset that is understood",
                    remedies.get(key, "Remove it; docs/playbooks.md lists what is understood."),
                )
        for key in required:
            if key not in members:
                raise self.at(key).refuse("it is missing", "Add it; CACAO 2.0 requires it.")
        return members

    def members(self) -> Object:
        """Require an object, whatever its keys."""
        if not _is(self.value, dict):
            raise self.refuse("it is no object", "Write it as {…}.")
        members: Object = self.value
        return members

    def items(self, most: int) -> list["Place"]:
        """Require a list of at most `most` entries."""
        if not _is(self.value, list):
            raise self.refuse("it is no list", "Write it as […].")
        entries: list[Any] = self.value
        if len(entries) > most:
            raise self.refuse(f"it has {len(entries)} entries", f"Keep to {most}.")
        return [Place(self.origin, f"{self.path}[{n}]", one) for n, one in enumerate(entries)]

    def text(self, pattern: re.Pattern[str] | None = None, like: str = "") -> str:
        """Require a short text, and that it matches `pattern`, of which `like` is an example."""
        if not isinstance(self.value, str) or len(self.value) > MAX_TEXT_CHARS:
            raise self.refuse("it is no text", f"Write a text of at most {MAX_TEXT_CHARS} letters.")
        if pattern is not None and not pattern.fullmatch(self.value):
            shown = plain(self.value, _SHOWN_CHARS)
            raise self.refuse(f"`{shown}` cannot stand here", f"Write it like {like}.")
        return self.value

    def texts(self, most: int, pattern: re.Pattern[str], like: str) -> tuple[str, ...]:
        """Require a list of short texts."""
        return tuple(one.text(pattern, like) for one in self.items(most))

    def one_of(self, choices: Mapping[str, object] | tuple[str, ...], what: str) -> str:
        """Require one of some words."""
        word = self.text()
        if word not in choices:
            shown = plain(word, _SHOWN_CHARS)
            raise self.refuse(f"`{shown}` is no {what}", f"Choose one of: {', '.join(choices)}.")
        return word

    def number(self, least: float, most: float) -> float:
        """Require a number between two bounds, both included."""
        value = self.value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.refuse("it is no number", f"Write a number from {least:g} to {most:g}.")
        if not least <= value <= most:
            raise self.refuse("it is out of range", f"Keep it from {least:g} to {most:g}.")
        return value

    def whole(self, least: int, most: int) -> int:
        """Require a whole number between two bounds, both included."""
        value = self.number(least, most)
        if not isinstance(value, int):
            raise self.refuse("it is no whole number", f"Write one from {least} to {most}.")
        return value


def read_json(data: bytes | str, origin: str, path: str = "") -> Place:
    """Read a JSON document of at most 1 MiB; a key that stands twice in an object is refused.

    Raises:
        InputError: it is none.
    """
    here = Place(origin, path, None)
    if len(data) > MAX_BYTES:
        raise here.refuse("it is longer than 1 MiB", "Split it into smaller playbooks.")
    try:
        text = data.decode() if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        json.dumps(
            value, ensure_ascii=False
        ).encode()  # what could not be written again is not taken
    except (ValueError, RecursionError) as error:
        why = _TOO_DEEP if isinstance(error, RecursionError) else plain(str(error), 200)
        raise here.refuse(f"it is no JSON ({why})", "Correct it there.") from error
    return Place(origin, path, value)


def _is(value: object, kind: type) -> bool:
    """Say whether a value is of a kind, and let it stay of any type."""
    return isinstance(value, kind)


def _once(pairs: list[tuple[str, Any]]) -> Object:
    """Refuse a key that stands twice: two readers would take different ones."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")
