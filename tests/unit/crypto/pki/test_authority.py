"""The authority: founding, issuing, one-time tokens, renewal, revocation, and what goes wrong."""

import os
import shutil
import subprocess
import sys
import threading

import pytest
from tests.unit.crypto.pki.plant import DOMAIN, PASSPHRASE, S_NS, Plant, passphrase_root

from cronos.crypto.pki import requests
from cronos.crypto.pki.authority import Authority, found
from cronos.crypto.pki.chain import REVOKED, verify_chain
from cronos.crypto.pki.credential import generate_keys
from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.profile import DAY_NS, LIFE_NS, MLDSA, bound_hash
from cronos.crypto.pki.revocation import Revocations
from cronos.crypto.pki.tokens import new_token
from cronos.errors import CronosError, DeniedError, InputError


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


def code_of(call, *given):
    with pytest.raises(CronosError) as refused:
        call(*given)
    return refused.value.code


def verified(plant, credential):
    revoked = Revocations(plant.trust, plant.authority.lists())
    return verify_chain(credential.chains.mldsa, plant.trust, plant.clock.now(), revoked)


def renewed(plant, holder, identity):
    return holder.renew(lambda request: plant.authority.renew(identity, request))


def test_it_is_founded_with_three_constrained_issuers_and_lists_of_each(plant):
    listing = plant.authority.listing()

    assert [(row.name, row.kinds) for row in listing.issuers] == [
        ("issuer-1", "node,service"),
        ("issuer-2", "node,service"),
        ("operators", "operator"),
    ]
    assert [one.scope for one in listing.lists] == ["issuer-1", "issuer-2", "operators", "root"]


def test_no_key_lies_readable_in_its_folders(plant):
    plant.authority.issue("operator", "eve", ["admin"])
    secrets = [plant.authority._keys[name].mldsa[-32:] for name in plant.authority._keys]
    files = [path for path in plant.folder.rglob("*") if path.is_file()]

    assert secrets
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path
        assert not [one for one in secrets if one in path.read_bytes()]


def test_the_root_is_needed_neither_to_issue_nor_to_revoke(plant):
    shutil.rmtree(plant.home)

    credential = plant.reopened().issue("service", "gateway", [])
    plant.reopened().revoke("gateway", "superseded")

    assert credential.chains.p384


def test_an_authority_is_never_made_over_another_nor_over_anothers_root(plant, tmp_path):
    again = (DOMAIN, plant.home, plant.offline, plant.online, plant.clock)

    assert code_of(found, plant.ca, *again) == "crypto.authority_exists"
    assert code_of(found, tmp_path / "new", *again) == "crypto.authority_exists"


def test_issued_credentials_verify_and_carry_their_roles(plant):
    operator = plant.authority.issue("operator", "eve", ["manager", "analyst"])
    service = plant.authority.issue("service", "gateway", [])

    assert verified(plant, operator).roles == ("analyst", "manager")
    assert verified(plant, operator).issuer == "operators"
    identity = verified(plant, service)
    assert (identity.kind, identity.roles) == ("service", ())
    assert identity.not_after_ns == plant.clock.now().wall_ns + LIFE_NS["service"]


@pytest.mark.parametrize(
    ("kind", "name", "roles", "code"),
    [
        ("operator", "../eve", ["admin"], "crypto.bad_name"),
        ("operator", "Eve", ["admin"], "crypto.bad_name"),
        ("operator", "éve", ["admin"], "crypto.bad_name"),
        ("operator", "eve", ["root"], "crypto.bad_role"),
        ("operator", "eve", [], "crypto.bad_role"),
        ("service", "gw", ["audit"], "crypto.bad_role"),
    ],
)
def test_a_bad_name_or_role_issues_nothing(plant, kind, name, roles, code):
    assert code_of(plant.authority.issue, kind, name, roles) == code
    assert plant.authority.listing().issued == ()


def test_a_token_admits_its_node_once(plant):
    token = plant.token()
    request = plant.holder().request(token)

    assert plant.authority.admit(request)
    assert code_of(plant.authority.admit, request) == "crypto.token_used"
    assert code_of(plant.authority.admit, plant.holder().request(token)) == "crypto.token_used"


def test_a_used_token_is_used_for_an_authority_that_was_opened_anew(plant):
    request = plant.holder().request(plant.token())
    plant.authority.admit(request)

    assert code_of(plant.reopened().admit, request) == "crypto.token_used"


def test_of_many_who_use_one_token_at_once_one_is_admitted(plant):
    request = plant.holder().request(plant.token())
    ends = []

    def use():
        try:
            plant.reopened().admit(request)
            ends.append("admitted")
        except CronosError as error:
            ends.append(error.code)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ends) == ["admitted"] + ["crypto.token_used"] * 7


def test_a_token_expires_by_the_authoritys_clock(plant):
    request = plant.holder().request(plant.token(life_s=60))
    plant.clock.advance(60 * S_NS)

    assert code_of(plant.authority.admit, request) == "crypto.token_expired"


def test_a_node_with_an_expired_token_does_not_even_ask(plant):
    token = plant.token(life_s=60)
    plant.clock.advance(60 * S_NS)

    assert code_of(plant.holder().request, token) == "crypto.token_expired"


def test_a_token_that_was_made_up_is_refused(plant):
    forged = new_token(plant.trust.fingerprint, DOMAIN, "alpha", "", 2**62)

    assert code_of(plant.authority.admit, plant.holder().request(forged)) == "crypto.refused"


def test_a_known_token_id_with_another_secret_is_refused(plant):
    true = plant.token()
    forged = new_token(plant.trust.fingerprint, DOMAIN, "alpha", "", 2**62)
    keys = generate_keys()
    data = requests.make_request("alpha", keys, own_bound(keys), (true.token_id, forged.key()))

    assert code_of(plant.authority.admit, data) == "crypto.refused"
    assert plant.authority.admit(plant.holder().request(true))


def test_a_token_gives_no_other_name_than_its_own(plant):
    token = plant.token("alpha")
    keys = generate_keys()
    data = requests.make_request("beta", keys, own_bound(keys), (token.token_id, token.key()))

    assert code_of(plant.authority.admit, data) == "crypto.refused"


def test_the_registry_holds_no_secret_of_a_token(plant):
    token = plant.token()

    assert token.secret not in (plant.ca / "registry.db").read_bytes()


def test_renewal_gives_new_certificates_while_the_old_ones_stand(plant):
    holder = plant.joined()
    old = holder.membership().credential
    plant.clock.advance(DAY_NS // 2)
    renewed(plant, holder, verified(plant, old))
    new = holder.membership().credential

    assert verified(plant, old).serial != verified(plant, new).serial
    assert verified(plant, new).not_after_ns == verified(plant, old).not_after_ns + DAY_NS // 2


def test_renewal_gives_the_roles_of_the_book_not_of_the_old_certificate(plant):
    holder = plant.joined(roles=("defense",))
    old = verified(plant, holder.membership().credential)
    plant.joined(roles=("audit",))

    new = renewed(plant, holder, old)

    assert new.roles == ("audit",)


def test_nobody_renews_as_another(plant):
    alpha = verified(plant, plant.joined("alpha").membership().credential)
    beta = plant.joined("beta")

    assert code_of(renewed, plant, beta, alpha) == "crypto.refused"


def test_a_revoked_name_is_refused_at_once_renews_no_more_and_its_tokens_are_void(plant):
    holder = plant.joined()
    identity = verified(plant, holder.membership().credential)
    open_token = plant.token()

    rows = plant.authority.revoke("node/alpha", "key-compromise")

    assert len(rows) == 2
    assert code_of(verified, plant, holder.membership().credential) == REVOKED
    assert code_of(renewed, plant, holder, identity) == "crypto.refused"
    again = plant.holder().request(open_token)
    assert code_of(plant.authority.admit, again) == "crypto.token_used"


def test_a_revoked_node_may_be_invited_again(plant):
    plant.joined()
    plant.authority.revoke("alpha", "superseded")

    assert verified(plant, plant.joined().membership().credential).name == "alpha"


def test_a_serial_number_revokes_its_pair_and_leaves_the_name(plant):
    holder = plant.joined()
    old = holder.membership().credential
    identity = verified(plant, old)
    plant.clock.advance(3600 * S_NS)
    renewed(plant, holder, identity)

    rows = plant.authority.revoke(identity.serial, "superseded")

    assert {row.algorithm for row in rows} == {"p-384", "ml-dsa-87"}
    assert code_of(verified, plant, old) == REVOKED
    assert verified(plant, holder.membership().credential).name == "alpha"


def test_what_is_not_there_or_ambiguous_is_not_revoked(plant):
    plant.joined("eve")
    plant.authority.issue("operator", "eve", ["admin"])

    assert code_of(plant.authority.revoke, "nobody", "superseded") == "crypto.unknown_certificate"
    assert code_of(plant.authority.revoke, "eve", "superseded") == "crypto.ambiguous_name"
    assert code_of(plant.authority.revoke, "node/eve", "because") == "crypto.bad_reason"
    assert len(plant.authority.revoke("operator/eve", "privilege")) == 2


def test_revoking_an_issuer_takes_the_root_and_ends_all_below_it(plant):
    old = plant.joined().membership().credential
    wrong = passphrase_root(plant.folder, "not the passphrase")

    revoke = plant.authority.revoke_issuer
    assert code_of(revoke, "issuer-1", "key-compromise", plant.home, wrong) == "crypto.refused"
    revoke("issuer-1", "key-compromise", plant.home, plant.offline)

    assert code_of(verified, plant, old) == REVOKED
    assert verified(plant, plant.joined().membership().credential).issuer == "issuer-2"


def test_when_no_issuer_is_left_a_sentence_says_so_and_the_root_makes_another(plant):
    for name in ("issuer-1", "issuer-2"):
        plant.authority.revoke_issuer(name, "superseded", plant.home, plant.offline)

    assert code_of(plant.authority.issue, "service", "gw", []) == "crypto.no_issuer"
    plant.authority.add_issuer("issuer-3", ["service"], plant.home, plant.offline)
    assert verified(plant, plant.authority.issue("service", "gw", [])).issuer == "issuer-3"
    name_taken = (plant.authority.add_issuer, "issuer-1", ["node"], plant.home, plant.offline)
    assert code_of(*name_taken) == "crypto.name_taken"


def test_lists_are_signed_anew_at_half_their_life_and_their_numbers_rise(plant):
    assert plant.authority.refresh() == ()
    before = {one.scope: one.number for one in plant.authority.listing().lists}
    plant.clock.advance(DAY_NS)

    assert plant.authority.refresh() == ("issuer-1", "issuer-2", "operators")
    after = {one.scope: one.number for one in plant.authority.listing().lists}
    assert after["root"] == before["root"]
    assert after["issuer-1"] > before["issuer-1"]


def test_a_clock_set_back_makes_no_list_number_fall(plant):
    plant.joined()
    plant.clock.set_wall(plant.clock.now().wall_ns - 3600 * S_NS)
    known = Revocations(plant.trust, plant.authority.lists())

    plant.authority.revoke("alpha", "superseded")

    assert known.update(plant.authority.lists())


def test_a_folder_with_parts_missing_is_told_in_a_sentence(plant):
    opened = (plant.ca, plant.online, plant.clock)
    (plant.ca / "issuers" / "issuer-1").unlink()
    (plant.ca / "issuers" / "issuer-2").unlink()
    assert code_of(plant.reopened().issue, "service", "gw", []) == "crypto.no_issuer"

    (plant.ca / "registry.db").write_bytes((plant.ca / "registry.db").read_bytes()[:5000])
    assert code_of(plant.reopened().listing) == "crypto.registry_damaged"
    (plant.ca / "registry.db").unlink()
    assert code_of(plant.reopened().listing) == "crypto.missing_file"
    (plant.ca / "trust").write_bytes(b"")
    assert code_of(Authority, *opened) == "crypto.refused"
    (plant.ca / "trust").unlink()
    assert code_of(Authority, *opened) == "crypto.missing_file"


def test_an_issuers_keys_of_another_issuer_are_refused(plant):
    home = plant.ca / "issuers"
    (home / "issuer-1").write_bytes((home / "issuer-2").read_bytes())

    assert code_of(plant.reopened().issue, "service", "gw", []) == "crypto.refused"


def test_a_full_disk_issues_nothing_and_uses_up_no_token(plant, file_size_limit):
    request = plant.holder().request(plant.token())

    with file_size_limit(1024), pytest.raises(DeniedError) as refused:
        plant.authority.admit(request)

    assert refused.value.code == "crypto.unwritable"
    assert plant.authority.listing().issued == ()
    assert plant.authority.admit(request)


CRASH = """
import os, pathlib, sys
sys.path[:0] = [{src!r}, {root!r}]
from cronos.crypto.pki import profile
from tests.unit.crypto.pki.plant import *
folder = pathlib.Path({folder!r})
clock = VirtualClock(wall_ns=NOW_NS)
authority = Authority(folder / "ca", MachineRoot(MachineConfig(), folder / "machine"), clock)
true, calls = profile.leaf_certificate, []
def dying(*given):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), 9)
    return true(*given)
profile.leaf_certificate = dying
authority.admit((folder / "request").read_bytes())
"""


def test_kill_9_in_the_middle_of_admitting_leaves_neither_a_certificate_nor_a_used_token(plant):
    request = plant.holder().request(plant.token())
    (plant.folder / "request").write_bytes(request)
    root = str(os.path.realpath(os.curdir))
    script = CRASH.format(src=f"{root}/src", root=root, folder=str(plant.folder))

    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)

    assert ended.returncode == -9, ended.stderr
    assert plant.authority.listing().issued == ()
    assert plant.authority.admit(request)


def test_an_interrupted_founding_can_be_done_again(plant, tmp_path):
    (plant.ca / "trust").unlink()
    (plant.home / "keys").unlink()

    again = found(plant.ca, DOMAIN, plant.home, plant.offline, plant.online, plant.clock)

    assert verified_domain(again) == DOMAIN
    assert PASSPHRASE.encode() not in (plant.home / "keys").read_bytes()


def verified_domain(authority):
    return authority.issue("operator", "eve", ["admin"]).trust.domain


def test_the_operators_credential_binds_its_own_ml_dsa_key(plant):
    credential = plant.authority.issue("operator", "eve", ["admin"])
    public = own_bound(credential.keys).public

    assert verified(plant, credential).mldsa_hash == bound_hash(public)
    assert credential.public(MLDSA) == public


def test_a_name_that_is_no_issuers_is_told(plant):
    add = plant.authority.add_issuer
    assert code_of(add, "../x", ["node"], plant.home, plant.offline) == "crypto.bad_name"
    assert code_of(add, "x", ["root"], plant.home, plant.offline) == "crypto.bad_kind"
    with pytest.raises(InputError):
        plant.authority.revoke_issuer("nobody", "superseded", plant.home, plant.offline)


def test_a_leaked_token_of_a_node_that_never_joined_can_be_withdrawn(plant):
    token = plant.token()

    assert plant.authority.revoke("node/alpha", "key-compromise") == ()
    assert code_of(plant.authority.admit, plant.holder().request(token)) == "crypto.token_used"
    assert code_of(plant.authority.revoke, "alpha", "superseded") == "crypto.unknown_certificate"


@pytest.mark.parametrize(
    ("address", "life_s", "code"),
    [
        ("ca:1", -5, "crypto.bad_life"),
        ("ca:1", 0, "crypto.bad_life"),
        ("ca:1", 10**20, "crypto.bad_life"),
        ("a" * 300 + ":1", 60, "crypto.bad_address"),
        ("\udcff:1", 60, "crypto.bad_address"),
        ("ca\n:1", 60, "crypto.bad_address"),
    ],
)
def test_no_token_is_made_that_could_never_be_used(plant, address, life_s, code):
    assert code_of(plant.authority.invite, "alpha", ["defense"], address, life_s) == code
    assert plant.authority.listing().tokens == ()


def test_a_list_remembers_a_revocation_while_a_clock_that_was_set_back_could_need_it(plant):
    credential = plant.joined().membership().credential
    plant.authority.revoke("alpha", "key-compromise")
    behind = plant.clock.now()
    for _ in range(6):
        plant.clock.advance(DAY_NS)
        plant.authority.refresh()
    lists = Revocations(plant.trust, plant.authority.lists())

    with pytest.raises(DeniedError) as refused:
        credential.identity(behind, lists)
    assert refused.value.code == REVOKED

    for _ in range(4):
        plant.clock.advance(DAY_NS)
        plant.authority.refresh()
    assert [one.entries for one in plant.authority.listing().lists] == [0, 0, 0, 0]
