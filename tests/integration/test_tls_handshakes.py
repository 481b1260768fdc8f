"""Live handshakes: the group and signature that were really used, and every way down refused."""

import contextlib
import socket
import threading
from concurrent import futures

import pytest
from cryptography import x509
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from tests.integration import tls_wire
from tests.integration.tls_wire import MLDSA87, SECP384R1MLKEM1024, Wire
from tests.unit.crypto.pki.plant import DOMAIN, Plant

from cronos.crypto.pki.names import host_name
from cronos.crypto.pki.profile import DAY_NS, MLDSA, P384
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.link import tls
from cronos.link.tls import CNSA_GROUP, HYBRID_GROUP, Endpoint
from cronos.mesh.streams_tls import grpc_library

# Whoever imports it first in a process decides what it speaks.
grpc = grpc_library()


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return Plant(tmp_path_factory.mktemp("tls") / "plant")


@pytest.fixture(scope="module")
def alpha(plant):
    return plant.credential("alpha")


@pytest.fixture(scope="module")
def beta(plant):
    return plant.credential("beta")


def endpoint(plant, credential, revoked=None, **more):
    lists = revoked or Revocations(plant.trust, plant.authority.lists())
    return Endpoint(credential, credential.trust, lists, plant.clock, **more)


class Echo:
    """A real server on loopback: echoes one message per connection, and keeps how each ended."""

    def __init__(self, served, peers="required"):
        self.endpoint = served
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.ends = []
        self.received = []
        self.ended = threading.Semaphore(0)
        self._peers = peers
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            try:
                link = self.endpoint.accept(connected, self._peers)
                data = link.receive()
                self.received.append(data)
                link.send(data)
                self.ends.append(link)
                self.endpoint.release(link)
            except CronosError as error:
                connected.close()
                self.ends.append(error)
            self.ended.release()

    def end(self):
        """How the next connection ended: its link, or the error that refused it."""
        assert self.ended.acquire(timeout=30)
        return self.ends[-1]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(30)


@contextlib.contextmanager
def echo(served, peers="required"):
    server = Echo(served, peers)
    try:
        yield server
    finally:
        server.close()


def said(client, address, **more):
    """Connect, say something and give the answer with the link."""
    link = client.connect(address, **more)
    try:
        link.send(b"hello")
        return link, link.receive()
    finally:
        client.release(link)


@pytest.mark.parametrize("group", [HYBRID_GROUP, CNSA_GROUP])
def test_both_ends_agree_on_the_post_quantum_group_and_know_each_other(plant, alpha, beta, group):
    with echo(endpoint(plant, beta, group=group)) as server:
        link, answer = said(endpoint(plant, alpha, group=group), server.address, name="beta")
        served = server.end()

    assert answer == b"hello"
    assert (link.group, served.group) == (group, group)
    assert (link.identity.name, served.identity.name) == ("beta", "alpha")
    assert (link.identity.algorithm, served.identity.algorithm) == (MLDSA, MLDSA)
    assert served.identity.roles == ("defense", "audit")


def test_the_wire_shows_one_group_one_signature_and_ml_dsa_87_signed_by_both(
    plant, alpha, beta, monkeypatch
):
    secrets = {}

    def keep(_, line):
        label, _, secret = line.decode().split(" ")
        secrets[label] = bytes.fromhex(secret)

    plain = tls._context

    def logging(*given, **more):
        context = plain(*given, **more)
        context.set_keylog_callback(keep)
        return context

    monkeypatch.setattr(tls, "_context", logging)
    with echo(endpoint(plant, beta)) as server:
        wire = Wire(server.address)
        _, answer = said(endpoint(plant, alpha), wire.address)
        server.end()
        wire.close()

    assert answer == b"hello"
    assert tls_wire.hello_list(wire.client, 10) == [SECP384R1MLKEM1024]
    assert tls_wire.hello_list(wire.client, 13) == [MLDSA87]
    server_secret = secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"]
    client_secret = secrets["CLIENT_HANDSHAKE_TRAFFIC_SECRET"]
    assert tls_wire.signed_with(wire.server, server_secret) == MLDSA87
    assert tls_wire.signed_with(wire.client, client_secret) == MLDSA87
    assert b"hello" not in wire.client + wire.server


def context_of(credential, *, server, groups=b"SecP384R1MLKEM1024", sigalgs=b"mldsa87",
               algorithm=MLDSA, version=SSL.TLS1_3_VERSION):  # fmt: skip
    """A foreign TLS stack's context, as weak as asked for."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    assert lib.SSL_CTX_set1_curves_list(context._context, groups) == 1
    if sigalgs:
        assert lib.SSL_CTX_set1_sigalgs_list(context._context, sigalgs) == 1
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    if credential is not None:
        leaf, issuer = map(x509.load_der_x509_certificate, credential.chains.of(algorithm))
        context.use_certificate(leaf)
        context.add_extra_chain_cert(issuer)
        pem = credential.key_pem(algorithm)
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, pem)
        assert lib.SSL_CTX_use_PrivateKey(context._context, key._pkey) == 1
    return context


def foreign_client(context, address):
    """Connect with a foreign stack; what comes back is "" where the server refused."""
    with socket.create_connection(address, 10) as connected:
        connection = SSL.Connection(context, connected)
        connected.settimeout(None)
        connection.set_connect_state()
        try:
            connection.do_handshake()
            connection.send(b"hello")
            return connection.recv(100)
        except SSL.Error:
            return b""


CLASSICAL = {
    "x25519 and p-256 only": {"groups": b"X25519:P-256"},
    "p-384 only": {"groups": b"P-384"},
    "x25519mlkem768 only": {"groups": b"X25519MLKEM768"},
    "tls 1.2": {"version": SSL.TLS1_2_VERSION, "groups": b"P-384", "sigalgs": None},
    "p-384 certificate, ecdsa": {"algorithm": P384, "sigalgs": b"ECDSA+SHA384:mldsa87"},
}


@pytest.mark.parametrize("weak", CLASSICAL.values(), ids=CLASSICAL.keys())
def test_a_weaker_client_gets_no_connection_and_no_byte(plant, alpha, beta, weak):
    with echo(endpoint(plant, beta)) as server:
        answer = foreign_client(context_of(alpha, server=False, **weak), server.address)
        end = server.end()

    assert answer == b""
    assert isinstance(end, CronosError)
    assert server.received == []


def test_the_foreign_client_itself_works_when_it_is_not_weak(plant, alpha, beta):
    with echo(endpoint(plant, beta)) as server:
        assert foreign_client(context_of(alpha, server=False), server.address) == b"hello"


def test_a_client_without_a_certificate_gets_no_byte(plant, beta):
    with echo(endpoint(plant, beta)) as server:
        answer = foreign_client(context_of(None, server=False), server.address)
        end = server.end()

    assert answer == b""
    assert isinstance(end, CronosError)
    assert server.received == []


def foreign_server(context):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(SSL.Error, OSError):
            connected, _ = listener.accept()
            with connected:
                connection = SSL.Connection(context, connected)
                connection.set_accept_state()
                connection.do_handshake()
                connection.recv(100)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener, thread


@pytest.mark.parametrize("weak", CLASSICAL.values(), ids=CLASSICAL.keys())
def test_a_weaker_server_is_refused_by_our_client(plant, alpha, beta, weak):
    listener, thread = foreign_server(context_of(beta, server=True, **weak))
    with listener, pytest.raises((DeniedError, UnreachableError)):
        endpoint(plant, alpha).connect(listener.getsockname())
    thread.join(30)


def refused(plant, client, server, **more):
    """The errors of both ends where one of them does not take the other."""
    with echo(server) as serving:
        with pytest.raises(CronosError) as ours:
            said(client, serving.address, **more)
        end = serving.end()
        assert serving.received == []
    return ours.value, end


def test_a_revoked_client_is_refused_at_the_next_handshake(plant, beta):
    gamma = plant.credential("gamma")
    plant.authority.revoke("gamma", "key-compromise")

    _, end = refused(plant, endpoint(plant, gamma), endpoint(plant, beta))

    assert end.code == "crypto.certificate_revoked"


def test_a_revoked_server_is_refused_before_a_byte_is_said(plant, alpha):
    delta = plant.credential("delta")
    plant.authority.revoke("delta", "key-compromise")

    ours, _ = refused(plant, endpoint(plant, alpha), endpoint(plant, delta))

    assert ours.code == "crypto.certificate_revoked"


def test_an_expired_client_is_refused(tmp_path):
    plant = Plant(tmp_path / "plant")
    alpha = plant.credential("alpha")
    plant.clock.advance(DAY_NS)

    _, end = refused(plant, endpoint(plant, alpha), endpoint(plant, plant.credential("beta")))

    assert end.code == "crypto.certificate_expired"


@pytest.mark.parametrize("domain", [DOMAIN, "other.example"])
def test_the_node_of_another_authority_or_domain_is_refused(plant, beta, tmp_path, domain):
    other = Plant(tmp_path / "other", domain)
    stranger = other.credential("alpha")
    trusting_us = Endpoint(stranger, plant.trust, Revocations(plant.trust), plant.clock)

    _, end = refused(plant, trusting_us, endpoint(plant, beta))

    assert end.code == "crypto.refused"
    ours, _ = refused(plant, endpoint(plant, beta), endpoint(other, stranger))
    assert ours.code == "crypto.refused"


def test_another_name_or_kind_than_expected_is_refused(plant, alpha, beta):
    ours, _ = refused(plant, endpoint(plant, alpha), endpoint(plant, beta), name="gamma")
    assert ours.code == "crypto.refused"
    ours, _ = refused(plant, endpoint(plant, alpha), endpoint(plant, beta), expected=("operator",))
    assert ours.code == "crypto.refused"


def test_a_standing_connection_is_cut_when_its_peer_is_revoked(tmp_path):
    plant = Plant(tmp_path / "plant")
    lists = Revocations(plant.trust, plant.authority.lists())
    client = endpoint(plant, plant.credential("alpha"))
    server = endpoint(plant, plant.credential("beta"), lists)
    listener = socket.create_server(("127.0.0.1", 0))
    ends, standing = [], threading.Event()

    def serve():
        link = server.accept(listener.accept()[0])
        ends.append(link.receive())
        standing.set()
        try:
            link.receive(timeout_s=30)
        except CronosError as error:
            ends.append(error.code)
        server.release(link)

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        link = client.connect(listener.getsockname())
        link.send(b"first")
        assert standing.wait(30)
        assert server.standing() == 1

        plant.authority.revoke("alpha", "key-compromise")
        lists.update(plant.authority.lists())
        thread.join(30)

    assert ends == [b"first", "crypto.certificate_revoked"]
    assert server.standing() == 0
    with pytest.raises(CronosError):
        link.receive()
    link.close()


def test_a_revoked_issuer_cuts_all_that_it_issued(tmp_path):
    plant = Plant(tmp_path / "plant")
    lists = Revocations(plant.trust, plant.authority.lists())
    client = endpoint(plant, plant.credential("alpha"), lists)
    with echo(endpoint(plant, plant.credential("beta"))) as server:
        link = client.connect(server.address)
        plant.authority.revoke_issuer("issuer-1", "key-compromise", plant.home, plant.offline)
        lists.update(plant.authority.lists())

        assert client.standing() == 0
        with pytest.raises(DeniedError) as cut:
            link.send(b"hello")
        assert cut.value.code == "crypto.certificate_revoked"
        link.close()
        server.end()


def test_no_connection_outlives_its_peers_certificate(tmp_path):
    plant = Plant(tmp_path / "plant")
    client = endpoint(plant, plant.credential("alpha"))
    with echo(endpoint(plant, plant.credential("beta"))) as server:
        link = client.connect(server.address)
        plant.clock.advance(DAY_NS)
        client.sweep()

        with pytest.raises(DeniedError) as cut:
            link.send(b"hello")
        assert cut.value.code == "crypto.certificate_expired"
        link.close()
        server.end()


def test_a_new_credential_serves_new_connections_while_the_old_ones_stand(tmp_path):
    plant = Plant(tmp_path / "plant")
    client = endpoint(plant, plant.credential("alpha"))
    with echo(endpoint(plant, plant.credential("beta"))) as server:
        old = client.connect(server.address)
        client.renew(plant.credential("alpha"))
        old.send(b"still here")
        assert old.receive() == b"still here"
        first = server.end().identity.serial
        client.release(old)
        said(client, server.address)

        assert server.end().identity.serial != first


def test_nothing_is_resumed_so_that_nothing_outlives_a_revocation(plant, alpha, beta):
    with echo(endpoint(plant, beta)) as server:
        wire = Wire(server.address)
        said(endpoint(plant, alpha), wire.address)
        server.end()
        wire.close()

    assert tls_wire.hello_list(wire.client, 41) == []
    # Two flights and the echo: a ticket would carry the client's certificate, 7 kB, back to it.
    assert len(wire.server) < 24_000


# --- gRPC: a foreign stack, on our P-384 certificates -------------------------------------------


class Repeat(grpc.GenericRpcHandler):
    """Answers with the SPIFFE ids that gRPC saw in the client's certificate."""

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(
            lambda _, context: b" ".join(context.auth_context()["x509_subject_alternative_name"])
        )


@contextlib.contextmanager
def grpc_server(credential, *, mutual=True):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Repeat(),))
    pair = (credential.key_pem(P384), credential.chain_pem(P384))
    given = grpc.ssl_server_credentials([pair], credential.root_pem(P384), mutual)
    port = server.add_secure_port("127.0.0.1:0", given)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait(30)


def grpc_call(port, credential, name):
    given = grpc.ssl_channel_credentials(
        credential.root_pem(P384), credential.key_pem(P384), credential.chain_pem(P384)
    )
    override = [("grpc.ssl_target_name_override", host_name(DOMAIN, "node", name))]
    with grpc.secure_channel(f"127.0.0.1:{port}", given, override) as channel:
        return channel.unary_unary("/a/b")(b"x", timeout=10)


@pytest.fixture(scope="module")
def today(tmp_path_factory):
    """A plant by the machine's own clock: gRPC knows no other."""
    from cronos.runtime.world import SystemClock  # noqa: PLC0415 - the one test that needs it

    return Plant(tmp_path_factory.mktemp("today") / "plant", clock=SystemClock())


def test_grpc_nodes_talk_with_our_certificates_and_see_each_others_ids(today):
    alpha, beta = today.credential("alpha"), today.credential("beta")

    with grpc_server(beta) as port:
        answer = grpc_call(port, alpha, "beta")
        with pytest.raises(grpc.RpcError) as other:
            grpc_call(port, alpha, "gamma")

    assert b"spiffe://plant.example/node/alpha" in answer
    assert other.value.code() == grpc.StatusCode.UNAVAILABLE


def test_grpc_refuses_the_node_of_another_authority(today, tmp_path):
    other = Plant(tmp_path / "other", clock=today.clock)

    with grpc_server(today.credential("beta")) as port, pytest.raises(grpc.RpcError):
        grpc_call(port, other.credential("alpha"), "beta")


def test_grpc_agrees_on_x25519mlkem768_as_a_pyopenssl_client_sees_after_data_was_exchanged(today):
    alpha, beta = today.credential("alpha"), today.credential("beta")
    context = context_of(
        alpha, server=False, groups=b"X25519MLKEM768:X25519", sigalgs=None, algorithm=P384
    )
    context.set_alpn_protos([b"h2"])
    with grpc_server(beta) as port, socket.create_connection(("127.0.0.1", port)) as connected:
        connection = SSL.Connection(context, connected)
        connection.set_connect_state()
        connection.do_handshake()
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        settings = connection.recv(9)
        group, version = connection.get_group_name(), connection.get_protocol_version_name()
        cipher, leaf = (
            connection.get_cipher_name(),
            connection.get_peer_certificate(as_cryptography=True),
        )

    assert settings[3:4] == b"\x04"  # a SETTINGS frame: the server took our certificate
    assert group == "X25519MLKEM768"
    assert version == "TLSv1.3"
    assert cipher.startswith("TLS_")
    assert leaf.public_key().curve.name == "secp384r1"


def test_grpc_takes_no_client_without_a_certificate(today):
    context = context_of(None, server=False, groups=b"X25519MLKEM768", sigalgs=None)
    context.set_alpn_protos([b"h2"])
    with (
        grpc_server(today.credential("beta")) as port,
        socket.create_connection(("127.0.0.1", port)) as connected,
    ):
        connection = SSL.Connection(context, connected)
        connection.set_connect_state()
        connection.do_handshake()
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        # In TLS 1.3 the client is done before the server asks: only an answer would tell.
        with pytest.raises(SSL.Error):
            connection.recv(9)
