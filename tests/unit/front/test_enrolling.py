"""The enrolment service of a federation on one machine: nodes are renewed there as anywhere."""

import pytest
from tests.unit.crypto.pki.plant import DOMAIN, HOUR_NS, Plant

from cronos.config import Config
from cronos.errors import UnreachableError
from cronos.front.enrolling import SERVICE, Enrolling
from cronos.front.plugins import load, settings_of
from cronos.link.egress import EgressGate
from cronos.link.enrolment import renew


def test_a_node_is_renewed_there_and_after_its_end_nobody_answers(tmp_path):
    plant = Plant(tmp_path / "plant")
    holder = plant.joined()
    before = holder.own().not_after_ns
    enrolling = Enrolling()
    reports = []
    enrolling.start(plant.reopened(), plant.clock, 3600, lambda *said: reports.append(said))
    try:
        plant.clock.advance(12 * HOUR_NS)
        gate = EgressGate()
        identity = renew(holder, plant.clock, gate, address=enrolling.address)
    finally:
        enrolling.stop()
        enrolling.stop()

    assert identity.not_after_ns == before + 12 * HOUR_NS
    assert ("enrolment.renew", "alpha") in reports
    with pytest.raises(UnreachableError):
        renew(holder, plant.clock, gate, address=enrolling.address)
    assert plant.trust.domain == DOMAIN


def test_what_a_node_is_told_is_what_the_service_that_renews_it_takes():
    enrolling = Enrolling()
    try:
        config = Config(plugin={SERVICE: enrolling.settings()})
        settings = settings_of(load("service", SERVICE), SERVICE, config, None)
    finally:
        enrolling.stop()

    assert settings.addresses == (enrolling.address,)
