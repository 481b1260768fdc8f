"""Whatever the order of segments, the bytes come out in order and first wins."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.link.reassembly import Reassembly

_DATA = bytes(range(200))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, (1 << 32) - 1),
    st.permutations(range(20)),
    st.lists(st.tuples(st.integers(0, 199), st.integers(1, 60)), max_size=20),
)
def test_all_segments_in_any_order_with_repetitions_give_the_stream_once(
    base: int, order: list[int], extra: list[tuple[int, int]]
) -> None:
    side = Reassembly(base)
    pieces = [(n * 10, 10) for n in order]
    for index, (at, size) in enumerate(extra):
        pieces.insert(index * 2, (at, min(size, 200 - at)))
    out = b""
    for at, size in pieces:
        for part in side.add((base + at) % (1 << 32), _DATA[at : at + size], 0):
            assert isinstance(part, bytes)
            out += part
    assert out == _DATA
    assert side.held == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=40), st.integers(0, 3)),
        max_size=40,
    )
)
def test_memory_is_bounded_and_what_was_delivered_never_comes_again(
    segments: list[tuple[int, bytes, int]],
) -> None:
    side, delivered, time_ns = Reassembly(0, max_held_bytes=100), 0, 0
    for seq, data, seconds in segments:
        time_ns += seconds * 400_000_000
        for part in side.add(seq, data, time_ns):
            delivered += part if isinstance(part, int) else len(part)
        assert side.held <= 100
        assert side.next_seq == delivered
