"""The renewal service against the real enrolment service on loopback."""

import json
import signal
import subprocess
import sys

import msgspec
import pytest
from tests.integration.product import ENVIRONMENT
from tests.integration.test_enrolment import serving
from tests.unit.crypto.pki.plant import HOUR_NS, S_NS, Plant
from tests.unit.front.worker_spec import spec_for
from tests.unit.link.test_renewal import Told, health, service

from cronos.config import Config
from cronos.crypto.pki.profile import DAY_NS
from cronos.crypto.pki.tokens import parse_token
from cronos.front.membership import bound_of, holder_of
from cronos.link.egress import EgressGate
from cronos.link.enrolment import join
from cronos.runtime.world import SystemClock
from cronos.testing.clock import VirtualClock

__all__ = ["serving"]


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path / "plant")


def identity(plant):
    holder = plant.holder()
    return holder.membership().credential.identity(plant.clock.now(), holder.revocations())


def test_for_a_week_the_certificates_are_renewed_at_half_their_life_and_never_run_out(plant):
    told = Told()
    with serving(plant) as (address, reports):
        plant.joined(address=address)
        made = service(plant, told)
        for _ in range(7 * 24):
            made.step()
            assert identity(plant).not_after_ns - plant.clock.now().wall_ns > 11 * HOUR_NS
            assert health(made) == "ok"
            plant.clock.advance(HOUR_NS)
            plant.authority.refresh()

    assert told.events().count("pki.renewed") == 13
    assert set(told.events()) == {"pki.renewed"}
    assert [event for event, _ in reports].count("enrolment.renew") == 13


def test_when_the_issuer_comes_back_after_the_end_the_node_renews_within_the_grace(plant):
    told = Told()
    with serving(plant) as (address, _):
        plant.joined(address=address)
    port = int(address.rpartition(":")[2])
    made = service(plant, told)
    plant.clock.advance(DAY_NS + HOUR_NS)
    made.step()
    assert "within its grace" in health(made)

    with serving(plant, grace_s=7200) as (other, reports):
        assert other != f"127.0.0.1:{port}"
        made._config = msgspec.structs.replace(made._config, addresses=(other,))
        made.step()
        assert health(made) != "ok"  # the pause is not over yet
        plant.clock.advance(31 * S_NS)
        made.step()

    assert health(made) == "ok"
    assert told.events() == ["pki.grace_began", "pki.renewal_failed", "pki.renewed"]
    assert ("enrolment.grace", "node/alpha") in reports


def test_a_revocation_reaches_the_node_within_the_hour_and_outlives_a_restart(plant):
    told = Told()
    with serving(plant) as (address, _):
        plant.joined(address=address)
        beta = plant.credential("beta").identity(plant.clock.now(), plant.holder().revocations())
        made = service(plant, told)
        made.step()
        plant.authority.revoke("beta", "key-compromise")
        plant.clock.advance(HOUR_NS)
        made.step()

    assert told == []
    assert plant.holder().revocations().is_revoked(beta.issuer, beta.serial)


def test_a_revoked_node_goes_on_saying_why_it_is_not_renewed(plant):
    told = Told()
    with serving(plant) as (address, _):
        plant.joined(address=address)
        made = service(plant, told)
        plant.authority.revoke("alpha", "key-compromise")
        plant.clock.advance(DAY_NS // 2)
        made.step()

    assert told[0][2]["code"] == "link.enrolment_refused"
    assert "does not take the certificate" in health(made)


def test_the_worker_of_the_service_renews_with_the_nodes_own_keystore(tmp_path):
    """All of it: a process started by its `Spec`, machine key, keystore, wall clock."""
    config = Config(sealer="plaintext", services=("certificate-renewal",))
    home = tmp_path / "state" / config.node.instance
    home.mkdir(mode=0o700, parents=True)
    # An authority that issued thirteen hours ago: what it gives is due at once.
    ago = VirtualClock(wall_ns=SystemClock().now().wall_ns - 13 * HOUR_NS)
    plant = Plant(tmp_path / "plant", clock=ago)
    with serving(plant) as (address, reports):
        holder = holder_of(config, home.parent, SystemClock())
        text = plant.authority.invite(config.node.instance, ["defense"], address, 86_400)
        with bound_of(config, home.parent) as bound:
            first = join(holder, parse_token(text), SystemClock(), EgressGate(), bound)
        spec = spec_for(home, "service", config=config)
        spec = msgspec.structs.replace(spec, service="certificate-renewal")
        (tmp_path / "service.json").write_bytes(msgspec.json.encode(spec))
        command = [sys.executable, "-m", "cronos.front.workers", str(tmp_path / "service.json")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
            try:
                line = json.loads(process.stderr.readline())
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()

    second = holder.own()
    assert (line["event"], line["serial"]) == ("pki.renewed", second.serial)
    assert second.serial != first.serial
    assert second.mldsa_hash == first.mldsa_hash  # the keystore's identity key, both times
    assert ("enrolment.renew", config.node.instance) in reports
