import struct
import zlib

import pytest
from tests.unit.respond.stage import S, deny

from cronos.errors import DeniedError, InputError
from cronos.respond.bookframes import SealedFrames, UnsealedFrames, body_of
from cronos.testing.memory_govern import MemorySealer
from cronos.types import Lease, Plan, encode


def lease(number, recipe=b"{}"):
    plan = Plan(deny(f"192.0.2.{number}", "inc-1"), recipe, "block", "unblock")
    return Lease(plan, "boot-1", number, number + 300 * S)


def body(number, recipe=b"{}"):
    return body_of(lease(number, recipe))


def sealed(purpose="leases", key=b"a test's key"):
    return SealedFrames(MemorySealer(key), purpose)


def said(frames):
    return [record.granted_boot_ns for frame in frames for record in frame.records]


def remarks(frames):
    return [frame.remark for frame in frames if frame.remark]


def test_what_was_packed_is_read_in_its_order_by_the_next_process():
    writer = sealed()
    data = writer.pack([body(1), body(2)]) + writer.pack([body(3)])
    found = sealed().read(data)
    assert said(found) == [1, 2, 3]
    assert remarks(found) == []
    assert found[-1].end == len(data)


def test_a_reader_goes_on_where_the_file_ends():
    data = sealed().pack([body(1)])
    reader = sealed()
    reader.read(data)
    data += reader.pack([body(2)])
    assert said(sealed().read(data)) == [1, 2]
    assert remarks(sealed().read(data)) == []


def test_many_records_share_blocks_and_a_long_one_has_its_own():
    writer = sealed()
    data = writer.pack([body(number) for number in range(100)])
    found = sealed().read(data)
    assert said(found) == list(range(100))
    assert 1 < len(found) < 50
    assert max(frame.end - frame.start for frame in found) < 4300
    long = writer.pack([body(1), body(2, bytes(100_000)), body(3)])
    assert [len(frame.records) for frame in sealed().read(data + long)[-3:]] == [1, 1, 1]


def test_a_record_longer_than_a_frame_is_refused():
    with pytest.raises(InputError, match="longer than"):
        body(1, bytes(1 << 20))


def test_a_frame_put_in_twice_counts_once():
    data = sealed().pack([body(1)])
    found = sealed().read(data + data)
    assert said(found) == [1]
    assert "out of its order" in remarks(found)[0]


def test_frames_that_change_places_are_not_believed():
    writer = sealed()
    one, two, three = (writer.pack([body(number)]) for number in (1, 2, 3))
    found = sealed().read(one + three + two)
    assert said(found) == [1, 3]
    assert remarks(found)[0].startswith("1 frames before")
    assert "out of its order" in remarks(found)[1]


def test_a_frame_left_out_in_the_middle_is_named_and_the_later_ones_count():
    writer = sealed()
    parts = [writer.pack([body(number)]) for number in range(5)]
    found = sealed().read(parts[0] + parts[3] + parts[4])
    assert said(found) == [0, 3, 4]
    assert remarks(found) == [f"2 frames before byte {len(parts[0])} are missing"]


def test_a_frame_from_before_a_compaction_is_not_believed_before_or_after_it():
    writer = sealed()
    old = writer.pack([body(1)]) + writer.pack([body(2)])
    new = writer.begin()
    new += writer.pack([body(3)])
    for data in (old + new, new + old):
        found = sealed().read(data)
        assert said(found) == [3]
        assert len(remarks(found)) == 2


def test_also_an_empty_file_that_was_compacted_lets_nothing_back_in():
    writer = sealed()
    old = writer.pack([body(1)])
    assert said(sealed().read(writer.begin() + old)) == []


def test_a_frame_of_another_book_or_another_key_does_not_open():
    for frames in (sealed("leases-aside"), sealed(key=b"another")):
        found = sealed().read(frames.pack([body(1)]))
        assert said(found) == []
        assert "does not open" in remarks(found)[0]


def test_an_unsealed_frame_is_nothing_to_a_sealed_book():
    assert sealed().read(UnsealedFrames().pack([body(1)])) == []
    assert UnsealedFrames().read(sealed().pack([body(1)])) == []


def test_places_that_were_taken_back_are_used_again():
    writer = sealed()
    first = writer.pack([body(1)])
    place = writer.mark()
    writer.pack([body(2)])
    writer.go_back(place)
    found = sealed().read(first + writer.pack([body(3)]))
    assert (said(found), remarks(found)) == ([1, 3], [])


@pytest.mark.parametrize("at", range(12))
def test_any_changed_byte_of_generation_index_or_length_is_noticed(at):
    data = bytearray(sealed().pack([body(1)]))
    data[12 + at if at < 8 else at - 4] ^= 1
    struct.pack_into(">I", data, 8, zlib.crc32(data[12:]))
    assert said(sealed().read(bytes(data))) == []


def test_a_frame_too_short_to_have_a_place_is_not_believed():
    payload = b"short"
    data = b"\xffCLS" + struct.pack(">II", len(payload), zlib.crc32(payload)) + payload
    found = sealed().read(data)
    assert "does not open" in remarks(found)[0]


@pytest.mark.parametrize(
    "block", [b"\0", b"\0\0\0\x05abcde", struct.pack(">I", 9) + b"abc", struct.pack(">I", 1 << 31)]
)
def test_a_sealed_block_that_is_none_is_named(block):
    class Sealing(MemorySealer):
        """A double that seals something else than it was given."""

        def seal(self, plain, context, subject=""):
            return super().seal(block, context, subject)

    found = sealed().read(SealedFrames(Sealing(), "leases").pack([body(1)]))
    assert (said(found), len(remarks(found))) == ([], 1)
    assert "not understood" in remarks(found)[0]


def test_unsealed_frames_keep_the_bytes_of_books_from_before():
    record = encode(lease(1))
    old = b"\xffCLB" + struct.pack(">II", len(record), zlib.crc32(record)) + record
    assert UnsealedFrames().pack([body(1)]) == old
    assert said(UnsealedFrames().read(old)) == [1]


def test_a_sealer_without_its_key_packs_nothing():
    class Locked(MemorySealer):
        """A double whose key is gone."""

        def seal(self, plain, context, subject=""):
            raise DeniedError("testing.locked", "There is no key.", "Find it.")

    with pytest.raises(DeniedError):
        SealedFrames(Locked(), "leases").pack([body(1)])


def test_a_file_of_forged_frames_opens_in_bounded_work():
    payload = bytes(20)
    forged = b"\xffCLS" + struct.pack(">II", len(payload), zlib.crc32(payload)) + payload
    found = sealed().read(forged * 100_000 + sealed().pack([body(1)]))
    assert len(found) == 1 << 15
    assert said(sealed().read(forged * 1000 + sealed().pack([body(1)]))) == [1]
