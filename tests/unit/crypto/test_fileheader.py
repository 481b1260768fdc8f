"""The header of a sealed file: bounded before it is believed."""

import io
import tracemalloc

import pytest
from tests.unit.crypto.refusals import assert_refused

from cronos.crypto.fileheader import MAX_PACKET_BYTES, make_header, read_header
from cronos.crypto.filepass import new_stretch
from cronos.errors import CronosError, InputError

PACKET = b"packet" * 20
WITH_KEY = make_header(None, PACKET)
WITH_PASSPHRASE = make_header(new_stretch(), PACKET, 12)


@pytest.mark.parametrize("header", [WITH_KEY, WITH_PASSPHRASE], ids=["key", "passphrase"])
def test_a_header_comes_back_as_it_went_and_leaves_the_rest(header):
    source = io.BytesIO(header.raw + b"first chunk")
    assert read_header(source) == header
    assert source.read() == b"first chunk"


@pytest.mark.parametrize("header", [WITH_KEY, WITH_PASSPHRASE], ids=["key", "passphrase"])
def test_every_cut_header_is_refused(header):
    for length in range(len(header.raw)):
        with pytest.raises(CronosError):
            read_header(io.BytesIO(header.raw[:length]))


def test_what_is_no_sealed_file_is_told_so():
    for data in (b"", b"C", b"CRSEA", b"%PDF-1.7", b"\0" * 4096):
        with pytest.raises(InputError) as caught:
            read_header(io.BytesIO(data))
        assert caught.value.code == "crypto.not_sealed"


def test_a_later_version_is_told_so():
    data = bytearray(WITH_KEY.raw)
    data[6] = 2
    with pytest.raises(InputError) as caught:
        read_header(io.BytesIO(data))
    assert caught.value.code == "crypto.newer_file"


@pytest.mark.parametrize(("at", "value"), [(7, 2), (7, 255), (8, 11), (8, 21), (8, 0), (8, 255)])
def test_fields_out_of_their_bounds_are_refused(at, value):
    data = bytearray(WITH_KEY.raw)
    data[at] = value
    assert_refused(read_header, io.BytesIO(data))


@pytest.mark.parametrize("length", [MAX_PACKET_BYTES + 1, 1 << 31, (1 << 32) - 1])
def test_a_packet_of_a_huge_length_is_refused_before_memory_is_taken(length):
    data = bytearray(WITH_KEY.raw)
    data[9:13] = length.to_bytes(4, "big")
    tracemalloc.start()
    try:
        assert_refused(read_header, io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
