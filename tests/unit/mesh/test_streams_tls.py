"""Identities: whom a node believes, what its port agrees on, and what OpenSSL sees of it."""

import asyncio
import socket

import pytest
from OpenSSL import SSL
from tests.unit.crypto.pki.plant import Plant
from tests.unit.mesh.grpc_nodes import Node, holder, plant

from cronos.errors import DeniedError, UnreachableError
from cronos.mesh import streams_tls
from cronos.mesh.streams_tls import GROUP, Identities, chain_of
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.mesh import Mailbox


def listening(story):
    """Run a blocking story in a thread, with a node's port to look at."""

    async def run():
        node, box = Node("alpha"), Mailbox()
        await node.mesh.start(box.receive, box.linked)
        try:
            host, _, port = node.mesh.address.rpartition(":")
            return await asyncio.to_thread(story, (host, int(port)))
        finally:
            await node.mesh.stop()
            await node.tasks.cancel()

    return asyncio.run(run())


def shaken(address, version=SSL.TLS1_3_VERSION, groups=None, name="beta"):
    credential = holder(name).membership().credential
    context = streams_tls._context(credential, version)
    if groups is not None:
        assert streams_tls.lib.SSL_CTX_set1_curves_list(context._context, groups)
    return streams_tls._shaken(context, address, SystemClock())


def test_a_node_agrees_on_the_hybrid_group_with_whoever_prefers_it():
    groups = f"{GROUP}:X25519:P-384".encode()
    assert listening(lambda address: shaken(address, groups=groups)[1]) == GROUP


def test_grpc_cannot_pin_the_group_yet():
    """Who prefers X25519 gets it, certified or not. Once this fails, pin the group instead."""
    groups = f"X25519:{GROUP}".encode()
    assert listening(lambda address: shaken(address, groups=groups)[1]) == "x25519"


def test_nothing_below_tls_1_3_comes_about():
    def story(address):
        with pytest.raises((DeniedError, UnreachableError)):
            shaken(address, SSL.TLS1_2_VERSION)

    listening(story)


def test_a_node_dials_with_the_hybrid_group_and_tls_1_3_alone():
    """An OpenSSL server that can do nothing else is spoken to; one with TLS 1.2 is not."""

    def serve(listener, version, groups):
        credential = holder("beta").membership().credential
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        if groups:
            assert streams_tls.lib.SSL_CTX_set1_curves_list(context._context, groups)
        context.set_alpn_select_callback(lambda _connection, _offered: b"h2")
        leaf, issuer = map(
            streams_tls.x509.load_der_x509_certificate, credential.chains.of("p-384")
        )
        context.use_certificate(leaf)
        context.add_extra_chain_cert(issuer)
        context.use_privatekey(credential.keys.of("p-384"))
        with listener.accept()[0] as connected:
            tls = SSL.Connection(context, connected)
            tls.set_accept_state()
            try:
                tls.do_handshake()
            except SSL.Error as error:
                return str(error)
            return tls.get_group_name()

    async def dialled(version, groups):
        node, box = Node("alpha"), Mailbox()
        await node.mesh.start(box.receive, box.linked)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            node.mesh.connect("beta", f"127.0.0.1:{listener.getsockname()[1]}")
            found = await asyncio.to_thread(serve, listener, version, groups)
        await node.mesh.stop()
        await node.tasks.cancel()
        return found

    assert asyncio.run(dialled(SSL.TLS1_3_VERSION, GROUP.encode())) == GROUP
    refused = asyncio.run(dialled(SSL.TLS1_2_VERSION, b""))
    assert "no shared cipher" in refused


def test_a_seed_is_known_by_its_certificate():
    found = listening(lambda at: Identities(holder("beta"), SystemClock()).identify(at))
    assert (found.kind, found.name, found.algorithm) == ("node", "alpha", "p-384")


def test_a_seed_of_another_domain_is_nobody(tmp_path):
    stranger = Plant(tmp_path / "other", domain="other.example", clock=SystemClock()).joined("beta")
    known = Identities(stranger, SystemClock())
    with pytest.raises((DeniedError, UnreachableError)):
        listening(known.identify)


def test_where_nothing_listens_nobody_is_found():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(UnreachableError):
        Identities(holder("beta"), SystemClock()).identify(address)


def test_a_chain_is_read_as_grpc_tells_it_and_the_ml_dsa_one_is_not_for_tls():
    known = Identities(holder("beta"), SystemClock())
    credential = holder("alpha").membership().credential
    leaf, issuer = credential.chains.p384
    blocks = credential.chain_pem("p-384").split(b"-----END CERTIFICATE-----\n")
    pems = [block + b"-----END CERTIFICATE-----\n" for block in blocks[:2]]
    told = {"x509_pem_cert": [pems[0]], "x509_pem_cert_chain": [pems[1]]}
    assert chain_of(told) == (leaf, issuer)
    assert chain_of({"x509_pem_cert": [pems[0]], "x509_pem_cert_chain": pems}) == (leaf, issuer)
    assert known.verify(chain_of(told)).name == "alpha"
    with pytest.raises(DeniedError):
        known.verify(credential.chains.mldsa)
    for wrong in ({}, {"x509_pem_cert": [b"no certificate"]}, {"x509_pem_cert": pems * 3},
                  {"x509_pem_cert": [pems[0].replace(b"M", b"!")]}):  # fmt: skip
        with pytest.raises(DeniedError):
            known.verify(chain_of(wrong))


def test_a_port_that_agrees_on_less_is_not_served(monkeypatch):
    known = Identities(holder("alpha"), SystemClock())
    for answers in ([((), "X25519")], [((), GROUP), ((), "")]):
        told = iter([*answers, UnreachableError("mesh.unreachable", "Refused.", "Good.")])

        def shake(*_, told=told):
            answer = next(told)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(streams_tls, "_shaken", shake)
        with pytest.raises(DeniedError) as refused:
            known.require_strict(("127.0.0.1", 1))
        assert refused.value.code == "mesh.weak_tls"


def test_a_renewed_credential_and_new_lists_are_taken_up(tmp_path):
    domain = Plant(tmp_path / "plant", clock=SystemClock())
    own = domain.joined("alpha")
    known = Identities(own, SystemClock())
    assert not known.refresh()
    before = known.credential
    own.renew(lambda request: domain.authority.renew(own.own(), request))
    assert known.refresh()
    assert known.credential.chains.p384 != before.chains.p384
    assert known._renewed() is not None
    assert known._renewed() is None
    other = domain.credential("beta")
    assert known.verify(other.chains.p384).name == "beta"
    domain.authority.revoke("beta", "decommissioned")
    own.learn(domain.authority.lists())
    assert not known.refresh()
    with pytest.raises(DeniedError) as revoked:
        known.verify(other.chains.p384)
    assert revoked.value.code == "crypto.certificate_revoked"


def test_one_domain_serves_all_tests():
    assert plant().trust == holder("alpha").membership().credential.trust
