"""Ways to read a small number out of messages."""

import numpy as np
import pytest

from cronos.discover.keys import (
    BYTE,
    HIGH,
    LOW,
    TAG,
    VALUE,
    WORD,
    Heads,
    bits,
    candidates,
    code_bits,
    crossed,
    ranks,
)
from cronos.discover.messages import Message


def heads(*payloads, flow="1", way="c2s"):
    return Heads([Message(p, flow, way, float(i)) for i, p in enumerate(payloads)])


def views(found, kind):
    return {view.place: view.values.tolist() for view in found.views if view.kind == kind}


def test_bytes_are_read_whole_and_by_halves():
    found = heads(*(b"\x12\x00", b"\x21", b"\x32\x00") * 4)

    assert views(found, BYTE) == {0: [0x12, 0x21, 0x32] * 4, 1: [0, -1, 0] * 4}
    assert views(found, HIGH)[0] == [1, 2, 3] * 4
    assert views(found, LOW)[0] == [2, 1, 2] * 4


def test_what_differs_from_message_to_message_is_not_halved_and_no_candidate():
    found = heads(*(bytes((n % 100, 1, n % 2)) for n in range(200)))

    assert not views(found, HIGH)
    assert [view.place for view in candidates(found) if view.kind == BYTE] == [2]


def element(tag, content):
    size = len(content)
    head = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + head + content


def test_tags_of_ber_are_read_wherever_lengths_put_them():
    found = heads(
        element(0x30, element(2, b"\1") + element(0x61, element(4, b"abc"))),
        element(0x30, element(2, b"\2") + element(0x63, element(4, bytes(400)))),
    )

    assert views(found, TAG)[2] == [0x61, 0x63]
    assert views(found, VALUE)[1] == [1, 2]


@pytest.mark.parametrize(
    "payload", [b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80\0\0", b"\x30\x89" + bytes(20)]
)
def test_what_only_looks_like_ber_has_no_tags(payload):
    assert not views(heads(payload, payload), TAG)


def test_words_of_texts_are_read():
    found = heads(b"GET /a HTTP/1.1\r\n", b"POST /b HTTP/1.1\r\n", b"GET /c HTTP/1.1\r\n")

    assert views(found, WORD)[0] == [0, 1, 0]
    assert views(found, WORD)[1] == [0, 1, 2]


def test_candidates_vary_little_and_tell_different_things_apart():
    found = heads(*(bytes((7, n % 3, n, n % 3)) for n in range(200)))

    assert [(view.kind, view.place) for view in candidates(found) if view.kind == BYTE] == [
        (BYTE, 1)
    ]


def spoken(way):
    """Play questions and answers of two flows; the third byte tells them apart."""
    rng = np.random.default_rng(4)
    for n in range(60):
        number, body = n // 2 % 7, bytes(rng.integers(0, 9, 4).tolist())
        code = 8 if n % 2 == 0 else 0
        yield Message(bytes((number, number, code)) + body, str(n // 2 % 2), way(n), float(n))


def test_a_byte_that_goes_and_comes_back_says_who_speaks_where_nobody_else_does():
    blind = Heads(list(spoken(lambda _: "")))
    told = Heads(list(spoken(lambda n: "s2c" if n % 2 else "c2s")))

    assert blind.speaker is not None
    assert (blind.speaker.kind, blind.speaker.place) == (BYTE, 2)
    assert bits(blind.ways * 2 + told.ways) == bits(told.ways)
    assert told.speaker is None


def test_counters_and_random_bytes_say_nothing_of_who_speaks():
    rng = np.random.default_rng(6)
    played = [
        Message(bytes((n, n % 3, *rng.integers(0, 2, 8).tolist())), "1", "", float(n))
        for n in range(200)
    ]

    assert Heads(played).speaker is None
    assert Heads(played[:4]).speaker is None


def test_answers_know_what_they_answer():
    played = [Message(b"a", "1", "c2s"), Message(b"b", "2", "c2s"), Message(b"c", "1", "s2c")]
    found = Heads(played)

    assert found.asked.tolist() == [-1, -1, 0]
    assert found.before.tolist() == [-1, -1, -1]


def test_a_code_is_shorter_in_groups_that_explain():
    rng = np.random.default_rng(1)
    group = rng.integers(0, 2, 100)
    table = np.stack((group * 3, rng.integers(0, 5, 100)), axis=1)

    whole, split = code_bits(table, np.zeros(100, int)), code_bits(table, group)

    assert split[0] < 0.2 * whole[0]
    assert split[1] > 0.9 * whole[1]


def test_entropy_and_ranks():
    assert bits(np.array([0, 1, 2, 3])) == 2.0
    assert bits(np.array([0, 1, 2, 3]) * 1_000_000 - 7) == 2.0
    assert bits(np.zeros(0, dtype=int)) == 0.0
    assert ranks(np.array([9, 4, 9])).tolist() == [1, 0, 1]
    assert ranks(np.zeros(0)).tolist() == []


def test_pairs_of_labels_are_numbered_in_their_order():
    assert crossed(np.array([1, 0, 1, 0]), np.array([0, 2, 0, 1])).tolist() == [2, 1, 2, 0]
    assert crossed(np.zeros(0, dtype=int), np.zeros(0, dtype=int)).tolist() == []


def test_nothing_and_empty_messages_have_no_candidates():
    assert candidates(heads()) == []
    assert candidates(heads(b"", b"")) == []
