"""Elements of random text protocols: literals, tokens, headers and what stands between them."""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from cronos.discover.synthetic_fields import Draft, Element, Talk, pick, sentence, word


class Literal(msgspec.Struct, frozen=True):
    """A fixed piece of text: a delimiter, a name of a header."""

    text: bytes
    name: str = "delimiter"
    sem: str = "text"

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append the text."""
        del talk
        draft.add(self.text, self.name, self.sem, kind="string")


class Token(msgspec.Struct, frozen=True):
    """A word whose value changes; `tail` is written with it as one field.

    `how` is a key of `HOWS`.
    """

    name: str
    how: str
    sem: str
    values: tuple[str, ...] = ()
    tail: str = ""

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append this turn's word."""
        text = HOWS[self.how](self, talk) + self.tail
        draft.add(text.encode("ascii"), self.name, self.sem, kind="string")


def _verb(token: Token, talk: Talk) -> str:
    return token.values[min(int(talk.rng.geometric(0.45)) - 1, len(token.values) - 1)]


def _number(token: Token, talk: Talk) -> str:
    here = talk.recall(token.name, lambda: int(talk.rng.integers(100000)))
    talk.memory[token.name] = max(0, here + int(talk.rng.integers(-50, 51)))
    return str(here) if token.values else f"{here / 100:.2f}"


def _counter(token: Token, talk: Talk) -> str:
    key = f"{token.name}/{talk.direction}"
    talk.memory[key] = talk.recall(key, lambda: int(talk.rng.integers(5000))) + 1
    return str(talk.memory[key])


HOWS: Final[dict[str, Callable[[Token, Talk], str]]] = {
    "verb": _verb,
    "number": _number,
    "counter": _counter,
    "echo": lambda _, talk: str(talk.transaction),
    "address": lambda _, talk: ".".join(map(str, talk.addresses[talk.direction == "s2c"])),
    "date": lambda _, talk: str(np.datetime64(int(talk.ts), "s")) + "Z",
    "hex": lambda _, talk: talk.rng.bytes(int(talk.rng.integers(2, 7))).hex(),
    "words": lambda _, talk: sentence(talk.rng, int(talk.rng.integers(1, 4))),
}


class Maybe(msgspec.Struct, frozen=True):
    """What stands there in some messages only."""

    share: float
    inner: tuple[Element, ...]

    def write(self, draft: Draft, talk: Talk) -> None:
        """Append it, or nothing."""
        if talk.rng.random() < self.share:
            for element in self.inner:
                element.write(draft, talk)


def _token(rng: np.random.Generator, name: str, tail: str) -> Token:
    how, sem = pick(
        rng,
        (("words", "text"), ("number", "value"), ("counter", "id_seq"), ("echo", "id_seq"),
         ("address", "address"), ("date", "timestamp"), ("hex", "bytes"), ("verb", "enum_flags")),
    )  # fmt: skip
    values = tuple(word(rng) for _ in range(4)) if how == "verb" else ()
    if how == "number" and rng.random() < 0.5:
        values = ("whole",)
    return Token(name, how, sem, values, tail)


def _joined(token: Token, tail: str, own: bool) -> tuple[Element, ...]:
    """Give a token and its delimiter, as one field or as two."""
    if own:
        return (Token(token.name, token.how, token.sem, token.values), Literal(tail.encode()))
    return (Token(token.name, token.how, token.sem, token.values, tail),)


def headers(rng: np.random.Generator, verbs: tuple[str, ...], own: bool) -> tuple[Element, ...]:
    """Draw a message of a first line and headers, each ended by CR LF or LF."""
    end = pick(rng, ("\r\n", "\r\n", "\n"))
    colon = pick(rng, (": ", ":", "="))
    first = Token("verb", "verb", "enum_flags", verbs)
    out: list[Element] = [
        *_joined(first, " ", own),
        *_joined(_token(rng, "argument", ""), end, own),
    ]
    for index in range(int(rng.integers(1, 7))):
        line: list[Element] = [Literal((word(rng).title() + colon).encode(), "header", "text")]
        line += _joined(_token(rng, f"header{index}", ""), end, own)
        out.append(Maybe(float(rng.uniform(0.5, 1.0)), tuple(line)))
    return (*out, Literal(end.encode(), "end"))


def delimited(rng: np.random.Generator, verbs: tuple[str, ...], own: bool) -> tuple[Element, ...]:
    """Draw a message of values between one delimiter, some with a name and an equals sign."""
    mark = pick(rng, ("|", ";", ",", "\x01", "\t", "^"))
    named = rng.random() < 0.4
    out: list[Element] = list(_joined(Token("kind", "verb", "enum_flags", verbs), mark, own))
    for index in range(int(rng.integers(3, 10))):
        if named:
            out.append(Literal(f"{int(rng.integers(1, 200))}=".encode(), "tag", "enum_flags"))
        out += _joined(_token(rng, f"value{index}", ""), mark, own)
    return (*out, Literal(pick(rng, (b"\r\n", b"\r", b"\n")), "end"))
