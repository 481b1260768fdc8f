"""Enrolment over real connections: the pin first, the token once, the certificate for renewal."""

import contextlib
import errno
import os
import socket
import threading

import msgspec
import pytest
from tests.unit.crypto.pki.plant import S_NS, Plant

from cronos.config import EgressRule
from cronos.crypto.pki.credential import generate_keys
from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.profile import DAY_NS
from cronos.crypto.pki.requests import make_request
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.pki.trust import pack_trust
from cronos.errors import CronosError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.link.enrolment import EnrolmentServer, Renew, fetch_lists, join, renew
from cronos.link.tls import Endpoint, connect_unverified

GATE = EgressGate()


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


@contextlib.contextmanager
def serving(plant, grace_s=0, listener_kind=socket.socket):
    """The real service in a thread; gives its address and what it reported."""
    reports = []
    with listener_kind() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = EnrolmentServer(
            plant.reopened(),
            listener,
            plant.clock,
            lambda *report: reports.append(report),
            grace_s=grace_s,
        )
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", reports
        finally:
            server.stopping = True
            thread.join(60)
            assert not thread.is_alive()


def code_of(call, *given):
    with pytest.raises(CronosError) as refused:
        call(*given)
    return refused.value.code


def test_a_node_joins_with_its_token_once(plant):
    with serving(plant) as (address, reports):
        token = plant.token(address=address)
        identity = join(plant.holder(), token, plant.clock, GATE)
        again = code_of(join, plant.holder("other"), token, plant.clock, GATE)

    assert (identity.name, identity.roles) == ("alpha", ("defense", "audit"))
    assert again == "crypto.token_used"
    assert ("enrolment.join", "a newcomer") in reports


def test_a_man_in_the_middle_with_his_own_authority_gets_neither_token_nor_request(plant, tmp_path):
    other = Plant(tmp_path / "other")
    with serving(other) as (address, reports):
        token = plant.token(address=address)
        holder = plant.holder()

        assert code_of(join, holder, token, plant.clock, GATE) == "crypto.refused"

    assert not [one for one in reports if one[0] in ("enrolment.join", "enrolment.denied")]
    assert not (plant.folder / "node-alpha" / "pending").exists()


def test_a_node_renews_with_its_certificate_and_both_stand(plant):
    with serving(plant) as (address, _):
        holder = plant.joined(address=address)
        old = holder.membership().credential
        new = renew(holder, plant.clock, GATE)

    lists = holder.revocations()
    assert old.identity(plant.clock.now(), lists).serial != new.serial
    assert holder.membership().credential.identity(plant.clock.now(), lists).serial == new.serial


def test_a_revoked_node_renews_no_more(plant):
    with serving(plant) as (address, _):
        holder = plant.joined(address=address)
        plant.authority.revoke("alpha", "key-compromise")

        assert code_of(renew, holder, plant.clock, GATE) == "link.enrolment_refused"


def test_an_expired_node_renews_no_more(plant):
    with serving(plant) as (address, _):
        holder = plant.joined(address=address)
        plant.clock.advance(DAY_NS)

        assert code_of(renew, holder, plant.clock, GATE) == "crypto.certificate_expired"


def test_the_lists_come_over_the_network_and_are_kept(plant):
    with serving(plant) as (address, _):
        holder = plant.joined(address=address)
        beta = plant.credential("beta")
        plant.authority.revoke("beta", "key-compromise")
        lists = fetch_lists(holder, plant.clock, GATE)

    assert code_of(beta.identity, plant.clock.now(), lists) == "crypto.certificate_revoked"
    assert code_of(beta.identity, plant.clock.now(), plant.holder().revocations())


def test_without_a_certificate_nobody_renews_by_asking_nicely(plant):
    with serving(plant) as (address, _):
        host, port = address.split(":")
        link = connect_unverified((host, int(port)), plant.clock)
        link.receive_frame(1 << 20)
        link.send_frame(b"\x92\xa5Renew\xc4\x01x")
        answer = link.receive_frame(1 << 20)
        link.close()

    assert b"Refused" in answer
    assert b"crypto.refused" in answer


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b""])
def test_noise_instead_of_tls_harms_nobody_else(plant, noise):
    with serving(plant) as (address, _):
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as hostile:
            hostile.sendall(noise)
            hostile.shutdown(socket.SHUT_WR)
            assert join(plant.holder(), plant.token(address=address), plant.clock, GATE)


def test_a_frame_of_a_gigabyte_is_refused_before_it_is_read(plant):
    with serving(plant) as (address, _):
        host, port = address.split(":")
        link = connect_unverified((host, int(port)), plant.clock)
        link.receive_frame(1 << 20)
        link.send((1 << 30).to_bytes(4, "big") + bytes(1000))
        with pytest.raises(CronosError):
            link.receive()
        link.close()


def test_the_egress_gate_is_asked_and_closed_by_default(plant):
    token = plant.token(address="192.0.2.1:7445")
    assert code_of(join, plant.holder(), token, plant.clock, GATE) == "link.egress_closed"
    assert EgressGate([EgressRule("192.0.2.1", 7445)]).permit("192.0.2.1", 7445, "") is None


def test_a_token_without_an_address_wants_files(plant):
    assert code_of(join, plant.holder(), plant.token(), plant.clock, GATE) == "link.no_address"


def test_nobody_there_is_told_as_such(plant):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    token = plant.token(address=f"127.0.0.1:{port}")

    with pytest.raises(UnreachableError):
        join(plant.holder(), token, plant.clock, GATE)


def test_a_node_that_poses_as_the_enrolment_service_is_refused(plant):
    impostor = plant.credential("beta")
    lists = Revocations(plant.trust)
    posing = Endpoint(impostor, plant.trust, lists, plant.clock)
    holder = plant.holder()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        token = plant.token(address=f"127.0.0.1:{listener.getsockname()[1]}")

        def pose():
            with contextlib.suppress(CronosError):
                link = posing.accept(listener.accept()[0], "optional")
                with contextlib.closing(link):
                    link.send_frame(pack_trust(plant.trust))
                    link.receive_frame(1 << 20)

        thread = threading.Thread(target=pose)
        thread.start()
        assert code_of(join, holder, token, plant.clock, GATE) == "crypto.refused"
        thread.join(30)


def test_a_node_that_no_issuer_could_reach_in_time_renews_within_the_grace_and_it_is_told(plant):
    with serving(plant, grace_s=3600) as (address, reports):
        holder = plant.joined(address=address)
        plant.clock.advance(DAY_NS + 3599 * S_NS)

        assert renew(holder, plant.clock, GATE).name == "alpha"
        assert ("enrolment.grace", "node/alpha") in reports


def test_the_grace_ends(plant):
    with serving(plant, grace_s=3600) as (address, _):
        holder = plant.joined(address=address)
        plant.clock.advance(DAY_NS + 3600 * S_NS)

        assert code_of(renew, holder, plant.clock, GATE) == "crypto.certificate_expired"


def test_revocation_wins_over_the_grace_though_only_the_number_was_revoked(plant):
    with serving(plant, grace_s=3600) as (address, reports):
        holder = plant.joined(address=address)
        identity = holder.membership().credential.identity(plant.clock.now(), holder.revocations())
        plant.authority.revoke(identity.serial, "key-compromise")
        plant.clock.advance(DAY_NS + 1800 * S_NS)
        plant.authority.refresh()

        assert code_of(renew, holder, plant.clock, GATE)
    assert not [one for one in reports if one[0] in ("enrolment.grace", "enrolment.renew")]


def test_an_operator_gets_no_new_certificate_from_the_network(plant):
    eve = plant.authority.issue("operator", "eve", ["admin"])
    rows = len(plant.authority.listing().issued)
    with serving(plant) as (address, _):
        host, port = address.split(":")
        endpoint = Endpoint(eve, plant.trust, Revocations(plant.trust), plant.clock)
        link = endpoint.connect((host, int(port)))
        link.receive_frame(1 << 20)
        request = make_request("eve", generate_keys(), own_bound(eve.keys))
        link.send_frame(msgspec.msgpack.encode(Renew(request)))
        answer = link.receive_frame(1 << 20)
        endpoint.release(link)

    assert b"link.not_renewable" in answer
    assert len(plant.authority.listing().issued) == rows + 2  # the service's own pair


class Interrupted(socket.socket):
    """A listening socket whose first connection breaks off before it is accepted."""

    broke = False

    def accept(self):
        if not self.broke:
            self.broke = True
            raise ConnectionAbortedError(errno.ECONNABORTED, "Software caused connection abort")
        return super().accept()


def test_a_connection_that_breaks_off_before_it_is_accepted_does_not_end_the_service(plant):
    with serving(plant, listener_kind=Interrupted) as (address, reports):
        token = plant.token(address=address)
        assert join(plant.holder(), token, plant.clock, GATE).name == "alpha"
    assert "enrolment.accept_failed" in [event for event, _ in reports]


def test_another_enrolment_service_than_the_one_of_the_token_may_be_asked(plant):
    with serving(plant) as (address, _):
        holder = plant.joined(address="127.0.0.1:1")
        assert renew(holder, plant.clock, GATE, address=address).name == "alpha"
        assert fetch_lists(holder, plant.clock, GATE, address).standing()
