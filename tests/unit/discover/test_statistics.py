"""What can be said of messages without understanding them."""

from collections import Counter

import pytest

from cronos.discover.messages import Message
from cronos.discover.statistics import entropy_bits, summarise


def test_messages_are_counted_and_measured():
    messages = [
        Message(b"GET", "1", "c2s", 10.0),
        Message(b"\x00" * 9, "1", "s2c", 12.5),
        Message(b"GET", "2", "c2s"),
    ]
    summary = summarise(messages)

    assert (summary.messages, summary.bytes, summary.flows, summary.distinct) == (3, 15, 2, 2)
    assert (summary.shortest, summary.median, summary.longest) == (3, 3, 9)
    assert summary.sent == {"c2s": 2, "s2c": 1}
    assert summary.seconds == 2.5
    assert summary.printable == pytest.approx(6 / 15)


def test_entropy_runs_from_nothing_to_eight_bits():
    assert entropy_bits(Counter(b"aaaa")) == 0
    assert entropy_bits(Counter(bytes(range(256)))) == pytest.approx(8)
    assert entropy_bits(Counter()) == 0


def test_messages_of_one_byte_have_no_entropy_and_no_sign():
    assert str(summarise([Message(b"aaaa")] * 300).entropy_bits) == "0.0"


def test_nothing_is_summarised_as_nothing():
    assert summarise([]).messages == summarise([]).longest == 0
    assert summarise([Message(b"")]).bytes == 0
