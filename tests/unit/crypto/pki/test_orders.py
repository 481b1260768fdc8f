"""Signed orders: by the right person, in time, once."""

import msgspec
import pytest
from tests.unit.crypto.pki.plant import NOW_NS, S_NS, Plant, shared_credential, shared_plant

from cronos.crypto.pki.orders import (
    CONTEXT,
    MAX_LIFE_NS,
    MAX_ORDER_BYTES,
    SKEW_NS,
    Nonces,
    issued_ns,
    sign_order,
    verify_order,
)
from cronos.crypto.pki.profile import MLDSA, P384
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import CronosError
from cronos.types import Now

NOW = Now(1, NOW_NS)
EVE = shared_plant().authority.issue("operator", "eve", ["manager"])


def verify(packet, *, now=NOW, nonces=None, roles=("manager", "admin"), trust=None, revoked=None):
    known = trust or shared_plant().trust
    return verify_order(
        packet, known, now, revoked or Revocations(known), nonces or Nonces(), roles=roles
    )


def code_of(packet, **more):
    with pytest.raises(CronosError) as refused:
        verify(packet, **more)
    return refused.value.code


def test_an_order_says_who_gave_it_and_what_it_was():
    verified = verify(sign_order(b"kill", EVE, NOW))

    assert (verified.identity.name, verified.identity.roles) == ("eve", ("manager",))
    assert verified.order == b"kill"
    assert verified.issued_ns == NOW_NS


def test_an_order_is_carried_out_once():
    packet, nonces = sign_order(b"kill", EVE, NOW), Nonces()
    verify(packet, nonces=nonces)

    assert code_of(packet, nonces=nonces) == "crypto.order_replayed"
    assert verify(sign_order(b"kill", EVE, NOW), nonces=nonces).order == b"kill"


def test_the_role_decides():
    assert code_of(sign_order(b"kill", EVE, NOW), roles=("admin",)) == "crypto.order_role"


def test_a_refused_role_uses_no_nonce_up():
    packet, nonces = sign_order(b"kill", EVE, NOW), Nonces()

    assert code_of(packet, nonces=nonces, roles=("admin",)) == "crypto.order_role"
    assert verify(packet, nonces=nonces).order == b"kill"


def test_a_node_gives_no_orders():
    packet = sign_order(b"kill", shared_credential(), NOW)

    assert code_of(packet, roles=("defense", "manager")) == "crypto.refused"


def test_an_order_ends_and_one_from_the_future_is_refused():
    packet = sign_order(b"kill", EVE, NOW, 60 * S_NS)

    assert verify(packet, now=Now(1, NOW_NS + 59 * S_NS)).order == b"kill"
    assert code_of(packet, now=Now(1, NOW_NS + 60 * S_NS)) == "crypto.order_expired"
    ahead = sign_order(b"kill", EVE, Now(1, NOW_NS + SKEW_NS + 1))
    assert code_of(ahead) == "crypto.order_expired"
    assert verify(sign_order(b"kill", EVE, Now(1, NOW_NS + SKEW_NS))).order == b"kill"


@pytest.mark.parametrize("life_ns", [0, -1, MAX_LIFE_NS + 1])
def test_no_order_lives_longer_than_ten_minutes(life_ns):
    with pytest.raises(CronosError) as refused:
        sign_order(b"kill", EVE, NOW, life_ns)

    assert refused.value.code == "crypto.bad_order"


def test_an_order_that_is_too_long_is_not_signed():
    with pytest.raises(CronosError):
        sign_order(bytes(MAX_ORDER_BYTES + 1), EVE, NOW)
    assert len(verify(sign_order(bytes(MAX_ORDER_BYTES), EVE, NOW)).order) == MAX_ORDER_BYTES


def test_a_revoked_signer_is_refused(tmp_path):
    plant = Plant(tmp_path / "plant")
    eve = plant.authority.issue("operator", "eve", ["admin"])
    plant.authority.revoke("operator/eve", "key-compromise")
    revoked = Revocations(plant.trust, plant.authority.lists())

    packet = sign_order(b"kill", eve, NOW)
    assert code_of(packet, trust=plant.trust, revoked=revoked) == "crypto.certificate_revoked"


def test_the_operator_of_another_domain_is_refused(tmp_path):
    other = Plant(tmp_path / "plant")
    mallory = other.authority.issue("operator", "eve", ["manager"])

    assert code_of(sign_order(b"kill", mallory, NOW)) == "crypto.refused"


def test_a_signature_by_another_key_or_over_another_order_is_refused():
    body, signature = msgspec.msgpack.decode(sign_order(b"kill", EVE, NOW))
    other, _ = msgspec.msgpack.decode(sign_order(b"free", EVE, NOW))
    stranger = shared_credential().keys.of(MLDSA).sign(body, CONTEXT)
    in_another_context = EVE.keys.of(MLDSA).sign(body, b"cronos-epoch-v1")

    for pair in ((other, signature), (body, stranger), (body, in_another_context), (body, b"x")):
        assert code_of(msgspec.msgpack.encode(list(pair))) == "crypto.refused"


def test_the_classical_half_signs_no_orders():
    body, _ = msgspec.msgpack.decode(sign_order(b"kill", EVE, NOW))
    fields = msgspec.msgpack.decode(body)
    fields[5] = list(EVE.chains.of(P384))
    changed = msgspec.msgpack.encode(fields)
    signature = EVE.keys.of(MLDSA).sign(changed, CONTEXT)

    assert code_of(msgspec.msgpack.encode([changed, signature])) == "crypto.refused"


def test_changed_cut_and_longer_packets_are_refused():
    packet = sign_order(b"kill", EVE, NOW)

    for at in range(0, len(packet), 211):
        changed = bytearray(packet)
        changed[at] ^= 0x10
        for data in (bytes(changed), packet[:at], packet + b"\0"):
            assert code_of(data) == "crypto.refused"
    assert code_of(bytes(1 << 20)) == "crypto.refused"


def test_a_full_memory_of_nonces_refuses_and_forgets_only_what_has_expired():
    nonces = Nonces(most=2)

    assert nonces.use(b"a", 10, 1)
    assert nonces.use(b"b", 20, 1)
    assert not nonces.use(b"c", 30, 1)
    assert nonces.use(b"c", 30, 10)
    assert not nonces.use(b"b", 20, 10)


def test_when_an_order_says_it_was_given_can_be_read_before_it_is_believed():
    assert issued_ns(sign_order(b"kill", EVE, NOW)) == NOW_NS
    for data in (b"", b"nonsense", bytes(1 << 20), msgspec.msgpack.encode([b"x", bytes(4627)])):
        with pytest.raises(CronosError) as refused:
            issued_ns(data)
        assert refused.value.code == "crypto.refused"
