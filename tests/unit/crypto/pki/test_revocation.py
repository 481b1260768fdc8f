"""Revocation lists: upwards only, each scope for itself, in force at once."""

import msgspec
import pytest
from tests.unit.crypto.pki import forge
from tests.unit.crypto.pki.plant import NOW_NS, shared_plant

from cronos.crypto.pki import revocation
from cronos.crypto.pki.profile import DAY_NS, MLDSA, generate_key
from cronos.crypto.pki.revocation import ROLLBACK, Entry, RevocationList, Revocations, sign_list
from cronos.errors import DeniedError

SERIAL = "ab" * 16


def unsigned(number=1, scope="issuer-1", serials=(SERIAL,), domain="plant.example"):
    entries = tuple(Entry(serial, NOW_NS, "key-compromise") for serial in serials)
    return RevocationList(1, domain, scope, number, NOW_NS, NOW_NS + DAY_NS, entries)


def by_issuer(number=1, serials=(SERIAL,), name="issuer-1"):
    half = forge.issuer_half(MLDSA, name)
    return sign_list(unsigned(number, name, serials), half.key, half.der)


def by_root(number=1, serials=()):
    return sign_list(unsigned(number, "root", serials), forge.root_half(MLDSA).key)


def bundle(*signed):
    return revocation.pack_bundle(signed)


def known(*signed):
    return Revocations(shared_plant().trust, bundle(*signed))


def test_what_a_list_names_is_revoked_in_its_scope_alone():
    lists = known(by_issuer())

    assert lists.is_revoked("issuer-1", SERIAL)
    assert not lists.is_revoked("issuer-2", SERIAL)
    assert not lists.is_revoked("root", SERIAL)
    assert not lists.is_revoked("issuer-1", "00" * 16)


def test_a_newer_list_takes_the_place_of_the_old_one_and_the_watchers_hear_of_it():
    lists = known(by_issuer(1, ()))
    heard = []
    lists.watch(lambda: heard.append(lists.is_revoked("issuer-1", SERIAL)))

    assert lists.update(bundle(by_issuer(2)))
    assert heard == [True]
    assert not lists.update(lists.packed())
    assert heard == [True]


def test_an_older_list_is_refused_as_a_rollback_and_changes_nothing():
    lists = known(by_issuer(2))

    with pytest.raises(DeniedError) as refused:
        lists.update(bundle(by_issuer(1, ())))

    assert refused.value.code == ROLLBACK
    assert lists.is_revoked("issuer-1", SERIAL)


def test_another_list_of_the_same_number_is_refused():
    lists = known(by_issuer(2))

    with pytest.raises(DeniedError) as refused:
        lists.update(bundle(by_issuer(2, ())))

    assert refused.value.code == ROLLBACK


def test_a_stale_list_of_one_scope_does_not_keep_news_of_another_out():
    lists = known(by_issuer(2))

    with pytest.raises(DeniedError):
        lists.update(bundle(by_issuer(1, ()), by_issuer(5, (SERIAL,), "issuer-2")))

    assert lists.is_revoked("issuer-2", SERIAL)


def test_one_list_that_does_not_verify_spoils_its_bundle():
    lists = known()
    half = forge.issuer_half(MLDSA)
    forged = sign_list(unsigned(9, "issuer-1"), generate_key(MLDSA), half.der)

    with pytest.raises(DeniedError) as refused:
        lists.update(bundle(by_issuer(3, (SERIAL,), "issuer-2"), forged))

    assert refused.value.code == "crypto.refused"
    assert not lists.is_revoked("issuer-2", SERIAL)


def test_an_issuer_speaks_neither_for_another_nor_for_the_root():
    half = forge.issuer_half(MLDSA)

    for scope in ("issuer-2", "root"):
        with pytest.raises(DeniedError):
            known(sign_list(unsigned(1, scope), half.key, half.der))


def test_a_stranger_speaks_for_nobody():
    stranger = forge.other_root(algorithm=MLDSA)
    issuer = forge.other_issuer(stranger, algorithm=MLDSA)

    for signed in (
        sign_list(unsigned(1, "root"), stranger.key),
        sign_list(unsigned(1, "issuer-1"), issuer.key, issuer.der),
        sign_list(unsigned(1, "issuer-1", domain="other.example"), *_half()),
    ):
        with pytest.raises(DeniedError):
            known(signed)


def _half():
    half = forge.issuer_half(MLDSA)
    return half.key, half.der


def test_an_issuer_that_the_root_took_back_has_no_word_any_more():
    serial = f"{forge.issuer_half(MLDSA).certificate.serial_number:032x}"
    lists = known(by_issuer(1, ()), by_root(1, (serial,)))

    assert not lists.update(bundle(by_issuer(2, ("cd" * 16,))))
    assert not lists.is_revoked("issuer-1", "cd" * 16)
    assert lists.is_revoked("root", serial)


def test_the_root_is_heard_first_wherever_its_list_stands():
    serial = f"{forge.issuer_half(MLDSA).certificate.serial_number:032x}"

    lists = known(by_issuer(1), by_root(1, (serial,)))

    assert not lists.is_revoked("issuer-1", SERIAL)


def test_lists_come_back_from_their_bundle_with_their_numbers():
    again = Revocations(shared_plant().trust, known(by_issuer(7), by_root(3)).packed())

    assert [(one.scope, one.number) for one in again.standing()] == [("issuer-1", 7), ("root", 3)]
    with pytest.raises(DeniedError):
        again.update(bundle(by_issuer(6)))


def test_a_list_past_its_day_is_shown_as_stale_and_still_holds():
    lists = known(by_issuer())

    assert lists.stale(NOW_NS) == ()
    assert lists.stale(NOW_NS + DAY_NS) == ("issuer-1",)
    assert lists.is_revoked("issuer-1", SERIAL)


def test_a_changed_bit_anywhere_is_refused():
    good = bundle(by_issuer())
    taken = []

    for bit in range(0, len(good) * 8, 97):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << (bit % 8)
        try:
            Revocations(shared_plant().trust, bytes(changed))
        except DeniedError:
            continue
        taken.append(bit)

    assert taken == []


@pytest.mark.parametrize(
    "data",
    [b"\xc1", b"\x91" * 100_000, msgspec.msgpack.encode([[b"", b"", []]] * 3), bytes(5 << 20)],
    ids=["noise", "nested", "no signature", "5 MiB"],
)
def test_what_is_no_bundle_is_refused(data):
    with pytest.raises(DeniedError) as refused:
        known().update(data)

    assert refused.value.code == "crypto.refused"
