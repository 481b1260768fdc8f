"""Enrolment without a network: what the service does with what it is asked."""

import socket
import threading

import msgspec
import pytest
from tests.unit.crypto.pki.plant import Plant

from cronos.crypto.pki.profile import DAY_NS, HOUR_NS, LIFE_NS
from cronos.errors import DeniedError, InputError
from cronos.link.enrolment import EnrolmentServer, Given, Join, Lists, Refused, Renew
from cronos.link.enrolment import _permitted as permitted


class NewcomerLink:
    """A double of a link whose peer showed no certificate."""

    identity = None


class Open:
    """A double of the egress gate that permits all."""

    def permit(self, host, port, purpose):
        assert purpose == "enrolment"


@pytest.fixture
def server(tmp_path):
    plant = Plant(tmp_path / "plant")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = EnrolmentServer(plant.authority, listener, plant.clock)
        made.plant = plant
        yield made


def asked(server, message):
    return server._answer(NewcomerLink(), msgspec.msgpack.encode(message))


def test_a_join_is_answered_once_and_then_refused_with_the_reason(server):
    request = server.plant.holder().request(server.plant.token())

    assert isinstance(asked(server, Join(request)), Given)
    again = asked(server, Join(request))
    assert isinstance(again, Refused)
    assert (again.code, again.denied) == ("crypto.token_used", True)


def test_renewal_without_a_certificate_is_refused(server):
    assert asked(server, Renew(b"x")).code == "crypto.refused"


def test_anybody_gets_the_lists(server):
    assert asked(server, Lists()).data == server.plant.authority.lists()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\xa3Own", b"\x91" * 100_000])
def test_what_is_no_message_ends_the_conversation(server, data):
    with pytest.raises(DeniedError):
        server._answer(NewcomerLink(), data)


def test_its_own_certificate_is_renewed_after_sixty_of_its_ninety_days(server):
    before = server._credential
    server._renew_own()
    assert server._credential is before

    server.plant.clock.advance(60 * DAY_NS - 1)
    server.plant.authority.refresh()
    server._renew_own()
    assert server._credential is before

    server.plant.clock.advance(1)
    server.plant.authority.refresh()
    server._renew_own()
    assert server._credential is not before


@pytest.mark.parametrize(
    ("address", "place"),
    [("127.0.0.1:7445", ("127.0.0.1", 7445)), ("[::1]:7445", ("::1", 7445)), ("ca:1", ("ca", 1))],
)
def test_an_address_is_host_and_port(address, place):
    assert permitted(address, Open()) == place


@pytest.mark.parametrize("address", ["", "ca", "ca:", ":1", "ca:x", "ca:-1", "ca:\uff11"])
def test_anything_else_is_no_address(address):
    with pytest.raises(InputError):
        permitted(address, Open())


def test_two_conversations_that_hear_of_a_revocation_at_once_take_it_for_no_rollback(server):
    class Overtaken:
        """The real authority; whoever asks first gets its answer late."""

        def __init__(self, real):
            self.real, self.first, self.asked = real, True, threading.Event()

        def lists(self):
            lists, first, self.first = self.real.lists(), self.first, False
            if first:
                self.asked.set()
                overtaking.join(0.5)
            return lists

    def overtake():
        server._authority.asked.wait()
        server.plant.joined("beta")
        server.plant.authority.revoke("beta", "key-compromise")
        server._hear()

    server._authority = Overtaken(server._authority)
    overtaking = threading.Thread(target=overtake)
    overtaking.start()
    server._hear()
    overtaking.join()

    assert {one.entries for one in server._revoked.standing()} == {0, 2}


def test_near_its_issuers_end_it_does_not_make_itself_a_certificate_every_minute(server):
    server.plant.clock.advance(LIFE_NS["issuer"] - 20 * DAY_NS)
    server._renew_own()
    made = server._credential
    for _ in range(9 * 24):
        server.plant.clock.advance(HOUR_NS)
        server._renew_own()
    assert server._credential is made

    server.plant.clock.advance(5 * DAY_NS)
    server._renew_own()
    assert server._credential is not made
