"""A whole discovery."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.discover import engine
from cronos.discover.engine import LONGEST, STRETCH, STRETCH_BYTES, discover, stretches
from cronos.discover.messages import Message
from cronos.discover.model import Limits, Sem
from cronos.discover.published import PARTS, Published, tally
from cronos.discover.shipped import Models, shipped
from cronos.runtime.world import SystemClock
from cronos.types import Now


def found(messages, **limits):
    return discover(messages, Limits(**limits), SystemClock(), lambda _phase, _share: None)


def tiles(result):
    for message, fields in zip(result.messages, result.fields, strict=True):
        at = 0
        for field in fields:
            assert field.offset == at
            assert field.length > 0
            assert 0 <= field.confidence <= 1
            at += field.length
        assert at == len(message.payload)


def framed(count):
    rng = np.random.default_rng(5)
    for n in range(count):
        body = rng.bytes(int(rng.integers(4, 40)))
        head = b"\x5a\x01" + n.to_bytes(2, "big") + len(body).to_bytes(2, "big")
        yield Message(head + body, str(n % 3), "c2s", 1.7e9 + n)


def test_a_length_in_a_header_is_found_and_vouched_for():
    result = found(list(framed(200)))

    tiles(result)
    ends = [{(f.offset, f.length): f.sem for f in fields} for fields in result.fields]
    assert sum((4, 2) in each for each in ends) > 190
    assert sum(each.get((4, 2)) is Sem.LENGTH for each in ends) > 190
    assert any(claim.kind.startswith("length") for claim in result.claims)


# offset <= 1.5 -> no; offset 2 -> yes; else no
AT_TWO = {
    "names": np.array(["offset"]),
    "edges": np.array([1.5, 2.5], dtype=np.float32),
    "edge_sizes": np.array([2]),
    "nodes": np.array([(0, 0, 0, 1), (0, 1, 1, 2)], dtype=np.int16),
    "node_counts": np.array([2]),
    "leaves": np.array([-5, 5, -5], dtype=np.float32),
    "leaf_counts": np.array([3]),
    "classes": np.array([0, 1]),
    "base": np.array([0.0]),
}


def knowing(messages):
    parts = {
        "protocols": np.array(["framed"]),
        "seen": tally(messages)[None],
        "usual": np.full((16, 257), 1 / 257),
        **{f"framed.{part}": AT_TWO[part] for part in PARTS},
    }
    of = shipped()
    return Models(of.order, of.first, of.second, of.meaning, of.keys, published=Published(parts))


def test_what_is_known_again_is_cut_as_was_learnt_from_it_and_that_is_said():
    messages = list(framed(60))
    models = knowing(messages)

    result, other = (
        discover(given, Limits(), SystemClock(), lambda _phase, _share: None, models)
        for given in (messages, [Message(b"zz" + m.payload) for m in messages])
    )

    tiles(result)
    assert all(fields[0].length == 2 for fields in result.fields)
    assert any("begin as those of framed" in remark for remark in result.remarks)
    assert not other.remarks


class Hurried(SystemClock):
    """A clock by which the time is up after it was asked so often."""

    def __init__(self, asked):
        self.asked = asked

    def now(self):
        self.asked -= 1
        return super().now() if self.asked >= 0 else Now(1 << 62, 0)


def test_where_there_is_no_time_for_a_second_look_nothing_is_said_to_be_known():
    messages = list(framed(40))
    models, told = knowing(messages), set()
    for asked in range(1, 10):
        result = discover(messages, Limits(), Hurried(asked), lambda _phase, _share: None, models)
        tiles(result)
        remarks = " ".join(result.remarks)
        told.add(("second time" in remarks, "begin as those" in remarks))
    assert told == {(False, False), (True, False), (False, True)}


def test_messages_are_looked_at_in_stretches_of_about_one_size_that_leave_out_none():
    for count in (0, 1, STRETCH, 179, 181, 1_000):
        parts = stretches(np.full(count, 300))
        sizes = [part.stop - part.start for part in parts]

        assert [n for part in parts for n in range(part.start, part.stop)] == list(range(count))
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= 1.5 * STRETCH


def test_long_messages_make_stretches_of_fewer():
    sizes = np.array([20] * 1_000 + [65_535] * 16 + [20] * 500)
    parts = stretches(sizes)

    assert [n for part in parts for n in range(part.start, part.stop)] == list(range(len(sizes)))
    assert max(sizes[part].sum() for part in parts) < STRETCH_BYTES + 65_535
    assert len(parts) <= 1 + 1_516 // STRETCH + 16 * 65_535 // STRETCH_BYTES + 1
    assert stretches(np.array([1_000_000])) == [slice(0, 1)]


def test_of_a_message_beyond_any_datagram_the_rest_is_one_field():
    rng = np.random.default_rng(12)
    messages = [Message(rng.bytes(LONGEST + 5)), *framed(20)]
    result = discover(messages, Limits(), SystemClock(), lambda _phase, _share: None)

    tiles(result)
    assert (result.fields[0][-1].offset, result.fields[0][-1].length) == (LONGEST, 5)


def test_where_time_is_up_between_stretches_those_looked_at_keep_their_fields():
    messages = list(framed(4 * STRETCH))
    lengths, found = np.array([len(message.payload) for message in messages]), []
    for asked in range(3, 15):
        result = discover(messages, Limits(), Hurried(asked), lambda _phase, _share: None)
        tiles(result)
        assert len(result.remarks) == (asked < 14)
        found.append([sum(len(f) for f in result.fields[part]) for part in stretches(lengths)])
    claimed = found[0]
    # Without a look a message is cut where claims say so alone, nor is there time for structure.
    assert claimed == [3 * STRETCH] * 4
    looked = [[n > least for n, least in zip(each, claimed, strict=True)] for each in found]
    assert all(each == sorted(each, reverse=True) for each in looked)
    assert [sum(each) for each in looked] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4]


def test_noise_has_hardly_a_boundary():
    rng = np.random.default_rng(6)
    result = found([Message(rng.bytes(200), str(n % 4), "c2s", float(n)) for n in range(200)])

    cuts = sum(len(fields) - 1 for fields in result.fields)
    assert cuts / (200 * 199) <= 0.01


@pytest.mark.parametrize(
    "payloads",
    [[], [b""], [b"\0"], [b"", b"ab"], [b"same"] * 30, [bytes(65_536)], [b"\1" * 70_000] * 3],
)
def test_odd_input_gives_some_result(payloads):
    result = found([Message(p, "1", "c2s") for p in payloads], max_memory_mb=64)

    assert len(result.types) == len(result.fields) == len(payloads)
    tiles(result)


def test_time_that_is_up_gives_the_best_so_far():
    result = found(list(framed(50)), max_seconds=0.0)

    tiles(result)
    assert "time was up" in result.remarks[0]


def test_no_more_messages_than_allowed_are_looked_at():
    assert len(found(list(framed(50)), max_messages=20).messages) == 20


def test_empty_messages_lie_anywhere():
    for payloads in ((b"\0", b""), (b"", b"\0"), (b"a", b"", b"b"), (b"", b"")):
        tiles(found([Message(payload, "1", "s2c") for payload in payloads]))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_tiled(payloads):
    tiles(found([Message(p, "1", "s2c") for p in payloads]))


@pytest.mark.parametrize(
    ("error", "said"), [(MemoryError, "too little memory"), (ValueError, "No structure was found")]
)
def test_where_a_structure_cannot_be_had_what_was_found_first_is_given(monkeypatch, error, said):
    def failing(_discovery):
        raise error

    messages = list(framed(60))
    monkeypatch.setattr(engine, "shared", failing)
    result = found(messages)

    tiles(result)
    assert any(len(fields) > 1 for fields in result.fields)
    assert said in " ".join(result.remarks)
