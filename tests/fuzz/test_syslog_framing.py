from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.sense.syslog_framing import Framing

MESSAGES = st.lists(
    st.tuples(st.booleans(), st.binary(max_size=40).map(lambda text: b"<1>" + text)), max_size=8
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_any_stream_gives_the_same_messages_however_it_is_cut(data, cuts):
    whole = Framing(50)
    messages = whole.feed(data) + whole.end()
    pieces, got, at = Framing(50), [], 0
    while at < len(data):
        for cut in cuts:
            got += pieces.feed(data[at : at + cut])
            at += cut
            assert len(pieces._buffer) <= 60
    assert got + pieces.end() == messages


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_what_was_framed_is_found_again(messages):
    stream = b""
    expected = []
    for counted, message in messages:
        if counted:
            stream += b"%d %s" % (len(message), message)
            expected.append(message)
        else:
            line = message.replace(b"\n", b"")
            stream += line + b"\n"
            expected.append(line)
    assert Framing(100).feed(stream) == expected
