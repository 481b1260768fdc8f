"""Text between other bytes, at fixed places, and the marks that cut text protocols."""

import numpy as np
from tests.unit.discover.detectors.noise import alarms, few_sizes, random_bytes

from cronos.discover.detectors.texts import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem

WORDS = [b"pressure", b"setpoint", b"operator", b"quality", b"station"]


def test_runs_of_text_are_found_behind_their_length_even_if_that_is_a_letter():
    rng = np.random.default_rng(1)
    given = []
    for _ in range(40):
        text = b" ".join(WORDS[int(i)] for i in rng.integers(0, 5, 5))[:40]
        given.append(
            Message(b"\x01\x00" + bytes([len(text)]) + text + b"\x00" + bytes(range(2, 9)))
        )

    runs = [c for c in claims(given) if c.kind == "text.run"]

    assert all(span == (3, m.payload[2] + 1) for span, m in zip(runs[0].spans, given, strict=True))


def test_wide_text_is_found():
    given = [
        Message(b"\x05\x01" + word.decode().encode("utf-16-le") + b"\x00\x00") for word in WORDS
    ]

    wide = [c for c in claims(given * 4) if c.kind == "text.utf16"]

    assert wide[0].spans[0] == (2, 18)


def test_a_field_of_text_filled_with_zeros_ends_where_its_zeros_end():
    rng = np.random.default_rng(2)
    given = [
        Message(rng.bytes(1) + b"\xff\x01" + WORDS[int(rng.integers(5))].ljust(16, b"\0") + b"\x99")
        for _ in range(60)
    ]

    fixed = [c for c in claims(given) if c.kind == "text.fixed"]

    assert [c.spans[0] for c in fixed] == [(3, 16)]


def test_marks_cut_text_protocols_into_tokens():
    lines = [Message(b"GET one\r\nname: %d\r\nkind: b\r\n\r\n" % n) for n in range(9)]
    bars = [Message(b"A|%d|x|y|%d\r" % (n, n * n)) for n in range(9)]

    tokens = [c for c in claims(lines) if c.kind == "text.token"]
    assert [tokens[i].spans[0] for i in range(3)] == [(0, 7), (9, 4), (15, 1)]
    ends = [c.spans[0] for c in claims(bars) if c.kind == "text.delimiter"]
    assert ends[:4] == [(1, 1), (3, 1), (5, 1), (7, 1)]
    assert {c.sem for c in claims(bars)} == {Sem.TEXT}


def test_random_bytes_hold_no_text():
    assert alarms(claims, range(1200, 1210), (random_bytes, few_sizes)) == []


def records(n):
    """Give records whose kind says how many fields they have."""
    kinds = [b"HDR|%d|a|b" % n, b"OBS|%d|%d|x|y|z" % (n, n * n), b"END|%d" % (n % 7)]
    return b"\r".join(kinds[: 1 + n % 3] * (1 + n % 2)) + b"\r"


def said(given, kind):
    return {c.terms["exact"] for c in claims([Message(one) for one in given]) if c.kind == kind}


def test_records_of_a_kind_that_always_have_as_many_fields_are_a_grammar():
    given = [records(n) for n in range(40)]

    assert said(given, "text.token") == said(given, "text.delimiter") == {1}
    odd = [one + (b"OBS|1|2\r" if n % 8 == 0 else b"") for n, one in enumerate(given)]
    assert said(odd, "text.token") == {0}


def test_marks_in_writing_are_none():
    headers = [
        b"Via: a;%s\r\nTo: b;c\r\nFrom: d%s\r\n" % (b";".join(WORDS[: 1 + n % 4]), b";e" * (n % 3))
        for n in range(40)
    ]
    assert said(headers, "text.token") == {0}
    kinds = [b"%d|x|y\r" % (n * 1_000 + m) for n in range(40) for m in range(12)]
    assert said([b"".join(kinds[n : n + 12]) for n in range(0, 480, 12)], "text.token") == {0}
