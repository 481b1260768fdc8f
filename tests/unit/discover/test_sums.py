"""Checksums against their catalogue's check values, the standard library, and themselves."""

import binascii
import zlib

import numpy as np
import pytest

from cronos.discover.sums import SUMS

# Over b"123456789", as the catalogue of parametrised CRC algorithms lists them.
CHECKS = {
    "crc8": 0xF4, "crc8-maxim": 0xA1, "crc16-arc": 0xBB3D, "crc16-modbus": 0x4B37,
    "crc16-usb": 0xB4C8, "crc16-xmodem": 0x31C3, "crc16-ccitt": 0x29B1, "crc16-genibus": 0xD64E,
    "crc16-kermit": 0x2189, "crc16-x25": 0x906E, "crc16-dnp": 0xEA82, "crc16-t10": 0xD0DB,
    "crc32": 0xCBF43926, "crc32-mpeg": 0x0376E6E7, "crc32c": 0xE3069283, "fletcher16": 0x1EDE,
    "adler32": 0x091E01DE,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), CHECKS.items())
def test_a_checksum_gives_the_check_value_of_its_catalogue(name, value):
    assert SUMS[name].of(b"123456789") == value


def test_checksums_agree_with_the_standard_library_on_random_bytes():
    rng = np.random.default_rng(1)
    for size in (0, 1, 7, 300):
        data = rng.bytes(size)
        assert SUMS["crc32"].of(data) == zlib.crc32(data)
        assert SUMS["adler32"].of(data) == zlib.adler32(data)
        assert SUMS["crc16-xmodem"].of(data) == binascii.crc_hqx(data, 0)


def test_a_message_with_its_internet_checksum_in_place_sums_to_zero():
    data = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")

    assert SUMS["internet"].of(data) == 0


@pytest.mark.parametrize("name", SUMS)
def test_prefixes_of_a_block_give_what_each_prefix_alone_gives(name):
    block = np.random.default_rng(2).integers(0, 256, (3, 11)).astype(np.uint8)

    prefixes = SUMS[name].before(block, start=2)

    for row in range(3):
        for end in range(2, 12):
            assert prefixes[row, end] == SUMS[name].of(block[row, 2:end].tobytes())
