"""A node's membership: its credential lies where commands and services both look for it."""

import pytest
from tests.unit.crypto.pki.plant import Plant
from tests.unit.link.desk import action

from cronos.config import Config, Node
from cronos.crypto.pki.chain import certified
from cronos.errors import InputError
from cronos.front.membership import approvals_of, bound_of, holder_of, known_of
from cronos.runtime.world import SystemClock

CONFIG = Config(node=Node("alpha"))


def test_a_credential_lies_in_the_nodes_own_folder_and_opens_again(tmp_path):
    plant = Plant(tmp_path / "plant", clock=SystemClock())
    holder = holder_of(CONFIG, tmp_path / "state", plant.clock)
    with pytest.raises(InputError):
        holder.own()

    holder.accept(plant.authority.admit(holder.request(plant.token())))

    assert (tmp_path / "state" / "alpha" / "pki" / "credential").is_file()
    assert holder_of(CONFIG, tmp_path / "state", plant.clock).own().name == "alpha"


def test_what_is_bound_is_the_keystores_identity_key_each_time(tmp_path):
    plant = Plant(tmp_path / "plant", clock=SystemClock())
    hashes = []
    for _ in range(2):
        holder = holder_of(CONFIG, tmp_path / "state", plant.clock)
        with bound_of(CONFIG, tmp_path / "state") as bound:
            holder.accept(plant.authority.admit(holder.request(plant.token(), bound)))
        credential = holder.membership().credential
        hashes.append(certified(credential.chains.mldsa, plant.trust).mldsa_hash)

    assert hashes[0] == hashes[1]


def test_the_operators_are_those_of_the_domain_that_was_joined(tmp_path):
    plant = Plant(tmp_path / "plant", clock=SystemClock())
    known = known_of(CONFIG, tmp_path / "state", plant.clock)
    assert known() is None
    assert not (tmp_path / "state").exists()
    holder = holder_of(CONFIG, tmp_path / "state", plant.clock)
    holder.accept(plant.authority.admit(holder.request(plant.token())))
    assert known().trust == plant.trust


def test_the_enforcer_hears_why_an_approval_is_none(tmp_path):
    plant = Plant(tmp_path / "plant", clock=SystemClock())
    approved = approvals_of(CONFIG, tmp_path / "state", plant.clock)
    assert "joined no trust domain" in approved(action())
    holder = holder_of(CONFIG, tmp_path / "state", plant.clock)
    holder.accept(plant.authority.admit(holder.request(plant.token())))
    assert approved(action()) == "nobody approved it"
