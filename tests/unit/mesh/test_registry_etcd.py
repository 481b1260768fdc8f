"""Finding peers in etcd: against a real server on free ports of loopback."""

import functools
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.link.freeports import free_ports
from cronos.mesh.registry_etcd import EtcdConfig, EtcdRegistry, _b64, _Range
from cronos.ports import Registry
from cronos.testing.conformance.registry import RegistryConformance
from cronos.testing.memory_ops import MemoryEgress
from cronos.types import Peer

ALPHA = Peer("alpha", "192.0.2.1:7443")
BINARY = shutil.which("etcd") or str(pathlib.Path(sys.executable).parent / "etcd")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    if not pathlib.Path(BINARY).exists():
        pytest.skip("etcd is not installed (`requirements-servers.lock`, or Debian's etcd-server)")
    client, peer = free_ports(2)
    url = f"http://127.0.0.1:{client}"
    folder = tmp_path_factory.mktemp("etcd")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [BINARY, "--data-dir", str(folder / "data"), "--listen-client-urls", url,
             "--advertise-client-urls", url, "--listen-peer-urls", f"http://127.0.0.1:{peer}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(url + "/health", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        yield url
    finally:
        server.kill()
        server.wait()


@functools.cache
def counted():
    return iter(range(10_000))


def registry(url, prefix="", **more):
    prefix = prefix or f"/cronos/test-{next(counted())}/"
    return EtcdRegistry(EtcdConfig(url=url, prefix=prefix, **more), EgressGate())


@pytest.mark.net
class TestEtcdRegistry(RegistryConformance):
    @pytest.fixture(autouse=True)
    def _serving(self, etcd):
        self.url = etcd

    def make(self) -> tuple[Registry, Registry]:
        prefix = f"/cronos/test-{next(counted())}/"
        return registry(self.url, prefix), registry(self.url, prefix)


@pytest.mark.net
def test_a_lease_that_etcd_has_forgotten_is_made_anew(etcd):
    one = registry(etcd)
    one.enter(ALPHA)
    one._call("lease/revoke", {"ID": one._lease}, _Range)
    lapsed = one.found()

    one.enter(ALPHA)

    assert lapsed == ()
    assert one.found() == ("alpha@192.0.2.1:7443",)


@pytest.mark.net
def test_another_prefix_is_another_federation_and_what_strangers_wrote_is_no_seed(etcd):
    one = registry(etcd, "/cronos/a/")
    one.enter(ALPHA)
    for key, value in (("x", "no seed"), ("y", "UPPER@host:1"), ("z", "h:99999")):
        put = {"key": _b64(f"/cronos/a/{key}"), "value": _b64(value)}
        one._call("kv/put", put, _Range)

    assert one.found() == ("alpha@192.0.2.1:7443",)
    assert registry(etcd, "/cronos/b/").found() == ()


def test_egress_is_asked_first():
    closed = EtcdRegistry(EtcdConfig(url="https://etcd.example:2379"), MemoryEgress())

    with pytest.raises(DeniedError):
        closed.found()


def test_nobody_there_is_unreachable_and_plain_text_beyond_this_machine_is_refused():
    with pytest.raises(UnreachableError):
        registry("http://127.0.0.1:9", timeout_ms=200).found()
    with pytest.raises(CronosError) as refused:
        registry("http://etcd.example:2379")
    assert refused.value.code == "link.foreign_plain"
