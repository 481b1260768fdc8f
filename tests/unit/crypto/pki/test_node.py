"""A holder: it believes its pin and nothing else."""

import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from tests.unit.crypto.pki.plant import S_NS, Plant

from cronos.crypto.pki import requests
from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.profile import bound_hash
from cronos.crypto.pki.requests import Bound, pack_response, read_response
from cronos.crypto.pki.revocation import ROLLBACK, Revocations, pack_bundle
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.crypto.signatures import ML_DSA_87, SigningKey, generate_seed
from cronos.errors import CronosError, DeniedError


@pytest.fixture
def plant(tmp_path):
    made = Plant(tmp_path / "plant")
    made.first_lists = made.authority.lists()
    return made


def code_of(call, *given):
    with pytest.raises(CronosError) as refused:
        call(*given)
    return refused.value.code


def test_it_asks_takes_the_answer_and_knows_itself_after_a_restart(plant):
    identity = plant.holder().accept(plant.authority.admit(plant.holder().request(plant.token())))
    member = plant.holder().membership()

    assert (identity.name, member.name) == ("alpha", "alpha")
    assert not (plant.folder / "node-alpha" / "pending").exists()


def test_the_key_of_the_keystore_is_bound_where_one_is_given(plant):
    key = SigningKey(ML_DSA_87, generate_seed())
    holder = plant.holder()

    request = holder.request(plant.token(), Bound(key.public, key.sign))

    assert holder.accept(plant.authority.admit(request)).mldsa_hash == bound_hash(key.public)


def test_the_answer_of_an_authority_that_is_not_pinned_is_refused(plant, tmp_path):
    other = Plant(tmp_path / "other")
    holder = plant.holder()
    holder.request(plant.token())
    foreign = other.holder()
    answer = other.authority.admit(foreign.request(other.token()))

    assert code_of(holder.accept, answer) == "crypto.refused"
    assert code_of(holder.membership) == "crypto.missing_file"


def test_the_answer_to_another_request_is_refused(plant):
    beta = plant.holder("beta")
    answer = plant.authority.admit(beta.request(plant.token("beta")))
    holder = plant.holder()
    holder.request(plant.token())

    assert code_of(holder.accept, answer) == "crypto.refused"


def test_an_answer_that_was_changed_or_cut_is_refused(plant):
    holder = plant.holder()
    answer = plant.authority.admit(holder.request(plant.token()))

    for at in range(0, len(answer), 997):
        changed = bytearray(answer)
        changed[at] ^= 1
        for data in (bytes(changed), answer[:at]):
            with pytest.raises(DeniedError):
                holder.accept(data)
    assert holder.accept(answer).name == "alpha"


def test_swapped_roots_do_not_pass_the_pin(plant, tmp_path):
    other = Plant(tmp_path / "other")
    holder = plant.holder()
    response = requests.read_response(plant.authority.admit(holder.request(plant.token())))
    mixed = msgspec.structs.replace(response.trust, p384_root=other.trust.p384_root)
    swapped = requests.pack_response(msgspec.structs.replace(response, trust=mixed))

    assert code_of(holder.accept, swapped) == "crypto.refused"


def own(plant, holder):
    credential = holder.membership().credential
    return credential.identity(plant.clock.now(), holder.revocations())


def test_without_a_request_no_answer_is_taken(plant):
    assert code_of(plant.holder().accept, b"x") == "crypto.nothing_asked"


def test_the_old_credential_stands_until_the_new_one_does(plant):
    holder = plant.joined()
    before = holder.membership().credential
    standing = []

    def ask(request):
        standing.append(holder.membership().credential)
        return plant.authority.renew(own(plant, holder), request)

    holder.renew(ask)

    assert standing == [before]
    assert holder.membership().credential != before


def test_lists_are_kept_and_a_restart_does_not_fall_back_behind_them(plant):
    holder = plant.joined()
    old = plant.authority.lists()
    plant.joined("beta")
    plant.authority.revoke("beta", "key-compromise")
    holder.learn(plant.authority.lists())

    assert code_of(plant.holder().revocations().update, old) == ROLLBACK


def test_a_full_disk_leaves_the_old_credential(plant, file_size_limit):
    holder = plant.joined()
    before = holder.membership().credential
    answer = plant.authority.admit(holder.request(plant.token()))

    with file_size_limit(8192), pytest.raises(DeniedError) as refused:
        holder.accept(answer)

    assert refused.value.code == "crypto.unwritable"
    assert holder.membership().credential == before
    assert holder.accept(answer).name == "alpha"


def test_a_truncated_folder_is_refused_with_a_sentence(plant):
    holder = plant.joined()
    path = plant.folder / "node-alpha" / "credential"
    path.write_bytes(path.read_bytes()[:200])

    assert code_of(holder.membership) == "crypto.refused"
    path.unlink()
    assert code_of(holder.membership) == "crypto.missing_file"


def test_a_node_whose_clock_is_behind_takes_what_the_skew_covers_and_no_more(plant):
    holder = plant.holder()
    answer = plant.authority.admit(holder.request(plant.token()))
    plant.clock.set_wall(plant.clock.now().wall_ns - 600_000_000_000)

    assert code_of(holder.accept, answer) == "crypto.certificate_not_yet_valid"
    plant.clock.set_wall(plant.clock.now().wall_ns + 301_000_000_000)
    assert holder.accept(answer).name == "alpha"


def test_nothing_shows_a_key(plant):
    member = plant.joined().membership()

    assert repr(member) == "<the membership of alpha>"


def test_a_renewal_leaves_a_request_that_was_carried_away_waiting_for_its_answer(plant):
    holder = plant.joined()
    carried = holder.request(plant.token())
    holder.renew(lambda request: plant.authority.renew(own(plant, holder), request))

    assert holder.accept(plant.authority.admit(carried)).name == "alpha"


def test_lists_that_are_newer_are_kept_though_one_beside_them_is_older(plant):
    holder = plant.joined()
    older = plant.authority.lists()
    plant.clock.advance(S_NS)
    beta = own(plant, plant.joined("beta"))
    plant.authority.revoke("beta", "key-compromise")
    holder.learn(plant.authority.lists())
    eve = plant.authority.issue("operator", "eve", ["admin"])
    plant.clock.advance(S_NS)
    plant.authority.revoke("eve", "key-compromise")
    signed = {
        one[0]: one[1]
        for bundle in (older, plant.authority.lists())
        for one in scopes(bundle, {"issuer-1"} if bundle is older else {"operators"})
    }
    mixed = pack_bundle(signed.values())

    assert code_of(holder.learn, mixed) == ROLLBACK
    kept = plant.holder().revocations()
    assert kept.is_revoked(beta.issuer, beta.serial)
    assert code_of(eve.identity, plant.clock.now(), kept) == "crypto.certificate_revoked"


def scopes(bundle, wanted):
    """Take a bundle apart: scope and signed list."""
    for signed in msgspec.msgpack.decode(bundle):
        scope = msgspec.msgpack.decode(signed[0])[2]
        if scope in wanted:
            yield scope, msgspec.msgpack.encode(signed)


def test_an_authority_that_knows_fewer_revocations_still_renews_and_takes_none_back(plant):
    holder = plant.joined()
    beta = own(plant, plant.joined("beta"))
    plant.authority.revoke("beta", "key-compromise")
    holder.learn(plant.authority.lists())
    identity = own(plant, holder)

    def before_the_revocation(request):
        answer = read_response(plant.authority.renew(identity, request))
        stripped = [one for _, one in scopes(answer.lists, {"root", "operators", "issuer-2"})]
        return pack_response(
            msgspec.structs.replace(answer, lists=pack_bundle([*stripped, *first_lists]))
        )

    first_lists = [one for _, one in scopes(plant.first_lists, {"issuer-1"})]
    assert holder.renew(before_the_revocation).name == "alpha"
    assert plant.holder().revocations().is_revoked(beta.issuer, beta.serial)


def test_two_who_write_at_once_lose_no_revocation(plant):
    holder = plant.joined()
    names = [f"node-{number}" for number in range(6)]
    bundles = []
    for name in names:
        plant.joined(name)
        plant.clock.advance(S_NS)
        plant.authority.revoke(name, "key-compromise")
        bundles.append(plant.authority.lists())
    with ThreadPoolExecutor(6) as together:
        done = [together.submit(plant.holder().learn, bundle) for bundle in bundles]
        for one in done:
            with contextlib.suppress(DeniedError):
                one.result()

    newest = Revocations(plant.trust, bundles[-1])
    assert holder.revocations().standing() == newest.standing()


def test_when_its_root_key_is_changed_the_credential_goes_with_it(plant, tmp_path):
    holder = plant.holder()
    holder.accept(plant.authority.admit(holder.request(plant.token())))
    old = plant.holder()
    folder = plant.folder / "node-alpha"
    new_root = MachineRoot(MachineConfig(), tmp_path / "elsewhere")

    settle = plant.holder().carry(new_root)
    new = Holder(folder, new_root, plant.clock)

    # Between the two steps, where a crash may leave it, it opens with either key.
    assert old.membership().name == new.membership().name == "alpha"
    settle()
    assert new.membership().name == "alpha"
    assert code_of(old.membership) == "crypto.refused"
    assert not (folder / "credential.carried").exists()


def test_a_renewal_that_would_end_sooner_leaves_the_credential_that_stands(plant):
    holder = plant.joined()
    first = holder.own()
    plant.clock.set_wall(plant.clock.now().wall_ns - 60 * S_NS)

    def ask(request):
        return plant.authority.renew(first, request)

    assert code_of(holder.renew, ask) == "crypto.renewal_no_longer"
    assert holder.own() == first


def test_lists_that_could_not_be_read_again_are_not_kept(plant, monkeypatch):
    """Else a scope's signer fills the file beyond its bound, and the node never renews again."""
    holder = plant.joined()
    plant.joined("beta")
    first, before = holder.own(), holder.revocations().packed()
    plant.clock.advance(S_NS)
    plant.authority.revoke("beta", "key-compromise")
    monkeypatch.setattr("cronos.crypto.pki.node.MAX_BUNDLE_BYTES", len(before))

    assert code_of(holder.learn, plant.authority.lists()) == "crypto.refused"
    renewal = functools.partial(plant.authority.renew, first)
    assert code_of(holder.renew, renewal) == "crypto.refused"
    assert holder.revocations().packed() == before
    assert holder.own() == first
