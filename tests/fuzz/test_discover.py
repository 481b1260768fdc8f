"""Whatever bytes come: inputs, streams, profiles and children's words give results or refusals."""

import contextlib
import io
import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.discover.pump import PROFILE, reading
from tests.unit.discover.wires import Talk, pcap

from cronos.discover.captures import Bounds, read_capture
from cronos.discover.filters import compile_filter
from cronos.discover.framing import Run, Segment, cut
from cronos.discover.jsonl import read_lines
from cronos.discover.messages import Message
from cronos.discover.parsing import Parser
from cronos.discover.profile import from_bytes, to_bytes
from cronos.discover.wire import Unpacker
from cronos.errors import InputError, UnreachableError

CAPTURE = pcap(Talk().c(b"\0\1\0\0\0\2ab").s(b"\0\1\0\0\0\3abc").frames * 4)
BOUNDS = Bounds(max_bytes=1 << 20)


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_as_lines_give_messages_or_sentences(data):
    for head in (b"", b"\x1f\x8b"):
        try:
            found = list(read_lines(io.BytesIO(head + data)))
        except InputError:
            continue
        assert all(isinstance(one, Message | str) for one in found)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_a_capture_with_any_bytes_changed_gives_services_or_is_refused(seed, changes):
    rng = random.Random(seed)
    data = bytearray(CAPTURE)
    for _ in range(changes):
        data[rng.randrange(24, len(data))] = rng.randrange(256)
    try:
        services = read_capture(io.BytesIO(data), b"", compile_filter(""), BOUNDS)
    except InputError:
        return
    assert all(message.payload for service in services for message in service.messages)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=80), st.booleans()), max_size=30))
def test_however_a_stream_is_cut_no_byte_is_invented_or_moved(segments):
    run = Run(tuple(Segment(float(n), data, turn) for n, (data, turn) in enumerate(segments)))
    done = cut([run])

    whole = b"".join(data for data, _ in segments)
    joined = b"".join(piece.data for piece in done.pieces)
    assert whole.startswith(joined)
    assert len(whole) - len(joined) == done.left_bytes


@settings(max_examples=80)
@given(st.text(alphabet="tcpudhosnrl ()!&|0123456789.:/-", max_size=60))
def test_any_text_as_a_filter_is_understood_or_refused(text):
    with contextlib.suppress(InputError):
        compile_filter(text)


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused_with_a_place(data):
    parser = Parser(PROFILE)
    for payload in (data, reading(1.0)[: len(data)] + data):
        row = parser.row(0, Message(payload))
        assert bool(row.refused) != bool(row.type)
        assert sum(field.length for field in row.fields) == (0 if row.refused else len(payload))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_profile_with_any_bytes_changed_runs_or_is_refused(seed, changes):
    rng = random.Random(seed)
    data = bytearray(to_bytes(PROFILE))
    for _ in range(changes):
        data[rng.randrange(len(data))] = rng.choice(b'{}[]":,0123456789abx\\\xff')
    try:
        profile = from_bytes(bytes(data), "x")
    except InputError:
        return
    Parser(profile).row(0, Message(reading(1.0)))


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_any_bytes_of_a_child_are_messages_or_end_the_connection(data):
    try:
        for _, body in Unpacker().feed(data):
            json.dumps(body.hex())
    except UnreachableError:
        pass
