"""Whatever JSON an event is, it is built or refused, and nothing else happens."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.front.test_events import FINDING, SNAPSHOT

from cronos.front.events import build
from cronos.types import Finding, Snapshot

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*SNAPSHOT, *FINDING, "kind", "value", "type"]), inner, max_size=6
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_document_does_more_than_be_refused(document):
    for kind in (Snapshot, Finding):
        if isinstance(document, dict):
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                assert isinstance(build(kind, document), kind)
