"""Who may not come in leaves a record: real connections to a real node, with the pinned gRPC.

What gRPC writes is no interface, so this is where another version of it is noticed.
"""

import asyncio
import contextlib
import json
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from tests.integration.mesh_process import MeshProcess
from tests.unit.mesh.grpc_nodes import Node, holder, running
from tests.unit.mesh.test_streams_pipes import HELLO, said

from cronos.mesh.corelog import LONG
from cronos.mesh.streams_wire import encode
from cronos.testing.conformance.base import eventually
from cronos.testing.conformance.mesh import Mailbox

WAIT_S = 20
SAID = {
    "mesh.no_tls": "said what is no TLS",
    "mesh.old_tls": "offered no TLS 1.3",
    "mesh.no_certificate": "showed no certificate",
    "mesh.foreign_certificate": "none of this domain",
    "mesh.unfinished": "broke their handshake off",
}


def context(version=ssl.TLSVersion.TLSv1_3):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    made.set_alpn_protocols(["h2"])
    return made


def shaken(place, tls):
    with (
        contextlib.suppress(OSError),
        socket.create_connection(place, timeout=WAIT_S) as one,
        tls.wrap_socket(one) as two,
    ):
        two.recv(1)


def spoken(place, data):
    with contextlib.suppress(OSError), socket.create_connection(place, timeout=WAIT_S) as one:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        one.recv(64)


@pytest.fixture
def foreign(tmp_path):
    """A certificate of nobody this node knows."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 1 "
        f"-subj /CN=stranger -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    made = context()
    made.load_cert_chain(certificate, key)
    return made


@pytest.fixture
def node():
    process = MeshProcess("alpha", holder("alpha").membership().credential, told=True)
    process.lines = queue.Queue()
    reading = threading.Thread(target=lambda: [*map(process.lines.put, process.process.stdout)])
    reading.start()
    try:
        yield process
    finally:
        process.process.kill()
        reading.join()
        process.end()


def place_of(node):
    host, _, port = node.address.rpartition(":")
    return host, int(port)


def reports(node, events, wait_s=WAIT_S):
    """Read what the node reports until all of these events were there."""
    found, until = [], time.monotonic() + wait_s
    while set(events) - {event for _, event, _ in found}:
        try:
            line = node.lines.get(timeout=max(0, until - time.monotonic()))
        except queue.Empty:
            break
        found.append(json.loads(line))
    return found


def test_each_way_of_not_coming_in_is_told_with_its_reason_and_address(node, foreign):
    place = place_of(node)
    for _ in range(3):
        spoken(place, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        spoken(place, bytes(300))
        shaken(place, context(ssl.TLSVersion.TLSv1_2))
        shaken(place, context())
        shaken(place, foreign)
        spoken(place, b"\x16\x03\x01\x02\x00\x01")
    found = reports(node, SAID)
    told = {event: more["detail"] for _, event, more in found}
    assert set(told) == set(SAID)
    for event, part in SAID.items():
        assert part in told[event]
        assert "from 127.0.0.1" in told[event]
    assert [level for level, _, _ in found] == ["warning"] * len(SAID)


def test_a_flood_of_refusals_is_one_record_and_its_own_probes_are_none(node):
    place = place_of(node)
    for _ in range(300):
        spoken(place, bytes(100))
    assert [event for _, event, _ in reports(node, ["mesh.no_tls"])] == ["mesh.no_tls"]
    assert reports(node, ["mesh.more"], wait_s=2.5) == []


@pytest.mark.parametrize("words", [[bytes(3 << 20)], [encode(HELLO), bytes(3 << 20)]])
def test_a_message_that_is_too_long_names_its_sender(node, words):
    class Reached:
        mesh = node

    assert asyncio.run(said(Reached, *words))[0] == "RESOURCE_EXHAUSTED"
    found = reports(node, [LONG])
    _, _, more = next(one for one in found if one[1] == LONG)
    assert more["peer"] == "beta"


def test_a_member_that_leaves_is_not_taken_for_one_that_says_too_much(node):
    async def story():
        other, box = Node("gamma"), Mailbox()
        async with running(other, boxes=[box]):
            other.mesh.connect("alpha", node.address)
            await eventually(lambda: box.links == [("alpha", True)], "They meet.")

    asyncio.run(story())
    assert LONG not in [event for _, event, _ in reports(node, [LONG], wait_s=1)]


def test_what_this_process_prints_itself_still_reaches_its_standard_error():
    script = (
        "import os, sys\n"
        "from cronos.mesh.corelog import CoreLog\n"
        "core = CoreLog()\n"
        "print('of python', file=sys.stderr)\n"
        "os.write(2, b'of a library\\n')\n"
        "core.take(core._drained())\n"
        "os.write(2, b'x' * 3_000_000)\n"
        "os.abort()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, timeout=60
    )
    assert b"of python\nof a library\n" in done.stderr
    assert b"Fatal Python error: Aborted" in done.stderr


def test_members_come_in_while_one_stranger_holds_all_the_places_it_can():
    async def story():
        nodes = [Node("alpha", max_connections=64), Node("beta")]
        boxes = [Mailbox(), Mailbox()]
        async with running(*nodes, boxes=boxes), contextlib.AsyncExitStack() as stack:
            host, _, port = nodes[0].mesh.address.rpartition(":")
            held = []
            for _ in range(200):
                one = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
                held.append(one)
            began = time.monotonic()
            nodes[1].mesh.connect("alpha", nodes[0].mesh.address)
            await eventually(lambda: nodes[0].mesh.peers() == ("beta",), "It comes in.")
            assert time.monotonic() - began < 4, "before gRPC has given one of them up"
            await eventually(lambda: "mesh.crowded_port" in nodes[0].reports.events(), "Told.")

    asyncio.run(story())
