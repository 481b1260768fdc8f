import pytest

from cronos.sense.syslog_framing import Framing


def feed(data, cut=1 << 20, limit=100):
    framing = Framing(limit)
    messages = []
    for at in range(0, len(data), cut):
        messages += framing.feed(data[at : at + cut])
    return messages, framing


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_both_framings_may_alternate_however_the_stream_is_cut(cut):
    messages, framing = feed(b"<1>one\n7 <2>two\n<3>three\r\n7 <4>\n\nab", cut)
    assert messages == [b"<1>one", b"<2>two\n", b"<3>three\r", b"<4>\n\nab"]
    assert not framing.unfinished


@pytest.mark.parametrize("cut", [1, 1000])
def test_digits_that_are_no_count_are_a_line(cut):
    assert feed(b"12345678901234 x\n99 ", cut)[0] == [b"12345678901234 x"]
    assert feed(b"12x\n<1>a\n", cut)[0] == [b"12x", b"<1>a"]


@pytest.mark.parametrize("cut", [1, 30, 1000])
def test_a_message_above_the_limit_is_cut_and_the_next_one_is_whole(cut):
    long = b"<1>" + b"x" * 300
    assert feed(long + b"\n<2>b\n", cut)[0] == [long[:100], b"<2>b"]
    assert feed(b"303 " + long + b"<2>b\n", cut)[0] == [long[:100], b"<2>b"]


def test_a_peer_that_leaves_early_leaves_what_it_said():
    _, framing = feed(b"<1>half")
    assert framing.unfinished
    assert framing.end() == [b"<1>half"]
    assert framing.end() == []


def test_a_count_of_gigabytes_holds_no_more_than_the_limit():
    framing = Framing(100)
    framing.feed(b"999999999 ")
    for _ in range(100):
        framing.feed(b"x" * 1000)
    assert len(framing._buffer) == 100
