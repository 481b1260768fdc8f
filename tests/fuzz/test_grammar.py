"""Random grammars, random and damaged messages, arbitrary documents: fields or a sentence."""

import contextlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.discover.grammars import drawn

from cronos.discover import ir
from cronos.discover.builder import build
from cronos.discover.interpreter import Interpreter, Parsed, Refused
from cronos.errors import InputError

ANY = float("-inf")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.binary(max_size=200))
def test_any_bytes_are_covered_by_fields_or_refused(seed: int, data: bytes) -> None:
    grammar, _ = drawn(seed, many=1)
    result = Interpreter(grammar).parse(data, floor=ANY)
    assert isinstance(result, Refused) or _covers(result, data)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.data())
def test_a_damaged_message_is_refused_or_round_trips(seed: int, data: st.DataObject) -> None:
    grammar, messages = drawn(seed, many=3)
    run = Interpreter(grammar)
    message = bytearray(data.draw(st.sampled_from(messages)))
    for _ in range(data.draw(st.integers(1, 4))):
        _damage(message, data.draw(st.randoms()))
    result = run.parse(bytes(message), floor=ANY)
    if isinstance(result, Parsed):
        assert _covers(result, bytes(message))
        with contextlib.suppress(InputError):  # a size capped by `most` has no way back
            assert build(grammar, result) == bytes(message)


def _damage(message: bytearray, source: random.Random) -> None:
    if not message or source.random() < 0.2:
        message += source.randbytes(source.randint(1, 4))
    elif source.random() < 0.3:
        del message[source.randrange(len(message)) :]
    else:
        message[source.randrange(len(message))] = source.randrange(256)


def _covers(parsed: Parsed, data: bytes) -> bool:
    at = 0
    for field in parsed.fields:
        if field.offset != at:
            return False
        at += field.length
    return at == len(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(
        ["seq", "number", "sized", "repeat", "call", "field", "rest", "fixed", "be"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "name", "types", "body", "items", "size", "of", "ref", "width",
                         "count", "cases", "values", "rules", "known", "constant"]), inner),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_document_is_a_grammar_or_a_sentence(document: object) -> None:
    import msgspec  # noqa: PLC0415

    with contextlib.suppress(InputError):
        ir.decode(msgspec.json.encode(document))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.randoms())
def test_a_damaged_grammar_is_refused_or_runs_within_bounds(
    seed: int, source: random.Random
) -> None:
    grammar, messages = drawn(seed, many=1)
    text = bytearray(ir.encode(grammar))
    for _ in range(source.randint(1, 3)):
        text[source.randrange(len(text))] = source.choice(b'0123456789"{}[],:abcfield-')
    with contextlib.suppress(InputError):
        result = Interpreter(ir.decode(bytes(text))).parse(messages[0], floor=ANY)
        assert isinstance(result, Refused) or _covers(result, messages[0])
