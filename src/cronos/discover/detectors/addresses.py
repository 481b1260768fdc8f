"""Addresses: equal to the flow's own ends, stations that change places, those of private networks.

Own addresses are known when traffic is live: four or sixteen equal bytes happen by chance once in
2^32 a place. Stations: two neighbouring fields that stand the other way round in the other
direction of each flow. The bound counts every *different* pair of values: two fields of w bytes
would be the other way round once in 256^2w; values that are the same on both sides prove nothing.
Private: four bytes that begin as networks do which are nobody's own, as 192.168 does by chance once
in 2^16 a place. Networks that begin with 10 are too likely to be told alone.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Bools,
    Found,
    Ints,
    Table,
    fixed,
    overlap,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

FRONT: Final = 64
WIDTHS: Final = (1, 2, 4, 6, 8)
TRIED: Final = FRONT * len(WIDTHS)
MOST_PLACES: Final = 8
LEAST_PLACES: Final = 3
PRIVATE: Final = 256
"""Places at which an address of a private network is sought."""
NETWORKS: Final = ((0xC0A8, 16), (0xAC1, 12), (0xA9FE, 16), (0xE00000, 24))
"""What they begin with and how many bits that is: private, link-local, local multicast.

Source: RFC 1918 section 3, RFC 3927 section 2.1, RFC 5771 section 4.
"""
LIKELY: Final = 2
"""Networks of which one alone is rare enough; either may turn up."""


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the addresses in these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find own addresses, then stations, then private ones."""
    own = list(_own(table))
    stations: list[Found] = []
    for each in sorted(_stations(table), key=lambda each: (each.alarm, -int(each.terms["width"]))):
        if not any(overlap(each, other) for other in [*own, *stations]):
            stations.append(each)
    out = [*own, *stations]
    for each in sorted(_private(table), key=lambda each: each.alarm):
        if not any(overlap(each, other) for other in out):
            out.append(each)
    return out


def _own(table: Table) -> Iterator[Found]:
    """Search every message for both its ends, as bytes in either order and as text."""
    rows = len(table)
    for whose in ("source", "destination"):
        for form in ("be", "le", "text"):
            spans: list[tuple[Ints, Ints]] = []
            for row, message in enumerate(table.messages):
                needle = _written(getattr(message, whose), form)
                for number, place in enumerate(_places(message.payload, needle)):
                    if number == len(spans):
                        spans.append((np.zeros(rows, np.int64), np.zeros(rows, np.int64)))
                    spans[number][0][row], spans[number][1][row] = place, len(needle)
            for number, (at, sizes) in enumerate(spans):
                if int((sizes > 0).sum()) < LEAST_PLACES:
                    continue
                alarm = min(1.0, float(table.sizes.sum()) * 6 * 2.0**-32)
                terms: dict[str, str | int] = {"endian": form, "whose": whose, "number": number}
                yield Found("address.own", Sem.ADDRESS, at, sizes, sizes > 0, alarm, terms)


def _written(address: str, form: str) -> bytes:
    """Write an address; nothing where there is none, or it is too common to be told."""
    try:
        packed = ipaddress.ip_address(address).packed
    except ValueError:
        return b""
    if len(set(packed)) < 3:
        return b""
    if form == "text":
        return address.encode("ascii") if len(address) >= 7 else b""
    return packed if form == "be" else packed[::-1]


def _places(payload: bytes, needle: bytes) -> list[int]:
    out: list[int] = []
    at = payload.find(needle) if needle else -1
    while at >= 0 and len(out) < MOST_PLACES:
        out.append(at)
        at = payload.find(needle, at + len(needle))
    return out


def _stations(table: Table) -> Iterator[Found]:
    """Compare neighbouring fields of each flow's two directions."""
    sides = {flow: np.flatnonzero(table.flows == flow) for flow in np.unique(table.flows)}
    both = [(rows[table.sides[rows] == 1], rows[table.sides[rows] == 2]) for rows in sides.values()]
    both = [(asked, answered) for asked, answered in both if asked.size and answered.size]
    if not both:
        return
    for width in WIDTHS:
        for offset in range(max(0, min(FRONT, table.width) - 2 * width + 1)):
            pairs, turned = _turned(table, both, offset, width)
            if turned < 2 or turned < LEAST_SUPPORT * pairs:
                continue
            alarm = min(1.0, TRIED * 256.0 ** (-2 * width * min(turned, 8)) * 4.0**turned)
            if alarm <= MOST_ALARM:
                for number in (0, 1):
                    at = fixed(len(table), offset + number * width)
                    holds: Bools = table.reach(offset + 2 * width)
                    terms: dict[str, str | int] = {"width": width, "number": number}
                    widths = fixed(len(table), width)
                    yield Found("address.station", Sem.ADDRESS, at, widths, holds, alarm, terms)


def _turned(
    table: Table, both: list[tuple[Ints, Ints]], offset: int, width: int
) -> tuple[int, int]:
    """Count the different pairs of values, and those that stand the other way round in answers."""
    seen: set[bytes] = set()
    turned: set[bytes] = set()
    block = table.block[:, offset : offset + 2 * width]
    for asked, answered in both:
        ones = {block[row].tobytes() for row in asked}
        others = {block[row].tobytes() for row in answered}
        if len(ones) > 4 or len(others) > 4:
            return 1, 0
        for one in ones:
            if one[:width] == one[width:] or not any(one):
                return 1, 0
            seen.add(one)
            if one[width:] + one[:width] in others:
                turned.add(one)
    return len(seen), len(turned)


def _private(table: Table) -> Iterator[Found]:
    """Try every place for addresses of private networks, masks and what stands for none."""
    for offset in range(max(0, min(PRIVATE, table.width) - 3)):
        inside = table.reach(offset + 4)
        if inside.sum() < LEAST_PLACES:
            break
        values = table.numbers(offset, 4, "be")
        local, chance = np.zeros(len(table), np.bool_), 1.0
        for prefix, bits in NETWORKS:
            here = inside & (values >> (32 - bits) == prefix)
            local |= here
            if here.sum() >= LEAST_PLACES:
                # Each different second byte of 172.16 to 172.31 is one trial of four bits more.
                more = np.unique(values[here] >> 16).size - 1
                chance *= 2.0 ** -(bits + 4 * more)
        alarm = min(1.0, PRIVATE * LIKELY * chance)
        if local.sum() < LEAST_PLACES or alarm > MOST_ALARM:
            continue
        holds = inside & (local | beside_local(values))
        if holds.sum() >= LEAST_SUPPORT * inside.sum():
            at, widths = fixed(len(table), offset), fixed(len(table), 4)
            terms: dict[str, str | int] = {"endian": "be", "width": 4}
            yield Found("address.private", Sem.ADDRESS, at, widths, holds, alarm, terms)


def is_local(values: Ints) -> Bools:
    """Say which numbers of four bytes are addresses of private networks."""
    out = np.zeros(values.shape, dtype=np.bool_)
    for prefix, bits in NETWORKS:
        out |= values >> (32 - bits) == prefix
    return out


def beside_local(values: Ints) -> Bools:
    """Say which numbers stand where private addresses do: of network 10, none, all, or a mask."""
    rest = ~values & 0xFFFFFFFF
    mask = (values >> 24 == 0xFF) & (rest & (rest + 1) == 0)
    return np.asarray(mask | (values >> 24 == 10) | (values == 0))
