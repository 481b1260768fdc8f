"""The replay window: each record once, in bounded memory, and nothing returns when forgotten."""

import threading
import tracemalloc

import msgspec
import pytest
from tests.unit.crypto.parties import PRODUCER, TOPIC, Party

from cronos.crypto.epoch import Epoch, parse_epoch
from cronos.crypto.window import ReplayWindow
from cronos.errors import DeniedError


@pytest.fixture(scope="module")
def template():
    return parse_epoch(Party().begin(signed=False)[0])


def epoch_at(template: Epoch, began: int, number: int = 0, **other) -> Epoch:
    changes = {"not_before_ns": began, "epoch_id": number.to_bytes(16, "big"), **other}
    return msgspec.structs.replace(template, **changes)


def admitted(window, epoch, *numbers):
    """Say for each number whether it was admitted."""
    found = []
    for number in numbers:
        try:
            window.admit(epoch, number)
            found.append(True)
        except DeniedError as error:
            if error.code != "crypto.replayed":
                raise
            found.append(False)
    return found


def test_each_number_is_admitted_once(template):
    window = ReplayWindow()

    assert admitted(window, template, 0, 1, 2, 2, 1, 0, 3) == [True] * 3 + [False] * 3 + [True]


def test_numbers_may_come_in_another_order_within_the_window(template):
    window = ReplayWindow(size=8)

    assert admitted(window, template, 7, 0, 3, 6, 0, 8, 1, 3) == [
        *(True, True, True, True, False),
        *(True, True, False),
    ]


def test_a_number_is_known_to_the_edge_of_the_window_and_refused_beyond(template):
    window = ReplayWindow(size=8)

    assert admitted(window, template, 100) == [True]
    assert admitted(window, template, 93, 93, 92, 0) == [True, False, False, False]


def test_a_window_of_one_admits_rising_numbers(template):
    assert admitted(ReplayWindow(size=1), template, 5, 5, 4, 6) == [True, False, False, True]


def test_a_leap_empties_the_window_and_refuses_what_lies_behind(template):
    window = ReplayWindow(size=64)

    assert admitted(window, template, 5, 69, 5, 6, 1000, 69, 937) == [
        *(True, True, False, True),
        *(True, False, True),
    ]


def test_a_leap_to_the_last_number_takes_no_memory(template):
    window = ReplayWindow(size=64)
    last = (1 << 64) - 1

    tracemalloc.start()
    assert admitted(window, template, 0, last, last, 0, last - 63) == [
        *(True, True, False, False, True)
    ]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 100_000


def test_epochs_of_one_stream_count_apart(template):
    window = ReplayWindow()
    first, second = epoch_at(template, 1), epoch_at(template, 2)

    assert admitted(window, first, 0, 1) == [True, True]
    assert admitted(window, second, 0, 1, 1) == [True, True, False]
    assert admitted(window, first, 1, 2) == [False, True]


def test_producers_and_topics_count_apart(template):
    window = ReplayWindow()
    others = (
        template,
        epoch_at(template, template.not_before_ns, producer=b"another-producer"),
        epoch_at(template, template.not_before_ns, topic="plant/8"),
    )

    for other in others:
        assert admitted(window, other, 0, 0) == [True, False]


def test_nothing_returns_from_an_epoch_that_was_dropped(template):
    window = ReplayWindow(max_epochs=2)
    epochs = [epoch_at(template, n) for n in range(5)]
    for epoch in epochs:
        assert admitted(window, epoch, 0) == [True]

    for old in epochs[:3]:
        assert admitted(window, old, 0, 1, 99) == [False, False, False]
    for kept in epochs[3:]:
        assert admitted(window, kept, 0, 1) == [False, True]


def test_an_old_epoch_that_was_never_seen_does_not_push_out_a_new_one(template):
    window = ReplayWindow(max_epochs=2)
    for began in (10, 20):
        window.admit(epoch_at(template, began), 0)

    assert admitted(window, epoch_at(template, 5), 0) == [False]
    assert admitted(window, epoch_at(template, 15), 0) == [True], "newer than the oldest kept"
    assert admitted(window, epoch_at(template, 10), 1) == [False]
    assert admitted(window, epoch_at(template, 20), 0, 1) == [False, True]


def test_epochs_of_one_instant_are_ordered_by_their_ids(template):
    window = ReplayWindow(max_epochs=1)
    low, high = epoch_at(template, 1, number=1), epoch_at(template, 1, number=2)

    assert admitted(window, low, 0) == [True]
    assert admitted(window, high, 0) == [True]
    assert admitted(window, low, 0, 1) == [False, False]


def test_a_flood_of_one_producers_epochs_pushes_out_nobody_elses(template):
    window = ReplayWindow(max_epochs=2)
    quiet = epoch_at(template, 1, producer=b"another-producer")
    window.admit(quiet, 0)

    for began in range(1000):
        window.admit(epoch_at(template, began), 0)

    assert admitted(window, quiet, 0, 1) == [False, True]


def test_a_stream_too_many_is_refused_and_the_others_go_on(template):
    window = ReplayWindow(max_streams=2)
    for topic in ("a", "b"):
        window.admit(epoch_at(template, 1, topic=topic), 0)

    for _ in range(2):
        with pytest.raises(DeniedError) as caught:
            window.admit(epoch_at(template, 1, topic="c"), 0)
        assert caught.value.code == "crypto.too_many_streams"
    assert admitted(window, epoch_at(template, 1, topic="a"), 0, 1) == [False, True]


def test_a_full_window_takes_the_memory_that_it_says(template):
    tracemalloc.start()
    window = ReplayWindow(max_streams=64)
    for stream in range(64):
        for began in range(12):
            epoch = epoch_at(template, began, topic=f"plant/{stream}")
            window.admit(epoch, 0)
            window.admit(epoch, 4095)
            window.admit(epoch, 1)
    del epoch
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert now * 4096 / 64 < 40_000_000


def test_of_many_threads_one_admits_a_record(template):
    window, wins = ReplayWindow(), []
    begin = threading.Barrier(8)

    def work():
        begin.wait()
        wins.append(sum(admitted(window, template, *range(500))))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(wins) == 500


@pytest.mark.parametrize("wrong", [{"size": 0}, {"max_epochs": 0}, {"max_streams": 0}], ids=str)
def test_a_window_without_room_is_an_error(wrong):
    with pytest.raises(ValueError, match="at least one"):
        ReplayWindow(**wrong)


def test_records_of_a_real_epoch_pass_once():
    party, window = Party(), ReplayWindow()
    packet, writer = party.begin()
    epoch, reader = parse_epoch(packet), party.open(packet)
    records = writer.seal_many([b"x"] * 10)

    assert (epoch.producer, epoch.topic) == (PRODUCER, TOPIC)
    for record in records:
        reader.open(record)
        window.admit(epoch, int.from_bytes(record[6:14], "big"))
    assert admitted(window, epoch, *range(11)) == [False] * 10 + [True]
