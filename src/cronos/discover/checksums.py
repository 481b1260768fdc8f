"""Checksums of one message, in plain Python: what the interpreter and the exports need.

An algorithm is data, so that an export can write it down. `plain` ones are loops over bytes.
Source: the catalogue of parametrised CRC algorithms (poly, init, reflected, xorout); RFC 1071;
RFC 1146 (Fletcher); RFC 1950 (Adler); IEEE 1815 (CRC-16/DNP).
"""

import functools
import zlib
from collections.abc import Callable
from typing import Final

import msgspec


class Algorithm(msgspec.Struct, frozen=True):
    """A checksum of `width` bytes; `poly` 0 means a plain one, known by its name."""

    name: str
    width: int
    poly: int = 0
    init: int = 0
    reflected: bool = False
    xorout: int = 0


_ALL: Final = (
    Algorithm("sum8", 1),
    Algorithm("sum8-neg", 1),
    Algorithm("sum8-not", 1),
    Algorithm("xor8", 1),
    Algorithm("xor8-not", 1),
    Algorithm("crc8", 1, 0x07),
    Algorithm("crc8-maxim", 1, 0x31, 0, reflected=True),
    Algorithm("internet", 2),
    Algorithm("sum16", 2),
    Algorithm("fletcher16", 2),
    Algorithm("crc16-arc", 2, 0x8005, 0, reflected=True),
    Algorithm("crc16-modbus", 2, 0x8005, 0xFFFF, reflected=True),
    Algorithm("crc16-usb", 2, 0x8005, 0xFFFF, reflected=True, xorout=0xFFFF),
    Algorithm("crc16-xmodem", 2, 0x1021),
    Algorithm("crc16-ccitt", 2, 0x1021, 0xFFFF),
    Algorithm("crc16-genibus", 2, 0x1021, 0xFFFF, xorout=0xFFFF),
    Algorithm("crc16-kermit", 2, 0x1021, 0, reflected=True),
    Algorithm("crc16-x25", 2, 0x1021, 0xFFFF, reflected=True, xorout=0xFFFF),
    Algorithm("crc16-dnp", 2, 0x3D65, 0, reflected=True, xorout=0xFFFF),
    Algorithm("crc16-t10", 2, 0x8BB7),
    Algorithm("sum32", 4),
    Algorithm("crc32", 4, 0x04C11DB7, 0xFFFFFFFF, reflected=True, xorout=0xFFFFFFFF),
    Algorithm("crc32-mpeg", 4, 0x04C11DB7, 0xFFFFFFFF),
    Algorithm("crc32c", 4, 0x1EDC6F41, 0xFFFFFFFF, reflected=True, xorout=0xFFFFFFFF),
    Algorithm("adler32", 4),
)
ALGORITHMS: Final = {each.name: each for each in _ALL}


def table_of(algorithm: Algorithm) -> tuple[int, ...]:
    """Make the 256 entries of a CRC."""
    bits = 8 * algorithm.width
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    poly = algorithm.poly
    if algorithm.reflected:
        poly = int(f"{poly:0{bits}b}"[::-1], 2)
    entries: list[int] = []
    for byte in range(256):
        value = byte if algorithm.reflected else byte << (bits - 8)
        for _ in range(8):
            if algorithm.reflected:
                value = value >> 1 ^ (poly if value & 1 else 0)
            else:
                value = (value << 1 ^ (poly if value & top else 0)) & mask
        entries.append(value)
    return tuple(entries)


def _crc(algorithm: Algorithm) -> Callable[[bytes], int]:
    table, bits = table_of(algorithm), 8 * algorithm.width
    init, out, mask = algorithm.init, algorithm.xorout, (1 << bits) - 1

    def reflected(data: bytes) -> int:
        value = init
        for byte in data:
            value = table[(value ^ byte) & 255] ^ value >> 8
        return value ^ out

    def straight(data: bytes) -> int:
        value = init
        for byte in data:
            value = table[(value >> (bits - 8) ^ byte) & 255] ^ value << 8 & mask
        return value ^ out

    return reflected if algorithm.reflected else straight


def _xor(data: bytes) -> int:
    return functools.reduce(lambda a, b: a ^ b, data, 0)


def _words(data: bytes) -> int:
    """Add the big-endian words with end-around carry (RFC 1071); an odd byte is a high one."""
    total = sum(data[0::2]) * 256 + sum(data[1::2])
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _fletcher(data: bytes) -> int:
    low = high = 0
    for byte in data:
        low = (low + byte) % 255
        high = (high + low) % 255
    return high << 8 | low


_PLAIN: Final[dict[str, Callable[[bytes], int]]] = {
    "sum8": lambda data: sum(data) & 255,
    "sum8-neg": lambda data: -sum(data) & 255,
    "sum8-not": lambda data: ~sum(data) & 255,
    "xor8": _xor,
    "xor8-not": lambda data: _xor(data) ^ 255,
    "internet": lambda data: ~_words(data) & 0xFFFF,
    "sum16": lambda data: sum(data) & 0xFFFF,
    "fletcher16": _fletcher,
    "sum32": lambda data: sum(data) & 0xFFFFFFFF,
    "crc32": zlib.crc32,
    "adler32": zlib.adler32,
}


@functools.cache
def function_of(name: str) -> Callable[[bytes], int]:
    """Give the function of a checksum; KeyError where there is none of that name."""
    return _PLAIN[name] if name in _PLAIN else _crc(ALGORITHMS[name])
