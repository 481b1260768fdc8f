"""Finding peers in Consul: against a double of its documented interface."""

import pytest
from tests.integration.doubles.consul import ConsulDouble

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.mesh.registry_consul import ConsulConfig, ConsulRegistry
from cronos.ports import Registry
from cronos.testing.conformance.registry import RegistryConformance
from cronos.testing.memory_ops import MemoryEgress
from cronos.types import Peer

ALPHA = Peer("alpha", "192.0.2.1:7443")


@pytest.fixture
def consul():
    double = ConsulDouble()
    with double.serving():
        yield double


def registry(double, **more):
    return ConsulRegistry(ConsulConfig(url=double.url(), **more), EgressGate())


class TestConsulRegistry(RegistryConformance):
    @pytest.fixture(autouse=True)
    def _serving(self, consul):
        self.consul = consul

    def make(self) -> tuple[Registry, Registry]:
        return registry(self.consul), registry(self.consul)


def test_who_does_not_renew_is_found_no_more_and_a_forgotten_entry_is_made_anew(consul):
    one = registry(consul)
    one.enter(ALPHA)
    consul.lapse("alpha")
    lapsed = one.found()
    consul.services.clear()

    one.enter(ALPHA)

    assert lapsed == ()
    assert one.found() == ("alpha@192.0.2.1:7443",)


def test_the_token_is_shown_and_a_wrong_one_is_refused(consul, tmp_path):
    consul.token = "right"
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o600)

    registry(consul, token_file=str(tmp_path / "right")).enter(ALPHA)

    with pytest.raises(DeniedError):
        registry(consul, token_file=str(tmp_path / "wrong")).found()


def test_what_strangers_entered_is_no_seed(consul):
    for instance, port in (("Alpha Beta", 1), ("x" * 80, 1), ("gamma", 0), ("delta", 99999)):
        consul.services[instance] = {
            "ID": instance, "Name": "cronos", "Address": "192.0.2.4", "Port": port,
            "Check": {"CheckID": instance},
        }  # fmt: skip
        consul.passing.add(instance)

    assert registry(consul).found() == ()


@pytest.mark.parametrize("mood", ["broken", "html", "huge", "deep", "busy"])
def test_a_consul_in_a_mood_is_an_error_with_a_sentence_and_no_crash(consul, mood):
    consul.mood = mood
    one = registry(consul, timeout_ms=500)

    with pytest.raises(CronosError) as raised:
        one.found()

    assert raised.value.remedy


def test_egress_is_asked_first():
    closed = ConsulRegistry(ConsulConfig(url="https://consul.example:8501"), MemoryEgress())

    with pytest.raises(DeniedError):
        closed.found()


def test_nobody_there_is_unreachable(consul):
    gone = ConsulRegistry(ConsulConfig(url="http://127.0.0.1:9", timeout_ms=200), EgressGate())

    with pytest.raises(UnreachableError):
        gone.found()
