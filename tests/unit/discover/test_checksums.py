"""Checksums of one message, against published check values and the vectorised ones."""

import pytest

from cronos.discover.checksums import ALGORITHMS, function_of
from cronos.discover.sums import SUMS

# The `check` column of the catalogue of parametrised CRC algorithms: the value over these digits.
DIGITS = b"123456789"
CHECKS = {
    "crc8": 0xF4,
    "crc8-maxim": 0xA1,
    "crc16-arc": 0xBB3D,
    "crc16-modbus": 0x4B37,
    "crc16-usb": 0xB4C8,
    "crc16-xmodem": 0x31C3,
    "crc16-ccitt": 0x29B1,
    "crc16-genibus": 0xD64E,
    "crc16-kermit": 0x2189,
    "crc16-x25": 0x906E,
    "crc16-dnp": 0xEA82,
    "crc16-t10": 0xD0DB,
    "crc32": 0xCBF43926,
    "crc32-mpeg": 0x0376E6E7,
    "crc32c": 0xE3069283,
    "adler32": 0x091E01DE,
}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_crc_has_the_catalogues_check_value(name):
    assert function_of(name)(DIGITS) == CHECKS[name]


def test_the_internet_checksum_is_that_of_the_rfc_and_verifies_to_zero():
    data = bytes.fromhex("0001f203f4f5f6f7")  # RFC 1071, section 3

    assert function_of("internet")(data) == 0xFFFF - 0xDDF2
    assert function_of("internet")(data + function_of("internet")(data).to_bytes(2, "big")) == 0


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_checksum_fits_its_width_and_notices_a_flipped_bit(name):
    data = bytes(range(40))
    changed = bytes([data[0] ^ 1]) + data[1:]

    assert 0 <= function_of(name)(data) < 1 << 8 * ALGORITHMS[name].width
    assert function_of(name)(data) != function_of(name)(changed)
    assert 0 <= function_of(name)(b"") < 1 << 8 * ALGORITHMS[name].width


def test_they_are_those_that_the_detectors_look_for():
    assert sorted(ALGORITHMS) == sorted(SUMS)
    for name, algorithm in ALGORITHMS.items():
        assert algorithm.width == SUMS[name].width
        for data in (b"", b"\0", DIGITS, bytes(range(255, 190, -1))):
            assert function_of(name)(data) == SUMS[name].of(data), name
