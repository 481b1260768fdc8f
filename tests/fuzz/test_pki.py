"""Hostile bytes at every door of the PKI: refused with an error of ours, or taken as they are."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.crypto.pki.plant import NOW_NS, shared_credential, shared_plant

from cronos.crypto.pki import pemfolder, requests
from cronos.crypto.pki.chain import verify_chain, verify_issuer
from cronos.crypto.pki.credential import unpack_credential
from cronos.crypto.pki.orders import Nonces, sign_order, verify_order
from cronos.crypto.pki.profile import ALGORITHMS
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.pki.tokens import parse_token
from cronos.crypto.pki.trust import unpack_trust
from cronos.errors import CronosError
from cronos.types import Now

PLANT = shared_plant()
NOW = Now(1, NOW_NS)
NONE = Revocations(PLANT.trust)
OPERATOR = PLANT.authority.issue("operator", "fuzz", ["admin"])
CHAINS = [shared_credential().chains.of(one) for one in ALGORITHMS]
REQUEST = PLANT.holder("fuzzed").request(PLANT.token("fuzzed"))
ORDER = sign_order(b"x", OPERATOR, NOW)
BUNDLE = PLANT.authority.lists()
DOORS = {
    "chain": lambda data: verify_chain((data, CHAINS[0][1]), PLANT.trust, NOW, NONE),
    "issuer": lambda data: verify_issuer(data, PLANT.trust),
    "request": lambda data: requests.check_request(requests.read_request(data)),
    "admit": PLANT.authority.admit,
    "response": requests.read_response,
    "token": lambda data: parse_token(data.decode("latin-1")),
    "lists": lambda data: Revocations(PLANT.trust, data),
    "trust": unpack_trust,
    "credential": unpack_credential,
    "order": lambda data: verify_order(data, PLANT.trust, NOW, NONE, Nonces(), roles=["admin"]),
}


def knock(door, data):
    try:
        DOORS[door](data)
    except CronosError as error:
        assert error.__cause__ is None  # noqa: PT017 - nothing of the parser's words comes out


@pytest.mark.parametrize("door", DOORS)
@given(st.binary(max_size=2_000))
@example(b"\x91" * 10_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x30\x84\xff\xff\xff\xff")
@settings(max_examples=60)
def test_noise_is_refused_by_every_door(door, data):
    knock(door, data)


def edits(size):
    position = st.integers(0, size - 1)
    return st.lists(st.tuples(position, st.integers(1, 255)), min_size=1, max_size=4)


def edited(data, changes):
    changed = bytearray(data)
    for at, flip in changes:
        changed[at] ^= flip
    return bytes(changed)


@given(st.sampled_from([0, 1]), st.sampled_from([0, 1]), st.data())
@settings(max_examples=200)
def test_an_edited_certificate_is_never_taken(which, place, data):
    chain = list(CHAINS[which])
    changed = edited(chain[place], data.draw(edits(len(chain[place]))))
    if changed != chain[place]:
        chain[place] = changed
        with pytest.raises(CronosError):
            verify_chain(chain, PLANT.trust, NOW, NONE)


@pytest.mark.parametrize(
    ("door", "good"), [("admit", REQUEST), ("order", ORDER), ("lists", BUNDLE)]
)
@given(st.data())
@settings(max_examples=60)
def test_an_edited_message_is_never_taken(door, good, data):
    changed = edited(good, data.draw(edits(len(good))))
    if changed != good:
        with pytest.raises(CronosError):
            DOORS[door](changed)


@given(st.integers(0, len(ORDER) - 1))
@settings(max_examples=60)
def test_a_cut_order_is_never_taken(end):
    with pytest.raises(CronosError):
        DOORS["order"](ORDER[:end])


PEMS = pemfolder._pems(PLANT.authority.issue("service", "fuzz", ()))


def read_pems(contents):
    """Whose these files are; None where they are refused."""
    try:
        return pemfolder._service(Path("/x"), pemfolder._credential(Path("/x"), contents))
    except CronosError as error:
        assert error.code == "crypto.pems_unfit"  # noqa: PT017 - nothing of the parser's words
        assert error.__cause__ is None  # noqa: PT017 - comes out
        return None


@pytest.mark.parametrize("name", PEMS)
@given(st.data())
@settings(max_examples=60)
def test_a_changed_file_of_a_service_is_refused_or_says_the_same(name, data):
    whole = PEMS[name]
    changed = data.draw(
        st.one_of(
            st.binary(max_size=2_000),
            st.integers(0, len(whole)).map(lambda end: whole[:end]),
            edits(len(whole)).map(lambda changes: edited(whole, changes)),
            st.sampled_from(sorted(PEMS.values())),
            st.binary(max_size=200).map(lambda more: whole + more),
        )
    )
    assert read_pems({**PEMS, name: changed}) in (None, read_pems(PEMS))
