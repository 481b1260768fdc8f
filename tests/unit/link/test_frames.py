"""Frames between processes: whole or not at all, bounded, and only among one user's processes."""

import os
import socket
import stat

import pytest

from cronos.errors import InputError, UnreachableError
from cronos.link.frames import (
    FrameSocket,
    FrameSplitter,
    connect,
    frame,
    listen,
    require_same_user,
)
from cronos.types import MAX_FRAME_BYTES


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield FrameSocket(ours), theirs
    ours.close()
    theirs.close()


def test_frames_are_cut_out_of_any_pieces():
    stream = frame(b"one") + frame(b"") + frame(b"three")
    for size in (1, 2, 5, len(stream)):
        splitter = FrameSplitter()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [one for piece in pieces for one in splitter.feed(piece)] == [b"one", b"", b"three"]


def test_a_frame_of_a_mebibyte_is_the_longest():
    (whole,) = FrameSplitter().feed(frame(bytes(MAX_FRAME_BYTES)))
    assert len(whole) == MAX_FRAME_BYTES
    with pytest.raises(InputError) as refused:
        frame(bytes(MAX_FRAME_BYTES + 1))
    assert refused.value.code == "link.frame_too_long"


def test_an_absurd_length_ends_the_connection_before_anything_is_buffered():
    with pytest.raises(UnreachableError) as refused:
        FrameSplitter().feed(b"\xff\xff\xff\xffGET / HTTP/1.1")
    assert refused.value.code == "link.not_frames"


def test_frames_that_arrive_together_are_received_one_by_one(pair):
    ours, theirs = pair
    theirs.sendall(frame(b"one") + frame(b"two"))
    assert ours.receive(5) == b"one"
    assert ours.pending()
    assert ours.receive(5) == b"two"
    assert not ours.pending()
    assert ours.receive(0) is None


def test_half_a_frame_is_kept_until_the_rest_arrives(pair):
    ours, theirs = pair
    whole = frame(b"patience")
    theirs.sendall(whole[:6])
    assert ours.receive(0) is None
    theirs.sendall(whole[6:])
    assert ours.receive(5) == b"patience"


def test_a_peer_that_has_gone_is_named_as_such(pair):
    ours, theirs = pair
    theirs.close()
    with pytest.raises(UnreachableError) as gone:
        ours.receive(5)
    assert gone.value.code == "link.closed"
    with pytest.raises(UnreachableError):
        ours.send(b"anyone?")


def test_only_this_user_may_connect_and_a_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "s"
    listen(path).close()
    assert path.exists()
    listener = listen(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    client = connect(path)
    accepted, _ = listener.accept()
    require_same_user(accepted)
    client.send(b"hello")
    server = FrameSocket(accepted)
    assert server.receive(5) == b"hello"
    assert server.fileno() == accepted.fileno()
    for one in (client, server, listener):
        one.close()


def test_where_nobody_listens_the_sentence_says_so(tmp_path):
    with pytest.raises(UnreachableError) as nobody:
        connect(tmp_path / "nobody")
    assert str(tmp_path / "nobody") in nobody.value.sentence


def test_a_path_too_long_for_a_socket_and_a_missing_folder_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(InputError) as refused:
        listen(tmp_path / ("x" * 200))
    assert refused.value.code == "link.path_too_long"
    with pytest.raises(InputError) as refused:
        listen(tmp_path / "missing" / "s")
    assert refused.value.code == "link.cannot_listen"
    assert "--state" in refused.value.remedy


def test_the_mask_that_hides_the_socket_is_put_back(tmp_path):
    before = os.umask(0o022)
    try:
        listen(tmp_path / "s").close()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
