"""A live interface, in a network namespace of our own where the system lets us have one."""

import os
import subprocess
import sys

import pytest

_NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]
_STORY = r"""
import socket, subprocess
from cronos.sense.interface import InterfaceConfig, InterfaceSource
from cronos.sense.pcap import PcapConfig, PcapSensor

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
source = InterfaceSource(InterfaceConfig(interface="lo"))
again = InterfaceSource(InterfaceConfig(interface="lo"))
assert again.name != source.name, source.name
again.close()
readings = PcapSensor(PcapConfig()).read(source)
assert not list(next(readings))
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.sendall(b"x" * 100)
server.recv(100)
client.close()
server.close()
told = []
while len(told) < 2:
    told += next(readings)
for one in told:
    print(one.fields["status"], one.provenance.value, one.fields.get("traffic.bytes_out"))
    assert one.fields["dst_endpoint.port"] == listener.getsockname()[1]
    assert one.time_ns > 1_600_000_000_000_000_000
assert source.count_drops() == 0
source.close()
"""


def _run(prefix: list[str], story: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-c", story],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": "src"},
    )


def _namespaces() -> bool:
    command = [*_NAMESPACE, "ip", "link", "set", "lo", "up"]
    try:
        tried = subprocess.run(command, check=False, capture_output=True)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.skipif(not _namespaces(), reason="no unprivileged network namespaces here")
def test_a_connection_over_a_live_interface_is_told_once_with_its_bytes() -> None:
    ran = _run(_NAMESPACE, _STORY)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["open bidirectional None", "closed bidirectional 100"]


@pytest.mark.skipif(not _namespaces(), reason="no unprivileged network namespaces here")
def test_an_interface_that_does_not_exist_is_named_in_the_refusal() -> None:
    story = (
        "from cronos.sense.interface import InterfaceConfig, InterfaceSource\n"
        "from cronos.errors import InputError\n"
        "try: InterfaceSource(InterfaceConfig(interface='nowhere0'))\n"
        "except InputError as error: print(error.code, 'nowhere0' in error.sentence)\n"
    )
    ran = _run(_NAMESPACE, story)
    assert ran.stdout.strip() == "sense.no_interface True", ran.stderr


@pytest.mark.skipif(not _namespaces(), reason="no unprivileged network namespaces here")
def test_without_the_right_to_capture_the_refusal_says_what_would_give_it() -> None:
    story = (
        "from cronos.sense.interface import InterfaceConfig, InterfaceSource\n"
        "from cronos.errors import DeniedError\n"
        "try: InterfaceSource(InterfaceConfig(interface='lo'))\n"
        "except DeniedError as error: print(error.code, 'setcap' in error.remedy)\n"
    )
    # In a user namespace alone the network is still its parent's: root there is nobody here.
    ran = _run(["unshare", "--user"], story)
    assert ran.stdout.strip() == "sense.capture_denied True", ran.stderr
