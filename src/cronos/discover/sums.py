"""Checksums, by table and for many messages at once.

`SUMS[name].of(data)` gives one value. `SUMS[name].before(block)` gives, for every message of a
zero-padded block, the value over each of its prefixes, which is what a search needs: what stands
at offset o is compared with the value of the o bytes before it.
Source: the catalogue of parametrised CRC algorithms (poly, init, reflected, xorout); RFC 1071;
RFC 1146 (Fletcher); IEEE 1815 (CRC-16/DNP).
"""

import functools
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

U32: Final = np.uint32
Words = npt.NDArray[np.uint32]


class Sum(msgspec.Struct, frozen=True):
    """A checksum: `step` takes (state, byte column, index) on, `ends` makes values of states."""

    name: str
    width: int
    begin: int
    step: Callable[[Words, Words, int], Words]
    ends: Callable[[Words], Words]

    def of(self, data: bytes) -> int:
        """Give the value over these bytes."""
        block = np.frombuffer(data, np.uint8)[None, :]
        return int(self.before(block)[0, len(data)])

    def before(self, block: npt.NDArray[np.uint8], start: int = 0) -> Words:
        """Give, a row a message, the value over block[:, start:o] at column o; 0 before `start`."""
        rows, columns = block.shape
        out = np.zeros((rows, columns + 1), U32)
        state = np.full(rows, self.begin, U32)
        wide = block.astype(U32)
        out[:, min(start, columns)] = self.ends(state)
        for index in range(start, columns):
            state = self.step(state, wide[:, index], index - start)
            out[:, index + 1] = self.ends(state)
        return out


@functools.cache
def _table(poly: int, width: int, reflected: bool) -> Words:
    """Make the 256 entries of a CRC."""
    top, mask = 1 << (width - 1), (1 << width) - 1
    entries: list[int] = []
    for byte in range(256):
        value = byte if reflected else byte << (width - 8)
        for _ in range(8):
            if reflected:
                value = value >> 1 ^ (poly if value & 1 else 0)
            else:
                value = (value << 1 ^ (poly if value & top else 0)) & mask
        entries.append(value)
    return np.array(entries, U32)


def _crc(name: str, width: int, poly: int, init: int, reflected: bool, xorout: int) -> Sum:
    if reflected:
        poly = int(f"{poly:0{width}b}"[::-1], 2)
    table = _table(poly, width, reflected)
    mask = U32((1 << width) - 1)

    def step(state: Words, column: Words, index: int) -> Words:
        del index
        at = (state ^ column if reflected else state >> U32(width - 8) ^ column) & U32(255)
        moved: Words = state >> U32(8) if reflected else state << U32(8) & mask
        after: Words = table[at] ^ moved
        return after

    return Sum(name, width // 8, init, step, lambda state: state ^ U32(xorout))


def _plain(name: str, begin: int, step: Callable[[Words, Words], Words], out: int = 0) -> Sum:
    return Sum(
        name, 1, begin, lambda state, column, _: step(state, column), lambda state: state ^ U32(out)
    )


def _internet_step(state: Words, column: Words, index: int) -> Words:
    total = state + (column << U32(8) if index % 2 == 0 else column)
    return (total & U32(0xFFFF)) + (total >> U32(16))


def _internet_ends(state: Words) -> Words:
    return ~state & U32(0xFFFF)


def _fletcher_step(state: Words, column: Words, index: int) -> Words:
    del index
    low = ((state & U32(0xFF)) + column) % U32(255)
    high = ((state >> U32(8)) + low) % U32(255)
    return high << U32(8) | low


def _adler_step(state: Words, column: Words, index: int) -> Words:
    del index
    low = ((state & U32(0xFFFF)) + column) % U32(65521)
    high = ((state >> U32(16)) + low) % U32(65521)
    return high << U32(16) | low


_ALL: Final = (
    _plain("sum8", 0, lambda state, column: state + column & U32(255)),
    _plain("sum8-neg", 0, lambda state, column: state - column & U32(255)),
    _plain("sum8-not", 0, lambda state, column: state + column & U32(255), 255),
    _plain("xor8", 0, lambda state, column: state ^ column),
    _plain("xor8-not", 0, lambda state, column: state ^ column, 255),
    _crc("crc8", 8, 0x07, 0, False, 0),
    _crc("crc8-maxim", 8, 0x31, 0, True, 0),
    Sum("internet", 2, 0, _internet_step, _internet_ends),
    Sum("sum16", 2, 0, lambda state, column, _: state + column & U32(0xFFFF), lambda state: state),
    Sum("fletcher16", 2, 0, _fletcher_step, lambda state: state),
    _crc("crc16-arc", 16, 0x8005, 0, True, 0),
    _crc("crc16-modbus", 16, 0x8005, 0xFFFF, True, 0),
    _crc("crc16-usb", 16, 0x8005, 0xFFFF, True, 0xFFFF),
    _crc("crc16-xmodem", 16, 0x1021, 0, False, 0),
    _crc("crc16-ccitt", 16, 0x1021, 0xFFFF, False, 0),
    _crc("crc16-genibus", 16, 0x1021, 0xFFFF, False, 0xFFFF),
    _crc("crc16-kermit", 16, 0x1021, 0, True, 0),
    _crc("crc16-x25", 16, 0x1021, 0xFFFF, True, 0xFFFF),
    _crc("crc16-dnp", 16, 0x3D65, 0, True, 0xFFFF),
    _crc("crc16-t10", 16, 0x8BB7, 0, False, 0),
    Sum("sum32", 4, 0, lambda state, column, _: state + column, lambda state: state),
    _crc("crc32", 32, 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF),
    _crc("crc32-mpeg", 32, 0x04C11DB7, 0xFFFFFFFF, False, 0),
    _crc("crc32c", 32, 0x1EDC6F41, 0xFFFFFFFF, True, 0xFFFFFFFF),
    Sum("adler32", 4, 1, _adler_step, lambda state: state),
)
SUMS: Final = {each.name: each for each in _ALL}
