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
from tests.unit.crypto.pki.test_pemfolder import issued, require_whole
from tests.unit.front.worker_spec import spec_for
from tests.unit.link.test_renewal import Told, health, service

from cronos.config import Config
from cronos.crypto.pki.pemfolder import PemFolder
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


def test_for_a_year_a_services_folder_is_renewed_every_sixty_days_and_always_whole(plant, tmp_path):
    told = Told()
    path = issued(plant, tmp_path / "gateway")
    with serving(plant) as (address, _):
        made = service(plant, told, folders=(str(path),), addresses=(address,))
        for _ in range(365):
            made.step()
            require_whole(path)
            left_ns = PemFolder(path, plant.clock).own().not_after_ns - plant.clock.now().wall_ns
            assert left_ns > 29 * DAY_NS
            assert health(made) == "ok"
            plant.clock.advance(DAY_NS)
            plant.authority.refresh()

    renewals = [more for _, event, more in told if event == "pki.renewed"]
    assert len(renewals) == len(told) == 6
    assert {one["folder"] for one in renewals} == {str(path)}


def test_a_folder_is_renewed_where_the_node_joined_and_each_failure_names_its_folder(
    plant, tmp_path
):
    told = Told()
    one, two = issued(plant, tmp_path / "one", "one"), issued(plant, tmp_path / "two", "two")
    plant.authority.revoke("service/two", "key-compromise")
    with serving(plant) as (address, _):
        plant.joined(address=address)
        made = service(plant, told, folders=(str(one), str(two)))
        plant.clock.advance(60 * DAY_NS)
        plant.joined(address=address)
        plant.authority.refresh()
        made.step()

    events = {more.get("folder"): (event, more.get("code")) for _, event, more in told}
    assert events[str(one)] == ("pki.renewed", None)
    assert events[str(two)] == ("pki.renewal_failed", "link.enrolment_refused")
    assert health(made).startswith(f"{two}: The certificates end at")


def test_the_worker_of_the_service_renews_a_folder_on_a_machine_that_joined_nothing(tmp_path):
    ago = VirtualClock(wall_ns=SystemClock().now().wall_ns - 61 * DAY_NS)
    plant = Plant(tmp_path / "plant", clock=ago)
    path = issued(plant, tmp_path / "gateway")
    first = PemFolder(path, SystemClock()).own()
    ago.set_wall(SystemClock().now().wall_ns)
    with serving(plant) as (address, reports):
        table = {"folders": [str(path)], "addresses": [address]}
        line = served(tmp_path, {"certificate-renewal": table})

    second = PemFolder(path, SystemClock()).own()
    assert (line["event"], line["folder"]) == ("pki.renewed", str(path))
    assert line["serial"] == second.serial != first.serial
    assert ("enrolment.renew", "gateway") in reports
    require_whole(path)


def served(tmp_path, plugin):
    """The first line of the service's own process."""
    config = Config(sealer="plaintext", services=("certificate-renewal",), plugin=plugin)
    home = tmp_path / "state" / config.node.instance
    home.mkdir(mode=0o700, parents=True)
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
    return line


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
