"""Message types."""

import numpy as np

from cronos.discover.messages import Message
from cronos.discover.types import classify


def spoken(count):
    rng = np.random.default_rng(2)
    for n in range(count):
        code = int(rng.integers(3))
        body = (b"\0\0\0\0", b"text and more", bytes(rng.integers(128, 255, 20).tolist()))[code]
        yield code, Message(bytes((0x7E, n % 256, code)) + body, str(n % 4), "c2s", float(n))


def test_the_byte_that_decides_what_follows_tells_types_apart():
    played = list(spoken(300))
    found = classify([message for _, message in played])

    pairs = set(zip(found, [code for code, _ in played], strict=True))
    assert len(pairs) == 3


def test_the_most_frequent_type_comes_first():
    found = classify([message for _, message in spoken(300)])

    assert found.count(0) >= found.count(1) >= found.count(2)


def test_questions_and_answers_are_two_types_where_nobody_says_which_is_which():
    rng = np.random.default_rng(8)
    played = []
    for n in range(2_400):
        body = bytes(rng.integers(0, 256, 12).tolist()) if n % 2 == 0 else played[-1].payload[4:]
        head = bytes((8 if n % 2 == 0 else 0, 0, n // 2 % 256, 1))
        played.append(Message(head + body, "1", "", float(n)))

    for some in (played[:120], played):
        found = classify(some)
        assert all((a == found[0]) == (n % 2 == 0) for n, a in enumerate(found))


def test_nothing_and_one_message_have_types():
    assert classify([]) == ()
    assert classify([Message(b"a")]) == (0,)
    assert classify([Message(b"")]) == (0,)
