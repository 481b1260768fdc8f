"""Chunks: a stream comes back whole and in order, or it does not come back."""

import io

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.chunks import (
    Binding,
    Kind,
    _Chunks,
    fill,
    open_chunks,
    seal_chunks,
    write_all,
)
from cronos.crypto.records import RECORD_OVERHEAD, RecordReader, RecordWriter, derive_record_keys
from cronos.crypto.suites import HYBRID
from cronos.errors import CronosError

SIZE = 64
ROOM = SIZE + RECORD_OVERHEAD
HEADER = b"h" * 48


def keys(secret=b"k" * 32):
    return derive_record_keys(HYBRID, b"e" * 16, b"digest", secret)


def binding(header=HEADER, size=SIZE, observe=None):
    return Binding(header, size, observe, lambda _: None)


def sealed(plain, how=None, secret=b"k" * 32):
    sink = io.BytesIO()
    writer = RecordWriter(keys(secret), 1 << 32, 1 << 42)
    assert seal_chunks(io.BytesIO(plain), sink, writer, how or binding()) == len(plain)
    return sink.getvalue()


def opened(data, how=None, trailer=0):
    sink = io.BytesIO()
    reader = RecordReader(keys())
    found = open_chunks(io.BytesIO(data), sink, reader, how or binding(), trailer)
    assert found.length == len(sink.getvalue())
    return sink.getvalue()


def records(data):
    return [data[at : at + ROOM] for at in range(0, len(data), ROOM)]


LENGTHS = [0, 1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE - 1, 2 * SIZE, 2 * SIZE + 1, 5 * SIZE + 7]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stream_of_any_length_comes_back(length):
    plain = bytes(range(256)) * 2
    data = sealed(plain[:length])
    assert opened(data) == plain[:length]
    assert len(data) == length + RECORD_OVERHEAD * max(1, -(-length // SIZE))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stream_that_is_cut_anywhere_is_refused(length):
    data = sealed(b"x" * length)
    for cut in range(len(data)):
        assert_refused(opened, data[:cut])


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stream_that_is_lengthened_is_refused(length):
    data = sealed(b"x" * length)
    for more in (*range(1, 2 * ROOM + 2), 1000):
        assert_refused(opened, data + bytes(more))
    assert_refused(opened, data + data)
    assert_refused(opened, data + sealed(b"y" * length))
    assert_refused(opened, data + sealed(b""))


def test_every_flipped_bit_is_refused():
    data = sealed(b"x" * (SIZE + 9))
    for bit in range(8 * len(data)):
        assert_refused(opened, flip(data, bit))


def test_chunks_that_changed_places_are_refused():
    first, second, third, last = records(sealed(bytes(3 * SIZE + 5)))
    for order in (
        [second, first, third, last],
        [first, third, second, last],
        [first, third, last],
        [first, second, second, third, last],
        [first, first, second, third, last],
        [second, third, last],
        [first, last],
        [last],
        [first],
        [first, second, third, last, last],
        [first, second, third, third],
    ):
        assert_refused(opened, b"".join(order))


def test_a_chunk_of_another_stream_is_refused():
    ours, theirs = (
        records(sealed(bytes(3 * SIZE))),
        records(sealed(bytes(3 * SIZE), secret=b"t" * 32)),
    )
    for at in range(3):
        mixed = [*ours[:at], theirs[at], *ours[at + 1 :]]
        assert_refused(opened, b"".join(mixed))


def test_a_chunk_under_another_header_is_refused_though_the_key_is_the_same():
    ours = records(sealed(bytes(3 * SIZE)))
    theirs = records(sealed(bytes(3 * SIZE), binding(header=b"H" * 48)))
    for at in range(3):
        mixed = [*ours[:at], theirs[at], *ours[at + 1 :]]
        assert_refused(opened, b"".join(mixed))


def test_a_full_chunk_is_not_read_as_a_last_one_nor_the_other_way_round():
    first, second = records(sealed(bytes(2 * SIZE)))
    assert_refused(opened, first)
    assert_refused(opened, first + second + second)


def test_an_empty_last_chunk_behind_others_is_no_second_form_of_a_stream():
    writer = RecordWriter(keys(), 10, 1000)
    how = binding()
    data = writer.seal(bytes(SIZE), HEADER + b"\0") + writer.seal(b"", HEADER + b"\1")
    assert_refused(opened, data, how)


def test_another_chunk_size_does_not_open_it():
    data = sealed(bytes(5 * SIZE))
    for size in (SIZE // 2, SIZE - 1, SIZE + 1, 2 * SIZE):
        assert_refused(opened, data, binding(size=size))


def test_a_trailer_is_kept_apart_whatever_the_length():
    for length in LENGTHS:
        for trailer in (1, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM):
            sink = io.BytesIO()
            data = sealed(b"x" * length) + b"t" * trailer
            found = open_chunks(io.BytesIO(data), sink, RecordReader(keys()), binding(), trailer)
            assert found.trailer == b"t" * trailer
            assert sink.getvalue() == b"x" * length


def test_lengths_run_on_beyond_four_gibibytes():
    class Idle:
        """A double that stands for source, sink and writer, and moves no bytes."""

        left = 5 << 30
        total = 0

        def readinto(self, buffer):
            taken = min(len(buffer), self.left)
            self.left -= taken
            return taken

        def write(self, data):
            self.total += len(data)
            return len(data)

        def seal_into(self, plain, context, out):
            return len(plain) + RECORD_OVERHEAD

    told, idle = [], Idle()
    how = Binding(HEADER, 1 << 20, None, told.append)
    assert seal_chunks(idle, idle, idle, how) == 5 << 30
    assert told[-1] == 5 << 30
    assert idle.total == (5 << 30) + 5120 * RECORD_OVERHEAD


def far_record(number):
    """Seal a last chunk with a number that no test can count up to."""
    made = keys()
    nonce = made.iv[:4] + (int.from_bytes(made.iv[4:], "big") ^ number).to_bytes(8, "big")
    header = made.prefix + number.to_bytes(8, "big")
    return header + AESGCM(made.key).encrypt(nonce, b"far", header + HEADER + b"\1")


@pytest.mark.parametrize("number", [1 << 32, (1 << 32) + 1, 1 << 34, (1 << 64) - 1])
def test_a_chunk_far_out_is_counted_in_eight_bytes(number):
    sink = io.BytesIO()
    chunks = _Chunks(RecordReader(keys()), sink, binding())
    chunks.count = number
    chunks.take(memoryview(far_record(number)), Kind.LAST)
    assert sink.getvalue() == b"far"
    chunks.count = number & 0xFFFFFFFF if number >> 33 == 0 else number - (1 << 32)
    assert_refused(chunks.take, memoryview(far_record(number)), Kind.LAST)


def test_a_chunk_is_known_by_all_eight_bytes_of_its_number():
    data = bytearray(sealed(b"x"))
    data[6] = 1  # 2^56 more
    assert_refused(opened, bytes(data))


def test_nothing_leaves_before_it_is_authentic():
    plain = bytes(range(256))
    data = bytearray(sealed(plain))
    data[2 * ROOM + 20] ^= 1
    sink = io.BytesIO()
    assert_refused(open_chunks, io.BytesIO(data), sink, RecordReader(keys()), binding(), 0)
    assert sink.getvalue() == plain[: 2 * SIZE]


def test_what_is_observed_is_exactly_what_was_sealed_when_sealing_and_when_opening():
    seen, again = [], []
    data = sealed(bytes(3 * SIZE + 1), binding(observe=lambda view: seen.append(bytes(view))))
    opened(data, binding(observe=lambda view: again.append(bytes(view))))
    assert b"".join(seen) == b"".join(again) == data


class Dribble:
    """Bytes that come a few at a time, as through a pipe."""

    def __init__(self, data, step):
        self.left = data
        self.step = step

    def readinto(self, buffer):
        taken = self.left[: min(self.step, len(buffer))]
        buffer[: len(taken)] = taken
        self.left = self.left[len(taken) :]
        return len(taken)


class Sip:
    """Takes a few bytes at a time."""

    def __init__(self):
        self.taken = b""

    def write(self, data):
        self.taken += bytes(data[:5])
        return len(data[:5])


@pytest.mark.parametrize("step", [1, 7, SIZE, ROOM, 1000])
def test_pipes_that_give_and_take_little_at_a_time_change_nothing(step):
    plain, sink = bytes(range(200)), Sip()
    writer = RecordWriter(keys(), 100, 1000)
    seal_chunks(Dribble(plain, step), sink, writer, binding())
    back = Sip()
    open_chunks(Dribble(sink.taken, step), back, RecordReader(keys()), binding())
    assert back.taken == plain


def test_a_pipe_that_does_not_wait_is_not_taken_for_an_end():
    class Empty:
        def readinto(self, buffer):
            return None

        def write(self, data):
            return None

    with pytest.raises(BlockingIOError):
        fill(Empty(), memoryview(bytearray(4)))
    with pytest.raises(BlockingIOError):
        write_all(Empty(), b"data")


def test_a_writer_that_is_spent_ends_the_stream_in_an_error():
    writer = RecordWriter(keys(), 2, 1 << 30)
    with pytest.raises(CronosError) as caught:
        seal_chunks(io.BytesIO(bytes(3 * SIZE)), io.BytesIO(), writer, binding())
    assert caught.value.code == "crypto.epoch_spent"
