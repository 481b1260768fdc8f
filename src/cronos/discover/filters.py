"""Which packets of a capture are meant: the part of the capture filter language that names ends.

``tcp port 502``, ``udp and not host 10.0.0.1``, ``net 10.0.0.0/8 and (port 102 or port 502)``.
``src`` and ``dst`` may stand before host, net and port; ``ip proto N`` and ``ether proto 0x88b8``
mean what has no ports.

Source: pcap-filter(7), of which this is a subset.
"""

import ipaddress
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from cronos.errors import InputError

_MAX_CHARS: Final = 1_000
_MAX_DEPTH: Final = 16
_TRANSPORTS: Final = frozenset({"tcp", "udp", "icmp"})
_SIDES: Final = frozenset({"src", "dst"})


class Ends(NamedTuple):
    """What a filter sees of a packet: ``tcp``, ``udp``, ``icmp``, ``ip`` or ``ether``."""

    transport: str
    source: str
    source_port: int
    destination: str
    port: int
    number: int = 0
    """The protocol number of ``ip``, the EtherType of ``ether``."""


Test: TypeAlias = Callable[[Ends], bool]


def compile_filter(text: str) -> Test:
    """Make a test of a filter; an empty one lets everything pass.

    Raises:
        InputError: it is too long, or not in the language.
    """
    if not text.strip():
        return _everything
    if len(text) > _MAX_CHARS:
        raise _refused("it is longer than 1,000 characters")
    return _Parser(text.replace("(", " ( ").replace(")", " ) ").split()).whole()


def _everything(_ends: Ends) -> bool:
    return True


def _refused(why: str) -> InputError:
    return InputError(
        "discover.filter",
        f"The filter cannot be understood: {why}.",
        "Write it like: tcp port 502, or: udp and not host 10.0.0.1",
    )


class _Parser:
    """Reads words: or binds weaker than and, and than not."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0
        self._depth = 0

    def whole(self) -> Test:
        test = self._either()
        if self._at < len(self._words):
            raise _refused(f"`{self._words[self._at]}` is not expected there")
        return test

    def _peek(self) -> str:
        return self._words[self._at].lower() if self._at < len(self._words) else ""

    def _take(self) -> str:
        word = self._peek()
        if not word:
            raise _refused("it ends too early")
        self._at += 1
        return word

    def _either(self) -> Test:
        tests = [self._both()]
        while self._peek() in ("or", "||"):
            self._take()
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda ends: any(one(ends) for one in tests)

    def _both(self) -> Test:
        tests = [self._negated()]
        # Words that follow one another without a conjunction narrow: tcp port 502.
        while self._peek() not in ("", "or", "||", ")"):
            if self._peek() in ("and", "&&"):
                self._take()
            tests.append(self._negated())
        return tests[0] if len(tests) == 1 else lambda ends: all(one(ends) for one in tests)

    def _negated(self) -> Test:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _refused(f"it is nested more than {_MAX_DEPTH} deep")
        try:
            if self._peek() in ("not", "!"):
                self._take()
                inner = self._negated()
                return lambda ends: not inner(ends)
            if self._peek() == "(":
                self._take()
                inner = self._either()
                if self._take() != ")":
                    raise _refused("a parenthesis is not closed")
                return inner
            return self._primitive()
        finally:
            self._depth -= 1

    def _primitive(self) -> Test:
        word = self._take()
        if word in _TRANSPORTS:
            return lambda ends: ends.transport == word
        if word in ("ip", "ether"):
            if self._take() != "proto":
                raise _refused(f"`proto` and a number follow `{word}`")
            number = _number(self._take(), 0xFFFF)
            return lambda ends: ends.transport == word and ends.number == number
        side = word if word in _SIDES else ""
        kind = self._take() if side else word
        return self._of_ends(kind, side)

    def _of_ends(self, kind: str, side: str) -> Test:
        if kind == "port":
            port = _number(self._take(), 0xFFFF)
            return lambda ends: port in _ports(ends, side)
        if kind == "portrange":
            first, _, last = self._take().partition("-")
            ports = range(_number(first, 0xFFFF), _number(last, 0xFFFF) + 1)
            return lambda ends: any(port in ports for port in _ports(ends, side))
        if kind in ("host", "net"):
            network = _network(self._take())
            return lambda ends: any(_within(one, network) for one in _hosts(ends, side))
        raise _refused(f"`{kind}` is no word of it")


def _number(word: str, most: int) -> int:
    try:
        number = int(word, 0)
    except ValueError:
        raise _refused(f"`{word}` is no number") from None
    if not 0 <= number <= most:
        raise _refused(f"{number} is not between 0 and {most}")
    return number


_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(word: str) -> _Network:
    try:
        return ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise _refused(f"`{word}` is no address or network") from None


def _ports(ends: Ends, side: str) -> tuple[int, ...]:
    if ends.transport not in ("tcp", "udp"):
        return ()
    return {"src": (ends.source_port,), "dst": (ends.port,)}.get(
        side, (ends.source_port, ends.port)
    )


def _hosts(ends: Ends, side: str) -> tuple[str, ...]:
    return {"src": (ends.source,), "dst": (ends.destination,)}.get(
        side, (ends.source, ends.destination)
    )


def _within(address: str, network: _Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False  # what has no IP addresses
