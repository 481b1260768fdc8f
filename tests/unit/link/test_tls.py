"""TLS links and endpoints: time limits, frames and what an error says."""

import contextlib
import socket
import threading

import pytest
from cryptography import x509
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from tests.unit.crypto.pki.plant import Plant

from cronos.crypto.pki.revocation import Revocations
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link import tls
from cronos.link.tls import CLOSED, Endpoint, connect_unverified
from cronos.link.tls import _context as tls_context
from cronos.link.tls import _ended as ended
from cronos.runtime.world import SystemClock


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Two endpoints of one plant, by the machine's own clock."""
    plant = Plant(tmp_path_factory.mktemp("tls") / "plant", clock=SystemClock())
    lists = Revocations(plant.trust, plant.authority.lists())
    return [
        Endpoint(plant.credential(name), plant.trust, lists, plant.clock)
        for name in ("alpha", "beta")
    ]


@contextlib.contextmanager
def linked(ends):
    """A link as both of its ends see it."""
    made = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: made.append(ends[1].accept(listener.accept()[0])))
        thread.start()
        near = ends[0].connect(listener.getsockname())
        thread.join(30)
    try:
        yield near, made[0]
    finally:
        ends[0].release(near)
        ends[1].release(made[0])


def test_frames_arrive_whole_and_in_order(ends):
    with linked(ends) as (near, far):
        for frame in (b"", b"one", bytes(100_000)):
            near.send_frame(frame)
            assert far.receive_frame(200_000) == frame


def test_a_frame_longer_than_allowed_is_refused(ends):
    with linked(ends) as (near, far):
        near.send_frame(bytes(101))
        with pytest.raises(DeniedError) as refused:
            far.receive_frame(100)
    assert refused.value.code == "crypto.refused"


def test_a_silent_peer_costs_no_more_than_the_time_limit(ends):
    with linked(ends) as (_, far), pytest.raises(UnreachableError) as late:
        far.receive(timeout_s=0.05)
    assert late.value.code == "link.tls_timeout"


def test_half_a_frame_is_not_waited_for_for_ever(ends):
    with linked(ends) as (near, far):
        near.send((10).to_bytes(4, "big") + b"half")
        with pytest.raises(UnreachableError) as late:
            far.receive_frame(100, timeout_s=0.1)
    assert late.value.code == "link.tls_timeout"


def test_a_peer_that_hangs_up_is_told_as_such(ends):
    with linked(ends) as (near, far):
        near.close()
        near.close()
        with pytest.raises(UnreachableError) as gone:
            far.receive()
    assert gone.value.code == CLOSED


def test_a_cut_link_says_why_on_every_later_call(ends):
    why = DeniedError("crypto.certificate_revoked", "It is revoked.", "Ask.")
    with linked(ends) as (near, _):
        near.cut(why)
        for call in (near.receive, lambda: near.send(b"x")):
            with pytest.raises(DeniedError) as cut:
                call()
            assert cut.value is why


def test_what_stands_is_counted(ends):
    with linked(ends):
        assert [end.standing() for end in ends] == [1, 1]
    assert [end.standing() for end in ends] == [0, 0]


def test_nobody_there_is_unreachable(ends):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

    for connect in (ends[0].connect, lambda at: connect_unverified(at, SystemClock())):
        with pytest.raises(UnreachableError):
            connect(address)


def test_a_peer_that_speaks_no_tls_is_refused(ends):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble():
            connected, _ = listener.accept()
            with connected:
                connected.sendall(b"SSH-2.0-OpenSSH\r\n" * 10)
                connected.recv(100_000)

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(CronosError):
            ends[0].connect(listener.getsockname())
        thread.join(30)


def test_a_group_that_the_library_does_not_have_is_a_sentence():
    with pytest.raises(InputError, match="has no Kyber"):
        tls_context(None, "Kyber", "required", server=False)


def test_openssls_own_words_reach_the_person():
    error = SSL.Error([("SSL routines", "", "no suitable key share")])

    assert "no suitable key share" in ended(error).sentence
    assert ended(SSL.SysCallError(-1, "Unexpected EOF")).code == CLOSED
    assert ended(ConnectionResetError(104, "reset")).code == CLOSED


def test_a_certificate_that_cannot_be_parsed_is_refused_as_any_other(ends):
    alpha = ends[0]._credential
    leaf = alpha.chains.mldsa[0]
    strange = leaf.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(strange)
    context = tls_context(alpha, tls.HYBRID_GROUP, "required", server=False)
    raw = crypto.load_certificate(crypto.FILETYPE_ASN1, strange)
    assert lib.SSL_CTX_use_certificate(context._context, raw._x509) == 1
    ended_with = []

    def serve(listener):
        connected = listener.accept()[0]
        try:
            ends[1].accept(connected)
        except Exception as error:  # noqa: BLE001 - which one is what is asked
            ended_with.append((error, connected.fileno()))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with socket.create_connection(listener.getsockname()) as hostile:
            peer = SSL.Connection(context, hostile)
            peer.set_connect_state()
            peer.do_handshake()
            thread.join(30)

    ((error, descriptor),) = ended_with
    assert isinstance(error, DeniedError)
    assert (error.code, descriptor) == ("crypto.refused", -1)


def test_a_closed_link_touches_no_descriptor_that_may_be_anothers_by_now(ends):
    with linked(ends) as (near, _):
        near.close()
        with pytest.raises(UnreachableError) as gone:
            near.send(b"to whom?")
    assert gone.value.code == CLOSED


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "local\0host"])
def test_a_host_name_that_is_none_is_unreachable(ends, host):
    with pytest.raises(UnreachableError):
        ends[0].connect((host, 7445))


def test_a_link_may_wait_longer_than_one_wait_of_the_system(ends, monkeypatch):
    monkeypatch.setattr(tls, "_MAX_WAIT_MS", 20)
    with linked(ends) as (near, far):
        sender = threading.Timer(0.2, far.send, (b"late",))
        sender.start()
        assert near.receive(timeout_s=30) == b"late"
        sender.join()
