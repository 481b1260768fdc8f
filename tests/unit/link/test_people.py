"""Operators and their signatures, with a real trust domain."""

import json
import os
import pwd

import pytest
from msgspec.structs import replace
from tests.unit.crypto.pki.plant import NOW_NS, S_NS, Plant, shared_plant
from tests.unit.link.desk import action

from cronos.crypto.pki.orders import sign_order
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import CronosError, DeniedError
from cronos.link.clerk import EVERY_NODE, Caller, signed_words
from cronos.link.people import MAX_APPROVAL_AGE_NS, Joined, Membership, Operators, approvals
from cronos.testing.clock import VirtualClock
from cronos.types import ControlCall, Now, digest_of

EVE = shared_plant().authority.issue("operator", "eve", ["analyst"])
MIA = shared_plant().authority.issue("operator", "mia", ["manager"])
BEN = shared_plant().authority.issue("operator", "ben", ["responder"])
UID = os.geteuid()
NAME = pwd.getpwuid(UID).pw_name


def known(plant=None):
    trust = (plant or shared_plant()).trust
    lists = plant.authority.lists() if plant else b""
    return lambda: Joined(trust, Revocations(trust, lists))


def operators(*, trust=None, node="local", clock=None):
    return Operators(trust or known(), node, clock or VirtualClock(wall_ns=NOW_NS))


def signed(verb="release", argument=b'{"incident":"i"}', *, by=EVE, node="local", at_ns=NOW_NS):
    return sign_order(signed_words(node, verb, argument), by, Now(1, at_ns))


def call(order, verb="release", argument=b'{"incident":"i"}'):
    return ControlCall(1, verb, argument, order)


def code_of(office, *given):
    with pytest.raises(CronosError) as refused:
        office.identify(*given)
    return refused.value.code


def test_an_operator_is_known_by_the_signature():
    caller = operators().identify(call(signed()), UID)
    assert caller == Caller("operator/eve", ("analyst",), signed=True, alone=False)


def test_the_own_user_is_an_analyst_where_nobody_has_joined_anything():
    caller = operators(trust=lambda: None).identify(call(b""), UID)
    assert caller == Caller(f"local/{NAME}", ("analyst",), signed=False, alone=True)
    nobody = operators(trust=lambda: None).identify(call(b""), 4_000_000)
    assert nobody.subject == "local/4000000"


def test_where_a_domain_was_joined_the_own_user_is_nobody():
    caller = operators().identify(call(b""), UID)
    assert caller == Caller(f"local/{NAME}", (), signed=False, alone=False)

    def broken():
        raise DeniedError("crypto.refused", "It does not open.", "Restore it.")

    assert not operators(trust=broken).identify(call(b""), UID).alone
    assert code_of(operators(trust=broken), call(signed()), UID) == "crypto.refused"


def test_a_signature_means_nothing_where_no_domain_was_joined():
    assert code_of(operators(trust=lambda: None), call(signed()), UID) == "control.no_trust"


def test_what_was_signed_must_be_what_is_ordered():
    for order in (
        call(signed("kill")),
        call(signed(argument=b'{"incident":"j"}')),
        call(signed(node="other")),
        call(signed(node=EVERY_NODE)),
    ):
        assert code_of(operators(), order, UID) == "control.other_order"
    everywhere = signed("kill", b"{}", node=EVERY_NODE)
    assert operators().identify(call(everywhere, "kill", b"{}"), UID).signed


def test_an_order_serves_once_and_none_from_before_the_start():
    office, order = operators(), signed()
    assert office.identify(call(order), UID).signed
    assert code_of(office, call(order), UID) == "crypto.order_replayed"
    restarted = operators(clock=VirtualClock(wall_ns=NOW_NS + 5 * S_NS))
    assert code_of(restarted, call(order), UID) == "control.before_start"


def test_a_revoked_operator_a_forged_order_and_bytes_that_are_no_order_are_refused(tmp_path):
    plant = Plant(tmp_path / "plant")
    mallory = plant.authority.issue("operator", "mallory", ["admin"])
    plant.authority.revoke("operator/mallory", "key-compromise")
    revoked = operators(trust=known(plant))
    assert code_of(revoked, call(signed(by=mallory)), UID) == "crypto.certificate_revoked"
    assert code_of(operators(), call(signed(by=mallory)), UID) == "crypto.refused"
    assert code_of(operators(), call(b"x"), UID) == "crypto.refused"
    stranger = sign_order(b"something else", EVE, Now(1, NOW_NS))
    assert code_of(operators(), call(stranger), UID) == "control.not_an_order"


# --- approvals ---------------------------------------------------------------------------------


DONE = action("plc-9")


def approval(by, *, asked=DONE, at_ns=NOW_NS, verb="approve", **changed):
    words = {
        "question": "local-1-q1",
        "incident": asked.incident_id,
        "action": asked.action_id,
        "digest": digest_of(asked),
        "granted": True,
        **changed,
    }
    return signed(verb, json.dumps(words).encode(), by=by, at_ns=at_ns)


def judged(*packets, at_ns=NOW_NS, trust=None, asked=DONE):
    verify = approvals(trust or known(), VirtualClock(wall_ns=at_ns))
    return verify(replace(asked, approvals=packets))


def test_two_operators_of_whom_one_leads_are_enough():
    found = judged(approval(EVE), approval(MIA))
    assert [subject for subject, _ in found] == ["operator/eve", "operator/mia"]
    assert len({nonce for _, nonce in found}) == 2


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ((), "nobody approved"),
        ((EVE,), "operator/eve approved it"),
        ((MIA, MIA), "operator/mia approved it"),
        ((EVE, BEN), "none of them a manager"),
    ],
)
def test_fewer_or_lesser_ones_are_not(packets, why):
    assert why in judged(*(approval(by) for by in packets))


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "0" * 64},
        {"action": "0" * 32},
        {"incident": "another"},
        {"granted": False},
        {"verb": "deny"},
    ],
)
def test_an_approval_of_anything_else_is_none(changed):
    assert "does not hold" in judged(approval(EVE), approval(MIA, **changed))


def test_the_lease_is_part_of_what_was_approved():
    longer = replace(DONE, lease_ns=DONE.lease_ns * 2)
    assert "does not hold" in judged(approval(EVE), approval(MIA), asked=longer)


def test_the_second_person_may_come_when_the_first_ones_order_has_expired():
    late = NOW_NS + 1200 * S_NS
    assert len(judged(approval(EVE), approval(MIA, at_ns=late), at_ns=late)) == 2
    too_late = NOW_NS + MAX_APPROVAL_AGE_NS + 1
    assert "too old" in judged(approval(EVE), approval(MIA, at_ns=too_late), at_ns=too_late)
    future = NOW_NS + 300 * S_NS
    assert "from the future" in judged(approval(EVE, at_ns=future), approval(MIA))


def test_who_was_revoked_since_has_approved_nothing(tmp_path):
    plant = Plant(tmp_path / "plant")
    eve, mia = (plant.authority.issue("operator", who, ["manager"]) for who in ("eve", "mia"))
    packets = approval(eve), approval(mia)
    assert len(judged(*packets, trust=known(plant))) == 2
    plant.authority.revoke("operator/mia", "privilege")
    assert "revoked" in judged(*packets, trust=known(plant))


def test_bytes_that_are_no_approval_a_nodes_and_a_domain_that_is_none_approve_nothing():
    assert "does not hold" in judged(b"x", approval(MIA))
    node = approval(shared_plant().credential("beta"))
    assert "does not hold" in judged(node, approval(MIA))
    assert "joined no trust domain" in judged(approval(EVE), approval(MIA), trust=lambda: None)


# --- the node's own trust domain ---------------------------------------------------------------


def test_a_membership_is_read_when_it_comes_and_again_when_it_changes(tmp_path):
    plant = Plant(tmp_path / "plant")
    folder = plant.folder / "node-alpha"
    opened = []

    def holder():
        opened.append(1)
        return plant.holder("alpha")

    membership = Membership(folder, holder)
    assert membership() is None
    assert opened == []
    joined = plant.joined("alpha")
    assert membership().trust == plant.trust
    assert membership().trust == plant.trust
    assert len(opened) == 1
    ended = plant.authority.issue("operator", "eve", ["admin"])
    serial = ended.identity(Now(1, NOW_NS), Revocations(plant.trust)).serial
    issuer = ended.identity(Now(1, NOW_NS), Revocations(plant.trust)).issuer
    assert not membership().revoked.is_revoked(issuer, serial)
    plant.authority.revoke("operator/eve", "key-compromise")
    joined.learn(plant.authority.lists())
    assert membership().revoked.is_revoked(issuer, serial)
    assert len(opened) == 2


def test_a_membership_that_was_taken_away_makes_nobody_believed(tmp_path):
    plant = Plant(tmp_path / "plant")
    plant.joined("alpha")
    folder = plant.folder / "node-alpha"
    membership = Membership(folder, lambda: plant.holder("alpha"))
    assert membership() is not None
    (folder / "credential").unlink()
    with pytest.raises(DeniedError, match="is gone"):
        membership()
    assert not operators(trust=membership).identify(call(b""), UID).alone
