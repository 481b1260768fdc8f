"""A hash beside the work is the hash of the same bytes, whatever the threads do."""

import hashlib
import threading

import pytest

from cronos.crypto import running as module
from cronos.crypto.running import PieceHash, RunningHash


def test_it_is_the_hash_of_all_pieces_in_their_order():
    pieces = [bytes((n % 256,)) * (n * 37 % 5000) for n in range(500)]
    with RunningHash(b"start") as running:
        for piece in pieces:
            running.update(piece)
        assert running.digest() == hashlib.sha512(b"start" + b"".join(pieces)).digest()


def test_a_buffer_may_be_overwritten_as_soon_as_it_was_given():
    buffer, plain = bytearray(1 << 20), hashlib.sha512()
    with RunningHash() as running:
        for n in range(64):
            buffer[:] = bytes((n,)) * len(buffer)
            plain.update(buffer)
            running.update(memoryview(buffer))
        assert running.digest() == plain.digest()


def test_nothing_is_the_hash_of_nothing():
    with RunningHash() as running:
        assert running.digest() == hashlib.sha512().digest()


def test_its_thread_ends_with_the_block():
    before = threading.active_count()
    with RunningHash() as running:
        running.update(b"piece")
    assert threading.active_count() == before


def by_hand(*pieces):
    """Write the definition down, without threads."""
    leaves = b"".join(hashlib.sha512(b"\0" + piece).digest() for piece in pieces)
    return hashlib.sha512(b"\1" + leaves).digest()


def hashed(first, *pieces):
    with PieceHash(first) as running:
        for piece in pieces:
            running.update(piece)
        return running.digest()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_however_many_threads_hash_pieces_it_is_the_hash_that_was_written_down(
    monkeypatch, threads
):
    monkeypatch.setattr(module, "_THREADS", threads)
    pieces = [bytes((n % 256,)) * (n * 977 % 50_000) for n in range(200)]
    assert hashed(b"start", *pieces) == by_hand(b"start", *pieces)
    assert hashed(b"start") == by_hand(b"start")


def test_pieces_may_be_overwritten_as_soon_as_they_were_given():
    buffer = bytearray(1 << 20)
    with PieceHash(b"") as running:
        for n in range(64):
            buffer[:] = bytes((n,)) * len(buffer)
            running.update(memoryview(buffer))
        given = [bytes((n,)) * len(buffer) for n in range(64)]
        assert running.digest() == by_hand(b"", *given)


def test_pieces_that_moved_their_borders_changed_places_or_are_hashes_themselves_differ():
    leaf = hashlib.sha512(b"\0a").digest()
    found = {
        hashed(b"a", b"b", b"c"),
        hashed(b"a", b"c", b"b"),
        hashed(b"ab", b"c"),
        hashed(b"a", b"bc"),
        hashed(b"abc"),
        hashed(b"a", b"b", b"c", b""),
        hashed(b"a"),
        hashed(leaf),
        hashlib.sha512(b"abc").digest(),
    }
    assert len(found) == 9


def test_no_more_pieces_are_held_than_threads(monkeypatch):
    monkeypatch.setattr(module, "_THREADS", 3)
    with PieceHash(b"") as running:
        for _ in range(50):
            running.update(bytes(1000))
            assert len(running._ahead) <= 3


def test_the_threads_end_with_the_block_also_after_an_error():
    before = threading.active_count()
    running = PieceHash(b"")
    for _ in range(9):
        running.update(b"piece")
    with pytest.raises(KeyboardInterrupt), running:
        raise KeyboardInterrupt
    assert threading.active_count() == before
