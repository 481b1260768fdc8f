"""The declared Modbus policy: who may ask what of which server, read from a TOML file.

Addresses are protocol addresses, from 0, as they stand on the wire. A request over several
ranges must fit each of them: only the least and the greatest written value are known.
"""

import ipaddress
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from cronos.config import Section, convert
from cronos.errors import InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Word = Annotated[int, Meta(ge=0, le=65535)]
Code = Annotated[int, Meta(ge=1, le=127)]
Table = Literal["coil", "discrete", "input", "holding"]

MAX_POLICY_BYTES: Final = 1 << 20

READS: Final[dict[int, Table]] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
WRITES: Final[dict[int, Table]] = {
    5: "coil",
    6: "holding",
    15: "coil",
    16: "holding",
    22: "holding",
    23: "holding",
}
_MASK_WRITE: Final = 22
_READ_WRITE: Final = 23
# Report server id and read device identification tell an attacker what he found.
_IDENTIFY: Final = frozenset({17, 43})
_DIAGNOSTICS: Final = 8


class Range(Section, frozen=True):
    """Addresses `first` to `last` of a table, and the values that may be written there."""

    first: Word
    last: Word
    table: Table = "holding"
    min: Word = 0
    max: Word = 65535


class Client(Section, frozen=True):
    """What one client, or a network of them, may do. None means anywhere; () means nowhere."""

    address: str
    functions: tuple[Code, ...] = (1, 2, 3, 4)
    read: tuple[Range, ...] | None = None
    write: tuple[Range, ...] | None = None
    max_requests_per_s: Annotated[int, Meta(ge=1)] | None = None


class Server(Section, frozen=True):
    """A Modbus server and its clients; any other client is a violation."""

    address: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 502
    units: tuple[Annotated[int, Meta(ge=0, le=255)], ...] = ()  # empty: any
    client: tuple[Client, ...] = ()


class ModbusPolicy(Section, frozen=True):
    """The whole policy. Servers it does not name are not judged."""

    version: Literal[1] = 1
    server: tuple[Server, ...] = ()


class Request(NamedTuple):
    """One Modbus request as the policy sees it; None where the request carries no such field."""

    client: str
    server: str
    port: int
    unit: int
    code: int
    address: int | None = None
    quantity: int | None = None
    read_address: int | None = None
    read_quantity: int | None = None
    least: int | None = None
    greatest: int | None = None


class Violation(NamedTuple):
    """A broken rule: its kind, what happened, what the policy allows, how bad, which technique."""

    kind: str
    what: str
    allowed: str
    severity: int
    techniques: tuple[str, ...]


def load(path: Path) -> ModbusPolicy:
    """Read a policy file.

    Raises:
        InputError: it cannot be read, is no TOML, or declares what is not allowed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise InputError(
            "detect.policy_unreadable",
            f"The Modbus policy {path} cannot be read: {error.strerror or error}.",
            "Correct `policy_file` under [plugin.modbus-policy].",
        ) from error
    return parse(data, str(path))


def parse(data: bytes, origin: str) -> ModbusPolicy:
    """Check the bytes of a policy read from `origin`.

    Raises:
        InputError: too long, no TOML, an unknown key, or a value out of its range.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise _refused(origin, f"it is longer than {MAX_POLICY_BYTES} bytes")
    try:
        # A deeply nested value would exhaust the stack of the parser.
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _refused(origin, str(error)) from error
    policy = convert(table, ModbusPolicy, origin)
    return check(policy, origin)


def check(policy: ModbusPolicy, origin: str) -> ModbusPolicy:
    """Check what the types cannot: addresses, and ranges that run forward.

    Raises:
        InputError: names the offending value.
    """
    for server in policy.server:
        _network(server.address, origin)
        for client in server.client:
            _network(client.address, origin)
            for span in (*(client.read or ()), *(client.write or ())):
                if span.first > span.last or span.min > span.max:
                    raise _refused(origin, f"the range {span.first} to {span.last} runs backwards")
    return policy


class Rulebook:
    """A policy made ready: judges one request in a few microseconds."""

    def __init__(self, policy: ModbusPolicy, origin: str = "policy") -> None:
        check(policy, origin)
        self._servers = [
            (
                _network(server.address, origin),
                server,
                [(_network(client.address, origin), client) for client in server.client],
            )
            for server in policy.server
        ]

    def client(self, client: str, server: str, port: int) -> Client | Literal["unlisted"] | None:
        """Give the client's rules, "unlisted", or None where the server is not covered."""
        found = self._find(server, port)
        if found is None:
            return None
        return _member(client, found[1]) or "unlisted"

    def judge(self, request: Request) -> Violation | None:
        """Give the first rule that a request breaks, None where it breaks none."""
        found = self._find(request.server, request.port)
        if found is None:
            return None
        server, clients = found
        rules = _member(request.client, clients)
        if rules is None:
            return _unlisted(request)
        if server.units and request.unit not in server.units:
            return Violation(
                "unit",
                f"addressed unit {request.unit}",
                f"the policy knows units {_list(server.units)}",
                4,
                ("T0855",),
            )
        return next(_broken(request, rules), None)

    def _find(self, address: str, port: int) -> tuple[Server, list[tuple[Network, Client]]] | None:
        parsed = _address(address)
        for network, server, clients in self._servers:
            if parsed is not None and port == server.port and parsed in network:
                return server, clients
        return None


def techniques(code: int) -> tuple[str, ...]:
    """Name what an unwanted function code amounts to, in ATT&CK for ICS."""
    if code in WRITES:
        return ("T0855", "T0836")
    if code in READS:
        return ("T0861",)
    if code in _IDENTIFY:
        return ("T0888",)
    return ("T0855", "T0816") if code == _DIAGNOSTICS else ("T0855",)


def _broken(request: Request, rules: Client) -> Iterator[Violation]:
    code = request.code
    if code not in rules.functions:
        yield Violation(
            "function",
            f"used function {code}",
            f"the policy allows it functions {_list(rules.functions)}",
            5 if code in WRITES or code == _DIAGNOSTICS else 4,
            techniques(code),
        )
    if code in WRITES and rules.write is not None:
        yield from _written(request, WRITES[code], rules.write)
    if code in READS and rules.read is not None:
        yield from _read(READS[code], request.address, request.quantity, rules.read)
    if code == _READ_WRITE and rules.read is not None:
        yield from _read("holding", request.read_address, request.read_quantity, rules.read)


def _written(request: Request, table: Table, ranges: tuple[Range, ...]) -> Iterator[Violation]:
    first, quantity = request.address, request.quantity or 1
    touched = _cover(table, first, quantity, ranges)
    if first is None or touched is None:
        yield Violation(
            "address",
            f"wrote {table} {_span(first, quantity)}",
            f"the policy allows it {_ranges(table, ranges)}",
            5,
            ("T0855", "T0836"),
        )
        return
    for span in touched:
        if not _fits(request, span):
            what = "a mask" if request.code == _MASK_WRITE else _values(request)
            yield Violation(
                "value",
                f"wrote {what} to {table} {_span(first, quantity)}",
                f"the policy allows values from {span.min} to {span.max} there",
                5,
                ("T0836", "T0855"),
            )


def _fits(request: Request, span: Range) -> bool:
    if (span.min, span.max) == (0, 65535):
        return True
    # The result of a mask depends on what the register held: it cannot be held to a range.
    if request.code == _MASK_WRITE or request.least is None or request.greatest is None:
        return False
    return span.min <= request.least and request.greatest <= span.max


def _read(
    table: Table, first: int | None, quantity: int | None, ranges: tuple[Range, ...]
) -> Iterator[Violation]:
    if _cover(table, first, quantity or 1, ranges) is None:
        yield Violation(
            "address",
            f"read {table} {_span(first, quantity or 1)}",
            f"the policy allows it {_ranges(table, ranges)}",
            3,
            ("T0861",),
        )


def _cover(
    table: Table, first: int | None, quantity: int, ranges: tuple[Range, ...]
) -> list[Range] | None:
    """Give the ranges that a request touches, None where one of its addresses is in none."""
    if first is None:
        return None
    at, last = first, first + max(quantity, 1) - 1
    touched: list[Range] = []
    while at <= last:
        span = next((r for r in ranges if r.table == table and r.first <= at <= r.last), None)
        if span is None:
            return None
        touched.append(span)
        at = span.last + 1
    return touched


def _unlisted(request: Request) -> Violation:
    writes = request.code in WRITES
    return Violation(
        "client",
        f"{'wrote with' if writes else 'used'} function {request.code}",
        "the policy does not list it as a client",
        5 if writes or request.code == _DIAGNOSTICS else 4,
        techniques(request.code),
    )


def _member(address: str, clients: list[tuple[Network, Client]]) -> Client | None:
    parsed = _address(address)
    if parsed is None:
        return None
    return next((client for network, client in clients if parsed in network), None)


@lru_cache(4096)
def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str, origin: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise _refused(origin, f"{text!r} is no address or network") from error


def _refused(origin: str, reason: str) -> InputError:
    return InputError(
        "detect.policy_invalid",
        f"{origin} is not a Modbus policy: {reason}.",
        "Compare it with examples/modbus-policy.toml.",
    )


def _span(first: int | None, quantity: int) -> str:
    if first is None:
        return "at an address it did not state"
    return f"{first}" if quantity <= 1 else f"{first} to {first + quantity - 1}"


def _ranges(table: Table, ranges: tuple[Range, ...]) -> str:
    spans = [f"{r.first} to {r.last}" for r in ranges if r.table == table]
    return f"{table} {' and '.join(spans[:4])}" if spans else f"no {table}"


def _values(request: Request) -> str:
    if request.least is None:
        return "no readable value"
    if request.least == request.greatest:
        return str(request.least)
    return f"values from {request.least} to {request.greatest}"


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:16])) or "none"
