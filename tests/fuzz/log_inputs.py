"""Hostile inputs for the log sensors: bytes, JSON of the wrong shape, and mutated good lines."""

import json

from hypothesis import strategies as st

CUTS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["tcp", "203.0.113.9", "0x7", "closed", "SF", "\ud800", "2024-01-01T00:00:00Z"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def mutated(*good):
    """Give good lines with bytes cut out, doubled and changed."""

    @st.composite
    def mutations(draw):
        data = bytearray(b"\n".join(draw(st.lists(st.sampled_from(good), max_size=5))))
        for _ in range(draw(st.integers(0, 6))):
            at = draw(st.integers(0, len(data)))
            data[at : at + draw(st.integers(0, 9))] = draw(st.binary(max_size=6))
        return bytes(data)

    return mutations()


def shaped(*keys):
    """Give JSON lines whose known keys hold anything at all."""
    record = st.dictionaries(st.sampled_from(keys) | st.text(max_size=6), VALUES, max_size=9)
    return st.lists(record, max_size=4).map(
        lambda records: "\n".join(json.dumps(one) for one in records).encode()
    )
