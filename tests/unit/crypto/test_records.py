"""Records: what opens them, what does not, and that no nonce is ever used twice."""

import copy
import gc
import itertools
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
import weakref

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.records import (
    COMMITMENT_BYTES,
    DATA_KEY_BYTES,
    HIGHEST_MAX_BYTES,
    HIGHEST_MAX_RECORDS,
    RECORD_OVERHEAD,
    RecordReader,
    RecordWriter,
    derive_record_keys,
    record_epoch,
    record_seq,
)
from cronos.crypto.suites import CNSA, HYBRID
from cronos.errors import CronosError, InputError

EPOCH_ID = bytes(range(16))
PLAIN = bytes(range(256))


def keys(suite=CNSA, epoch_id=EPOCH_ID, digest=b"d" * 48, data_key=b"k" * 32):
    return derive_record_keys(suite, epoch_id, digest, data_key)


def writer(max_records=HIGHEST_MAX_RECORDS, max_bytes=HIGHEST_MAX_BYTES, **other):
    return RecordWriter(keys(**other), max_records, max_bytes)


def reader(**other):
    return RecordReader(keys(**other))


def nonce_of(record, iv):
    return iv[:4] + bytes(a ^ b for a, b in zip(iv[4:], record[6:14], strict=True))


def code_of(action, *arguments):
    with pytest.raises(CronosError) as caught:
        action(*arguments)
    return caught.value.code


def test_a_record_opens_in_its_context_and_is_30_bytes_longer():
    record = writer().seal(PLAIN, b"topic/0")

    assert reader().open(record, b"topic/0") == PLAIN
    assert len(record) == len(PLAIN) + RECORD_OVERHEAD == len(PLAIN) + 30
    assert PLAIN not in record


def test_a_record_is_the_header_and_plain_aes_gcm_with_the_iv_xor_the_number():
    made, sealing = keys(), writer()
    for number in (0, 1, 255, 256, 70_000):
        while sealing.sealed < number:
            sealing.seal(b"")
        record = sealing.seal(PLAIN, b"context")
        header = b"\x01\x02" + EPOCH_ID[:4] + number.to_bytes(8, "big")
        nonce = (int.from_bytes(made.iv, "big") ^ number).to_bytes(12, "big")
        assert record == header + AESGCM(made.key).encrypt(nonce, PLAIN, header + b"context")
        assert (record_epoch(record), record_seq(record)) == (EPOCH_ID[:4], number)


def test_an_empty_plain_text_and_one_of_a_mebibyte_come_back():
    sealing, opening = writer(), reader()

    assert opening.open(sealing.seal(b"")) == b""
    assert opening.open(sealing.seal(bytes(1 << 20))) == bytes(1 << 20)


def test_records_open_in_any_order_from_far_apart_blocks():
    sealed = [writer().seal_many([b"%d" % n for n in range(1000)])][0]
    opening = reader()

    for number in (999, 0, 511, 512, 256, 255, 998):
        assert opening.open(sealed[number]) == b"%d" % number


def test_every_changed_bit_is_refused():
    record = writer().seal(PLAIN[:20], b"context")
    opening = reader()

    for bit in range(len(record) * 8):
        assert_refused(opening.open, flip(record, bit), b"context")


def test_every_cut_and_every_extension_is_refused():
    record = writer().seal(PLAIN[:20])
    opening = reader()

    for end in range(len(record)):
        assert_refused(opening.open, record[:end])
        assert_refused(opening.open, record[end + 1 :])
    for more in (b"\0", record, bytes(16)):
        assert_refused(opening.open, record + more)
        assert_refused(opening.open, more + record)


def test_a_record_of_another_context_is_refused_however_the_bytes_are_split():
    record = writer().seal(PLAIN, b"ab")

    for context in (b"", b"a", b"b", b"abc", b"ab\0", record[:14] + b"ab"):
        assert_refused(reader().open, record, context)


def test_a_record_of_another_suite_epoch_header_or_data_key_is_refused():
    record = writer().seal(PLAIN)
    others = (
        {"suite": HYBRID},
        {"epoch_id": b"e" * 16},
        {"digest": b"e" * 48},
        {"data_key": b"l" * 32},
    )

    for other in others:
        assert_refused(reader(**other).open, record)
    same_short_id = EPOCH_ID[:4] + bytes(12)
    assert reader(epoch_id=same_short_id).open(record) == PLAIN, "only the digest binds the id"


def test_two_records_cannot_change_places():
    first, second = writer().seal_many([b"first", b"other"])

    assert_refused(reader().open, first[:14] + second[14:])
    assert_refused(reader().open, second[:14] + first[14:])


def test_a_record_of_the_last_number_there_is_needs_its_tag_as_any_other():
    made = keys()
    header = made.prefix + b"\xff" * 8
    nonce = made.iv[:4] + bytes(255 ^ byte for byte in made.iv[4:])
    record = header + AESGCM(made.key).encrypt(nonce, b"last", header)

    assert reader().open(record) == b"last"
    assert record_seq(record) == (1 << 64) - 1
    assert_refused(reader().open, flip(record, 8 * 13))


def test_what_cannot_be_a_record_has_neither_epoch_nor_number():
    record = writer().seal(b"")

    for bad in (b"", record[:29], b"\x02" + record[1:], b"\x01\x00" + record[2:], b"\x01\x09"):
        assert_refused(record_epoch, bad)
        assert_refused(record_seq, bad)


def test_many_at_once_are_the_records_that_they_are_one_by_one():
    plains = [b"%d" % n for n in range(700)]
    contexts = [b"c%d" % n for n in range(700)]
    one, many = writer(), writer()

    expected = [one.seal(p, c) for p, c in zip(plains, contexts, strict=True)]
    assert many.seal_many(plains, contexts) == expected
    assert writer().seal_many(plains) == list(map(writer().seal, plains))
    assert many.sealed == one.sealed == 700


def test_numbers_rise_by_one_however_single_records_batches_and_buffers_mix():
    sealing, out, numbers = writer(), bytearray(100), []
    for size in (1, 3, 0, 255, 256, 257, 1, 600, 2):
        numbers.append(record_seq(sealing.seal(b"x")))
        numbers += map(record_seq, sealing.seal_many([b"y"] * size))
        numbers.append(record_seq(bytes(out[: sealing.seal_into(b"z", b"", out)])))

    assert numbers == list(range(len(numbers)))
    assert sealing.sealed == len(numbers)


def test_contexts_that_do_not_pair_with_the_plain_texts_are_an_error_not_a_loss():
    sealing = writer()

    assert code_of(sealing.seal_many, [b"a", b"b"], [b"c"]) == "crypto.unpaired"
    assert code_of(sealing.seal_many, [b"a"], [b"c", b"d"]) == "crypto.unpaired"
    assert sealing.seal_many([], []) == []


def test_a_buffer_takes_a_record_and_its_plain_text():
    sealing, opening = writer(), reader()
    out, back = bytearray(PLAIN * 2), bytearray(300)

    length = sealing.seal_into(memoryview(PLAIN), b"c", out)
    assert length == len(PLAIN) + RECORD_OVERHEAD
    assert opening.open(bytes(out[:length]), b"c") == PLAIN
    assert opening.open_into(memoryview(out)[:length], b"c", memoryview(back)) == len(PLAIN)
    assert back == PLAIN + bytes(300 - len(PLAIN))
    for bit in range(0, length * 8, 5):
        assert_refused(opening.open_into, flip(out[:length], bit), b"c", back)
    for end in range(length):
        assert_refused(opening.open_into, out[:end], b"c", back)
    assert_refused(opening.open_into, bytes(out[:length]), b"d", back)


def test_a_buffer_that_is_too_small_is_an_error_and_uses_no_number():
    sealing = writer()
    record = sealing.seal(PLAIN)

    with pytest.raises(InputError) as caught:
        sealing.seal_into(PLAIN, b"", bytearray(len(PLAIN) + 29))
    assert caught.value.code == "crypto.no_room"
    assert code_of(reader().open_into, record, b"", bytearray(255)) == "crypto.no_room"
    assert sealing.sealed == 1


def test_an_epoch_is_spent_after_its_records():
    for limit in (1, 3, 255, 256, 257):
        sealing = writer(max_records=limit)
        numbers = [record_seq(sealing.seal(b"")) for _ in range(limit)]
        assert numbers == list(range(limit))
        for _ in range(2):
            assert code_of(sealing.seal, b"") == "crypto.epoch_spent"
            assert code_of(sealing.seal_many, [b""]) == "crypto.epoch_spent"
            assert code_of(sealing.seal_into, b"", b"", bytearray(30)) == "crypto.epoch_spent"


def test_a_batch_larger_than_what_is_left_seals_nothing():
    sealing = writer(max_records=300)
    sealing.seal(b"")

    assert code_of(sealing.seal_many, [b""] * 300) == "crypto.epoch_spent"
    assert sealing.sealed <= 300


def test_an_epoch_is_spent_after_its_bytes_and_stays_so():
    for seal in ("seal", "many", "into"):
        sealing = writer(max_bytes=100)
        calls = {
            "seal": sealing.seal,
            "many": lambda plain, sealing=sealing: sealing.seal_many([plain]),
            "into": lambda plain, sealing=sealing: sealing.seal_into(plain, b"", bytearray(999)),
        }
        calls[seal](bytes(60))
        calls[seal](bytes(40))
        for size in (1, 0):
            for call in calls.values():
                assert code_of(call, bytes(size)) == "crypto.epoch_spent"


def test_the_number_of_a_failed_sealing_is_lost_and_never_used_again():
    sealing = writer()
    sealing.seal(b"")
    with pytest.raises(TypeError):
        sealing.seal(["not bytes"])
    with pytest.raises(TypeError):
        sealing.seal_many([b"fine", "not bytes", b"never reached"])

    assert record_seq(sealing.seal(b"")) > 3


def test_threads_never_share_a_number():
    sealing, found = writer(), []
    begin = threading.Barrier(8)

    def work(index):
        begin.wait()
        mine = []
        for turn in range(60):
            if turn % 3 == index % 3:
                mine += sealing.seal_many([b"x"] * (7 * index + turn))
            mine += [sealing.seal(b"y") for _ in range(20)]
        found.append(mine)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    every = list(itertools.chain.from_iterable(found))
    nonces = {nonce_of(record, keys().iv) for record in every}
    assert len(nonces) == len(every) == sealing.sealed
    assert all(reader().open(record) in (b"x", b"y") for record in every[::97])


def test_threads_that_take_blocks_at_once_never_share_one():
    numbers, found = writer()._numbers, []
    begin = threading.Barrier(8)

    def work():
        begin.wait()
        mine = [numbers.take(3)[0] for _ in range(4000)]
        found.extend(itertools.chain.from_iterable(mine))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert len(set(found)) == len(found) == numbers.used == 8 * 4000 * 3


def sealed_in(sealing):
    """Give the codes that the three ways to seal end in, one after the other."""
    found = []
    calls = (
        lambda: sealing.seal(b""),
        lambda: sealing.seal_many([b""]),
        lambda: sealing.seal_into(b"", b"", bytearray(30)),
    )
    for call in calls:
        try:
            call()
            found.append("sealed")
        except CronosError as error:
            found.append(error.code)
    return found


def in_child_of_a_fork(action):
    """Run `action` in a forked child and give the text that it returns."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, action().encode())
        except BaseException:  # noqa: BLE001 - the child must not return into the test run
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize("used", [0, 1, 255, 256, 300])
@pytest.mark.parametrize("at_once", [True, False])
def test_the_child_of_a_fork_cannot_seal_and_its_parent_goes_on(used, at_once):
    sealing = writer()
    plains = [b"x"] * used
    records = sealing.seal_many(plains) if at_once else list(map(sealing.seal, plains))

    told = in_child_of_a_fork(lambda: " ".join(sealed_in(sealing)))

    assert told == "crypto.forked crypto.forked crypto.forked"
    assert record_seq(sealing.seal(b"")) == used
    if records:
        assert in_child_of_a_fork(lambda: reader().open(records[-1]).decode()) == "x"


def test_the_child_of_a_fork_in_a_thread_that_holds_the_lock_is_refused_and_not_stuck():
    sealing = writer()

    with sealing._numbers._lock:
        told = in_child_of_a_fork(lambda: " ".join(sealed_in(sealing)))

    assert told == "crypto.forked crypto.forked crypto.forked"


def test_the_grandchild_of_a_fork_cannot_seal_either():
    sealing = writer()

    told = in_child_of_a_fork(
        lambda: in_child_of_a_fork(lambda: " ".join(sealed_in(sealing))) + "!"
    )

    assert told == "crypto.forked crypto.forked crypto.forked!"


def test_a_forked_worker_of_multiprocessing_cannot_seal():
    sealing, fork = writer(), multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()

    worker = fork.Process(target=lambda: queue.put(sealed_in(sealing)))
    worker.start()
    worker.join()

    assert queue.get() == ["crypto.forked"] * 3
    queue.close()


def test_a_process_id_that_changed_is_a_fork_though_no_hook_ran(monkeypatch):
    sealing = writer()
    elsewhere = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: elsewhere)

    assert sealed_in(sealing) == ["crypto.forked"] * 3


def test_a_new_writer_of_a_forked_child_seals():
    told = in_child_of_a_fork(lambda: " ".join(sealed_in(writer())))

    assert told == "sealed sealed sealed"


def test_neither_writer_reader_nor_keys_are_copied_or_pickled():
    for holder in (writer(), reader(), keys()):
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="not copied"):
                copied(holder)


def test_a_writer_that_is_dropped_is_gone():
    sealing = writer()
    gone = weakref.ref(sealing._numbers)
    sealing.seal(b"x")

    del sealing
    gc.collect()

    assert gone() is None


def test_nothing_sets_the_counter():
    sealing = writer()

    with pytest.raises(AttributeError):
        sealing.sealed = 0
    with pytest.raises(TypeError):
        RecordWriter(keys(), 10, 10, 5)
    assert {name for name in dir(sealing) if not name.startswith("_")} == {
        "seal",
        "seal_into",
        "seal_many",
        "sealed",
        "short_id",
    }


def test_keys_show_their_epoch_and_nothing_else():
    for holder in (writer(), reader(), keys()):
        assert repr(holder).endswith("(00010203)")


def test_each_input_gives_other_keys_and_a_short_data_key_is_refused():
    made = [keys(), keys(suite=HYBRID), keys(digest=b"e" * 48), keys(data_key=b"l" * 32)]

    for part in ("key", "iv", "commitment"):
        assert len({getattr(one, part) for one in made}) == len(made)
    assert len(made[0].commitment) == COMMITMENT_BYTES
    for length in (0, 16, DATA_KEY_BYTES - 1, DATA_KEY_BYTES + 1, 64):
        assert_refused(derive_record_keys, CNSA, EPOCH_ID, b"d" * 48, bytes(length))
