"""Envoy with the PEM files of a service: hybrid key exchange, both ends known, renewed in place."""

import contextlib
import socket

import pytest
from OpenSSL import SSL
from tests.integration.envoy import envoy, needs_envoy
from tests.integration.test_enrolment import serving
from tests.integration.test_tls_handshakes import context_of
from tests.unit.crypto.pki.plant import DOMAIN, Plant
from tests.unit.crypto.pki.test_pemfolder import flattened, issued

from cronos.crypto.pki.chain import verify_chain
from cronos.crypto.pki.pemfolder import PemFolder
from cronos.crypto.pki.profile import MLDSA, P384
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import CronosError
from cronos.link.egress import EgressGate
from cronos.link.enrolment import renew
from cronos.link.tls import CNSA_GROUP, Endpoint, TlsLink
from cronos.runtime.world import SystemClock

pytestmark = [needs_envoy, pytest.mark.net]
GROUP = "X25519MLKEM768"
NODES = f"spiffe://{DOMAIN}/node/"


@pytest.fixture
def plant(tmp_path):
    """A plant by the wall clock, which is Envoy's."""
    return Plant(tmp_path / "plant", clock=SystemClock())


@contextlib.contextmanager
def behind_envoy(plant, folder, **more):
    params = {"ecdh_curves": [GROUP], **more}
    with envoy(plant.folder / "envoy", folder, P384, NODES, **params) as running:
        yield running


def client(credential, groups=GROUP, algorithm=P384):
    """A context of our TLS library as a node's gRPC link will have it: P-384, a hybrid group."""
    given = {"groups": groups.encode(), "sigalgs": b"ECDSA+SHA384:mldsa87"}
    return context_of(credential, server=False, algorithm=algorithm, **given)


def spoken(plant, running, context):
    """Shake hands, verify the server by our own rules, and get an answer through it.

    In TLS 1.3 a client is done before its certificate is looked at: only the answer says that it
    was taken.
    """
    with socket.create_connection(("127.0.0.1", running.port), 30) as connected:
        connection = SSL.Connection(context, connected)
        connection.set_connect_state()
        link = TlsLink(connection, connected, plant.clock)
        link.handshake()
        lists = Revocations(plant.trust, plant.authority.lists())
        identity = verify_chain(link.chain, plant.trust, plant.clock.now(), lists, ("service",))
        link.send(b"hello")
        answer = link.receive()
        link.close()
    return link, identity, answer


def test_a_node_and_envoy_know_each_other_over_the_hybrid_group(plant, tmp_path):
    folder = issued(plant, tmp_path / "gateway")
    with behind_envoy(plant, folder) as running:
        link, identity, answer = spoken(plant, running, client(plant.credential("alpha")))

        assert answer == b"hello"
        assert link.group == GROUP
        assert (identity.kind, identity.name, identity.algorithm) == ("service", "gateway", P384)
        assert running.stat(f"ssl.curves.{GROUP}") == 1
        assert running.stat("ssl.versions.TLSv1.3") == 1
        assert running.stat("ssl.no_certificate") == 0


REFUSED = {
    "wrong authority": (lambda _, other: client(other.credential("alpha")), "fail_verify_error"),
    "no certificate": (lambda _plant, _other: client(None), "fail_verify_no_cert"),
    "a service, not a node": (
        lambda plant, _: client(plant.authority.issue("service", "other", ())),
        "fail_verify_san",
    ),
    "a classical group": (
        lambda plant, _: client(plant.credential("alpha"), groups="X25519:P-384"),
        "connection_error",
    ),
    # Envoy does not offer to verify ML-DSA, so that the client has nothing to show.
    "an ml-dsa certificate": (
        lambda plant, _: client(plant.credential("alpha"), algorithm=MLDSA),
        "fail_verify_no_cert",
    ),
}


@pytest.mark.parametrize(("context", "counter"), REFUSED.values(), ids=REFUSED.keys())
def test_who_has_no_nodes_certificate_of_this_domain_or_no_hybrid_group_gets_nothing(
    plant, tmp_path, context, counter
):
    folder = issued(plant, tmp_path / "gateway")
    other = Plant(tmp_path / "other", clock=SystemClock())
    with behind_envoy(plant, folder) as running:
        with pytest.raises(CronosError):
            spoken(plant, running, context(plant, other))

        assert running.echo.received == []
        assert running.stat(f"ssl.{counter}") == 1
        assert spoken(plant, running, client(plant.credential("beta")))[2] == b"hello"


@pytest.mark.parametrize("older", [False, True], ids=["links", "plain files"])
def test_after_each_renewal_new_handshakes_show_the_new_certificate_without_a_restart(
    plant, tmp_path, older
):
    folder = issued(plant, tmp_path / "gateway")
    if older:
        flattened(folder)
    alpha = plant.credential("alpha")
    with serving(plant) as (address, _), behind_envoy(plant, folder) as running:
        link, before, _ = spoken(plant, running, client(alpha))
        seen = [before.serial]
        for _ in range(3):
            updates = running.stat("ssl_context_update_by_sds")
            renew(PemFolder(folder, plant.clock), plant.clock, EgressGate(), address=address)
            running.until("ssl_context_update_by_sds", updates)
            link, identity, answer = spoken(plant, running, client(alpha))
            while identity.serial == seen[-1]:
                # Plain files change twice: first into links to the same bytes.
                running.until("ssl_context_update_by_sds", updates := updates + 1)
                link, identity, answer = spoken(plant, running, client(alpha))
            assert (answer, link.group, identity.name) == (b"hello", GROUP, "gateway")
            seen.append(identity.serial)

        assert len(set(seen)) == 4
        assert running.process.poll() is None
        assert running.stat("server.hot_restart_epoch") == 0
        assert running.stat("sds.server.key_rotation_failed") == 0
        assert running.stat("ssl.connection_error") == 0


def test_our_own_link_and_envoy_are_post_quantum_in_both_with_ml_dsa_87_and_mlkem1024(
    plant, tmp_path
):
    folder = issued(plant, tmp_path / "gateway")
    lists = Revocations(plant.trust, plant.authority.lists())
    ours = Endpoint(plant.credential("alpha"), plant.trust, lists, plant.clock, CNSA_GROUP)
    params = {"ecdh_curves": [CNSA_GROUP], "signature_algorithms": ["mldsa87"]}
    with envoy(plant.folder / "envoy", folder, MLDSA, NODES, **params) as running:
        link = ours.connect(("127.0.0.1", running.port), ("service",), "gateway")
        link.send(b"hello")

        assert link.receive() == b"hello"
        assert link.group == CNSA_GROUP
        assert link.identity.algorithm == MLDSA
        assert running.stat("ssl.sigalgs.mldsa87") == 1
        ours.release(link)
