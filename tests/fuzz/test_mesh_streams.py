"""Words of the mesh from a member that may say anything: refused by rule, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from cronos.errors import CronosError
from cronos.mesh import corelog
from cronos.mesh import streams_wire as wire
from cronos.mesh.strangers import REASONS
from cronos.mesh.streams_dial import parse_address, target_of
from cronos.mesh.streams_session import Bounds, Session
from cronos.mesh.streams_tls import chain_of

SMALL = Bounds(batch_bytes=200, waiting_bytes=4_000, windows=(600, 600, 600, 400, 200))
NUMBERS = st.one_of(st.integers(0, 9), st.integers(0, 1 << 62))
RUNS = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.binary(max_size=400), max_size=6)), max_size=5
)
LIMITS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
BATCHES = st.builds(wire.Batch, NUMBERS, NUMBERS, LIMITS, RUNS)
HELLOS = st.builds(
    wire.Hello,
    st.integers(1, 5),
    st.just("peer"),
    st.sampled_from(["p1", "p2"]),
    NUMBERS,
    st.tuples(st.sampled_from(["", "me", "other"]), NUMBERS),
    LIMITS,
    st.just(bytes(16)),
)


def held(session):
    """Count the bytes that a session keeps for its peer to be sent, and has taken unread."""
    incoming = session.incoming
    ahead = [came - worked for came, worked in zip(incoming._came, incoming._worked, strict=True)]
    return max(ahead), session.out.queued


def code_of(call):
    """Say with which code a call is refused; empty when it is not."""
    try:
        call()
    except CronosError as error:
        return error.code
    return ""


@given(st.binary(max_size=300))
def test_any_bytes_are_a_word_or_refused(data):
    code = code_of(lambda: wire.decode(data))
    assert code in ("", "mesh.broken_stream")
    if not code:
        assert wire.decode(wire.encode(wire.decode(data))) == wire.decode(data)


@given(st.lists(st.one_of(BATCHES, HELLOS), max_size=30), st.binary(max_size=200))
def test_any_words_keep_a_session_within_its_bounds(words, data):
    session = Session("me", SMALL)
    for lane in wire.LANES:
        session.out.put(lane, data)
    for word in words:
        take = session.joined if isinstance(word, wire.Hello) else session.take
        assert code_of(lambda: take(word)) in ("", "mesh.broken_stream")  # noqa: B023
        while (batch := session.next()) is not None and batch.number:
            assert len(wire.encode(batch)) < wire.MOST_STREAM_BYTES
        ahead, queued = held(session)
        assert ahead <= 600 + 400 + 32
        assert queued <= len(wire.LANES)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text):
    code = code_of(lambda: parse_address(text))
    assert code in ("", "mesh.bad_address")
    if not code:
        assert target_of(*parse_address(text)).split(":")[0] in ("ipv4", "ipv6", "dns")


@given(st.dictionaries(st.sampled_from(["x509_pem_cert", "x509_pem_cert_chain", "peer_uri"]),
                       st.lists(st.binary(max_size=200), max_size=3)))  # fmt: skip
def test_any_context_has_a_chain_or_is_refused(context):
    assert code_of(lambda: chain_of(context)) in ("", "crypto.refused")


HEADS = st.sampled_from([b"\n", b"I1129 14:26:08.795713    3816 handshaker.cc:155] "])
ENDS = st.sampled_from(
    [
        b"CallNextHandshakerLocked: error=UNKNOWN: OPENSSL_internal:HTTP_REQUEST: ",
        b" grpc.internal.endpoint_peer_address=ipv4:192.0.2.1:80,",
        b" grpc.internal.endpoint_peer_address=ipv6:%5B\xff::1%5D:80,",
        b" grpc.internal.server_credentials=0x1,",
    ]
)


@given(st.lists(st.one_of(HEADS, ENDS, st.binary(max_size=60)), max_size=40).map(b"".join))
def test_whatever_is_written_only_reasons_and_addresses_are_taken(text):
    for reason, host, port in corelog.failures(text):
        assert reason in REASONS or (reason, host, port) == (corelog.LONG, "", 0)
        assert len(host) <= 64
        assert 0 <= port <= 99_999
