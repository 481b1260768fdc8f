"""Arbitrary bytes as HTTP: the same requests however they are cut, in bounded memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.sense.http import HttpStream

_PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [b"GET / HTTP/1.1\r\n", b"\r\n", b"\n", b"Content-Length: 9\r\n", b"Host: x\r\n"]
        ),
    ),
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(_PIECES)
def test_any_stream_gives_requests_and_keeps_little(pieces: list[bytes]) -> None:
    stream = HttpStream()
    for piece in pieces:
        for fields in stream.feed(piece):
            assert fields["http_request.http_method"]
        assert len(stream._buffer) <= 16_384
