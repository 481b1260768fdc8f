"""Backups: the whole authority, sealed; restored whole or not at all."""

import pytest
from tests.unit.crypto.pki.plant import NOW_NS, S_NS, Plant, passphrase_root

from cronos.crypto.pki.authority import Authority
from cronos.crypto.pki.backup import back_up, restore
from cronos.crypto.pki.pemfolder import write_pems
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import CronosError, DeniedError


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


def code_of(call, *given):
    with pytest.raises(CronosError) as refused:
        call(*given)
    return refused.value.code


def test_a_restored_authority_issues_in_the_same_domain(plant, tmp_path):
    plant.joined()
    trust = restore(back_up(plant.ca, plant.offline, NOW_NS), tmp_path / "new", plant.offline)
    again = Authority(tmp_path / "new", plant.online, plant.clock)

    assert trust == plant.trust
    assert again.listing() == plant.authority.listing()
    assert again.issue("operator", "eve", ["admin"]).trust == trust


def test_lists_of_a_restored_authority_do_not_fall_behind_those_it_signed_before(plant, tmp_path):
    data = back_up(plant.ca, plant.offline, NOW_NS)
    plant.clock.advance(S_NS)
    plant.joined()
    plant.authority.revoke("alpha", "key-compromise")
    known = Revocations(plant.trust, plant.authority.lists())
    plant.clock.advance(60 * S_NS)
    restore(data, tmp_path / "new", plant.offline)
    again = Authority(tmp_path / "new", plant.online, plant.clock)
    again.issue("service", "gw", [])
    again.revoke("gw", "superseded")

    own = Revocations(plant.trust, again.lists())
    numbers = {one.scope: one.number for one in own.standing()}
    assert numbers["issuer-1"] > {one.scope: one.number for one in known.standing()}["issuer-1"]


def test_the_folder_of_a_service_that_was_written_into_it_is_no_part_of_the_authority(
    plant, tmp_path
):
    write_pems(plant.ca / "gateway", plant.authority.issue("service", "gateway", ()))
    restore(back_up(plant.ca, plant.offline, NOW_NS), tmp_path / "new", plant.offline)

    assert not (tmp_path / "new" / "gateway").exists()
    assert Authority(tmp_path / "new", plant.online, plant.clock).listing().issued


def test_another_passphrase_a_changed_byte_and_every_cut_restore_nothing(plant, tmp_path):
    data = back_up(plant.ca, plant.offline, NOW_NS)
    other = passphrase_root(plant.folder, "not the passphrase")

    assert code_of(restore, data, tmp_path / "new", other) == "crypto.refused"
    for at in range(0, len(data), len(data) // 20):
        changed = bytearray(data)
        changed[at] ^= 1
        for bad in (bytes(changed), data[:at]):
            assert code_of(restore, bad, tmp_path / "new", plant.offline)
    assert not (tmp_path / "new").exists()


def test_nothing_is_restored_over_what_is_there(plant):
    data = back_up(plant.ca, plant.offline, NOW_NS)

    assert code_of(restore, data, plant.ca, plant.offline) == "crypto.authority_exists"


def test_a_full_disk_leaves_no_half_authority(plant, tmp_path, file_size_limit):
    data = back_up(plant.ca, plant.offline, NOW_NS)

    with file_size_limit(20_000):
        assert code_of(restore, data, tmp_path / "new", plant.offline) == "crypto.unwritable"

    assert [one for one in (tmp_path / "new").rglob("*") if one.is_file()] == []


def test_a_folder_without_an_authority_is_not_backed_up(plant, tmp_path):
    (plant.ca / "trust").unlink()

    assert code_of(back_up, plant.ca, plant.offline, NOW_NS) == "crypto.missing_file"


def test_a_restored_authority_withdraws_open_tokens_and_its_lists_are_the_newest(plant, tmp_path):
    token = plant.token()
    request = plant.holder().request(token)
    data = back_up(plant.ca, plant.offline, NOW_NS)
    plant.authority.admit(request)
    holder = plant.joined("beta")
    plant.clock.advance(S_NS)
    plant.authority.issue("service", "gw", [])
    plant.authority.revoke("gw", "superseded")
    holder.learn(plant.authority.lists())
    plant.clock.advance(60 * S_NS)
    restore(data, tmp_path / "new", plant.offline)
    again = Authority(tmp_path / "new", plant.online, plant.clock)

    assert again.take_up() == 1
    assert code_of(again.admit, request) == "crypto.token_used"
    assert holder.learn(again.lists())


def test_tokens_of_a_restored_authority_are_void_though_its_issuers_keys_do_not_open(
    plant, tmp_path
):
    request = plant.holder().request(plant.token())
    restore(back_up(plant.ca, plant.offline, NOW_NS), tmp_path / "new", plant.offline)
    locked_out = passphrase_root(plant.folder, "not the right words")

    with pytest.raises(DeniedError):
        Authority(tmp_path / "new", locked_out, plant.clock).take_up()

    again = Authority(tmp_path / "new", plant.online, plant.clock)
    assert code_of(again.admit, request) == "crypto.token_used"


def test_a_link_in_the_place_of_a_file_is_told_and_not_left_out(plant, tmp_path):
    keys = plant.ca / "issuers" / "issuer-1"
    keys.rename(tmp_path / "on-another-disk")
    keys.symlink_to(tmp_path / "on-another-disk")

    assert code_of(back_up, plant.ca, plant.offline, NOW_NS) == "crypto.unreadable"
